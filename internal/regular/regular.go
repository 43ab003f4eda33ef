// Package regular reads regular files that somebody else named or filled: what is
// longer than it may be is an error, a FIFO holds nobody up and no device is opened.
package regular

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is the error of what is no file: a folder, a FIFO, a device or a socket.
var ErrNotRegular = errors.New("is not a regular file")

// flags open a file without waiting for a writer, should a FIFO come in its place.
const flags = os.O_RDONLY | unix.O_NONBLOCK

// Open opens a regular file below root, following links that stay below it.
func Open(root *os.Root, name string) (*os.File, error) {
	return open(name, func() (fs.FileInfo, error) { return root.Stat(name) }, func() (*os.File, error) { return root.OpenFile(name, flags, 0) })
}

// OpenHere opens a regular file below root that no link leads to.
func OpenHere(root *os.Root, name string) (*os.File, error) {
	return open(name, func() (fs.FileInfo, error) { return root.Lstat(name) }, func() (*os.File, error) {
		return root.OpenFile(name, flags|unix.O_NOFOLLOW, 0)
	})
}

// OpenFile opens the regular file at a path, following links.
func OpenFile(path string) (*os.File, error) {
	return open(path, func() (fs.FileInfo, error) { return os.Stat(path) }, func() (*os.File, error) { return os.OpenFile(path, flags, 0) })
}

// open looks before it opens, since opening a device can do things, and after it, since
// something else may have come in its place.
func open(name string, stat func() (fs.FileInfo, error), do func() (*os.File, error)) (*os.File, error) {
	st, err := stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	f, err := do()
	if err != nil {
		return nil, err
	}
	if st, err = f.Stat(); err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
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
