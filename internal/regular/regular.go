// Package regular reads and writes regular files where others have been: what is
// longer than it may be is an error, a FIFO holds nobody up, no device is opened, and
// what is written goes into a file of its own.
package regular

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is the error of what is no file: a folder, a FIFO, a device or a socket.
var ErrNotRegular = errors.New("is not a regular file")

// Open opens a regular file below root, following links that stay below it.
func Open(root *os.Root, name string) (*os.File, error) {
	f, err := OpenHere(root, name)
	if errors.Is(err, ErrNotRegular) { // it may be a link to one
		return open(name, os.O_RDONLY, root.Stat, root.OpenFile)
	}
	return f, err
}

// OpenHere opens a regular file below root that no link leads to.
func OpenHere(root *os.Root, name string) (_ *os.File, err error) {
	// A handle of whatever is there; with it there is no second walk along the path, which
	// os.Root makes folder by folder.
	handle, err := root.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, handle.Close()) }()
	st, err := handle.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	again, fd := fmt.Sprintf("/proc/self/fd/%d", handle.Fd()), 0
	for err = unix.EINTR; errors.Is(err, unix.EINTR); { // from FUSE, say
		fd, err = unix.Open(again, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	if errors.Is(err, unix.ENOENT) { // no /proc is mounted
		return open(name, os.O_RDONLY|unix.O_NOFOLLOW, root.Lstat, root.OpenFile)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), handle.Name()), nil
}

// OpenFile opens the regular file at a path, following links.
func OpenFile(path string) (*os.File, error) {
	return open(path, os.O_RDONLY, os.Stat, os.OpenFile)
}

// OpenFileHere opens the regular file at a path that is no link itself.
func OpenFileHere(path string) (*os.File, error) {
	return open(path, os.O_RDONLY|unix.O_NOFOLLOW, os.Lstat, os.OpenFile)
}

// Edit opens a regular file below root for reading and writing; a link is refused.
func Edit(root *os.Root, name string) (*os.File, error) {
	return open(name, os.O_RDWR, root.Lstat, root.OpenFile)
}

// open looks first, as opening a device may do something, and again at what it opened,
// as others may still be there.
func open(name string, flag int, look func(string) (fs.FileInfo, error), do func(string, int, fs.FileMode) (*os.File, error)) (*os.File, error) {
	st, err := look(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	f, err := do(name, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	switch {
	case err != nil:
	case !opened.Mode().IsRegular():
		err = fmt.Errorf("%s: %w", name, ErrNotRegular)
	case !os.SameFile(st, opened):
		err = fmt.Errorf("%s: was replaced while it was opened", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Create makes a file that is not there yet, whatever the umask with that mode.
func Create(root *os.Root, name string, mode fs.FileMode) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Replace puts a new file in the place of whatever stands there but a folder with
// something in it: nothing is written through a link, and no other name of the old file
// sees the new content.
func Replace(root *os.Root, name string, mode fs.FileMode, b []byte) (err error) {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := Create(root, name, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(b)
	return err
}

// ReadDir lists a folder below root, sorted by name.
func ReadDir(root *os.Root, name string) (_ []fs.DirEntry, err error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// Read reads a regular file below root that has at most limit bytes.
func Read(root *os.Root, name string, limit int64) (_ []byte, err error) {
	f, err := Open(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ReadAll(f, name, limit)
}

// ReadFile reads the regular file at a path that has at most limit bytes.
func ReadFile(path string, limit int64) (_ []byte, err error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ReadAll(f, filepath.Base(path), limit)
}

// ReadNamed reads a file of at most limit bytes that the user named, who may name a
// pipe, too.
func ReadNamed(file string, limit int64) (_ []byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ReadAll(f, file, limit)
}

// ReadAll reads r to its end, at most limit bytes; name is what the error calls it.
func ReadAll(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, limit)
	}
	return b, nil
}

// Until reads from r until the context ends.
func Until(ctx context.Context, r io.Reader) io.Reader { return until{ctx, r} }

type until struct {
	ctx context.Context
	r   io.Reader
}

func (u until) Read(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(b)
}

// Identity tells a file and its state: whoever writes to it, or puts another in its place,
// changes it.
type Identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
}

// Same tells whether two are of the same file, whatever its state.
func (i Identity) Same(o Identity) bool { return i.dev == o.dev && i.ino == o.ino }

// IdentityOf is that of an open file.
func IdentityOf(f *os.File) (Identity, error) {
	var st unix.Stat_t
	c, err := f.SyscallConn()
	if err != nil {
		return Identity{}, err
	}
	var serr error
	if err := c.Control(func(fd uintptr) { serr = unix.Fstat(int(fd), &st) }); err != nil {
		return Identity{}, err
	}
	return identity(&st), serr
}

// IdentityAt is that of the file at a path, following links.
func IdentityAt(path string) (Identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Identity{}, fmt.Errorf("%s: %w", path, err)
	}
	return identity(&st), nil
}

func identity(st *unix.Stat_t) Identity {
	return Identity{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}
}
