package medium

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/squashfs"
)

// SquashfsTime returns the time of a squashfs in the image, in seconds since 1970, which
// all its files have to have.
func (i *ISO) SquashfsTime(name string) (int64, error) {
	tree, err := i.openSquashfs(name)
	if err != nil {
		return 0, err
	}
	t, err := tree.Time()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// Squashfs describes the tree of a squashfs in the image. Which names share a file is not
// told.
func (i *ISO) Squashfs(ctx context.Context, name string) (*roottree.Manifest, error) {
	tree, err := i.openSquashfs(name)
	if err != nil {
		return nil, err
	}
	m, err := tree.Tree(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

func (i *ISO) openSquashfs(name string) (*squashfs.FS, error) {
	e, ok := i.Files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	tree, err := squashfs.Open(io.NewSectionReader(i.image, e.Offset, e.Size), e.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return tree, nil
}

// SquashfsFiles reads chosen regular files of a squashfs in the image and lets visit
// have the first limit bytes of each.
func (i *ISO) SquashfsFiles(ctx context.Context, name string, paths []string, limit int64, visit func(path string, content []byte) error) error {
	tree, err := i.openSquashfs(name)
	if err != nil {
		return err
	}
	if err := tree.Files(ctx, paths, limit, visit); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
