package provenance

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

func digest(s string) artifact.Digest { return artifact.HashBytes([]byte(s)) }

func number(n int) *int { return &n }

// tracedImage is evidence with a trace of files a … in the root tree, and one
// file on the medium.
type tracedImage struct {
	head  trace.Head
	parts map[string][]trace.Origin
	tree  *roottree.Manifest
	v     *verification
}

func newTracedImage(files int) *tracedImage {
	one := lockfile.Package{Name: "one", Version: "1", Architecture: "all", Archive: "debian/x", Path: "pool/main/o/one.deb", Size: 1, SHA256: digest("deb")}
	i := &tracedImage{
		head: trace.Head{
			Format: trace.Format, Name: "x", Release: "1",
			Packages: []trace.Package{{Name: "one", Version: "1", Architecture: "all", Set: "target", Origin: trace.Archive, Archive: one.Archive, Path: one.Path, Size: 1, SHA256: one.SHA256, Why: "packages[0]: one"}},
			Actors:   []trace.Actor{{Stage: "livetree", Actor: stage.Actor{Kind: stage.ByStage, Name: "livetree"}}},
			Archives: []trace.Suite{{ID: "debian/x", Signers: []string{"ABCD"}, Release: artifact.Ref{Path: "dists/x/InRelease"}, Indexes: []artifact.Ref{{Path: "dists/x/main/binary-amd64/Packages.xz"}}}},
		},
		parts: map[string][]trace.Origin{trace.PartMedium: {{Path: "casper/filesystem.squashfs", Type: roottree.File, Kind: trace.Stage, SHA256: digest("sq"), By: number(0)}}},
		tree:  &roottree.Manifest{},
		v: &verification{Bundle: &Bundle{Lock: &lockfile.Lock{Target: []lockfile.Package{one}}, Config: &config.Config{}}, made: map[string]artifact.Digest{
			recordMedium + "casper/filesystem.squashfs": digest("sq"),
		}},
	}
	for n := range files {
		name := fmt.Sprintf("usr/share/doc/package-%06d/some/file", n)
		i.tree.Entries = append(i.tree.Entries, roottree.Entry{Path: name, Type: roottree.File, Size: 3, SHA256: digest(name)})
		i.parts[trace.PartRoot] = append(i.parts[trace.PartRoot], trace.Origin{Path: name, Type: roottree.File, Size: 3, SHA256: digest(name), Kind: trace.Archive, Package: number(0)})
	}
	return i
}

// write lays the evidence out, signed.
func (i *tracedImage) write(t testing.TB) string {
	t.Helper()
	signer := newSigner(t)
	dir := t.TempDir()
	at := filepath.Join(dir, EvidenceDir, TraceDir)
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	i.head.Parts = nil
	for _, name := range trace.Parts {
		var b bytes.Buffer
		p, err := trace.WritePart(&b, name, i.parts[name])
		if err != nil {
			t.Fatal(err)
		}
		i.head.Parts = append(i.head.Parts, p)
		if err := os.WriteFile(filepath.Join(at, name+trace.Suffix), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := i.head.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{TraceDir + "/" + trace.HeadFile: text, BuilderKey: signer.Public().PEM} {
		if err := os.WriteFile(filepath.Join(dir, EvidenceDir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteSums(filepath.Join(dir, EvidenceDir), []artifact.Ref{{Path: "x.iso", Digest: digest("iso")}}, signer); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestChain(t *testing.T) {
	i := newTracedImage(3)
	tr, err := OpenTracing(i.write(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}()
	o, ok, err := tr.Resolve(trace.PartRoot, i.tree.Entries[1].Path)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	c, err := tr.Chain(trace.PartRoot, o)
	if err != nil {
		t.Fatal(err)
	}
	if c.ISO != digest("iso") || c.Image != "x.iso" || len(c.Within) != 1 || c.Within[0].SHA256 != digest("sq") || c.Package.ID != "one:all=1" ||
		c.Package.Index.Path != "dists/x/main/binary-amd64/Packages.xz" || c.Package.Archive.Signers[0] != "ABCD" {
		t.Errorf("%+v", c)
	}
}

func TestCheckTrace(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*tracedImage)
		says   string
	}{
		"as it is":          {func(*tracedImage) {}, ""},
		"content":           {func(i *tracedImage) { i.parts[trace.PartRoot][1].SHA256 = digest("other") }, "is not in the image, or not like this"},
		"one too few":       {func(i *tracedImage) { i.parts[trace.PartRoot] = i.parts[trace.PartRoot][1:] }, "2 files are traced, the root tree has 3"},
		"named twice":       {func(i *tracedImage) { i.parts[trace.PartRoot][1].Path = i.parts[trace.PartRoot][0].Path }, "is named twice"},
		"unexplained":       {func(i *tracedImage) { i.parts[trace.PartRoot][0].Kind = trace.Unexplained }, "is of unknown origin"},
		"reason not so":     {func(i *tracedImage) { i.accept("because", "why not") }, "is of unknown origin"},
		"accepted":          {func(i *tracedImage) { i.accept("because", "because") }, ""},
		"archive of none":   {func(i *tracedImage) { i.parts[trace.PartRoot][0].Package = nil }, "not of which"},
		"generated by none": {func(i *tracedImage) { i.parts[trace.PartRoot][0].Kind = trace.Generated }, "not by whom"},
		"package":           {func(i *tracedImage) { i.head.Packages[0].SHA256 = digest("forged") }, "package one:all=1 is not the lock's"},
		"package missing":   {func(i *tracedImage) { i.v.Lock.Boot = i.v.Lock.Target }, "lacks 1 packages"},
		"medium":            {func(i *tracedImage) { i.parts[trace.PartMedium][0].SHA256 = digest("x") }, "is another file in the image"},
		"medium untraced":   {func(i *tracedImage) { i.parts[trace.PartMedium] = nil }, "is in the image, but not traced"},
		"a head of another count": {func(i *tracedImage) {
			i.parts[trace.PartRoot][0].Kind, i.parts[trace.PartRoot][0].By, i.parts[trace.PartRoot][0].Package = trace.Generated, number(0), nil
		}, "is said to be generated by a stage"},
		"changed, but as it is":  {func(i *tracedImage) { i.parts[trace.PartRoot][0].Was = &trace.Was{Mode: "0644"} }, "as it is, and to be changed"},
		"a copy of what is none": {func(i *tracedImage) { i.parts[trace.PartMedium][0].Of = "root:usr" }, "is said to be a copy of root:usr, which is not like this"},
		"medium too many":        {func(i *tracedImage) { i.parts[trace.PartMedium][0].Path = "x" }, "is not in the image"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newTracedImage(3)
			c.change(i)
			tr, err := OpenTracing(i.write(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			problems := i.v.tracedPackages(&tr.Head)
			for _, part := range []string{trace.PartRoot, trace.PartMedium} {
				found, err := i.v.tracedPart(tr, part, i.tree, i.reread())
				if err != nil {
					found = append(found, problemOf(part, err))
				}
				problems = append(problems, found...)
			}
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
			if text := fmt.Sprint(problems); c.says == "" && len(problems) > 0 || !strings.Contains(text, c.says) {
				t.Errorf("says %s, want %q", text, c.says)
			}
		})
	}
}

// reread is what the image's own bytes would be found to hold.
func (i *tracedImage) reread() *rereading {
	r := &rereading{parts: map[string]map[string]piece{trace.PartMedium: {}}, copied: map[string]*trace.Origin{}}
	for name, d := range i.v.mediumTree() {
		r.parts[trace.PartMedium][name] = piece{entry: roottree.Entry{Type: roottree.File, SHA256: d}}
	}
	return r
}

// accept makes the first file of unknown origin, accepted by the config with one
// reason and by the trace with another.
func (i *tracedImage) accept(inConfig, traced string) {
	i.parts[trace.PartRoot][0].Kind, i.parts[trace.PartRoot][0].Allowed = trace.Unexplained, traced
	i.v.Config.Unexplained = []config.Accepted{{Path: "/usr/share/doc/package-000000/some/*", Reason: inConfig}}
}

func TestOpenTracingRefuses(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"another head": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, TraceDir, trace.HeadFile), []byte(`{"format":1}`), 0o644)
		},
		"other sums":   func(dir string) error { return os.WriteFile(filepath.Join(dir, Sums), nil, 0o644) },
		"no signature": func(dir string) error { return os.Remove(filepath.Join(dir, SumsSignature)) },
		"link to a file": func(dir string) error {
			at := filepath.Join(dir, TraceDir, trace.HeadFile)
			return os.Rename(at, filepath.Join(filepath.Dir(dir), "moved")) // then a link out of the folder
		},
	} {
		dir := newTracedImage(1).write(t)
		if err := spoil(filepath.Join(dir, EvidenceDir)); err != nil {
			t.Fatal(err)
		}
		if name == "link to a file" {
			if err := os.Symlink("../../moved", filepath.Join(dir, EvidenceDir, TraceDir, trace.HeadFile)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenTracing(dir, nil); err == nil {
			t.Errorf("%s: was opened", name)
		}
	}
}

// BenchmarkTracing looks one path up among 100,000, from opening the evidence on.
func BenchmarkTracing(b *testing.B) {
	i := newTracedImage(100_000)
	dir := i.write(b)
	for b.Loop() {
		tr, err := OpenTracing(dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok, err := tr.Resolve(trace.PartRoot, i.tree.Entries[77_777].Path); err != nil || !ok {
			b.Fatal(ok, err)
		}
		if err := tr.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
