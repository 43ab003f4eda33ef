package squashfs

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file anew")

// image is a squashfs that mksquashfs 4.6.1 made of a tree of hard cases, in blocks of 4096
// bytes: names that are no UTF-8 and long ones, hard links, holes, set-id bits, many and
// shared extended attributes, a folder with an index, an owner above 65535.
func image(t testing.TB, compression string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "tree."+compression+".squashfs"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func list(t testing.TB, b []byte) (string, error) {
	t.Helper()
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return "", err
	}
	if _, err := f.Time(); err != nil {
		return "", err
	}
	m, err := f.Tree(t.Context())
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if err := m.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String(), nil
}

func TestTree(t *testing.T) {
	const golden = "testdata/tree.mtree"
	for _, compression := range []string{"zstd", "gzip", "xz"} {
		have, err := list(t, image(t, compression))
		if err != nil {
			t.Errorf("%s: %v", compression, err)
			continue
		}
		if *update {
			if err := os.WriteFile(golden, []byte(have), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if have != string(want) {
			t.Errorf("%s: another tree than in %s", compression, golden)
		}
	}
}

func TestFiles(t *testing.T) {
	b := image(t, "gzip")
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	err = f.Files(t.Context(), []string{"text-9000", "dir\xff/f\xfe", "nothing"}, 5, func(p string, b []byte) error {
		have[p] = string(b)
		return nil
	})
	if err != nil || len(have) != 3 || have["text-9000"] != "ab\nab" || have["dir\xff/f\xfe"] != "y" || have["nothing"] != "" {
		t.Errorf("%q, %v", have, err)
	}
	if err := f.Files(t.Context(), []string{"many"}, 5, nil); err == nil {
		t.Error("a folder was read")
	}
}

// TestRefused hides something in an image.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]byte) []byte
		says   string
	}{
		"behind the end":    {func(b []byte) []byte { b[len(b)-1] = 1; return b }, "behind its end"},
		"longer":            {func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, "do not lie in it"},
		"cut off":           {func(b []byte) []byte { return b[:len(b)/2] }, "do not lie in it"},
		"nothing":           {func([]byte) []byte { return nil }, "superblock"},
		"another version":   {func(b []byte) []byte { b[28] = 3; return b }, "not of version 4.0"},
		"inodes":            {func(b []byte) []byte { b[4]++; return b }, "export table"},
		"compressor":        {func(b []byte) []byte { b[20] = 2; return b }, "none of gzip"},
		"block size":        {func(b []byte) []byte { b[12] = 1; return b }, "blocks of"},
		"root":              {func(b []byte) []byte { b[32] ^= 1; return b }, "root folder"},
		"time":              {func(b []byte) []byte { b[8] ^= 1; return b }, "has the time"},
		"gap in the tables": {gap, "export table"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := list(t, c.change(image(t, "gzip")))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// gap puts eight bytes between the fragment table and the export table.
func gap(b []byte) []byte {
	s := func(at int) int { return int(binary.LittleEndian.Uint64(b[at:])) }
	from := s(80) + int(indexSize(int64(binary.LittleEndian.Uint32(b[16:])), 16))
	b = slices.Insert(b, from, make([]byte, 8)...)
	for _, at := range []int{40, 48, 56, 88} {
		binary.LittleEndian.PutUint64(b[at:], uint64(s(at)+8))
	}
	first := s(88) // the index, whose blocks moved, too
	for n := range int(indexSize(int64(binary.LittleEndian.Uint32(b[4:])), 8) / 8) {
		binary.LittleEndian.PutUint64(b[first+8*n:], uint64(s(first+8*n)+8))
	}
	return b
}

// TestEveryByteCounts changes bytes of an image: it is refused, or has another tree. Only
// the compressor does not notice each bit of what it wrote.
func TestEveryByteCounts(t *testing.T) {
	b := image(t, "gzip")
	want, err := list(t, b)
	if err != nil {
		t.Fatal(err)
	}
	used := int(binary.LittleEndian.Uint64(b[40:]))
	same, tried := 0, 0
	for at := 0; at < used; at++ {
		if at >= superSize && at < used-200 && at%53 != 0 {
			continue
		}
		tried++
		b[at] ^= 0x10
		if have, err := list(t, b); err == nil && have == want {
			same++
			if at < superSize {
				t.Errorf("byte %d may be changed", at)
			}
		}
		b[at] ^= 0x10
	}
	if same > tried/100 {
		t.Errorf("%d of %d bytes may be changed", same, tried)
	}
}

func FuzzOpen(f *testing.F) {
	for _, compression := range []string{"zstd", "gzip", "xz"} {
		f.Add(image(f, compression))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Open(bytes.NewReader(b), int64(len(b))); err == nil && len(b) < 1<<20 {
			_, _ = s.Tree(t.Context())
		}
	})
}
