// Package contents describes what a .deb installs, entry by entry, so that a
// tree can be compared with it.
package contents

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
)

// Read describes the members of a .deb's data.tar as a tree: type, mode, owner,
// link target, extended attributes, size and SHA-256 of each. Of a path that
// stands in it twice the last counts, as for dpkg.
func Read(file string, size int64) (_ *roottree.Manifest, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pkg, err := deb.Open(f, size, deb.Limits{})
	if err != nil {
		return nil, err
	}
	r := reader{entries: map[string]roottree.Entry{}, buf: make([]byte, 1<<18)}
	if err := pkg.Walk(r.member); err != nil {
		return nil, err
	}
	return r.manifest(), nil
}

type reader struct {
	entries map[string]roottree.Entry
	buf     []byte
}

func (r *reader) member(path string, h *tar.Header, content io.Reader) error {
	e := roottree.Entry{Path: path, Mode: uint32(h.Mode & 0o7777), UID: uint32(h.Uid), GID: uint32(h.Gid)}
	switch h.Typeflag {
	case tar.TypeDir:
		e.Type = roottree.Dir
	case tar.TypeSymlink:
		e.Type, e.Mode, e.Target = roottree.Link, 0o777, h.Linkname
	case tar.TypeReg:
		e.Type = roottree.File
		sum := sha256.New()
		n, err := io.CopyBuffer(sum, content, r.buf)
		if err != nil {
			return err
		}
		e.Size, e.SHA256 = n, artifact.Digest(hex.EncodeToString(sum.Sum(nil)))
	case tar.TypeLink:
		target, err := deb.CheckMember(&tar.Header{Name: h.Linkname, Typeflag: tar.TypeDir})
		if err != nil {
			return err
		}
		first, ok := r.entries[target]
		if !ok || first.Type != roottree.File {
			return fmt.Errorf("%s: a hard link to %s, which is no file before it", path, target)
		}
		first.Path, first.HardLink = path, target
		if to := r.entries[target].HardLink; to != "" {
			first.HardLink = to
		}
		e = first
	default:
		return fmt.Errorf("%s: type %q is not known", path, h.Typeflag)
	}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			e.Xattrs = append(e.Xattrs, roottree.Xattr{Name: name, Value: []byte(value)})
		}
	}
	slices.SortFunc(e.Xattrs, func(a, b roottree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	r.entries[path] = e
	return nil
}

func (r *reader) manifest() *roottree.Manifest {
	m := &roottree.Manifest{}
	for _, e := range r.entries {
		m.Entries = append(m.Entries, e)
	}
	slices.SortFunc(m.Entries, func(a, b roottree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return m
}
