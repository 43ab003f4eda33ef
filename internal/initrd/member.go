package initrd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
)

// member is one member of a cpio archive.
type member struct {
	path  string
	mode  uint32 // type and permission bits, as stat(2) has them
	uid   uint32
	gid   uint32
	size  int64
	links linkKey
	// linked tells that the archive has other names for the same file.
	linked bool
	major  uint32
	minor  uint32
	sha256 artifact.Digest
	target string
}

// linkKey is what the names of one file have in common.
type linkKey struct{ ino, major, minor, kind uint32 }

// The types of a member's mode.
const (
	typeMask = 0o170000
	socket   = 0o140000
	symlink  = 0o120000
	regular  = 0o100000
	block    = 0o060000
	folder   = 0o040000
	char     = 0o020000
	fifo     = 0o010000
)

const trailer = "TRAILER!!!"

// fields are the numbers of a header, eight hexadecimal digits each, after the
// six digits of the magic.
const (
	fieldIno = iota
	fieldMode
	fieldUID
	fieldGID
	fieldLinks
	fieldTime
	fieldSize
	fieldMajor
	fieldMinor
	fieldDeviceMajor
	fieldDeviceMinor
	fieldNameSize
	fieldCheck
	fields
)

const headerSize = 6 + 8*fields

// member reads one member with its content. It is nil for the trailer.
func (rd *reader) member(src *counter) (*member, error) {
	var raw [headerSize]byte
	if _, err := io.ReadFull(src, raw[:]); err != nil {
		return nil, noEOF(err)
	}
	magic := string(raw[:6])
	if magic != "070701" && magic != "070702" {
		return nil, fmt.Errorf("%w: %q is not the magic of a newc archive", ErrFormat, magic)
	}
	var f [fields]uint32
	for i := range f {
		digits := string(raw[6+8*i:][:8])
		n, err := strconv.ParseUint(digits, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: %q is no number of a header", ErrFormat, digits)
		}
		f[i] = uint32(n)
	}
	name, err := rd.name(src, f[fieldNameSize])
	if err != nil {
		return nil, err
	}
	if name == trailer {
		if f[fieldSize] != 0 {
			return nil, fmt.Errorf("%w: the trailer has content", ErrFormat)
		}
		return nil, nil
	}
	m := &member{
		mode: f[fieldMode], uid: f[fieldUID], gid: f[fieldGID], size: int64(f[fieldSize]),
		links:  linkKey{f[fieldIno], f[fieldMajor], f[fieldMinor], f[fieldMode] & typeMask},
		linked: f[fieldLinks] > 1, major: f[fieldDeviceMajor], minor: f[fieldDeviceMinor],
	}
	if m.path, err = memberPath(name); err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	var sum *uint32
	if magic == "070702" {
		sum = &f[fieldCheck]
	}
	if err := rd.content(src, m, sum); err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	return m, nil
}

// name reads a member's name, which ends in a NUL at least: more of them align
// the content.
func (rd *reader) name(src *counter, size uint32) (string, error) {
	if size == 0 || int64(size) > int64(rd.limits.Name) {
		return "", fmt.Errorf("%w: a name of %d bytes, not 1 to %d", ErrFormat, size, rd.limits.Name)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(src, b); err != nil {
		return "", noEOF(err)
	}
	name, rest, ok := bytes.Cut(b, []byte{0})
	if !ok || len(bytes.Trim(rest, "\x00")) > 0 {
		return "", fmt.Errorf("%w: %q ends in no NUL", ErrFormat, b)
	}
	return string(name), src.align()
}

// maxDepth is that of roottree.Walk.
const maxDepth = 256

// memberPath cleans a member's name: "./usr/bin" becomes "usr/bin". The kernel
// unpacks in the root, so that a leading slash says nothing.
func memberPath(name string) (string, error) {
	if name == "" || slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf(`%w: an empty name or one with ".."`, ErrFormat)
	}
	p := path.Clean(strings.TrimLeft(name, "/"))
	if strings.Count(p, "/") >= maxDepth {
		return "", fmt.Errorf("%w: more than %d folders deep", ErrFormat, maxDepth)
	}
	return p, nil
}

// content reads a member's content. A sum, if there is one, is that of a
// regular file's bytes.
func (rd *reader) content(src *counter, m *member, sum *uint32) error {
	switch m.mode & typeMask {
	case regular:
		h := sha256.New()
		w := io.Writer(h)
		if rd.noDigests {
			w = io.Discard
		}
		var have byteSum
		if sum != nil {
			w = io.MultiWriter(w, &have)
		}
		n, err := io.CopyBuffer(w, struct{ io.Reader }{io.LimitReader(src, m.size)}, rd.buf)
		if err != nil {
			return err
		}
		if n != m.size {
			return io.ErrUnexpectedEOF
		}
		if sum != nil && m.size > 0 && *sum != uint32(have) {
			return fmt.Errorf("%w: the checksum is %08x, the header has %08x", ErrFormat, have, *sum)
		}
		if !rd.noDigests {
			m.sha256 = artifact.Digest(hex.EncodeToString(h.Sum(nil)))
		}
	case symlink:
		if m.size == 0 || m.size > int64(rd.limits.Name) {
			return fmt.Errorf("%w: a target of %d bytes, not 1 to %d", ErrFormat, m.size, rd.limits.Name)
		}
		b := make([]byte, m.size)
		if _, err := io.ReadFull(src, b); err != nil {
			return noEOF(err)
		}
		// Some writers count the NUL at its end.
		m.target = string(bytes.TrimSuffix(b, []byte{0}))
		if m.target == "" || strings.Contains(m.target, "\x00") {
			return fmt.Errorf("%w: the target %q", ErrFormat, b)
		}
	case folder, block, char, fifo, socket:
		if m.size != 0 {
			return fmt.Errorf("%w: has content and is no file", ErrFormat)
		}
	default:
		return fmt.Errorf("%w: mode %o is of no known type", ErrFormat, m.mode)
	}
	return src.align()
}

// align passes over the zeros up to a multiple of four.
func (c *counter) align() error {
	var pad [3]byte
	p := pad[:-c.n&3]
	if _, err := io.ReadFull(c, p); err != nil && len(p) > 0 {
		return noEOF(err)
	}
	if pad != [3]byte{} {
		return fmt.Errorf("%w: padding is not of zeros", ErrFormat)
	}
	return nil
}

// byteSum is the checksum of crc archives: the bytes, added up.
type byteSum uint32

func (s *byteSum) Write(p []byte) (int, error) {
	for _, b := range p {
		*s += byteSum(b)
	}
	return len(p), nil
}
