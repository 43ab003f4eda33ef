package medium

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/squashfs"
)

// Squashfs describes the tree of a squashfs in the image, whose times all have to be the
// epoch. Which names share a file is not told.
func (i *ISO) Squashfs(ctx context.Context, name string, e epoch.Epoch) (*roottree.Manifest, error) {
	tree, err := i.openSquashfs(name)
	if err != nil {
		return nil, err
	}
	if int64(tree.Time) != int64(e) {
		return nil, fmt.Errorf("%s: its files are of %d, want %s", name, tree.Time, e)
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
