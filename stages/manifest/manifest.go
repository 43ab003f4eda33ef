// Package manifest writes the files that tell casper and its installer what is
// in the image, from dpkg's own state.
package manifest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
)

// The files that the stage gives, by output name; each is called
// filesystem.NAME below casper/.
const (
	All     = "manifest"         // every package
	Desktop = "manifest-desktop" // what an installation keeps
	Remove  = "manifest-remove"  // what an installation removes; wins over Desktop
	Size    = "size"             // bytes of the unpacked tree
)

// Outputs are the outputs in the order of their names.
var Outputs = []string{All, Desktop, Remove, Size}

// Params say which packages only serve the live system.
type Params struct {
	LiveOnly []string `json:"live-only"`
}

// Stage takes the root tree and gives the manifests.
func Stage(root stage.Tree, p Params) stage.Stage {
	s := stage.Stage{
		Name: "manifest", Version: 2, Params: p,
		Takes: "dpkg state of the root tree", Gives: "filesystem.manifest, -desktop, -remove, .size",
		Inputs: []stage.Input{{Name: "root", From: root}},
		Run:    func(ctx context.Context, w *stage.Work) error { return run(w, p) },
	}
	for _, name := range Outputs {
		s.Outputs = append(s.Outputs, stage.Output{Name: name, Kind: stage.KindFile})
	}
	return s
}

func run(w *stage.Work, p Params) (err error) {
	dir, err := w.View("root")
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	f, err := regular.Open(root, "var/lib/dpkg/status")
	if err != nil {
		return fmt.Errorf("the root tree has no dpkg state: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	texts, err := FromStatus(f, p)
	if err != nil {
		return err
	}
	m, err := w.Manifest("root")
	if err != nil {
		return err
	}
	texts[Size] = fmt.Sprintf("%d\n", TreeSize(m))
	for _, name := range Outputs {
		if err := w.WriteBytes(name, []byte(texts[name])); err != nil {
			return err
		}
	}
	return nil
}

// FromStatus makes the manifests from a dpkg status file: NAME<TAB>VERSION a
// line, the name with its architecture where packages of several architectures
// may stand side by side, as dpkg-query -W writes them.
func FromStatus(status io.Reader, p Params) (map[string]string, error) {
	type installed struct{ name, line string }
	var all []installed
	r := deb822.NewReader(status, "var/lib/dpkg/status")
	for {
		s, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if !strings.HasSuffix(s.Get("Status"), " ok installed") {
			continue
		}
		name := s.Get("Package")
		shown := name
		if s.Get("Multi-Arch") == "same" {
			shown += ":" + s.Get("Architecture")
		}
		all = append(all, installed{name, shown + "\t" + s.Get("Version") + "\n"})
	}
	// As dpkg-query sorts: libc6:amd64 stands before libc6-dev.
	slices.SortFunc(all, func(a, b installed) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.line, b.line))
	})
	var every, desktop, remove strings.Builder
	for _, i := range all {
		every.WriteString(i.line)
		if slices.Contains(p.LiveOnly, i.name) {
			remove.WriteString(i.name + "\n")
		} else {
			desktop.WriteString(i.line)
		}
	}
	return map[string]string{All: every.String(), Desktop: desktop.String(), Remove: remove.String()}, nil
}

// TreeSize is the room that a tree takes, in bytes: each folder and each
// regular file rounded up to blocks of 4096, a file of several names counted
// once. du(1) would say what the build host's file system makes of it.
func TreeSize(m *roottree.Manifest) int64 {
	const block = 4096
	var total int64
	for _, e := range m.Entries {
		switch {
		case e.Type == roottree.Dir:
			total += block
		case e.Type == roottree.File && (e.HardLink == "" || e.HardLink == e.Path):
			total += (e.Size + block - 1) / block * block
		}
	}
	return total
}
