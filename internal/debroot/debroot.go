// Package debroot unpacks .debs into a root tree without running anything of
// theirs.
package debroot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"archive/tar"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
)

// Package is a .deb in the store.
type Package struct {
	artifact.Ref
	Content string // where it can be read
}

// mergedUsr are the links of a merged /usr, which must stand before the first
// package that ships files below them is unpacked.
var mergedUsr = []string{"bin", "sbin", "lib", "lib64"}

// Prepare makes the folders and links that a root tree needs before packages
// are unpacked into it.
func Prepare(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{
		{"usr", 0o755}, {"usr/bin", 0o755}, {"usr/sbin", 0o755}, {"usr/lib", 0o755}, {"usr/lib64", 0o755},
		{"proc", 0o755}, {"sys", 0o755}, {"dev", 0o755}, {"run", 0o755}, {"tmp", 0o777 | os.ModeSticky},
	} {
		if err := root.Mkdir(d.path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := root.Chmod(d.path, d.mode); err != nil {
			return err
		}
	}
	for _, link := range mergedUsr {
		if err := root.Symlink("usr/"+link, link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// Unpack writes the packages' files into dir, in the order given, decompressing
// with all cores ahead of the writer. spool is a scratch folder.
func Unpack(ctx context.Context, dir, spool string, packages []Package, progress func(done, total int64)) error {
	group, ctx := errgroup.WithContext(ctx)
	ready := make([]chan string, len(packages))
	for i := range ready {
		ready[i] = make(chan string, 1)
	}
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0)) // bounds what lies spooled
	next := make(chan int)
	group.Go(func() error {
		defer close(next)
		for i := range packages {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			select {
			case next <- i:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			for i := range next {
				path := filepath.Join(spool, fmt.Sprintf("data-%d.tar", i))
				if err := decompress(packages[i], path); err != nil {
					return fmt.Errorf("%s: %w", packages[i].Path, err)
				}
				ready[i] <- path
			}
			return nil
		})
	}
	group.Go(func() error {
		var done, total int64
		for _, p := range packages {
			total += p.Size
		}
		for i, p := range packages {
			var path string
			select {
			case path = <-ready[i]:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			<-slots
			if err := extract(ctx, dir, path); err != nil {
				return fmt.Errorf("%s: %w", p.Path, err)
			}
			done += p.Size
			progress(done, total)
		}
		return nil
	})
	return group.Wait()
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<18); return &b }}

func decompress(p Package, path string) (err error) {
	f, err := os.Open(p.Content)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pkg, err := deb.Open(f, p.Size, deb.Limits{})
	if err != nil {
		return err
	}
	data, err := pkg.DataTar()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, data, *buf)
	return err
}

func extract(ctx context.Context, dir, path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	_, err = roottree.Extract(ctx, dir, tar.NewReader(f), roottree.ExtractOptions{MergeUsr: true})
	return err
}
