package provenance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/secureboot"
	"github.com/isotrace/isotrace/internal/trace"
)

// Tracing is the trace of a build's output folder, each of its files checked
// against the signed sums when it is opened.
type Tracing struct {
	*trace.Trace
	// Image is the ISO's file name, and ISO its digest as the sums have it.
	Image string
	ISO   artifact.Digest
	// Disk is a disk image's file name, and DiskDigest its digest; empty where there is none.
	Disk       string
	DiskDigest artifact.Digest
	// KeyID names the key that signed the sums.
	KeyID string
	root  *os.Root
	sums  map[string]artifact.Digest
}

// OpenTracing opens the trace of the output folder dir. The key that came with
// the evidence is taken where key is nil.
func OpenTracing(dir string, key *PublicKey) (*Tracing, error) {
	return openTracing(&Bundle{out: dir, dir: filepath.Join(dir, EvidenceDir)}, key)
}

// openTracing opens the trace of a bundle, whose sums have to be those that were read of
// it before, where they were.
func openTracing(b *Bundle, key *PublicKey) (_ *Tracing, err error) {
	root, err := os.OpenRoot(b.dir)
	if err != nil {
		return nil, notBuilt(b.out)
	}
	defer func() {
		if err != nil {
			_ = root.Close() // the error is about something else
		}
	}()
	text, err := b.read(Sums, 64<<20)
	if err != nil {
		return nil, refused(err)
	}
	sig, err := b.read(SumsSignature, 1<<16)
	if err != nil {
		return nil, refused(err)
	}
	if key == nil {
		pem, err := b.read(BuilderKey, 1<<16)
		if err != nil {
			return nil, refused(err)
		}
		if key, err = ParsePublicKey(BuilderKey, pem); err != nil {
			return nil, refused(err)
		}
	}
	if err := key.VerifyDetached(text, sig); err != nil {
		return nil, refused(fmt.Errorf("%s: %w", Sums, err))
	}
	sums, err := parseSums(text)
	if err != nil {
		return nil, refused(err)
	}
	t := &Tracing{KeyID: key.KeyID(), root: root, sums: sums}
	for name, d := range sums {
		if image, ok := strings.CutPrefix(name, "../"); ok && strings.HasSuffix(image, ".iso") && !strings.Contains(image, "/") && (t.Image == "" || len(image) < len(t.Image)) {
			t.Image, t.ISO = image, d
		}
	}
	for _, format := range diskFormats {
		name := strings.TrimSuffix(t.Image, ".iso") + diskSuffix(format)
		if d, ok := sums["../"+name]; ok && t.Disk == "" {
			t.Disk, t.DiskDigest = name, d
		}
	}
	t.Trace, err = trace.Open(func(name string) (trace.File, error) { return t.open(TraceDir + "/" + name) })
	if err != nil {
		return nil, refused(err)
	}
	return t, nil
}

// open opens a file of the evidence, which has to be as the signed sums say.
func (t *Tracing) open(name string) (*os.File, error) {
	want, ok := t.sums[name]
	if !ok {
		return nil, refused(fmt.Errorf("%s: is not in %s", name, Sums))
	}
	f, size, err := openIn(t.root, name)
	if err != nil {
		return nil, refused(err)
	}
	if size > maxEvidenceFile {
		return nil, refused(errors.Join(fmt.Errorf("%s: longer than %d bytes", name, int64(maxEvidenceFile)), f.Close()))
	}
	have, _, err := artifact.HashReader(f)
	if err == nil && have != want {
		err = fmt.Errorf("%s: its SHA-256 is %q, %s says %s", name, have, Sums, want)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, refused(errors.Join(err, f.Close()))
	}
	return f, nil
}

// The formats of bills of materials, which are the ends of their names, too.
const (
	CycloneDX = "cdx"
	SPDX      = "spdx"
)

// CopyBill writes the image's bill of materials in a format, byte by byte as it was signed.
func (t *Tracing) CopyBill(w io.Writer, format string) (err error) {
	f, err := t.open(path.Join(SbomDir, t.Name+"."+format+".json"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(w, f)
	return err
}

// Close lets go of the evidence.
func (t *Tracing) Close() error { return t.root.Close() }

// Chain is one file with all that it rests on and stands in.
type Chain struct {
	Image string          `json:"image"`
	ISO   artifact.Digest `json:"image-sha256"`
	KeyID string          `json:"key"`
	// Within are the files that hold it, from the image inwards.
	Within []Container `json:"within"`
	Part   string      `json:"part"`
	trace.Origin
	// Link is the record of the stage that made or changed it, or packed it.
	Link    string        `json:"link,omitempty"`
	Actor   *trace.Actor  `json:"actor,omitempty"`
	Before  *trace.Actor  `json:"actor-before,omitempty"`
	Package *PackageChain `json:"chain,omitempty"`
	Others  []string      `json:"also-in,omitempty"`
	Serves  []ServesChain `json:"serves,omitempty"`
}

// Container is a file of the medium that holds a part.
type Container struct {
	Path   string          `json:"path"`
	SHA256 artifact.Digest `json:"sha256,omitempty"`
	Stage  string          `json:"stage"`
	Link   string          `json:"link"`
}

// PackageChain is a package with what signs for it.
type PackageChain struct {
	*trace.Package
	ID      string        `json:"id"`
	Archive *trace.Suite  `json:"archive-chain,omitempty"`
	Index   *artifact.Ref `json:"index,omitempty"`
	// The same of its source package, where sources are locked.
	SourceArchive *trace.Suite  `json:"source-archive-chain,omitempty"`
	SourceIndex   *artifact.Ref `json:"source-index,omitempty"`
}

// ServesChain is a requirement, and the path of packages through which it is served.
type ServesChain struct {
	ID    string   `json:"id"`
	Title string   `json:"title,omitempty"`
	Path  []string `json:"path"`
}

// holders are the files of the medium that hold the parts, and the stages that
// packed them.
var holders = map[string][]struct{ path, stage string }{
	trace.PartRoot:   {{squashfsPath, squashfsStage}},
	trace.PartInitrd: {{"casper/initrd", "kernel"}},
	trace.PartBIOS:   {{biosImagePath, "bootparts"}},
	trace.PartEFI:    {{secureboot.FirstPath, "bootparts"}},
	trace.PartESP:    {{"[EFI system partition]", "bootparts"}},
	trace.PartMedium: {},
	trace.PartDisk:   {},
}

// Link is the evidence's file of a stage's record.
func (t *Tracing) Link(stage string) string { return LinksDir + "/" + LinkName(stage, t.KeyID) }

// Chain gathers what a file rests on and stands in.
func (t *Tracing) Chain(part string, o trace.Origin) (*Chain, error) {
	c := &Chain{Image: t.Image, ISO: t.ISO, KeyID: t.KeyID, Part: part, Origin: o, Within: []Container{}}
	if part == trace.PartDisk {
		c.Image, c.ISO = t.Disk, t.DiskDigest
	}
	for _, h := range holders[part] {
		in := Container{Path: h.path, Stage: h.stage, Link: t.Link(h.stage)}
		if held, ok, err := t.Lookup(trace.PartMedium, h.path); err != nil {
			return nil, err
		} else if ok {
			in.SHA256 = held.SHA256
		}
		c.Within = append(c.Within, in)
	}
	if o.By != nil {
		a := t.Actors[*o.By]
		c.Actor, c.Link = &a, t.Link(a.Stage)
	}
	if o.Was != nil && o.Was.By != nil {
		a := t.Actors[*o.Was.By]
		c.Before = &a
	}
	switch {
	case o.Package != nil:
		c.Package = t.PackageChain(*o.Package)
	case c.Actor != nil && c.Actor.Package != nil:
		c.Package = t.PackageChain(*c.Actor.Package)
	}
	for _, i := range o.Others {
		c.Others = append(c.Others, t.Packages[i].ID())
	}
	if c.Package != nil {
		c.Serves = t.Serves(c.Package.Package)
	}
	c.Serves = append(c.Serves, t.ownServes(c.Actor)...)
	return c, nil
}

// PackageChain is what signs for a package.
func (t *Tracing) PackageChain(i int) *PackageChain {
	p := &t.Packages[i]
	c := &PackageChain{Package: p, ID: p.ID()}
	if c.Archive = t.suite(p.Archive); c.Archive != nil {
		c.Index = indexOf(c.Archive.Indexes, p.Path, "binary-")
	}
	if c.SourceArchive = t.suite(p.SourceArchive); c.SourceArchive != nil && len(p.SourceFiles) > 0 {
		c.SourceIndex = indexOf(c.SourceArchive.SourceIndexes, p.SourceFiles[0].Path, "source/")
	}
	return c
}

// suite finds an archive's suite, or nil.
func (t *Tracing) suite(id string) *trace.Suite {
	k := slices.IndexFunc(t.Archives, func(a trace.Suite) bool { return a.ID == id })
	if k < 0 {
		return nil
	}
	return &t.Archives[k]
}

// indexOf finds the index of the component that stands in a file's path below
// pool/, or nil.
func indexOf(indexes []artifact.Ref, file, kind string) *artifact.Ref {
	parts := strings.Split(file, "/")
	for i := range indexes {
		if len(parts) > 1 && strings.Contains(indexes[i].Path, "/"+parts[1]+"/"+kind) {
			return &indexes[i]
		}
	}
	return nil
}

// Serves names the requirements that a package serves.
func (t *Tracing) Serves(p *trace.Package) []ServesChain {
	var all []ServesChain
	for _, s := range p.Requirements {
		c := ServesChain{ID: s.ID, Title: t.title(s.ID)}
		for _, i := range s.Path {
			c.Path = append(c.Path, t.Packages[i].Name)
		}
		all = append(all, c)
	}
	return all
}

// ownServes are the requirements for which the project put a file there itself.
func (t *Tracing) ownServes(a *trace.Actor) []ServesChain {
	var all []ServesChain
	if a == nil {
		return nil
	}
	for _, r := range t.Requirements {
		for _, f := range r.Files {
			if a.Name == f || strings.HasPrefix(a.Name, f+"/") {
				all = append(all, ServesChain{ID: r.ID, Title: r.Title, Path: []string{a.Name}})
			}
		}
	}
	return all
}

func (t *Tracing) title(id string) string {
	for _, r := range t.Requirements {
		if r.ID == id {
			return r.Title
		}
	}
	return ""
}

// Resolve looks a path up, through the links above it where it is not there as
// it stands: /bin/ls where /bin leads to usr/bin.
func (t *Tracing) Resolve(part, path string) (trace.Origin, bool, error) {
	o, ok, err := t.Lookup(part, path)
	if err != nil || ok {
		return o, ok, err
	}
	real, err := roottree.Resolve(path, func(p string) (string, bool) {
		link, found, lerr := t.Lookup(part, p)
		if lerr != nil {
			err = lerr
		}
		return link.Target, found && link.Type == roottree.Link
	})
	if err != nil {
		return o, false, err
	}
	return t.Lookup(part, real)
}

// PathTo leads from a package that the config asks for, or from one of the
// minimal system, to a package, over as few as possible.
func (t *Tracing) PathTo(target int) []int {
	var queue []int
	from := map[int]int{}
	reach := func(i, by int) {
		if _, ok := from[i]; !ok {
			from[i] = by
			queue = append(queue, i)
		}
	}
	for i := range t.Packages {
		if len(t.Packages[i].Asked) > 0 {
			reach(i, -1)
		}
	}
	for i := range t.Packages {
		if t.Packages[i].Set == "target" && strings.HasPrefix(t.Packages[i].Why, "minimal system") {
			reach(i, -1)
		}
	}
	for n := 0; n < len(queue); n++ {
		for _, k := range t.Packages[queue[n]].Needs {
			reach(k, queue[n])
		}
	}
	if _, ok := from[target]; !ok {
		return nil
	}
	var path []int
	for i := target; i >= 0; i = from[i] {
		path = append(path, i)
	}
	slices.Reverse(path)
	return path
}
