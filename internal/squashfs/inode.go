package squashfs

import (
	"encoding/binary"
	"math"

	"github.com/isotrace/isotrace/internal/roottree"
)

// Types of inodes; the long form of each is longForm further.
const (
	typeDir = iota + 1
	typeFile
	typeLink
	typeBlock
	typeChar
	typeFifo
	typeSocket
	longForm = 7
)

// inode is one file, however many names it has.
type inode struct {
	at       int64 // in the stream of inodes
	number   uint32
	kind     uint16 // without the long form
	mode     uint32
	uid, gid uint32
	links    uint32
	names    uint32 // found so far
	xattrs   []roottree.Xattr
	target   string

	size     int64 // of a file, or of a folder's listing
	start    int64 // of a file's first block
	blocks   []byte
	fragment uint32
	offset   int64 // in the fragment

	list   int64 // of a folder's listing, its place
	parent uint32
	index  []byte // of a long folder
	counts uint16
}

// fields reads little-endian numbers one behind the other.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int64) []byte {
	if n < 0 || n > int64(len(f.b)) {
		f.bad = true
		return make([]byte, min(max(n, 0), 16))
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) u16() uint16 { return binary.LittleEndian.Uint16(f.take(2)) }
func (f *fields) u32() uint32 { return binary.LittleEndian.Uint32(f.take(4)) }
func (f *fields) u64() uint64 { return binary.LittleEndian.Uint64(f.take(8)) }

// readInodes reads the whole table: inodes stand there without gaps.
func (f *FS) readInodes(s *stream) error {
	if f.super.Inodes > maxNames || int64(f.super.Inodes)*16 > int64(len(s.bytes)) {
		return malformed("%d inodes", f.super.Inodes)
	}
	numbers := make([]bool, f.super.Inodes+1)
	rest := fields{b: s.bytes}
	for len(rest.b) > 0 {
		n, err := f.readInode(&rest, int64(len(s.bytes)-len(rest.b)))
		if err != nil {
			return err
		}
		if n.number == 0 || n.number > f.super.Inodes || numbers[n.number] {
			return malformed("inode number %d is wrong, or there twice", n.number)
		}
		numbers[n.number] = true
		f.inodes = append(f.inodes, n)
	}
	if len(f.inodes) != int(f.super.Inodes) {
		return malformed("%d inodes, want %d", len(f.inodes), f.super.Inodes)
	}
	return nil
}

func (f *FS) readInode(r *fields, at int64) (*inode, error) {
	n := &inode{at: at, fragment: noFragment, links: 1}
	kind := r.u16()
	n.mode = uint32(r.u16())
	uid, gid := int(r.u16()), int(r.u16())
	if 4*max(uid, gid) >= len(f.ids) {
		return nil, malformed("an inode has an owner that is not in the table")
	}
	n.uid, n.gid = binary.LittleEndian.Uint32(f.ids[4*uid:]), binary.LittleEndian.Uint32(f.ids[4*gid:])
	if time := r.u32(); time != f.super.Time && f.mixed == nil {
		f.mixed = malformed("an inode has the time %d, the image %d", time, f.super.Time)
	}
	n.number = r.u32()
	long := kind > longForm
	if n.kind = kind; long {
		n.kind -= longForm
	}
	attributes := uint32(noXattr)
	block := int64(0)
	switch n.kind {
	case typeDir:
		if long {
			n.links, n.size, block, n.parent = r.u32(), int64(r.u32()), int64(r.u32()), r.u32()
			n.counts = r.u16()
		} else {
			block, n.links, n.size = int64(r.u32()), r.u32(), int64(r.u16())
		}
		offset := int64(r.u16())
		if !long {
			n.parent = r.u32()
		} else {
			attributes = r.u32()
			n.index = r.b
			for range n.counts {
				r.take(8)
				r.take(int64(r.u32()) + 1)
			}
			n.index = n.index[:len(n.index)-len(r.b)]
		}
		if n.size -= 3; n.size > 0 {
			var ok bool
			if n.list, ok = f.dirs.place(block, offset); !ok || n.size > int64(len(f.dirs.bytes))-n.list {
				return nil, malformed("a folder's listing lies outside the table")
			}
		} else if n.size < 0 {
			return nil, malformed("a folder of no size")
		}
	case typeFile:
		if long {
			start, size := r.u64(), r.u64()
			if start > math.MaxInt64 || size > math.MaxInt64/2 {
				return nil, malformed("a file of %d bytes", size)
			}
			n.start, n.size = int64(start), int64(size)
			r.u64() // bytes of holes: none but stat(2) shows them
			n.links, n.fragment, n.offset, attributes = r.u32(), r.u32(), int64(r.u32()), r.u32()
		} else {
			n.start, n.fragment, n.offset, n.size = int64(r.u32()), r.u32(), int64(r.u32()), int64(r.u32())
		}
		if f.content += n.size; n.size > maxContent || f.content > maxContent {
			return nil, malformed("its files have more than %d bytes", int64(maxContent))
		}
		n.blocks = r.take(4 * n.blockCount(int64(f.super.BlockSize)))
		if !r.bad {
			if err := f.claimFile(n); err != nil {
				return nil, err
			}
		}
	case typeLink:
		n.links = r.u32()
		n.target = string(r.take(int64(r.u32())))
		if long {
			attributes = r.u32()
		}
	case typeBlock, typeChar:
		return nil, malformed("has a device") // no root tree has one
	case typeFifo, typeSocket:
		if n.links = r.u32(); long {
			attributes = r.u32()
		}
	default:
		return nil, malformed("an inode of type %d", kind)
	}
	if r.bad || n.mode > 0o7777 {
		return nil, malformed("an inode is cut off, or has an odd mode")
	}
	var err error
	n.xattrs, err = f.xattrs.of(attributes)
	return n, err
}

// blockCount is how many blocks of its own a file has; a fragment has its end.
func (n *inode) blockCount(size int64) int64 {
	if n.fragment == noFragment {
		return (n.size + size - 1) / size
	}
	return n.size / size
}

// claimFile takes the data of a file.
func (f *FS) claimFile(n *inode) error {
	at := n.start
	for b := n.blocks; len(b) > 0; b = b[4:] {
		size := binary.LittleEndian.Uint32(b)
		if size == 0 {
			continue // a hole
		}
		if err := f.claim(at, size); err != nil {
			return err
		}
		at += int64(size &^ stored)
	}
	if n.fragment == noFragment {
		return nil
	}
	tail := n.size % int64(f.super.BlockSize)
	if int64(n.fragment) >= int64(len(f.fragments)) || n.offset+tail > int64(f.super.BlockSize) || tail == 0 {
		return malformed("a file's end lies outside its fragment")
	}
	f.fragments[n.fragment].used.add(n.offset, tail)
	return nil
}
