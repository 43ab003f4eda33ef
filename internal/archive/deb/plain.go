package deb

import (
	"fmt"
	"io"
)

// WritePlain writes a package with the same control member and with data.tar as
// it is uncompressed, which dpkg installs to the same effect as this one, and
// sooner. It returns where in it data.tar begins.
func (d *Deb) WritePlain(w io.WriteSeeker) (data int64, err error) {
	if _, err := io.WriteString(w, arMagic); err != nil {
		return 0, err
	}
	at := int64(len(arMagic))
	add := func(name string, r io.Reader, size int64) error {
		if _, err := io.WriteString(w, arHeader(name, size)); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 1<<18)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		_, err := io.WriteString(w, "\n"[:size%2])
		at += arHeaderSize + size + size%2
		return err
	}
	for _, m := range []member{d.version, d.control} {
		if err := add(m.name, io.NewSectionReader(d.r, m.offset, m.size), m.size); err != nil {
			return 0, err
		}
	}
	// The size of the data is known when it has been written.
	header := at
	if _, err := w.Seek(arHeaderSize, io.SeekCurrent); err != nil {
		return 0, err
	}
	tar, err := d.DataTar()
	if err != nil {
		return 0, err
	}
	size, err := io.CopyBuffer(struct{ io.Writer }{w}, tar, make([]byte, 1<<18))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", d.data.name, err)
	}
	if _, err := io.WriteString(w, "\n"[:size%2]); err != nil {
		return 0, err
	}
	if _, err := w.Seek(header, io.SeekStart); err != nil {
		return 0, err
	}
	_, err = io.WriteString(w, arHeader("data.tar", size))
	return header + arHeaderSize, err
}

// arHeader is what stands before a member of an archive of ar(5).
func arHeader(name string, size int64) string {
	return fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", size)
}
