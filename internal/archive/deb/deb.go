// Package deb reads .deb packages, deb(5), as streams and within bounds. It
// writes nothing to a disk.
package deb

import (
	"archive/tar"
	"fmt"
	"io"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/decompress"
)

// Deb is an open package. Its parts may be read in any order and more than
// once, also at the same time.
type Deb struct {
	r       io.ReaderAt
	limits  Limits
	version member // debian-binary
	control member
	data    member
}

// Open reads the container of a package of size bytes. The reader stays the
// caller's to close, after the last use of the Deb.
func Open(r io.ReaderAt, size int64, limits Limits) (*Deb, error) {
	members, err := readAr(r, size)
	if err != nil {
		return nil, err
	}
	if len(members) == 0 || members[0].name != "debian-binary" || members[0].size > 64 {
		return nil, fmt.Errorf("%w: does not begin with debian-binary", ErrFormat)
	}
	version := make([]byte, members[0].size)
	if err := readFullAt(r, version, members[0].offset); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(version), "2.") {
		return nil, fmt.Errorf("%w: format version %q; only 2 is known", ErrFormat, strings.TrimSpace(string(version)))
	}
	d := &Deb{r: r, limits: limits.withDefaults(), version: members[0]}
	rest := members[1:]
	// A reader is to skip members that begin with an underscore up to the data,
	// and all after it.
	for len(rest) > 0 && strings.HasPrefix(rest[0].name, "_") {
		rest = rest[1:]
	}
	if len(rest) == 0 || !isTar(rest[0].name, "control.tar") {
		return nil, fmt.Errorf("%w: no control.tar after debian-binary", ErrFormat)
	}
	d.control, rest = rest[0], rest[1:]
	for len(rest) > 0 && strings.HasPrefix(rest[0].name, "_") {
		rest = rest[1:]
	}
	if len(rest) == 0 || !isTar(rest[0].name, "data.tar") {
		return nil, fmt.Errorf("%w: no data.tar after control.tar", ErrFormat)
	}
	d.data = rest[0]
	for _, m := range rest[1:] {
		if strings.HasPrefix(m.name, "control.tar") || strings.HasPrefix(m.name, "data.tar") {
			return nil, fmt.Errorf("%w: %s stands twice", ErrFormat, m.name)
		}
	}
	return d, nil
}

// isTar takes any ending, so that a compression that is not known is named in
// the error of whoever reads the member.
func isTar(name, want string) bool {
	return name == want || strings.HasPrefix(name, want+".")
}

// Data returns the files that the package installs, as a stream. What reads it
// passes each header to a Checker.
func (d *Deb) Data() (*tar.Reader, error) {
	r, err := d.DataTar()
	if err != nil {
		return nil, err
	}
	return tar.NewReader(r), nil
}

// DataTar returns the bytes of data.tar, decompressed.
func (d *Deb) DataTar() (io.Reader, error) {
	return d.open(d.data, d.limits.data(d.data.size))
}

// Walk passes each member of Data that is not refused, with its clean path, to
// visit. It reads to the end of the compressed stream, where its checksum is.
func (d *Deb) Walk(visit func(path string, h *tar.Header, r io.Reader) error) error {
	r, err := d.DataTar()
	if err != nil {
		return err
	}
	tr := tar.NewReader(r)
	check := NewChecker(d.limits)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			if _, err := io.Copy(io.Discard, r); err != nil {
				return fmt.Errorf("%s: %w", d.data.name, err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.data.name, err)
		}
		path, err := check.Check(h)
		if err != nil {
			return fmt.Errorf("%s: %w", d.data.name, err)
		}
		if err := visit(path, h, tr); err != nil {
			return err
		}
	}
}

func (d *Deb) open(m member, limit int64) (io.Reader, error) {
	format, base := decompress.Format(m.name)
	if strings.Count(base, ".") > 1 {
		return nil, fmt.Errorf("%s: %w: the compression is not supported", m.name, ErrFormat)
	}
	r, err := decompress.NewReader(io.NewSectionReader(d.r, m.offset, m.size), format, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	return r, nil
}
