package trace

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/grubimage"
	"github.com/isotrace/isotrace/internal/initrd"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
)

// bootFile is a file of a package of the boot set.
type bootFile struct {
	pkg  int
	path string
}

// Boot takes down what the packages of the boot set install.
func (t *Tracer) Boot(debs []Deb) {
	for _, d := range debs {
		for _, e := range d.List.Entries {
			if _, ok := t.boot[e.SHA256]; !ok && e.Type == roottree.File && e.Size > 0 {
				t.boot[e.SHA256] = bootFile{d.Package, e.Path}
			}
		}
	}
}

// InBoot tells whether a package of the boot set has a file of the content.
func (t *Tracer) InBoot(d artifact.Digest) bool {
	_, ok := t.boot[d]
	return ok
}

// copyOf makes o the copy of a file of the root tree.
func (t *Tracer) copyOf(o *Origin, at string) {
	of := t.root[at]
	o.Kind, o.Package, o.Others, o.By, o.Was, o.Allowed = of.Kind, of.Package, of.Others, of.By, of.Was, of.Allowed
	o.Of = PartRoot + ":" + at
}

// Maker is who made a file of the root tree that no package has.
func (t *Tracer) Maker(at string) (*int, error) {
	maker, ok := t.root[at]
	if !ok || maker.By == nil {
		return nil, fmt.Errorf("/%s: nobody is known to have made it", at)
	}
	return maker.By, nil
}

// Program is a program of the root tree that a stage ran.
func (t *Tracer) Program(stageName, name string) *int {
	return t.actor(stageName, stage.Actor{Kind: stage.ByProgram, Name: name})
}

// Initrd traces the files of an initial RAM file system: each is a file of the root
// tree, by its own path or else by its content, or was written by the maker of the
// whole. A later archive of the image hides what an earlier one has at the same
// path, as in the kernel.
func (t *Tracer) Initrd(segments []initrd.Segment, tree *roottree.Manifest, maker *int) []Origin {
	entries := Unpacked(segments)
	origins := make([]Origin, 0, len(entries))
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		o := Origin{Path: e.Path, Type: e.Type, SHA256: e.SHA256, Size: e.Size, Target: e.Target}
		if from, ok := t.inRoot(e, tree); ok {
			t.copyOf(&o, from)
		} else {
			o.Kind, o.By = Generated, maker
		}
		origins = append(origins, o)
	}
	return origins
}

// Unpacked is what the kernel makes of an initial RAM file system, by path.
func Unpacked(segments []initrd.Segment) map[string]*roottree.Entry {
	entries := map[string]*roottree.Entry{}
	for i := range segments {
		for k := range segments[i].Tree.Entries {
			e := &segments[i].Tree.Entries[k]
			entries[e.Path] = e
		}
	}
	return entries
}

// AtOwnPath finds the file of the root tree that an entry of an initial RAM file system
// is at its own path, past links.
func AtOwnPath(e *roottree.Entry, tree *roottree.Manifest) (string, bool) {
	at, err := tree.Resolve(e.Path)
	if err != nil {
		return "", false
	}
	r, ok := tree.Lookup(at)
	return at, ok && r.Type == e.Type && r.SHA256 == e.SHA256 && r.Target == e.Target && r.Mode == e.Mode && r.UID == e.UID && r.GID == e.GID
}

// inRoot finds the file of the root tree that an entry is a copy of.
func (t *Tracer) inRoot(e *roottree.Entry, tree *roottree.Manifest) (string, bool) {
	if at, ok := AtOwnPath(e, tree); ok {
		return at, true
	}
	if e.Type != roottree.File || e.Size == 0 {
		return "", false
	}
	at, ok := t.byContent[e.SHA256]
	return at, ok
}

// GRUB traces what is built into an image of GRUB. Every module must be one of
// the boot set; memory disk, prefix and config are the stage's own.
func (t *Tracer) GRUB(image *grubimage.Image, stageName string) []Origin {
	var origins []Origin
	names := BuiltIn(image)
	for i, m := range image.Modules {
		name := names[i]
		o := Origin{Path: name, Type: roottree.File, SHA256: m.SHA256, Size: m.Size}
		switch b, ok := t.boot[m.SHA256]; {
		case m.Kind != "module":
			o.Kind, o.By = Stage, t.actor(stageName, stage.Actor{Kind: stage.ByStage, Name: stageName})
		case ok && b.path == ModuleFolder+name:
			o.Kind, o.Package = Archive, &b.pkg
		default:
			o.Kind = Unexplained
		}
		origins = append(origins, o)
	}
	return origins
}

// ModuleFolder has the files of which images of GRUB are made, in a package of the boot
// set: PLATFORM/NAME.mod and the like.
const ModuleFolder = "usr/lib/grub/"

// BuiltIn names what is built into an image of GRUB, as PLATFORM/NAME, in its order.
func BuiltIn(image *grubimage.Image) []string {
	names := make([]string, len(image.Modules))
	seen := map[string]int{}
	for i, m := range image.Modules {
		name := m.Kind
		if m.Kind == "module" {
			name = m.Name + ".mod"
		}
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s.%d", name, seen[name])
		}
		names[i] = image.Platform + "/" + name
	}
	return names
}

// Placed is a file around the root tree.
type Placed struct {
	Path string
	Ref  artifact.Ref
	// Root is the path of the file of the root tree that it is, or "".
	Root string
	// Project is the record path of the file of the project that it is, or "".
	Project string
	// By is the program that made it, or nil.
	By *int
	// Stage made it, where neither the root tree nor a package has it and no
	// program is named.
	Stage string
}

// Around traces files around the root tree: copies of its own, files of the
// boot set, and what the stages made.
func (t *Tracer) Around(files []Placed) []Origin {
	var origins []Origin
	for _, f := range files {
		o := Origin{Path: f.Path, Type: roottree.File, SHA256: f.Ref.Digest, Size: f.Ref.Size}
		b, ok := t.boot[f.Ref.Digest]
		switch {
		case f.Root != "" && t.root[f.Root].SHA256 == o.SHA256:
			t.copyOf(&o, f.Root)
		case ok:
			o.Kind, o.Package = Archive, &b.pkg
		case f.Project != "":
			o.Kind, o.By = Overlay, t.actor(f.Stage, stage.Actor{Kind: stage.ByOverlay, Name: f.Project})
		case f.By != nil:
			o.Kind, o.By = Generated, f.By
		case f.Stage != "":
			o.Kind, o.By = Stage, t.actor(f.Stage, stage.Actor{Kind: stage.ByStage, Name: f.Stage})
		default:
			o.Kind = Unexplained
		}
		origins = append(origins, o)
	}
	return origins
}

// Finish sorts what is gathered in any order and returns the head. Indexes of
// actors do not change: they were given out in the order of the paths.
func (t *Tracer) Finish() *Head {
	slices.SortFunc(t.Head.Findings, func(a, b Finding) int {
		return strings.Compare(a.Rule+"\x00"+a.Path+"\x00"+a.Text, b.Rule+"\x00"+b.Path+"\x00"+b.Text)
	})
	return &t.Head
}
