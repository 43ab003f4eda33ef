package medium

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/squashfs"
	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
)

// Squashfs describes the tree of a squashfs in the image: every file is
// decompressed and hashed, with all cores. Which names share a file is not read.
func (i *ISO) Squashfs(ctx context.Context, name string) (*roottree.Manifest, error) {
	e, ok := i.Files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	sub := backend.Sub(i.storage(), e.Offset, e.Size)
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	var result *roottree.Manifest
	// The library reads on one core for each handle: each worker opens the
	// image anew, lists it in the same order and takes its share of the files.
	workers := make([]*squashWorker, runtime.GOMAXPROCS(0))
	for n := range workers {
		workers[n] = &squashWorker{ctx: ctx, next: &next}
		group.Go(func() error { return workers[n].run(sub, e.Size) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for n, w := range workers {
		if n == 0 {
			result = &roottree.Manifest{Entries: w.entries}
			continue
		}
		for k, d := range w.hashed {
			result.Entries[k].SHA256 = d
		}
	}
	for k, d := range workers[0].hashed {
		result.Entries[k].SHA256 = d
	}
	slices.SortFunc(result.Entries, func(a, b roottree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return result, nil
}

// squashWorker reads one share of a squashfs.
type squashWorker struct {
	ctx     context.Context
	next    *atomic.Int64
	fs      *squashfs.FileSystem
	entries []roottree.Entry
	open    []func() (filesystem.File, error)
	hashed  map[int]artifact.Digest
}

const (
	squashCache   = 16 << 20 // bytes of fragments that a worker keeps
	maxTreeFiles  = 4_000_000
	share         = 64 // files taken at a time; neighbours share fragments
	maxTreeNested = 256
)

func (w *squashWorker) run(storage backend.Storage, size int64) (err error) {
	defer recovered(&err, "read the squashfs")
	if w.fs, err = squashfs.Read(storage, size, 0, 0); err != nil {
		return err
	}
	w.fs.SetCacheSize(squashCache)
	w.hashed = map[int]artifact.Digest{}
	root, err := w.fs.Stat(".")
	if err != nil {
		return err
	}
	if err := w.add(".", root); err != nil {
		return err
	}
	if err := w.list(".", 0); err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for {
		to := int(w.next.Add(share))
		for k := to - share; k < min(to, len(w.entries)); k++ {
			if err := w.hash(k, buf); err != nil {
				return err
			}
		}
		if to >= len(w.entries) {
			return nil
		}
	}
}

func (w *squashWorker) list(dir string, depth int) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if depth > maxTreeNested || len(w.entries) > maxTreeFiles {
		return errors.New("the tree is too deep or has too many files")
	}
	entries, err := w.fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := w.add(name, info); err != nil {
			return err
		}
		if e.IsDir() {
			if err := w.list(name, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *squashWorker) add(name string, info fs.FileInfo) error {
	st, ok := info.Sys().(*squashfs.StatT)
	if !ok {
		return fmt.Errorf("%s: no attributes", name)
	}
	mode, err := rawMode(info)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	e := roottree.Entry{Path: name, Mode: mode, UID: st.UID, GID: st.GID}
	for attr, value := range st.Xattrs {
		e.Xattrs = append(e.Xattrs, roottree.Xattr{Name: attr, Value: []byte(value)})
	}
	slices.SortFunc(e.Xattrs, func(a, b roottree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	var open func() (filesystem.File, error)
	switch info.Mode().Type() {
	case 0:
		e.Type, e.Size = roottree.File, info.Size()
		opener, ok := info.(interface {
			Open() (filesystem.File, error)
		})
		if !ok {
			return fmt.Errorf("%s: cannot be opened", name)
		}
		open = opener.Open
	case fs.ModeDir:
		e.Type = roottree.Dir
	case fs.ModeSymlink:
		e.Type, e.Target = roottree.Link, st.LinkTarget
	case fs.ModeNamedPipe:
		e.Type = roottree.Fifo
	case fs.ModeSocket:
		e.Type = roottree.Socket
	default:
		return fmt.Errorf("%s: is a device", name) // no root tree has one
	}
	w.entries = append(w.entries, e)
	w.open = append(w.open, open)
	return nil
}

// rawMode returns the twelve permission bits. go-diskfs shows only nine of
// them; the inode's own stand in an unexported field.
func rawMode(info fs.FileInfo) (uint32, error) {
	v := reflect.ValueOf(info)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct {
		if f := v.FieldByName("mode"); f.IsValid() && f.CanUint() {
			return uint32(f.Uint()) & 0o7777, nil
		}
	}
	return 0, errors.New("the squashfs library does not give the mode")
}

func (w *squashWorker) hash(k int, buf []byte) (err error) {
	if w.open[k] == nil {
		return nil
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	e := w.entries[k]
	f, err := w.open[k]()
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{io.LimitReader(f, e.Size+1)}, buf)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	if n != e.Size {
		return fmt.Errorf("%s: %d bytes, its inode says %d", e.Path, n, e.Size)
	}
	w.hashed[k] = artifact.Digest(hex.EncodeToString(h.Sum(nil)))
	return nil
}
