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
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
)

// Read describes the members of a .deb's data.tar as a tree: type, mode, owner,
// and its name, link target, extended attributes, size and SHA-256 of each. Of a path that
// stands in it twice the last counts, as for dpkg.
func Read(file string, size int64) (_ *roottree.Manifest, err error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pkg, err := deb.Open(f, size, deb.Limits{})
	if err != nil {
		return nil, err
	}
	r := reader{entries: map[string]roottree.Entry{}, inodes: map[string]int{}, owned: map[int]roottree.Entry{}, buf: make([]byte, 1<<18)}
	if err := pkg.Walk(r.member); err != nil {
		return nil, err
	}
	return r.manifest(), nil
}

const (
	maxID     = 1<<32 - 2 // Linux's last; the one after it means none
	maxXattrs = 64 << 10  // bytes of a file's extended attributes and their names
	maxText   = 256 << 20 // bytes of all paths, link targets and extended attributes
)

type reader struct {
	entries map[string]roottree.Entry
	// inodes are the regular files, counted from 1, by each of their names.
	inodes map[string]int
	// owned has mode and owner of those that have several names.
	owned map[int]roottree.Entry
	count int
	text  int // bytes, as maxText counts them
	buf   []byte
}

func (r *reader) member(path string, h *tar.Header, content io.Reader) (err error) {
	if h.Uid < 0 || h.Uid > maxID || h.Gid < 0 || h.Gid > maxID {
		return fmt.Errorf("%s: there is no owner %d:%d", path, h.Uid, h.Gid)
	}
	if r.text += len(path) + len(h.Linkname) + len(h.Uname) + len(h.Gname); r.text > maxText {
		return fmt.Errorf("%s: too many and too long names", path)
	}
	if h.Typeflag == tar.TypeLink {
		return r.hardLink(path, h)
	}
	delete(r.inodes, path)
	e := roottree.Entry{Path: path}
	own(&e, h)
	switch h.Typeflag {
	case tar.TypeDir:
		e.Type = roottree.Dir
	case tar.TypeSymlink:
		e.Type, e.Mode, e.Target = roottree.Link, 0o777, h.Linkname
	case tar.TypeReg:
		e.Type = roottree.File
		sum := sha256.New()
		if e.Size, err = io.CopyBuffer(sum, content, r.buf); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		e.SHA256 = artifact.Digest(hex.EncodeToString(sum.Sum(nil)))
		r.count++
		r.inodes[path] = r.count
	default:
		return fmt.Errorf("%s: type %q is not known", path, h.Typeflag)
	}
	if e.Xattrs, err = r.xattrs(h.PAXRecords); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	r.entries[path] = e
	return nil
}

// own gives an entry the mode and the owners of a member's header.
func own(e *roottree.Entry, h *tar.Header) {
	e.Mode, e.UID, e.GID = uint32(h.Mode&0o7777), uint32(h.Uid), uint32(h.Gid)
	e.Uname, e.Gname = named(h.Uname, h.Uid), named(h.Gname, h.Gid)
}

// named is an owner's name, where it says more than the number does: dpkg looks it up.
func named(name string, number int) string {
	if name == "root" && number == 0 {
		return ""
	}
	return name
}

// hardLink gives a file another name. dpkg sets mode and owner of each member after it has
// made it, so that all names of the file have those of the last one's header.
func (r *reader) hardLink(path string, h *tar.Header) error {
	target, err := deb.CheckMember(&tar.Header{Name: h.Linkname, Typeflag: tar.TypeDir})
	if err != nil {
		return err
	}
	inode, ok := r.inodes[target]
	if !ok {
		return fmt.Errorf("%s: a hard link to %s, which is no file before it", path, target)
	}
	e := r.entries[target]
	e.Path = path
	r.entries[path], r.inodes[path] = e, inode
	own(&e, h)
	r.owned[inode] = e
	return nil
}

func (r *reader) xattrs(records map[string]string) ([]roottree.Xattr, error) {
	var all []roottree.Xattr
	size := 0
	for key, value := range records {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			size += len(name) + len(value)
			all = append(all, roottree.Xattr{Name: name, Value: []byte(value)})
		}
	}
	if r.text += size; size > maxXattrs || r.text > maxText {
		return nil, fmt.Errorf("more than %d bytes of extended attributes", maxXattrs)
	}
	slices.SortFunc(all, func(a, b roottree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (r *reader) manifest() *roottree.Manifest {
	m := &roottree.Manifest{}
	for _, e := range r.entries {
		m.Entries = append(m.Entries, e)
	}
	slices.SortFunc(m.Entries, func(a, b roottree.Entry) int { return strings.Compare(a.Path, b.Path) })
	first, names := map[int]string{}, map[int]int{}
	for i := range m.Entries {
		e := &m.Entries[i]
		if o, ok := r.owned[r.inodes[e.Path]]; ok {
			e.Mode, e.UID, e.GID, e.Uname, e.Gname = o.Mode, o.UID, o.GID, o.Uname, o.Gname
		}
		if inode := r.inodes[e.Path]; inode > 0 {
			if names[inode]++; names[inode] == 1 {
				first[inode] = e.Path
			}
		}
	}
	for i := range m.Entries {
		if inode := r.inodes[m.Entries[i].Path]; names[inode] > 1 {
			m.Entries[i].HardLink = first[inode]
		}
	}
	return m
}
