package medium

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem/squashfs"
)

// SquashfsFiles reads chosen regular files of a squashfs in the image and lets visit
// have the first limit bytes of each.
func (i *ISO) SquashfsFiles(name string, paths []string, limit int64, visit func(path string, content []byte) error) (err error) {
	defer recovered(&err, "read the squashfs")
	e, ok := i.Files[name]
	if !ok {
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	tree, err := squashfs.Read(backend.Sub(i.storage(), e.Offset, e.Size), e.Size, 0, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	tree.SetCacheSize(squashCache)
	for _, p := range paths {
		f, err := tree.Open(p)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", name, p, err)
		}
		content, err := io.ReadAll(io.LimitReader(f, limit))
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %s: %w", name, p, err)
		}
		if err := visit(p, content); err != nil {
			return err
		}
	}
	return nil
}
