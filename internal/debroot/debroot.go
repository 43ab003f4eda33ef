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

	"archive/tar"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/background"
	"github.com/isotrace/isotrace/internal/regular"
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

// Options say how packages are unpacked.
type Options struct {
	// Spool is a scratch folder. With Keep, each package is left there under its
	// path, its data not compressed.
	Spool    string
	Keep     bool
	Progress func(done, total int64)
	// Later says that others are to go first.
	Later bool
}

// Unpack writes the packages' files into dir, in the order given, decompressing
// with all cores ahead of the writer.
func Unpack(ctx context.Context, dir string, packages []Package, o Options) error {
	group, ctx := errgroup.WithContext(ctx)
	work := group.Go
	if o.Later {
		work = func(do func() error) { background.Go(group, do) }
	}
	ready := make([]chan spooled, len(packages))
	for i := range ready {
		ready[i] = make(chan spooled, 1)
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
		work(func() error {
			for i := range next {
				s, err := decompress(packages[i], o.Spool)
				if err != nil {
					return fmt.Errorf("%s: %w", packages[i].Path, err)
				}
				ready[i] <- s
			}
			return nil
		})
	}
	work(func() error {
		var done, total int64
		for _, p := range packages {
			total += p.Size
		}
		for i, p := range packages {
			var at spooled
			select {
			case at = <-ready[i]:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			<-slots
			if err := extract(ctx, dir, at, o.Keep); err != nil {
				return fmt.Errorf("%s: %w", p.Path, err)
			}
			done += p.Size
			o.Progress(done, total)
		}
		return nil
	})
	return group.Wait()
}

// spooled is a package whose data is not compressed.
type spooled struct {
	file string
	data int64 // where data.tar begins in it
}

func decompress(p Package, spool string) (s spooled, err error) {
	if !filepath.IsLocal(p.Path) {
		return s, fmt.Errorf("its path leads out of its set")
	}
	f, err := regular.OpenFile(p.Content)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pkg, err := deb.Open(f, p.Size, deb.Limits{})
	if err != nil {
		return s, err
	}
	s.file = filepath.Join(spool, p.Path)
	if err := os.MkdirAll(filepath.Dir(s.file), 0o755); err != nil {
		return s, err
	}
	out, err := os.OpenFile(s.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	s.data, err = pkg.WritePlain(out)
	return s, err
}

func extract(ctx context.Context, dir string, s spooled, keep bool) (err error) {
	f, err := regular.OpenFile(s.file)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if !keep {
			err = errors.Join(err, os.Remove(s.file))
		}
	}()
	if _, err := f.Seek(s.data, io.SeekStart); err != nil {
		return err
	}
	_, err = roottree.Extract(ctx, dir, tar.NewReader(f), roottree.ExtractOptions{MergeUsr: true})
	return err
}
