package ext4

import (
	"encoding/binary"
	"io"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/roottree"
)

// The types of file, in the mode.
const (
	typeFifo   = 0x1
	typeChar   = 0x2
	typeBlock  = 0x6
	typeDir    = 0x4
	typeFile   = 0x8
	typeLink   = 0xa
	typeSocket = 0xc
)

// inode is what describes a file.
type inode struct {
	mode     uint16
	uid, gid uint32
	links    uint16
	size     int64
	flags    uint32
	block    []byte // 60 bytes: an extent tree, or a short symbolic link
	xattrs   []byte // what stands behind the inode's fields
	acl      int64  // block with further extended attributes, or 0
}

func (i *inode) kind() uint16 { return i.mode >> 12 }

func (f *FS) inode(n uint32) (*inode, error) {
	if n == 0 || n > f.inodes {
		return nil, malformed("there is no inode %d", n)
	}
	b := make([]byte, inodeSize)
	table := f.tables[(n-1)/f.inodesPerGroup]
	if _, err := f.r.ReadAt(b, table*blockSize+int64((n-1)%f.inodesPerGroup)*inodeSize); err != nil {
		return nil, err
	}
	u16 := func(at int) uint32 { return uint32(binary.LittleEndian.Uint16(b[at:])) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	i := &inode{
		mode: uint16(u16(0)), uid: u16(2) | u16(120)<<16, gid: u16(24) | u16(122)<<16, links: uint16(u16(26)),
		size: int64(u32(4)) | int64(u32(108))<<32, flags: u32(32), block: b[40:100], acl: int64(u32(104)) | int64(u16(118))<<32,
	}
	if extra := u16(128); extra >= 4 && extra <= inodeSize-128-4 {
		i.xattrs = b[128+extra:]
	}
	if i.size < 0 || f.strict && i.flags&^(extentsFlag|indexFlag) != 0 || i.flags&foreignFlags != 0 {
		return nil, malformed("inode %d: %d bytes, flags %x", n, i.size, i.flags)
	}
	return i, nil
}

// extent is a run of blocks of a file.
type extent struct{ logical, physical, count int64 }

// extents are the runs of a file's blocks, in order; what lies between them is zeros. It
// claims them and the blocks that list them.
func (f *FS) extents(i *inode) ([]extent, error) {
	if i.flags&extentsFlag == 0 {
		if !f.strict && i.size == 0 {
			return nil, nil
		}
		return nil, malformed("a file without extents")
	}
	var list []extent
	next := int64(0)
	var read func(node []byte, depth int) error
	read = func(node []byte, depth int) error {
		n, most := int(binary.LittleEndian.Uint16(node[2:])), (len(node)-12)/12
		if binary.LittleEndian.Uint16(node) != 0xf30a || n > most || int(binary.LittleEndian.Uint16(node[6:])) != depth {
			return malformed("an extent tree is damaged")
		}
		for k := range n {
			e := node[12+12*k:]
			if depth == 0 {
				x := extent{
					int64(binary.LittleEndian.Uint32(e)),
					int64(binary.LittleEndian.Uint32(e[8:])) | int64(binary.LittleEndian.Uint16(e[6:]))<<32,
					int64(binary.LittleEndian.Uint16(e[4:])),
				}
				const mostWritten = 32768 // more are blocks that were never written, and read as zeros
				unwritten := !f.strict && x.count > mostWritten
				if unwritten {
					x.count -= mostWritten
				}
				if x.logical < next || x.count == 0 || x.count > mostWritten {
					return malformed("an extent of %d blocks at %d", x.count, x.logical)
				}
				if err := f.claim(x.physical, x.count); err != nil {
					return err
				}
				next = x.logical + x.count
				if !unwritten {
					list = append(list, x)
				}
				continue
			}
			at := int64(binary.LittleEndian.Uint32(e[4:])) | int64(binary.LittleEndian.Uint16(e[8:]))<<32
			if err := f.claim(at, 1); err != nil {
				return err
			}
			below := make([]byte, blockSize)
			if _, err := f.r.ReadAt(below, at*blockSize); err != nil {
				return err
			}
			if err := read(below, depth-1); err != nil {
				return err
			}
		}
		return nil
	}
	depth := int(binary.LittleEndian.Uint16(i.block[6:]))
	if depth > 5 {
		return nil, malformed("an extent tree of depth %d", depth)
	}
	if err := read(i.block, depth); err != nil {
		return nil, err
	}
	if f.strict && next > (i.size+blockSize-1)/blockSize {
		return nil, malformed("a file of %d bytes has blocks behind its end", i.size)
	}
	return list, nil
}

// content reads a file; the bytes of its last block behind its end must be zeros.
func (f *FS) content(size int64, list []extent) io.Reader {
	var parts []io.Reader
	at := int64(0)
	hole := func(to int64) {
		if to > at {
			parts = append(parts, io.LimitReader(nulls{}, to-at))
			at = to
		}
	}
	for _, x := range list {
		if x.logical*blockSize >= size {
			break
		}
		hole(x.logical * blockSize)
		n := min(x.count*blockSize, size-at)
		parts = append(parts, io.NewSectionReader(f.r, x.physical*blockSize, n))
		at += n
		if rest := x.count*blockSize - n; rest > 0 && f.strict {
			parts = append(parts, &slack{io.NewSectionReader(f.r, x.physical*blockSize+n, rest)})
		}
	}
	hole(size)
	return io.MultiReader(parts...)
}

type nulls struct{}

func (nulls) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// slack reads as nothing what has to be zeros.
type slack struct{ r io.Reader }

func (s *slack) Read([]byte) (int, error) {
	b, err := io.ReadAll(s.r)
	if err != nil {
		return 0, err
	}
	if !zeros(b) {
		return 0, malformed("there are bytes behind the end of a file")
	}
	return 0, io.EOF
}

// prefixes of the names of extended attributes, by index.
var prefixes = map[byte]string{1: "user.", 2: accessList, 3: defaultList, 4: "trusted.", 6: "security."}

// The attributes of POSIX access control lists, whose names are whole.
const (
	accessList  = "system.posix_acl_access"
	defaultList = "system.posix_acl_default"
)

const xattrMagic = 0xea020000

// attributes are a file's extended attributes, by name.
func (f *FS) attributes(i *inode) ([]roottree.Xattr, error) {
	var list []roottree.Xattr
	if len(i.xattrs) > 4 && binary.LittleEndian.Uint32(i.xattrs) == xattrMagic {
		var err error
		if list, err = readAttributes(nil, i.xattrs[4:], i.xattrs[4:]); err != nil {
			return nil, err
		}
	} else if f.strict && !zeros(i.xattrs) {
		return nil, malformed("there are bytes behind an inode")
	}
	if i.acl != 0 {
		if f.strict { // others share such blocks
			if err := f.claim(i.acl, 1); err != nil {
				return nil, err
			}
		}
		if i.acl >= f.blocks {
			return nil, malformed("block %d lies outside", i.acl)
		}
		b := make([]byte, blockSize)
		if _, err := f.r.ReadAt(b, i.acl*blockSize); err != nil {
			return nil, err
		}
		const head = 32
		if binary.LittleEndian.Uint32(b) != xattrMagic || f.strict && binary.LittleEndian.Uint32(b[4:]) != 1 || binary.LittleEndian.Uint32(b[8:]) != 1 {
			return nil, malformed("a block of extended attributes is damaged, or more than one file's")
		}
		var err error
		if list, err = readAttributes(list, b[head:], b); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b roottree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// readAttributes reads entries whose values lie in values.
func readAttributes(list []roottree.Xattr, entries, values []byte) ([]roottree.Xattr, error) {
	const fixed = 16
	for len(entries) >= 4 && binary.LittleEndian.Uint32(entries) != 0 {
		if len(entries) < fixed {
			return nil, malformed("an extended attribute is cut off")
		}
		n := int(entries[0])
		prefix, ok := prefixes[entries[1]]
		at, size := int(binary.LittleEndian.Uint16(entries[2:])), int(binary.LittleEndian.Uint32(entries[8:]))
		switch {
		case !ok:
			return nil, malformed("an extended attribute of kind %d is not read", entries[1])
		case binary.LittleEndian.Uint32(entries[4:]) != 0 || len(entries) < fixed+n || size < 0 || size > len(values) || at > len(values)-size:
			return nil, malformed("an extended attribute lies outside its place")
		}
		value := slices.Clone(values[at : at+size])
		if prefix == accessList || prefix == defaultList {
			var err error
			if value, err = accessControl(value); err != nil {
				return nil, err
			}
		}
		list = append(list, roottree.Xattr{Name: prefix + string(entries[fixed:fixed+n]), Value: value})
		entries = entries[min(fixed+(n+3)&^3, len(entries)):]
	}
	return list, nil
}
