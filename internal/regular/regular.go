// Package regular reads and writes regular files where others have been: what is
// longer than it may be is an error, a FIFO holds nobody up, no device is opened, and
// what is written goes into a file of its own.
package regular

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Open opens a regular file below root, following links that stay below it.
func Open(root *os.Root, name string) (*os.File, error) {
	return open(root, name, os.O_RDONLY, root.Stat)
}

// Edit opens a regular file below root for reading and writing; a link is refused.
func Edit(root *os.Root, name string) (*os.File, error) {
	return open(root, name, os.O_RDWR, root.Lstat)
}

// open looks first, as opening a device may do something, and again at what it opened,
// as others may still be there.
func open(root *os.Root, name string, flag int, look func(string) (fs.FileInfo, error)) (*os.File, error) {
	st, err := look(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	f, err := root.OpenFile(name, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(st, opened) {
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
