package archive

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/fault"
)

var (
	date  = time.Date(2024, 3, 2, 10, 11, 12, 0, time.UTC)
	now   = date.Add(48 * time.Hour)
	until = date.Add(7 * 24 * time.Hour)
)

func keyring(t testing.TB, keys ...*archivetest.Key) *Keyring {
	t.Helper()
	var data []byte
	for _, k := range keys {
		data = append(data, k.Public()...)
	}
	kr, err := ReadKeyring("test.asc", data)
	if err != nil {
		t.Fatal(err)
	}
	return kr
}

func testRepo(t testing.TB) *archivetest.Repo {
	t.Helper()
	r := archivetest.New(t)
	r.AddPackage("Package: hello\nVersion: 2.10-3\nArchitecture: amd64\nDepends: libhello (>= 2)", archivetest.File{Path: "usr/bin/hello", Content: "hi", Mode: 0o755})
	r.AddPackage("Package: libhello\nVersion: 1:2.10-3\nArchitecture: all\nSource: hello (2.10-3)")
	return r
}

func request(r *archivetest.Repo, t testing.TB) SuiteRequest {
	return SuiteRequest{
		Repository: "debian", Suite: "stable", Components: []string{"main"}, Architecture: "amd64",
		Keyring: keyring(t, r.Key()), Now: now,
	}
}

func resolve(t *testing.T, req SuiteRequest, mirrors ...string) (*Suite, folder, error) {
	t.Helper()
	sink := newFolder(t)
	s, err := newTestClient(t, Options{}, mirrors...).ResolveSuite(t.Context(), req, sink, nil)
	return s, sink, err
}

func TestResolveSuite(t *testing.T) {
	const dir = "dists/stable/main/"
	cases := map[string]struct {
		options archivetest.Options
		after   func(r *archivetest.Repo)
		release string
		indexes []string
	}{
		"like Debian":    {release: "InRelease", indexes: []string{"binary-amd64/Packages.xz"}},
		"detached":       {options: archivetest.Options{Detached: true}, release: "Release", indexes: []string{"binary-amd64/Packages.xz"}},
		"gzip alone":     {options: archivetest.Options{Compressions: []string{"gz"}}, release: "InRelease", indexes: []string{"binary-amd64/Packages.gz"}},
		"plain alone":    {options: archivetest.Options{Compressions: []string{""}}, release: "InRelease", indexes: []string{"binary-amd64/Packages"}},
		"all by itself":  {options: archivetest.Options{SeparateAll: true}, release: "InRelease", indexes: []string{"binary-amd64/Packages.xz", "binary-all/Packages.xz"}},
		"not by hash":    {options: archivetest.Options{NoByHash: true}, release: "InRelease", indexes: []string{"binary-amd64/Packages.xz"}},
		"codename asked": {options: archivetest.Options{SuiteField: "oldstable", Codename: "stable"}, release: "InRelease", indexes: []string{"binary-amd64/Packages.xz"}},
		"by-hash missing": {after: func(r *archivetest.Repo) { r.Remove(dir + "binary-amd64/by-hash") },
			release: "InRelease", indexes: []string{"binary-amd64/Packages.xz"}},
		"by hash where the index has moved on": {after: func(r *archivetest.Repo) { r.Write(dir+"binary-amd64/Packages.xz", []byte("newer")) },
			release: "InRelease", indexes: []string{"binary-amd64/Packages.xz"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := testRepo(t)
			r.Publish("stable", "main", date, until, c.options)
			if c.after != nil {
				c.after(r)
			}
			for kind, mirror := range map[string]string{"file": r.URI(), "http": r.Serve(nil)} {
				s, sink, err := resolve(t, request(r, t), mirror)
				if err != nil {
					t.Fatalf("%s: %v", kind, err)
				}
				if s.ReleaseFile.Path != "dists/stable/"+c.release || (s.Signature != nil) != c.options.Detached {
					t.Errorf("release file %v, signature %v", s.ReleaseFile, s.Signature)
				}
				if len(s.Signers) != 1 || s.Signers[0].Primary != s.Signers[0].Key || !s.Signers[0].Time.Equal(date) ||
					s.Signers[0].Primary != keyring(t, r.Key()).Fingerprints()[0] {
					t.Errorf("signers %v", s.Signers)
				}
				if !s.Release.Date.Equal(date) || !s.Release.ValidUntil.Equal(until) || s.Expired || s.Release.Origin != "Test" {
					t.Errorf("release %+v", s.Release)
				}
				var indexes []string
				for _, i := range s.Indexes {
					indexes = append(indexes, strings.TrimPrefix(i.Ref.Path, dir))
				}
				if strings.Join(indexes, " ") != strings.Join(c.indexes, " ") {
					t.Errorf("indexes %v, want %v", indexes, c.indexes)
				}
				pkgs, err := s.Packages(sink)
				if err != nil || len(pkgs) != 2 {
					t.Fatalf("packages %v, %v", pkgs, err)
				}
				lib := pkgs[1]
				if lib.Name != "libhello" || lib.Version != "1:2.10-3" || lib.Source != "hello" || lib.SourceVersion != "2.10-3" {
					t.Errorf("package %+v", lib)
				}
				wants := []Want{{Repository: "debian", Path: lib.Filename, SHA256: lib.SHA256, Size: lib.Size}}
				if err := newTestClient(t, Options{}, mirror).FetchAll(t.Context(), wants, sink, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestResolveSuiteRefuses(t *testing.T) {
	edit := func(old, new string) archivetest.Options {
		return archivetest.Options{Edit: func(r string) string {
			if !strings.Contains(r, old) {
				panic("the Release text has no " + old)
			}
			return strings.Replace(r, old, new, 1)
		}}
	}
	replace := func(name, old, new string) func(t *testing.T, r *archivetest.Repo) {
		return func(t *testing.T, r *archivetest.Repo) {
			b, err := os.ReadFile(filepath.Join(r.Dir(), name))
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(b), old, new, 1)
			if changed == string(b) {
				t.Fatalf("%s has no %q", name, old)
			}
			r.Write(name, []byte(changed))
		}
	}
	const in = "dists/stable/InRelease"
	cases := map[string]struct {
		options archivetest.Options
		until   time.Time
		after   func(t *testing.T, r *archivetest.Repo)
		request func(t *testing.T, r *SuiteRequest)
		text    string
		class   fault.Class
	}{
		"tampered":           {after: replace(in, "Version: 1.0", "Version: 6.6"), text: "no good signature", class: fault.Refused},
		"text before":        {after: replace(in, "-----BEGIN PGP SIGNED", "Origin: Evil\n\n-----BEGIN PGP SIGNED"), text: "does not begin with a signed message", class: fault.Refused},
		"text after":         {after: replace(in, "-----END PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\nOrigin: Evil\n"), text: "something stands after", class: fault.Refused},
		"truncated":          {after: replace(in, "-----END PGP SIGNATURE-----\n", ""), text: "no whole signed message", class: fault.Refused},
		"unsigned":           {after: func(_ *testing.T, r *archivetest.Repo) { r.Write(in, []byte("Suite: stable\n")) }, text: "does not begin with a signed message", class: fault.Refused},
		"no signature":       {options: archivetest.Options{Detached: true}, after: func(_ *testing.T, r *archivetest.Repo) { r.Remove("dists/stable/Release.gpg") }, text: "not found", class: fault.Failed},
		"tampered, detached": {options: archivetest.Options{Detached: true}, after: replace("dists/stable/Release", "Version: 1.0", "Version: 6.6"), text: "no good signature", class: fault.Refused},
		"other key": {request: func(t *testing.T, r *SuiteRequest) {
			r.Keyring = keyring(t, archivetest.NewKey(t, date.AddDate(-1, 0, 0), 0))
		},
			text: "is not known", class: fault.Refused},
		"expired":           {until: now.Add(-time.Second), text: "has expired: it was valid until 2024-03-04T10:11:11Z", class: fault.Refused},
		"from the future":   {request: func(_ *testing.T, r *SuiteRequest) { r.Now = date.Add(-25 * time.Hour) }, text: "from the future", class: fault.Refused},
		"another suite":     {options: archivetest.Options{SuiteField: "unstable", Codename: "sid"}, text: `of suite "unstable", codename "sid"`, class: fault.Refused},
		"another pocket":    {options: archivetest.Options{SuiteField: "stable-updates", Codename: "stable"}, text: `of suite "stable-updates"`, class: fault.Refused},
		"no SHA256":         {options: edit("SHA256:", "SHA1:"), text: "has no field SHA256", class: fault.Refused},
		"no Date":           {options: edit("Date:", "X-Date:"), text: "has no field Date", class: fault.Refused},
		"two stanzas":       {options: edit("Architectures:", "\nArchitectures:"), text: "has no field SHA256", class: fault.Refused},
		"path out":          {options: edit(" main/binary-all/", " ../binary-all/"), text: "not a clean relative one", class: fault.Refused},
		"no such component": {request: func(_ *testing.T, r *SuiteRequest) { r.Components = []string{"contrib"} }, text: `no component "contrib"`, class: fault.Usage},
		"no such arch":      {request: func(_ *testing.T, r *SuiteRequest) { r.Architecture = "mips" }, text: "for mips", class: fault.Usage},
		"no keyring":        {request: func(_ *testing.T, r *SuiteRequest) { r.Keyring = nil }, text: "no keyring", class: fault.Usage},
		"path as suite":     {request: func(_ *testing.T, r *SuiteRequest) { r.Suite = "../stable" }, text: "suite: path", class: fault.Usage},
		"other index": {options: archivetest.Options{NoByHash: true}, after: func(_ *testing.T, r *archivetest.Repo) {
			r.Write("dists/stable/main/binary-amd64/Packages.xz", []byte("other"))
		}, text: "wrong size", class: fault.Refused},
		"no index": {after: func(_ *testing.T, r *archivetest.Repo) { r.Remove("dists/stable/main/binary-amd64") }, text: "not found", class: fault.Failed},
		"no suite": {request: func(_ *testing.T, r *SuiteRequest) { r.Suite = "none" }, text: "not found", class: fault.Failed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := testRepo(t)
			if c.until.IsZero() {
				c.until = until
			}
			r.Publish("stable", "main", date, c.until, c.options)
			if c.after != nil {
				c.after(t, r)
			}
			req := request(r, t)
			if c.request != nil {
				c.request(t, &req)
			}
			_, sink, err := resolve(t, req, r.URI())
			if err == nil || !strings.Contains(err.Error(), c.text) || fault.ClassOf(err) != c.class {
				t.Fatalf("class %d, error %v", fault.ClassOf(err), err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error of more than one line: %q", err)
			}
			if left := sink.names(t, "partial"); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func TestResolveSuiteExpiredAccepted(t *testing.T) {
	r := testRepo(t)
	r.Publish("stable", "main", date, date.Add(time.Hour), archivetest.Options{})
	req := request(r, t)
	req.IgnoreValidUntil = true
	s, _, err := resolve(t, req, r.URI())
	if err != nil || !s.Expired {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestResolveSuiteNextMirror(t *testing.T) {
	bad, fine := testRepo(t), testRepo(t)
	fine.Publish("stable", "main", date, until, archivetest.Options{})
	bad.Publish("stable", "main", date, until, archivetest.Options{})
	s, _, err := resolve(t, request(fine, t), bad.URI(), fine.Serve(nil))
	if err != nil {
		t.Fatal(err)
	}
	if s.Signers[0].Primary != keyring(t, fine.Key()).Fingerprints()[0] {
		t.Errorf("signers %v", s.Signers)
	}
}

func TestResolveSuiteComponents(t *testing.T) {
	r := testRepo(t)
	r.Publish("stable", "main", date, until, archivetest.Options{})
	r.AddPackage("Package: extra\nVersion: 1\nArchitecture: amd64")
	r.Publish("stable", "contrib", date, until, archivetest.Options{})
	req := request(r, t)
	req.Components = []string{"main", "contrib"}
	s, sink, err := resolve(t, req, r.URI())
	if err != nil {
		t.Fatal(err)
	}
	pkgs, err := s.Packages(sink)
	if err != nil || len(pkgs) != 3 || pkgs[2].Name != "extra" {
		t.Fatalf("packages %v, %v", pkgs, err)
	}
}

func TestResolveSuiteOversized(t *testing.T) {
	r := testRepo(t)
	r.Publish("stable", "main", date, until, archivetest.Options{})
	endless := r.Serve(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for chunk := make([]byte, 1<<20); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		})
	})
	_, _, err := resolve(t, request(r, t), endless)
	if !errors.Is(err, ErrWrongSize) {
		t.Fatalf("error %v", err)
	}
}

// The store may be damaged after the fetch.
func TestIndexVerifies(t *testing.T) {
	r := testRepo(t)
	r.Publish("stable", "main", date, until, archivetest.Options{})
	s, sink, err := resolve(t, request(r, t), r.URI())
	if err != nil {
		t.Fatal(err)
	}
	i := s.Indexes[0]
	lying := i
	lying.Plain.SHA256 = i.Ref.Digest
	if _, err := lying.Packages(sink); !errors.Is(err, ErrWrongHash) {
		t.Errorf("other decompressed text: error %v", err)
	}
	if err := os.WriteFile(sink.Path(i.Ref.Digest), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Packages(sink); !errors.Is(err, ErrWrongHash) || fault.ClassOf(err) != fault.Refused {
		t.Errorf("damaged index: error %v", err)
	}
}
