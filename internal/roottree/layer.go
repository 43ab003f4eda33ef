package roottree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A layer is applied as the OCI image specification says in layer.md, and where that
// says nothing, as containerd and Docker do on overlayfs: these unpack each layer into
// a folder of its own and never look at the layers below.
//
//   - An absolute name is below the tree's root.
//   - A path leads through the symbolic links that its own layer brought. What a lower
//     layer has in the place of a folder above it, a link or a file, gives way to a folder.
//   - Hard links may be to links and FIFOs, and have owner, mode and extended attributes of
//     their own, which are the file's from there on.
//   - Devices below dev/ are passed over: no user namespace can make them, and whatever
//     boots mounts its own there. Others are refused.

// Whiteouts of the OCI image specification, layer.md.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
)

// aufs are what AUFS kept in the root of a layer. Old versions of Docker left them there.
var aufs = []string{".wh..wh.aufs", ".wh..wh.orph", ".wh..wh.plnk"}

func ofAUFS(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return slices.Contains(aufs, first)
}

// layerPath is where the tree has what a layer calls name.
func (x *extraction) layerPath(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		name = "." + name
	}
	clean, err := memberPath(name)
	if err != nil {
		return "", err
	}
	return Resolve(clean, func(p string) (string, bool) {
		if !x.links[p] {
			return "", false
		}
		target, err := x.root.Readlink(p)
		return target, err == nil
	})
}

// layerParents makes dir, which no link leads to, and the folders above it, in place of
// whatever else lower layers have there.
func (x *extraction) layerParents(dir string) error {
	if err := x.parents(path.Dir(dir)); err != nil {
		return err
	}
	st, err := x.root.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return x.plainFolder(dir)
	case err != nil || st.IsDir():
		return err
	case x.fresh[dir]:
		return fmt.Errorf("%s is no folder", dir)
	}
	if err := x.root.Remove(dir); err != nil {
		return err
	}
	if x.opts.Placed != nil {
		x.opts.Placed(dir)
	}
	return x.plainFolder(dir)
}

// special makes a FIFO, or passes over a device.
func (x *extraction) special(name string, h *tar.Header) (err error) {
	if h.Typeflag != tar.TypeFifo {
		if !strings.HasPrefix(name, "dev/") {
			return errors.New("a device outside dev/ is refused: no user namespace can make it, and the image would depend on who builds it")
		}
		x.did.SkippedDevices = append(x.did.SkippedDevices, name)
		return nil
	}
	if _, err := x.clear(name, false); err != nil {
		return err
	}
	dir, err := x.root.OpenFile(path.Dir(name), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := unix.Mkfifoat(int(dir.Fd()), path.Base(name), 0o600); err != nil {
		return fmt.Errorf("make the FIFO: %w", err)
	}
	return x.plainAttributes(name, h)
}

// plainAttributes are those of a FIFO, which has no extended ones that we set.
func (x *extraction) plainAttributes(name string, h *tar.Header) error {
	plain := *h
	plain.PAXRecords = nil
	return x.attributes(name, &plain)
}

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
