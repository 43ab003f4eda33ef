package roottree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
)

// WalkOptions narrow a walk; the zero value describes everything.
type WalkOptions struct {
	// NoXattrs leaves extended attributes out.
	NoXattrs bool
	// Known returns the digest of a regular file's content where that is known
	// already; it may be nil.
	Known func(path string, size int64) (artifact.Digest, bool)
}

const maxDepth = 256

// Walk describes the tree at dir: one pass over the folders, all cores hashing
// what they hold. It follows no symbolic link, opens nothing but folders and
// regular files, and takes a flat amount of memory besides the entries.
// Overlayfs's own attributes are left out.
func Walk(ctx context.Context, dir string, opts WalkOptions) (*Manifest, error) {
	root, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("walk %s: %w", dir, err)
	}
	w := &walker{opts: opts, jobs: make(chan job, 256), inodes: map[inode][]int{}}
	group, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error { return w.hash(ctx) })
	}
	group.Go(func() error {
		defer close(w.jobs)
		return w.folder(ctx, root, ".", 0)
	})
	if err := group.Wait(); err != nil {
		for j := range w.jobs { // that no hasher took
			err = errors.Join(err, unix.Close(j.fd))
		}
		return nil, fmt.Errorf("walk the tree: %w", err)
	}
	return w.manifest(), nil
}

type inode struct{ dev, ino uint64 }

type job struct {
	fd    int
	index int
	path  string
	size  int64
}

type walker struct {
	opts   WalkOptions
	jobs   chan job
	inodes map[inode][]int // entries of regular files with several names

	mu      sync.Mutex // guards entries: the walker appends, hashers fill in
	entries []Entry
}

// folder describes the folder open as fd and all below it, and closes fd.
func (w *walker) folder(ctx context.Context, fd int, path string, depth int) (err error) {
	f := os.NewFile(uintptr(fd), path)
	defer func() { err = errors.Join(err, f.Close()) }()
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d folders deep", path, maxDepth)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	xattrs, err := w.xattrsOf(fd, path)
	if err != nil {
		return err
	}
	if _, err := w.add(Entry{Path: path, Type: Dir, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Xattrs: xattrs}); err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		child := name
		if path != "." {
			child = path + "/" + name
		}
		if err := w.name(ctx, fd, name, child, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) name(ctx context.Context, dir int, name, path string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	e := Entry{Path: path, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
	const open = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		fd, err := unix.Openat(dir, name, open|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return w.folder(ctx, fd, path, depth+1)
	case unix.S_IFREG:
		fd, err := unix.Openat(dir, name, open, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return w.file(ctx, fd, e)
	case unix.S_IFLNK:
		e.Type, e.Mode = Link, 0o777
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, name, target)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		e.Target = string(target[:n])
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type = Char
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			e.Type = Block
		}
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFIFO:
		e.Type = Fifo
	case unix.S_IFSOCK:
		e.Type = Socket
	default:
		return fmt.Errorf("%s: mode %o is of no known type", path, st.Mode)
	}
	_, err := w.add(e)
	return err
}

// file takes over fd.
func (w *walker) file(ctx context.Context, fd int, e Entry) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", e.Path, err), unix.Close(fd))
	}
	xattrs, err := w.xattrsOf(fd, e.Path)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	e.Type, e.Size, e.Xattrs = File, st.Size, xattrs
	i, err := w.add(e)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	if st.Nlink > 1 {
		id := inode{dev: st.Dev, ino: st.Ino}
		w.inodes[id] = append(w.inodes[id], i)
		if len(w.inodes[id]) > 1 {
			return unix.Close(fd) // its content is that of the first name
		}
	}
	if w.opts.Known != nil {
		if sum, ok := w.opts.Known(e.Path, e.Size); ok {
			w.mu.Lock()
			w.entries[i].SHA256 = sum
			w.mu.Unlock()
			return unix.Close(fd)
		}
	}
	select {
	case w.jobs <- job{fd: fd, index: i, path: e.Path, size: st.Size}:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), unix.Close(fd))
	}
}

func (w *walker) add(e Entry) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.entries) == maxEntries {
		return 0, fmt.Errorf("more than %d entries", maxEntries)
	}
	w.entries = append(w.entries, e)
	return len(w.entries) - 1, nil
}

func (w *walker) hash(ctx context.Context) error {
	buf := make([]byte, 1<<20)
	h := sha256.New()
	for j := range w.jobs {
		f := os.NewFile(uintptr(j.fd), j.path)
		h.Reset()
		n, err := io.CopyBuffer(h, struct{ io.Reader }{f}, buf)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", j.path, err)
		}
		if n != j.size {
			return fmt.Errorf("%s: changed while it was read", j.path)
		}
		sum := artifact.Digest(hex.EncodeToString(h.Sum(nil)))
		w.mu.Lock()
		w.entries[j.index].SHA256 = sum
		w.mu.Unlock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

func (w *walker) manifest() *Manifest {
	for _, names := range w.inodes {
		if len(names) < 2 {
			continue // its other names lie outside the tree
		}
		first := names[0]
		for _, i := range names {
			if w.entries[i].Path < w.entries[first].Path {
				first = i
			}
		}
		for _, i := range names {
			w.entries[i].SHA256 = w.entries[names[0]].SHA256
			w.entries[i].HardLink = w.entries[first].Path
		}
	}
	slices.SortFunc(w.entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return &Manifest{Entries: w.entries}
}

// xattrsOf reads the attributes that belong to the tree.
func (w *walker) xattrsOf(fd int, path string) ([]Xattr, error) {
	if w.opts.NoXattrs {
		return nil, nil
	}
	var few [512]byte
	list := few[:]
	n, err := unix.Flistxattr(fd, list)
	if errors.Is(err, unix.ERANGE) {
		list = make([]byte, 1<<16)
		n, err = unix.Flistxattr(fd, list)
	}
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: list xattrs: %w", path, err)
	}
	var xattrs []Xattr
	for _, name := range strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if !ownXattr(name) {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Fgetxattr(fd, name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: read xattr %s: %w", path, name, err)
		}
		xattrs = append(xattrs, Xattr{Name: name, Value: slices.Clone(value[:n])})
	}
	slices.SortFunc(xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return xattrs, nil
}

// ownXattr leaves out what overlayfs keeps for itself and the label that a
// host with SELinux puts on every file.
func ownXattr(name string) bool {
	return !strings.HasPrefix(name, "user.overlay.") && !strings.HasPrefix(name, "trusted.overlay.") && name != "security.selinux"
}
