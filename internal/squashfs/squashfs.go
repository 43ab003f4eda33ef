// Package squashfs reads squashfs 4.0 images as mksquashfs writes them, and accounts for
// each of their bytes: an image in which something lies that no file has is refused.
package squashfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Bounds of what an image may make us do.
const (
	maxNames    = 4_000_000
	maxDepth    = 256
	maxMetadata = 1 << 30   // bytes of a table, decompressed, and of all paths
	maxContent  = 256 << 30 // bytes of all files, decompressed
)

// FS is the metadata of an image, read and checked.
type FS struct {
	image     io.ReaderAt
	super     superblock
	mixed     error // names a file with another time than the image
	ids       []byte
	fragments []fragment
	xattrs    *xattrTable
	inodes    []*inode // in the order of the table
	dirs      *stream
	// inodeStarts says where in their table inodes lie.
	inodeStarts *stream
	names       []name
	data        ranges // of files' blocks and of fragments, in the image
	content     int64  // bytes of all files
}

// superblock stands at the beginning, little endian.
type superblock struct {
	Magic, Inodes, Time, BlockSize, Fragments       uint32
	Compression, BlockLog, Flags, IDs, Major, Minor uint16
	Root, Used                                      uint64
	IDTable, XattrTable                             uint64
	InodeTable, DirTable, FragmentTable, Export     uint64
}

const (
	superSize  = 96
	magic      = 0x73717368
	metaSize   = 8192 // bytes of a block of metadata, decompressed
	invalid    = 1<<64 - 1
	noFragment = 1<<32 - 1
	noXattr    = 1<<32 - 1
	stored     = 1 << 24 // flag in the size of a data block: it is not compressed

	// Flags: files are looked for copies, and there is an export table; the compressor's
	// options stand behind the superblock.
	usualFlags, hasOptions = 1<<6 | 1<<7, 1 << 10
)

// name is a directory entry.
type name struct {
	path string
	node *inode
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("squashfs: "+format, args...)
}

// Open reads all metadata of an image of so many bytes.
func Open(image io.ReaderAt, size int64) (*FS, error) {
	f := &FS{image: image}
	s := &f.super
	if err := binary.Read(io.NewSectionReader(image, 0, min(size, superSize)), binary.LittleEndian, s); err != nil {
		return nil, malformed("the superblock: %w", err)
	}
	switch {
	case s.Magic != magic || s.Major != 4 || s.Minor != 0:
		return nil, malformed("is none, or not of version 4.0")
	case s.BlockLog < 12 || s.BlockLog > 20 || s.BlockSize != 1<<s.BlockLog:
		return nil, malformed("blocks of %d bytes", s.BlockSize)
	case s.Used > uint64(size) || s.Used < superSize || uint64(size)-s.Used >= 4096 || s.InodeTable >= s.DirTable || s.DirTable >= s.Used:
		return nil, malformed("its parts do not lie in it")
	case s.Flags&^hasOptions != usualFlags:
		return nil, malformed("has the flags %#x", s.Flags)
	case s.Export == invalid || s.FragmentTable == invalid:
		return nil, malformed("a table is missing")
	}
	d, err := newDecompressor(s.Compression, int(s.BlockSize))
	if err != nil {
		return nil, err
	}
	defer d.close()
	if err := f.tables(d); err != nil {
		return nil, err
	}
	if err := f.tree(); err != nil {
		return nil, err
	}
	if err := f.unused(d); err != nil {
		return nil, err
	}
	return f, zeros(image, int64(s.Used), size-int64(s.Used))
}

// Time is that of the image and of each of its files, in seconds since 1970.
func (f *FS) Time() (int64, error) { return int64(f.super.Time), f.mixed }

// tables reads the metadata, whose parts have to follow one another.
func (f *FS) tables(d *decompressor) error {
	s := &f.super
	nodes, err := f.read(d, int64(s.InodeTable), int64(s.DirTable))
	if err != nil {
		return fmt.Errorf("inode table: %w", err)
	}
	fragments, at, err := f.lookup(d, s.FragmentTable, int64(s.Fragments), 16)
	if err != nil {
		return fmt.Errorf("fragment table: %w", err)
	}
	if f.dirs, err = f.read(d, int64(s.DirTable), at); err != nil {
		return fmt.Errorf("directory table: %w", err)
	}
	end := int64(s.FragmentTable) + indexSize(int64(s.Fragments), 16)
	export, at, err := f.lookup(d, s.Export, int64(s.Inodes), 8)
	if err != nil {
		return fmt.Errorf("export table: %w", err)
	}
	if at != end {
		return malformed("something lies before the export table")
	}
	end = int64(s.Export) + indexSize(int64(s.Inodes), 8)
	if f.ids, at, err = f.lookup(d, s.IDTable, int64(s.IDs), 4); err != nil {
		return fmt.Errorf("id table: %w", err)
	}
	if at != end {
		return malformed("something lies before the id table")
	}
	end = int64(s.IDTable) + indexSize(int64(s.IDs), 4)
	if f.xattrs, end, err = f.readXattrs(d, end); err != nil {
		return fmt.Errorf("xattr table: %w", err)
	}
	if end != int64(s.Used) {
		return malformed("something lies behind its tables")
	}
	for at := 0; at < len(fragments); at += 16 {
		e := fragment{start: int64(binary.LittleEndian.Uint64(fragments[at:])), stored: binary.LittleEndian.Uint32(fragments[at+8:])}
		if binary.LittleEndian.Uint32(fragments[at+12:]) != 0 {
			return malformed("a fragment has something in its unused field")
		}
		if err := f.claim(e.start, e.stored); err != nil {
			return fmt.Errorf("fragment %d: %w", at/16, err)
		}
		f.fragments = append(f.fragments, e)
	}
	f.inodeStarts = nodes
	if err := f.readInodes(nodes); err != nil {
		return err
	}
	for i, n := range f.inodes {
		if ref := binary.LittleEndian.Uint64(export[8*(n.number-1):]); ref != nodes.reference(n.at) {
			return malformed("the export table has another place for inode %d", i+1)
		}
	}
	return nil
}

// claim takes a block of data that stands in the image.
func (f *FS) claim(at int64, size uint32) error {
	n := int64(size &^ stored)
	if at < superSize || n > int64(f.super.BlockSize) || n == 0 || at > int64(f.super.InodeTable)-n {
		return malformed("a block of %d bytes at %d is not among the data", n, at)
	}
	f.data.add(at, n)
	return nil
}

// unused refuses data of the image that no file has.
func (f *FS) unused(d *decompressor) error {
	from := int64(superSize)
	if f.super.Flags&hasOptions != 0 {
		s, n, err := f.block(d, from)
		if err != nil {
			return fmt.Errorf("compressor options: %w", err)
		}
		if len(s) > 64 {
			return malformed("its compressor has %d bytes of options", len(s))
		}
		from += n
	}
	if err := f.data.cover(from, int64(f.super.InodeTable)); err != nil {
		return fmt.Errorf("squashfs: data: %w", err)
	}
	for i := range f.fragments {
		if f.fragments[i].used == nil {
			return malformed("fragment %d is no file's", i)
		}
	}
	return f.xattrs.covered()
}

// ranges are parts of something; they may be the same ones several times.
type ranges [][2]int64 // from, to

func (r *ranges) add(at, size int64) {
	if n := len(*r); n > 0 && (*r)[n-1][1] == at && at > 0 { // the usual case
		(*r)[n-1][1] += size
		return
	}
	*r = append(*r, [2]int64{at, at + size})
}

// cover wants the ranges to leave nothing out between two places.
func (r ranges) cover(from, to int64) error {
	r = slices.Clone(r)
	slices.SortFunc(r, func(a, b [2]int64) int { return cmp.Compare(a[0], b[0]) })
	for _, x := range r {
		if x[0] > from {
			return fmt.Errorf("%d bytes at %d belong to nothing", x[0]-from, from)
		}
		from = max(from, x[1])
	}
	if from != to {
		return fmt.Errorf("it ends at %d, want %d", from, to)
	}
	return nil
}

func zeros(image io.ReaderAt, at, size int64) error {
	b := make([]byte, size) // less than 4096
	if _, err := image.ReadAt(b, at); err != nil && size > 0 {
		return err
	}
	if slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) {
		return malformed("something lies behind its end")
	}
	return nil
}
