package roottree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Whiteouts of the OCI image specification, layer.md.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// whiteout does what a whiteout member asks and tells whether name was one.
func (x *extraction) whiteout(name string) (bool, error) {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if base == opaqueName {
		return true, x.opaque(dir)
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	if !ok {
		return false, nil
	}
	if hidden == "" || hidden == "." || hidden == ".." || strings.HasPrefix(hidden, whiteoutPrefix) {
		return true, errors.New("no whiteout of the specification")
	}
	target := path.Join(dir, hidden)
	if x.fresh[target] {
		return true, fmt.Errorf("hides %s, which its own layer brings", target)
	}
	if err := x.root.RemoveAll(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, err
	}
	return true, nil
}

// opaque hides what the layers below have in dir; what this layer has brought
// already stays.
func (x *extraction) opaque(dir string) error {
	// Not by x.root.FS(), which takes no names but UTF-8.
	f, err := x.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range entries {
		target := path.Join(dir, e.Name())
		if x.fresh[target] {
			if e.IsDir() {
				if err := x.opaque(target); err != nil {
					return err
				}
			}
			continue
		}
		if err := x.root.RemoveAll(target); err != nil {
			return err
		}
	}
	return nil
}
