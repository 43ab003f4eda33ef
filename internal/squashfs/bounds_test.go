package squashfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/roottree"
)

// TestNoInodes: tables whose blocks hold nothing are refused, and not looked into.
func TestNoInodes(t *testing.T) {
	var b bytes.Buffer
	nothing := func() {
		var z bytes.Buffer
		if err := zlib.NewWriter(&z).Close(); err != nil {
			t.Fatal(err)
		}
		b.Write(binary.LittleEndian.AppendUint16(nil, uint16(z.Len())))
		b.Write(z.Bytes())
	}
	s := superblock{Magic: magic, Major: 4, BlockSize: 1 << 17, BlockLog: 17, Compression: compressedGzip, Flags: usualFlags, XattrTable: invalid}
	b.Write(make([]byte, superSize))
	s.InodeTable = uint64(b.Len())
	nothing()
	s.DirTable = uint64(b.Len())
	nothing()
	s.FragmentTable = uint64(b.Len())
	s.Export, s.IDTable, s.Used = s.FragmentTable, s.FragmentTable, s.FragmentTable
	var head bytes.Buffer
	if err := binary.Write(&head, binary.LittleEndian, s); err != nil {
		t.Fatal(err)
	}
	image := b.Bytes()
	copy(image, head.Bytes())
	if _, err := Open(bytes.NewReader(image), int64(len(image))); err == nil || !strings.Contains(err.Error(), "holds nothing") {
		t.Errorf("%v", err)
	}
}

// TestHoles: a file that is nothing but a hole takes no room, and all the more time.
func TestHoles(t *testing.T) {
	f := &FS{ids: make([]byte, 4), xattrs: &xattrTable{}}
	f.super.Inodes, f.super.BlockSize = 1, 1<<20
	const size = 1 << 44
	b := binary.LittleEndian.AppendUint16(nil, typeFile+longForm)
	b = append(b, make([]byte, 10)...) // mode, owner, time
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint64(b, superSize)
	b = binary.LittleEndian.AppendUint64(b, size)
	b = binary.LittleEndian.AppendUint64(b, size)
	for _, n := range []uint32{1, noFragment, 0, noXattr} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	b = append(b, make([]byte, 4*size>>20)...)
	if err := f.readInodes(&stream{bytes: b}); err == nil || !strings.Contains(err.Error(), "more than 274877906944 bytes") {
		t.Errorf("%v", err)
	}
}

// TestXattrsShared: sets lie one behind the other, so that few bytes are not many sets.
func TestXattrsShared(t *testing.T) {
	pair := []byte{0, 0, 1, 0, 'a', 1, 0, 0, 0, 'b'} // user.a=b
	set := make([]byte, 16)
	set[8], set[12] = 1, 8
	x := &xattrTable{pairs: &stream{bytes: pair, starts: []int64{0}}, ids: append(slices.Clone(set), set...), sets: make([][]roottree.Xattr, 2)}
	if have, err := x.of(0); err != nil || len(have) != 1 || have[0].Name != "user.a" {
		t.Errorf("%v, %v", have, err)
	}
	if _, err := x.of(1); err == nil || !strings.Contains(err.Error(), "lie in one place") {
		t.Errorf("%v", err)
	}
}

// TestPaths bounds the paths of all files together.
func TestPaths(t *testing.T) {
	b := image(t, "gzip")
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	walk := func(paths int) error {
		w := walker{FS: f, byPlace: map[int64]*inode{}, paths: paths}
		f.names = nil
		for _, n := range f.inodes {
			n.names, w.byPlace[n.at] = 0, n
		}
		return w.folder(".", f.inodes[len(f.inodes)-1], 0)
	}
	if err := walk(0); err != nil {
		t.Error(err)
	}
	if err := walk(maxMetadata - 100); err == nil || !strings.Contains(err.Error(), "its paths have more than") {
		t.Errorf("%v", err)
	}
}
