package verity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// text is the beginning of a long text, of n bytes.
func text(n int64) string { return strings.Repeat("isotrace ", int(n/9)+1)[:n] }

// super is a superblock as veritysetup writes it.
func super(blocks uint64, salt []byte) []byte {
	b := make([]byte, 512)
	copy(b, "verity")
	binary.LittleEndian.PutUint32(b[8:], 1)
	binary.LittleEndian.PutUint32(b[12:], 1)
	copy(b[32:], "sha256")
	binary.LittleEndian.PutUint32(b[64:], 4096)
	binary.LittleEndian.PutUint32(b[68:], 4096)
	binary.LittleEndian.PutUint64(b[72:], blocks)
	binary.LittleEndian.PutUint16(b[80:], uint16(len(salt)))
	copy(b[88:], salt)
	return b
}

// TestRootHash has what veritysetup 2.7.5 says of the same data: one block, blocks of
// one and of two levels of hashes, and of three.
func TestRootHash(t *testing.T) {
	for size, want := range map[int64]string{
		1:                "7a9e9357a20f8ca7a9ec93cc7ad08346a7f2f1db4eebd4dfeb4e9103ae22c521",
		4096:             "b5179bb505794266b26f0eedb258149e6bcac05043c0d572bc001e40e02a4b5e",
		4097:             "b3af96e7ffda3279f41df214917ec69b872ed1156535c1ffe79b27325f70e381",
		128 * 4096:       "8a7518db107c17003f074e963fbf09f2cd0b7c382f3960d19afb79aefcf9768b",
		129 * 4096:       "177c67023c4717231f02918b9e2b079adf6aa16d6f9123b8f6973a975a5c79a9",
		128*129*4096 + 5: "6a54f33a8eba4f8ff32ee39ac51883c03d5eea2523fe8c7b25b0f86f4a12d92c",
	} {
		have, err := RootHash(strings.NewReader(text(size)), size, bytes.NewReader(treeOf(t, size)))
		if err != nil || have != want {
			t.Errorf("%d bytes: %s, %v, want %s", size, have, err, want)
		}
	}
}

// treeOf is the hash tree of the text, as veritysetup lays it out.
func treeOf(t *testing.T, size int64) []byte {
	t.Helper()
	salt, blocks := []byte{0, 0xff, 0x17}, (size+blockSize-1)/blockSize
	tree := append(super(uint64(blocks), salt), make([]byte, blockSize-superblockSize)...)
	levels, err := hashes(strings.NewReader(text(size)), blocks, salt)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(levels) - 2; i >= 0; i-- { // the last is the root hash
		tree = append(tree, levels[i]...)
		tree = append(tree, make([]byte, (blockSize-len(tree)%blockSize)%blockSize)...)
	}
	return tree
}

// TestTree: the tree holds what the data has, in every block, and nothing else.
func TestTree(t *testing.T) {
	const size = 128*129*4096 + 5 // three levels
	good := treeOf(t, size)
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"behind the superblock": {func(b []byte) []byte { b[blockSize-1] = 1; return b }, "something stands behind the superblock"},
		"the top level":         {func(b []byte) []byte { b[blockSize] ^= 1; return b }, "block 0 of level 2 "},
		"behind its hashes":     {func(b []byte) []byte { b[2*blockSize-1] = 1; return b }, "block 0 of level 2 "},
		"the middle level":      {func(b []byte) []byte { b[2*blockSize] ^= 1; return b }, "block 0 of level 1 "},
		"the lowest level":      {func(b []byte) []byte { b[len(b)-blockSize] ^= 1; return b }, "block 129 of level 0 "},
		"a byte less":           {func(b []byte) []byte { return b[:len(b)-1] }, "level 0: "},
		"the superblock alone":  {func(b []byte) []byte { return b[:superblockSize] }, "its first block: "},
		"a byte more":           {func(b []byte) []byte { return append(b, 0) }, "something stands behind it"},
	} {
		_, err := RootHash(strings.NewReader(text(size)), size, bytes.NewReader(c.change(bytes.Clone(good))))
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestSuperblock(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"cut off":         func(b []byte) []byte { return b[:500] },
		"another file":    func(b []byte) []byte { b[0] = 'V'; return b },
		"version":         func(b []byte) []byte { b[8] = 0; return b },
		"algorithm":       func(b []byte) []byte { copy(b[32:], "sha512"); return b },
		"block size":      func(b []byte) []byte { b[65] = 0x20; return b },
		"number":          func(b []byte) []byte { b[72]++; return b },
		"none":            func(b []byte) []byte { b[72] = 0; return b },
		"more than a lot": func(b []byte) []byte { b[79] = 0xff; return b },
		"long salt":       func(b []byte) []byte { b[81] = 2; return b },
	} {
		if _, err := RootHash(strings.NewReader("x"), 1, bytes.NewReader(change(super(1, nil)))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := RootHash(strings.NewReader("x"), 4097, bytes.NewReader(super(2, nil))); err == nil {
		t.Error("data that end early have a root hash")
	}
}
