package deb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrFormat is in the chain of every error about the structure of a .deb.
var ErrFormat = errors.New("malformed package")

// member is a file of the ar container.
type member struct {
	name   string
	offset int64
	size   int64
}

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60 // bytes, before each member
)

// maxMembers bounds the container: a .deb has three members, and may have some
// more that begin with an underscore.
const maxMembers = 16

// readAr lists the members of the container, in the common format of ar(5)
// without long names, which is all that deb(5) allows.
func readAr(r io.ReaderAt, size int64) ([]member, error) {
	var head [len(arMagic)]byte
	if size < int64(len(arMagic)) {
		return nil, fmt.Errorf("%w: is no ar archive", ErrFormat)
	}
	if err := readFullAt(r, head[:], 0); err != nil {
		return nil, err
	}
	if string(head[:]) != arMagic {
		return nil, fmt.Errorf("%w: is no ar archive", ErrFormat)
	}
	var members []member
	for at := int64(len(arMagic)); at < size; {
		if size-at < arHeaderSize {
			return nil, fmt.Errorf("%w: ends within a member's header", ErrFormat)
		}
		if len(members) == maxMembers {
			return nil, fmt.Errorf("%w: more than %d members", ErrFormat, maxMembers)
		}
		var h [arHeaderSize]byte
		if err := readFullAt(r, h[:], at); err != nil {
			return nil, err
		}
		if string(h[58:]) != "`\n" {
			return nil, fmt.Errorf("%w: a member's header is damaged", ErrFormat)
		}
		name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
		n, err := strconv.ParseUint(strings.TrimRight(string(h[48:58]), " "), 10, 40)
		if err != nil {
			return nil, fmt.Errorf("%w: member %q: the size is no number", ErrFormat, name)
		}
		m := member{name: name, offset: at + arHeaderSize, size: int64(n)}
		if m.size > size-m.offset {
			return nil, fmt.Errorf("%w: member %q is cut off", ErrFormat, name)
		}
		members = append(members, m)
		at = m.offset + m.size + m.size%2
	}
	return members, nil
}

func readFullAt(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read package: %w", err)
}
