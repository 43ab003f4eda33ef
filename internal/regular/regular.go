// Package regular reads regular files that somebody else named or filled: what is
// longer than it may be is an error, a FIFO holds nobody up and no device is opened.
package regular

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Open opens a regular file below root, following links that stay below it.
func Open(root *os.Root, name string) (*os.File, error) {
	st, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	return root.Open(name)
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
