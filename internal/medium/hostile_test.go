package medium

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// changeMode changes the mode that the nth record of a folder has, in both halves.
func changeMode(t *testing.T, b []byte, folder int64, nth int) {
	t.Helper()
	at := folder * sector
	for range nth {
		at += int64(b[at])
	}
	record := b[at : at+int64(b[at])]
	n := bytes.Index(record, []byte("PX"))
	if n < 0 {
		t.Fatal("the record has no PX")
	}
	record[n+4] |= 0o022
	record[n+11] |= 0o022
}

// TestRootFolder: the root folder's own attributes count, too, where all records agree.
func TestRootFolder(t *testing.T) {
	b := hybridISO(t)
	iso, err := readISO(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	root := iso.volume.root
	changeMode(t, b, root.at, 0)
	changeMode(t, b, root.at, 1)
	for _, n := range root.children {
		if n.folder {
			changeMode(t, b, n.at, 1)
		}
	}
	if err := account(b); err == nil || !strings.Contains(err.Error(), "its root folder has mode 40577") {
		t.Errorf("%v", err)
	}
}

// TestManyRecords: folders that are all at one place, full of records of one file, would
// take time and memory beyond any bound.
func TestManyRecords(t *testing.T) {
	record := func(name string, flags byte, at, size int) []byte {
		b := make([]byte, 33+len(name)+1-len(name)%2)
		b[0], b[25], b[28], b[31], b[32] = byte(len(b)), flags, 1, 1, byte(len(name))
		for i, n := range []int{at, size} {
			binary.LittleEndian.PutUint32(b[2+8*i:], uint32(n))
			binary.BigEndian.PutUint32(b[6+8*i:], uint32(n))
		}
		copy(b[33:], name)
		return b
	}
	fill := func(records [][]byte) []byte {
		var b []byte
		for _, r := range records {
			if left := sector - len(b)%sector; left < len(r) {
				b = append(b, make([]byte, left)...)
			}
			b = append(b, r...)
		}
		return append(b, make([]byte, (sector-len(b)%sector)%sector)...)
	}
	const folders, each, rootPlace, place = 100, 8000, 20, 100
	fillBoth := func(rootSize, size int) ([]byte, []byte) {
		root := [][]byte{record("\x00", flagFolder, rootPlace, rootSize), record("\x01", flagFolder, rootPlace, rootSize)}
		for n := range folders {
			root = append(root, record(string(toUCS2(string(rune('0'+n)))), flagFolder, place, size))
		}
		below := [][]byte{record("\x00", flagFolder, place, size), record("\x01", flagFolder, place, size)}
		for n := range each {
			flags := byte(flagMore)
			if n == each-1 {
				flags = 0
			}
			below = append(below, record("\x00a", flags, place, 0))
		}
		return fill(root), fill(below)
	}
	root, below := fillBoth(0, 0)
	root, below = fillBoth(len(root), len(below))
	image := make([]byte, place*sector+len(below))
	copy(image[rootPlace*sector:], root)
	copy(image[place*sector:], below)
	d := descriptorOf(typeJoliet)
	copy(d[rootAt:], record("\x00", flagFolder, rootPlace, len(root)))
	if _, err := readVolume(bytes.NewReader(image), int64(len(image)), d, 0, &claims{}); err == nil || !strings.Contains(err.Error(), "more than 400000 records") {
		t.Errorf("%v", err)
	}
}

// TestEqualFiles: two files that are one in the folder that xorriso reads, as all empty ones
// of a stage are, have two links, and lie at one place.
func TestEqualFiles(t *testing.T) {
	b := hybridISO(t)
	iso, err := readISO(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if one, other := iso.Files[".disk/base_installable"], iso.Files[".disk/empty"]; one != other || one.Size != 0 {
		t.Fatalf("%+v, %+v", one, other)
	}
	links := func(n uint32, names ...string) {
		for _, name := range names {
			for from, found := 0, 0; ; found++ {
				i := bytes.Index(b[from:], []byte(name))
				if i < 0 {
					if found == 0 {
						t.Fatalf("there is no %s", name)
					}
					break
				}
				from += i + len(name)
				if b[from-len(name)-3] != byte(len(name)+5) || string(b[from-len(name)-5:from-len(name)-3]) != "NM" {
					continue
				}
				px := from - len(name) - 5 - len("TF")
				px = bytes.LastIndex(b[:px], []byte("PX"))
				binary.LittleEndian.PutUint32(b[px+12:], n)
				binary.BigEndian.PutUint32(b[px+16:], n)
			}
		}
	}
	links(2, "base_installable", "empty")
	if err := account(b); err != nil {
		t.Error(err)
	}
	for _, n := range []uint32{0, 3} {
		links(n, "empty")
		if err := account(b); err == nil || !strings.Contains(err.Error(), ".disk/empty has mode 100444") {
			t.Errorf("%d links: %v", n, err)
		}
	}
	// The same with content: each of two names has all of it.
	two := claims{}
	image := ISO{image: bytes.NewReader(nil), Files: map[string]Extent{"a": {4096, 5}, "b": {4096, 5}, "c": {8192, 5}}}
	image.claimFiles(&two)
	if len(two) != 2 {
		t.Errorf("%+v", two)
	}
}
