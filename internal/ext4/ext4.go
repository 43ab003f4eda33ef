// Package ext4 reads ext4 file systems: of the one kind that isotrace has mke2fs make,
// to check them, and of others, to take their files. Of the first it refuses other
// features and bytes that belong to nothing; of all, what belongs to two files. The
// layout is that of the Linux kernel's Documentation/filesystems/ext4.
package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/isotrace/isotrace/internal/roottree"
)

// ErrFormat is in the chain of every error about the file system's bytes.
var ErrFormat = errors.New("not an ext4 file system that isotrace reads")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// What a file system has, in bytes where nothing else is said.
const (
	blockSize      = 4096
	inodeSize      = 256
	descriptorSize = 64
	firstInode     = 11 // that is no special one; it is lost+found
	rootInode      = 2
	resizeInode    = 7
	journalInode   = 8
	maxInodes      = 16 << 20
	maxBlocks      = 1 << 30 // 4 TiB
	maxDepth       = 256     // of folders
)

// The features, which must be these and no others.
const (
	compatible   = 0x4 | 0x8 | 0x10 | 0x20               // has_journal ext_attr resize_inode dir_index
	incompatible = 0x2 | 0x40 | 0x80 | 0x200             // filetype extent 64bit flex_bg
	readOnly     = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400 // sparse_super large_file huge_file dir_nlink extra_isize metadata_csum
	extentsFlag  = 0x80000                               // of an inode
	indexFlag    = 0x1000                                // of a folder's inode
)

// The features that a file system may have which is only read. Those that are not here
// change where things are, or say that a journal has to be played back.
const (
	mayCompatible   = compatible | 0x400 | 0x1000                           // fast_commit orphan_file
	mayIncompatible = incompatible | 0x2000                                 // csum_seed
	mayReadOnly     = readOnly | 0x10 | 0x100 | 0x2000                      // uninit_bg quota project
	needsRecovery   = 0x4                                                   // incompatible
	orphansPresent  = 0x10000                                               // read-only
	foreignFlags    = 0x800 | 0x100000 | 0x200000 | 0x10000000 | 0x40000000 // encrypt verity ea_inode inline_data casefold
)

// FS is a file system that is read.
type FS struct {
	// UUID is the file system's.
	UUID string

	strict         bool // of isotrace's own kind
	r              io.ReaderAt
	descriptor     int64 // bytes of a group descriptor
	blocks         int64
	perGroup       int64
	inodes         uint32
	inodesPerGroup uint32
	reserved       int64 // blocks for descriptors to come
	tables         []int64
	used           []uint64 // a bit for each block that something has
}

// Open reads what describes the file system in r, which has size bytes and has to be
// one that isotrace makes.
func Open(r io.ReaderAt, size int64) (*FS, error) { return open(r, size, true) }

// OpenAny reads what describes the file system in r, which may be anybody's, as long as
// it was unmounted cleanly. It may have files that Tree and WriteTar refuse.
func OpenAny(r io.ReaderAt, size int64) (*FS, error) { return open(r, size, false) }

// IsAny tells whether r begins like a file system of the ext family.
func IsAny(r io.ReaderAt) bool {
	var b [2]byte
	_, err := r.ReadAt(b[:], 1024+56)
	return err == nil && binary.LittleEndian.Uint16(b[:]) == 0xef53
}

func open(r io.ReaderAt, size int64, strict bool) (*FS, error) {
	b := make([]byte, 1024)
	if _, err := r.ReadAt(b, 1024); err != nil {
		return nil, malformed("it is too short")
	}
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	f := &FS{
		strict: strict, r: r, descriptor: descriptorSize, inodes: u32(0), blocks: int64(u32(4)) | int64(u32(336))<<32, perGroup: int64(u32(32)),
		inodesPerGroup: u32(40), reserved: int64(u16(206)), UUID: uuid.UUID(b[104:120]).String(),
	}
	switch {
	case u16(56) != 0xef53:
		return nil, malformed("it has no magic number")
	case !strict && (u32(96)&needsRecovery != 0 || u32(100)&orphansPresent != 0), u16(58) != 1:
		return nil, malformed("it was not unmounted cleanly, or has errors")
	case strict && (u32(92) != compatible || u32(96) != incompatible || u32(100) != readOnly),
		u32(92)&^mayCompatible != 0 || u32(96)&^mayIncompatible != 0 || u32(100)&^mayReadOnly != 0:
		return nil, malformed("it has other features: %x %x %x", u32(92), u32(96), u32(100))
	case u32(20) != 0 || u32(24) != 2 || u16(88) != inodeSize || strict && u16(254) != descriptorSize || u32(84) != firstInode || u32(76) != 1:
		return nil, malformed("blocks, inodes or descriptors are of another size")
	case f.blocks < 16 || f.blocks > maxBlocks || f.blocks*blockSize > size || strict && f.blocks*blockSize != size:
		return nil, malformed("%d blocks in %d bytes", f.blocks, size)
	case f.perGroup != 8*blockSize || f.inodesPerGroup == 0 || f.inodesPerGroup > 8*blockSize || f.inodesPerGroup%(blockSize/inodeSize) != 0:
		return nil, malformed("groups of %d blocks and %d inodes", f.perGroup, f.inodesPerGroup)
	}
	groups := (f.blocks + f.perGroup - 1) / f.perGroup
	if int64(f.inodes) != groups*int64(f.inodesPerGroup) || f.inodes > maxInodes {
		return nil, malformed("%d inodes in %d groups", f.inodes, groups)
	}
	if u32(96)&0x80 == 0 { // without the feature 64bit
		const small = 32
		f.descriptor, f.blocks = small, f.blocks&(1<<32-1)
	} else if u16(254) != descriptorSize {
		return nil, malformed("descriptors of %d bytes", u16(254))
	}
	f.used = make([]uint64, (f.blocks+63)/64)
	return f, f.readGroups(groups)
}

// readGroups reads the group descriptors and claims what is not of files.
func (f *FS) readGroups(groups int64) error {
	b := make([]byte, groups*f.descriptor)
	if _, err := f.r.ReadAt(b, blockSize); err != nil {
		return malformed("its descriptors are cut off")
	}
	descriptors := (groups*f.descriptor + blockSize - 1) / blockSize
	for g := range groups {
		d := b[g*f.descriptor:][:f.descriptor]
		at := func(low, high int) int64 {
			if high >= len(d) {
				return int64(binary.LittleEndian.Uint32(d[low:]))
			}
			return int64(binary.LittleEndian.Uint32(d[low:])) | int64(binary.LittleEndian.Uint32(d[high:]))<<32
		}
		f.tables = append(f.tables, at(8, 40))
		own := [][2]int64{{at(0, 32), 1}, {at(4, 36), 1}, {at(8, 40), int64(f.inodesPerGroup) * inodeSize / blockSize}}
		if !f.strict {
			own = own[2:]
		} else if hasBackup(g) {
			own = append(own, [2]int64{g * f.perGroup, 1 + descriptors + f.reserved})
		}
		for _, o := range own {
			if err := f.claim(o[0], o[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasBackup tells whether a group begins with a superblock: 0, 1, and powers of 3, 5, 7.
func hasBackup(g int64) bool {
	if g <= 1 {
		return true
	}
	for _, p := range []int64{3, 5, 7} {
		n := p
		for n < g {
			n *= p
		}
		if n == g {
			return true
		}
	}
	return false
}

// claim takes blocks that nothing else may have.
func (f *FS) claim(first, n int64) error {
	if n < 0 || first < 0 || first > f.blocks || n > f.blocks-first {
		return malformed("blocks %d and %d after it lie outside", first, n)
	}
	for b := first; b < first+n; b++ {
		if f.used[b/64]&(1<<(b%64)) != 0 {
			return malformed("block %d belongs to two", b)
		}
		f.used[b/64] |= 1 << (b % 64)
	}
	return nil
}

func (f *FS) isUsed(b int64) bool { return f.used[b/64]&(1<<(b%64)) != 0 }

// found is a name of the tree and its inode.
type found struct {
	entry roottree.Entry
	inode *inode
}

// Tree describes all files, hashed, by path.
func (f *FS) Tree(ctx context.Context) (*roottree.Manifest, error) {
	w, err := f.walk(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.hash(ctx); err != nil {
		return nil, err
	}
	if f.strict {
		if err := f.nothingElse(ctx, w.names); err != nil {
			return nil, err
		}
	}
	m := &roottree.Manifest{}
	for _, x := range w.found {
		m.Entries = append(m.Entries, x.entry)
	}
	slices.SortFunc(m.Entries, func(a, b roottree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return m, nil
}

// walk gathers all names. It claims their blocks, and so can be called once.
func (f *FS) walk(ctx context.Context) (*walk, error) {
	w := &walk{fs: f, names: map[uint32][]int{}}
	if f.strict {
		if err := f.special(); err != nil {
			return nil, err
		}
	}
	root, err := f.inode(rootInode)
	if err != nil {
		return nil, err
	}
	if root.kind() != typeDir {
		return nil, malformed("its root is no folder")
	}
	if err := w.add(".", rootInode, root); err != nil {
		return nil, err
	}
	if err := w.folder(ctx, ".", root, rootInode, rootInode, 0); err != nil {
		return nil, err
	}
	return w, w.links()
}

// special claims what the journal and the inode for growing have.
func (f *FS) special() error {
	journal, err := f.inode(journalInode)
	if err != nil {
		return err
	}
	if _, err := f.extents(journal); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	growing, err := f.inode(resizeInode)
	if err != nil {
		return err
	}
	const doubly = 13 // the indirect block, whose blocks are the reserved ones
	return f.claim(int64(binary.LittleEndian.Uint32(growing.block[4*doubly:])), 1)
}

// nothingElse refuses bytes that belong to no file: inodes without a name, and blocks.
func (f *FS) nothingElse(ctx context.Context, names map[uint32][]int) error {
	table := make([]byte, int64(f.inodesPerGroup)*inodeSize)
	for g, at := range f.tables {
		if _, err := f.r.ReadAt(table, at*blockSize); err != nil {
			return err
		}
		for i := range f.inodesPerGroup {
			n := uint32(g)*f.inodesPerGroup + i + 1
			if _, named := names[n]; !named && n >= firstInode && !zeros(table[i*inodeSize:(i+1)*inodeSize]) {
				return malformed("inode %d has no name", n)
			}
		}
	}
	buf := make([]byte, 1<<20)
	for from := int64(0); from < f.blocks; {
		if f.isUsed(from) {
			from++
			continue
		}
		to := from
		for to < f.blocks && to-from < int64(len(buf)/blockSize) && !f.isUsed(to) {
			to++
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part := buf[:(to-from)*blockSize]
		if _, err := f.r.ReadAt(part, from*blockSize); err != nil {
			return err
		}
		if !zeros(part) {
			return malformed("there are bytes between blocks %d and %d that belong to no file", from, to)
		}
		from = to
	}
	return nil
}

func zeros(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
