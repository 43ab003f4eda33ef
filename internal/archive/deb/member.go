package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrMember is in the chain of every error about a member that must not be
// unpacked.
var ErrMember = errors.New("refused")

const (
	maxPath      = 4096 // PATH_MAX
	maxComponent = 255  // NAME_MAX
	maxDepth     = 128
)

// Checker applies CheckMember to the members of one archive and counts them.
type Checker struct {
	left int
}

// NewChecker begins with the first member of an archive.
func NewChecker(limits Limits) *Checker { return &Checker{left: limits.withDefaults().Members} }

// Check is CheckMember, and refuses what is past the limit of members.
func (c *Checker) Check(h *tar.Header) (string, error) {
	if c.left--; c.left < 0 {
		return "", fmt.Errorf("too many members in the archive: %w", ErrMember)
	}
	return CheckMember(h)
}

// CheckMember judges a member of a tar archive by its header alone: it returns
// the member's path below the root, "." for the root itself, without any ".."
// and not absolute. Types other than files, folders, symbolic and hard links
// are refused, as are hard links to what is outside. Where a symbolic link
// points to is for the unpacking to guard: it must not write through one.
func CheckMember(h *tar.Header) (string, error) {
	clean, err := checkPath(h.Name)
	if err != nil {
		return "", err
	}
	if len(h.PAXRecords) > 0 {
		for name := range h.PAXRecords {
			if strings.HasPrefix(name, "GNU.sparse.") {
				return "", refuse(clean, "is a sparse file")
			}
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if clean == "." {
			return "", refuse(h.Name, "the root is no folder")
		}
		if h.Size < 0 {
			return "", refuse(clean, "its size is negative")
		}
	case tar.TypeDir:
	case tar.TypeSymlink:
		if clean == "." {
			return "", refuse(h.Name, "the root is no folder")
		}
		if h.Linkname == "" || len(h.Linkname) > maxPath || strings.IndexByte(h.Linkname, 0) >= 0 {
			return "", refuse(clean, "the target of the symbolic link is not valid")
		}
	case tar.TypeLink:
		target, err := checkPath(h.Linkname)
		if err != nil {
			return "", fmt.Errorf("hard link %q: %w", clean, err)
		}
		if clean == "." || target == "." || target == clean {
			return "", refuse(clean, "the target of the hard link is not valid")
		}
	case tar.TypeChar, tar.TypeBlock:
		return "", refuse(clean, "is a device node")
	case tar.TypeFifo:
		return "", refuse(clean, "is a FIFO")
	case tar.TypeGNUSparse:
		return "", refuse(clean, "is a sparse file")
	default:
		return "", refuse(clean, fmt.Sprintf("is of the unknown type %q", h.Typeflag))
	}
	return clean, nil
}

func checkPath(name string) (string, error) {
	switch {
	case name == "":
		return "", refuse(name, "the path is empty")
	case len(name) > maxPath:
		return "", refuse(name[:60]+"…", "the path is too long")
	case strings.IndexByte(name, 0) >= 0:
		return "", refuse(name, "the path holds a NUL")
	case name[0] == '/':
		return "", refuse(name, "the path is absolute")
	}
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "", refuse(name, "the path leaves the archive")
		case len(part) > maxComponent:
			return "", refuse(name[:60]+"…", "the path has a component that is too long")
		case part != "" && part != ".":
			depth++
		}
	}
	if depth > maxDepth {
		return "", refuse(name[:60]+"…", "the path is too deep")
	}
	return path.Clean(name), nil
}

func refuse(name, why string) error { return fmt.Errorf("member %q %w: %s", name, ErrMember, why) }
