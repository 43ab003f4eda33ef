package selftest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/ociarchive"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
)

func TestMain(m *testing.M) {
	inside, code, err := sandbox.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !inside {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// program is isotrace itself.
func program(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "isotrace")
	c := exec.Command("go", "build", "-o", to, "../../cmd/isotrace")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return to
}

func TestAll(t *testing.T) {
	all, err := run(t.Context(), real(), t.TempDir(), program(t), func(Outcome) {})
	if err != nil || len(all) != len(tests) {
		t.Fatalf("%d outcomes of %d tests, %v", len(all), len(tests), err)
	}
	for _, o := range all {
		if o.Failed != "" {
			t.Errorf("%s: %s", o.Name, o.Failed)
		}
	}
}

// TestEachCanFail breaks what each test is of.
func TestEachCanFail(t *testing.T) {
	isotrace := program(t)
	broken := map[string][]func(*parts){
		"host": {
			func(p *parts) { p.doctor = func(string) []sandbox.Finding { return nil } },
			func(p *parts) {
				p.doctor = func(string) []sandbox.Finding { return []sandbox.Finding{{What: "user namespaces"}} }
			},
		},
		"digest": {func(p *parts) {
			p.hash = func(r io.Reader) (artifact.Digest, int64, error) {
				_, n, err := artifact.HashReader(r)
				return artifact.HashBytes(nil), n, err
			}
		}},
		"store": {
			func(p *parts) {
				p.stored = func(*artifact.Store, artifact.Digest) (artifact.Ref, error) { return artifact.Ref{}, nil }
			},
			func(p *parts) {
				p.stored = func(*artifact.Store, artifact.Digest) (artifact.Ref, error) { return artifact.Ref{}, os.ErrInvalid }
			},
		},
		"tar": {func(p *parts) {
			p.extract = func(context.Context, string, *tar.Reader, roottree.ExtractOptions) (roottree.Extracted, error) {
				return roottree.Extracted{}, nil
			}
		}, func(p *parts) {
			p.extract = func(_ context.Context, dir string, _ *tar.Reader, _ roottree.ExtractOptions) (roottree.Extracted, error) {
				_ = os.WriteFile(filepath.Join(dir, "..", "outside", "x"), nil, 0o644)
				return roottree.Extracted{}, os.ErrInvalid
			}
		}},
		"release-file": {
			func(p *parts) {
				p.signed = func(_ *archive.Keyring, text []byte, _ string, _ time.Time) ([]byte, []archive.Signer, error) {
					return []byte("Suite: selftest\n"), make([]archive.Signer, 1), nil
				}
			},
			func(p *parts) {
				p.inTime = func(*archive.Release, archive.ReleaseCheck) (bool, error) { return false, nil }
			},
		},
		"signature": {
			func(p *parts) {
				p.sign = func(*provenance.Signer, []byte) ([]byte, error) { return []byte("AAAA"), nil }
			},
			func(p *parts) { p.detached = func(*provenance.PublicKey, []byte, []byte) error { return nil } },
		},
		"link": {
			func(p *parts) {
				n := 0
				p.seal = func(provenance.Recorder, stage.Record) ([]byte, error) { n++; return []byte(fmt.Sprint(n)), nil }
			},
			func(p *parts) {
				p.openLink = func([]byte, *provenance.PublicKey) (stage.Record, error) {
					return stage.Record{Products: map[string]artifact.Digest{"iso/b": artifact.HashBytes([]byte("b"))}}, nil
				}
			},
		},
		"lock":   {func(p *parts) { p.lock = func(string, []byte) (*lockfile.Lock, error) { return nil, nil } }},
		"config": {func(p *parts) { p.config = func(string, []byte) (*config.Config, error) { return nil, nil } }},
		"verity": {
			func(p *parts) { p.rootHash = func(io.Reader, int64, io.Reader) (string, error) { return "00", nil } },
			func(p *parts) {
				p.rootHash = func(io.Reader, int64, io.Reader) (string, error) {
					return "b3af96e7ffda3279f41df214917ec69b872ed1156535c1ffe79b27325f70e381", nil
				}
			},
		},
		"vhd": {func(p *parts) { p.footer = func([]byte, int64, artifact.Digest, epoch.Epoch) error { return nil } }},
		"archive": {func(p *parts) {
			p.archived = func(context.Context, *ociarchive.Archive) ([]ociarchive.Damage, error) { return nil, nil }
		}},
		"sandbox": {
			func(p *parts) {
				p.run = func(_ context.Context, s sandbox.Spec) error {
					_, err := fmt.Fprint(s.Stdout, `{"hostname": "isotrace", "interfaces": ["eth0"]}`)
					return err
				}
			},
			func(p *parts) {
				p.run = func(_ context.Context, s sandbox.Spec) error {
					_, err := fmt.Fprint(s.Stdout, `{"hostname": "isotrace", "writable": true}`)
					return err
				}
			},
			func(p *parts) {
				p.run = func(_ context.Context, s sandbox.Spec) error {
					_, err := fmt.Fprint(s.Stdout, `{"hostname": "isotrace", "top": ["home"]}`)
					return err
				}
			},
		},
	}
	broken["escape"] = []func(*parts){
		func(p *parts) {
			p.run = func(_ context.Context, s sandbox.Spec) error {
				_, err := fmt.Fprintf(s.Stdout, `{"escapes": ["mount"], "tried": %d}`, len(ways))
				return err
			}
		},
		func(p *parts) {
			p.run = func(_ context.Context, s sandbox.Spec) error {
				_, err := fmt.Fprint(s.Stdout, `{"hostname": "isotrace"}`)
				return err
			}
		},
	}
	broken["limits"] = []func(*parts){
		func(p *parts) {
			p.run = func(_ context.Context, s sandbox.Spec) error {
				_, err := fmt.Fprint(s.Stdout, `{}`)
				return err
			}
		},
		func(p *parts) {
			p.run = func(_ context.Context, s sandbox.Spec) error {
				if s.Limits.Output > 0 {
					return sandbox.ErrLimit
				}
				return errors.New("a time that nobody looks at")
			}
		},
	}
	for _, c := range tests {
		if len(broken[c.name]) == 0 {
			t.Errorf("%s: nothing shows that it can fail", c.name)
		}
		for i, spoil := range broken[c.name] {
			p := real()
			spoil(&p)
			all, err := run(t.Context(), p, t.TempDir(), isotrace, func(Outcome) {}, c.name)
			if err != nil || len(all) != 1 || all[0].Failed == "" {
				t.Errorf("%s, broken in way %d: %+v, %v", c.name, i, all, err)
			}
		}
	}
}
