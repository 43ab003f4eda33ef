package medium

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of what an image may make us do.
const (
	maxFiles   = 100_000
	maxRecords = 4 * maxFiles // a file has one for each 4 GiB, a folder two more
	maxDepth   = 32
	maxFolder  = 16 << 20 // bytes of one folder's records
)

// Flags of a directory record, ECMA-119 9.1.6.
const (
	flagFolder = 1 << 1
	flagMore   = 1 << 7 // the file goes on in the next record
)

// volume is one of the directory trees of an ISO 9660 image, ECMA-119.
type volume struct {
	image io.ReaderAt
	size  int64 // of the image, bytes
	base  int64 // sector from which its addresses count
	// joliet tells that names are UCS-2 and attributes none; else they are Rock Ridge's.
	joliet bool
	date   [7]byte // of the root folder
	mixed  error   // names the first record with another time
	claims *claims
	root   *node
	nodes  int
	// records are those of all folders.
	records int
}

// node is a file or folder of a volume.
type node struct {
	name     string // in UTF-8 or whatever bytes Rock Ridge has
	id       string // identifier in the record
	folder   bool
	at, size int64 // sector from the volume's base; bytes
	attr     attributes
	parent   *node
	children []*node // in the order of their records
}

// descriptor reads a volume descriptor, ECMA-119 8.
func descriptor(image io.ReaderAt, at int64) ([]byte, error) {
	b := make([]byte, sector)
	if _, err := image.ReadAt(b, at*sector); err != nil {
		return nil, err
	}
	if string(b[1:6]) != "CD001" || b[6] != 1 {
		return nil, fmt.Errorf("sector %d: is no volume descriptor", at)
	}
	return b, nil
}

// rootAt is where a primary or supplementary descriptor has the record of the root folder.
const rootAt, rootSize = 156, 34

// readVolume reads all folders of the volume that a descriptor names.
func readVolume(image io.ReaderAt, size int64, d []byte, base int64, c *claims) (*volume, error) {
	v := &volume{image: image, size: size, base: base, joliet: d[0] == typeJoliet, claims: c}
	r, err := parseRecord(d[rootAt : rootAt+rootSize])
	if err != nil || string(r.id) != "\x00" || r.flags != flagFolder || len(r.system) > 0 {
		return nil, errors.Join(errors.New("the record of the root folder is not one"), err)
	}
	v.date = r.date
	v.root = &node{folder: true, at: r.at, size: r.size}
	v.root.parent = v.root
	return v, v.readFolder(v.root, "", 0)
}

// record is a directory record, ECMA-119 9.1.
type record struct {
	at, size int64
	date     [7]byte
	flags    byte
	id       []byte
	system   []byte // system use
	length   int
}

func parseRecord(b []byte) (r record, err error) {
	const head = 33
	if len(b) <= head || int(b[0]) <= head || int(b[0]) > len(b) {
		return r, errors.New("a directory record is cut off")
	}
	r.length = int(b[0])
	b = b[:r.length]
	system := head + int(b[32]) + 1 - int(b[32])%2
	if b[32] == 0 || system > len(b) || len(b)%2 != 0 || b[32]%2 == 0 && b[system-1] != 0 {
		return r, errors.New("the name of a directory record does not fit")
	}
	at, one := bothEndian(b[2:10])
	size, two := bothEndian(b[10:18])
	if !one || !two || b[1] != 0 || !bytes.Equal(b[26:32], []byte{0, 0, 1, 0, 0, 1}) {
		return r, errors.New("a directory record contradicts itself, or is interleaved")
	}
	r.at, r.size, r.date, r.flags = at, size, [7]byte(b[18:25]), b[25]
	r.id, r.system = b[head:head+int(b[32])], b[system:]
	return r, nil
}

// bothEndian reads a number that stands there twice, ECMA-119 7.3.3.
func bothEndian(b []byte) (n int64, ok bool) {
	little, big := binary.LittleEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	return int64(little), little == big
}

// timed notes a time that is not the root folder's.
func (v *volume) timed(date []byte, where string) {
	if v.mixed == nil && !bytes.Equal(date, v.date[:]) {
		v.mixed = fmt.Errorf("folder /%s: a record has another time than the root folder", where)
	}
}

func (v *volume) claim(at, size int64, what string) { v.claims.add(v.base*sector+at, size, what) }

// inside tells whether so many bytes from a sector of the volume lie in the image.
func (v *volume) inside(at, size int64) bool {
	return at >= 0 && size >= 0 && (v.base+at)*sector <= v.size && size <= v.size-(v.base+at)*sector
}

func (v *volume) readFolder(dir *node, path string, depth int) (err error) {
	defer func() {
		if err != nil && !errors.As(err, new(*folderError)) {
			err = &folderError{path, err}
		}
	}()
	switch {
	case depth > maxDepth:
		return errors.New("folders are nested too deeply")
	case dir.size == 0 || dir.size%sector != 0 || dir.size > maxFolder:
		return fmt.Errorf("a folder of %d bytes", dir.size)
	case !v.inside(dir.at, dir.size):
		return errors.New("lies outside the ISO")
	}
	b := make([]byte, dir.size)
	if _, err := v.image.ReadAt(b, (v.base+dir.at)*sector); err != nil {
		return err
	}
	f := folder{volume: v, dir: dir, path: path, names: map[string]bool{}}
	for at := 0; at < len(b); {
		left := sector - at%sector
		if b[at] == 0 {
			if left == sector {
				return errors.New("has a sector without records")
			}
			at += left
			continue
		}
		r, err := parseRecord(b[at : at+left])
		if err != nil {
			return err
		}
		if v.records++; v.records > maxRecords {
			return fmt.Errorf("the ISO has more than %d records", maxRecords)
		}
		v.claim(dir.at*sector+int64(at), int64(r.length), "a record of the folder /"+path)
		if err := f.add(r); err != nil {
			return err
		}
		at += r.length
	}
	if f.records < 2 || f.more {
		return errors.New("its records end too early")
	}
	for _, child := range dir.children {
		if child.folder {
			if err := v.readFolder(child, join(path, child.name), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// folderError names the folder in which something is wrong.
type folderError struct {
	path string
	err  error
}

func (e *folderError) Error() string { return fmt.Sprintf("folder /%s: %v", e.path, e.err) }
func (e *folderError) Unwrap() error { return e.err }

// folder gathers the records of one.
type folder struct {
	*volume
	dir     *node
	path    string
	records int
	more    bool // the last record said that its file goes on
	names   map[string]bool
}

func (f *folder) add(r record) error {
	f.records++
	f.timed(r.date[:], f.path)
	isFolder := r.flags == flagFolder
	if f.records <= 2 {
		return f.addOwn(r)
	}
	if r.flags&^(flagFolder|flagMore) != 0 || r.flags == flagFolder|flagMore {
		return fmt.Errorf("%q: has the flags %#x", r.id, r.flags)
	}
	n := &node{id: string(r.id), folder: isFolder, at: r.at, size: r.size, parent: f.dir}
	if err := f.describe(n, r); err != nil {
		return fmt.Errorf("%q: %w", r.id, err)
	}
	last := f.last()
	if f.more {
		if n.id != last.id || n.name != last.name || n.attr != last.attr || isFolder || last.size%sector != 0 || n.at != last.at+last.size/sector {
			return fmt.Errorf("%q: does not go on where it should", last.name)
		}
		last.size += n.size
		n = last
	} else {
		switch {
		case last != nil && identifier(last.id) >= identifier(n.id):
			return fmt.Errorf("%q: is there twice, or out of order", n.name)
		case f.names[n.name]:
			return fmt.Errorf("%q: is there twice", n.name)
		}
		f.names[n.name] = true
		f.dir.children = append(f.dir.children, n)
		if f.nodes++; f.nodes > maxFiles {
			return fmt.Errorf("the ISO has more than %d files", maxFiles)
		}
	}
	f.more = r.flags&flagMore != 0
	if !f.inside(n.at, n.size) {
		return fmt.Errorf("%q: lies outside the ISO", n.name)
	}
	return nil
}

func (f *folder) last() *node {
	if len(f.dir.children) == 0 {
		return nil
	}
	return f.dir.children[len(f.dir.children)-1]
}

// addOwn takes the first two records: the folder's own, and its parent's.
func (f *folder) addOwn(r record) error {
	n := f.dir
	if f.records == 2 && !f.joliet { // libisofs has Joliet's second one point to the folder, too
		n = f.dir.parent
	}
	if string(r.id) != string(rune(f.records-1)) || r.flags != flagFolder || r.at != n.at || r.size != n.size {
		return fmt.Errorf("its record %d is not its own or its parent's", f.records)
	}
	if f.joliet {
		return noAttributes(r)
	}
	isRoot := f.records == 1 && f.dir.parent == f.dir
	kind := ownRecord
	if isRoot {
		kind = rootRecord
	}
	attr, _, err := f.rockRidge(r.system, kind, f.path)
	if isRoot {
		n.attr = attr
	}
	if err == nil && attr != n.attr {
		err = fmt.Errorf("its record %d has other attributes than it", f.records)
	}
	return err
}

func noAttributes(r record) error {
	if len(r.system) > 0 {
		return errors.New("a Joliet record has a system use field")
	}
	return nil
}

// describe reads the name and attributes of a record.
func (f *folder) describe(n *node, r record) (err error) {
	if f.joliet {
		if n.name, err = fromUCS2(r.id); err == nil {
			err = noAttributes(r)
		}
	} else {
		n.attr, n.name, err = f.rockRidge(r.system, childRecord, f.path)
		if err == nil && n.folder != (n.attr.mode&modeType == modeFolder) {
			err = errors.New("has another type in Rock Ridge")
		}
	}
	if err == nil {
		err = validName(n.name)
	}
	return err
}

func validName(name string) error {
	if name == "" || name == "." || name == ".." || bytes.ContainsAny([]byte(name), "/\x00") {
		return fmt.Errorf("%q is no name of a file", name)
	}
	return nil
}

// identifier is a record's without the version of the file, by which records are sorted.
func identifier(id string) string {
	if n := len(id) - 2; n > 0 && id[n:] == ";1" {
		return id[:n]
	}
	return id
}
