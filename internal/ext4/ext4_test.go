package ext4

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
)

var update = flag.Bool("update", false, "write the golden files anew")

// image is a file system of 8 MiB with the features that isotrace has mke2fs 1.47 make,
// after e2fsck -D: a folder with an index, a sparse file, hard and symbolic links of
// both kinds, a pipe, extended attributes in an inode and in a block.
func image(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/tree.ext4.zst")
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b, err := io.ReadAll(d)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t testing.TB, b []byte) (string, error) {
	t.Helper()
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
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

// counting counts what is read.
type counting struct {
	io.ReaderAt
	bytes atomic.Int64
}

func (c *counting) ReadAt(b []byte, at int64) (int, error) {
	c.bytes.Add(int64(len(b)))
	return c.ReaderAt.ReadAt(b, at)
}

// TestReadsOnce: the time that a tree takes grows with the file system, not with the
// square of a folder's names: nothing but the tables of inodes is read more than once.
func TestReadsOnce(t *testing.T) {
	b := image(t)
	c := &counting{ReaderAt: bytes.NewReader(b)}
	f, err := Open(c, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Tree(t.Context()); err != nil {
		t.Fatal(err)
	}
	tables := int64(f.inodes) * inodeSize
	if n := c.bytes.Load(); n > int64(len(b))+tables {
		t.Errorf("%d bytes read of %d, %d of which are inodes", n, len(b), tables)
	}
}

func TestTree(t *testing.T) {
	have, err := read(t, image(t))
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/tree.mtree"
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
		t.Errorf("the tree is\n%s", have)
	}
}

// inodeAt is where an inode stands, and blockOf where its first block is, in bytes.
func inodeAt(t *testing.T, b []byte, n uint32) int64 {
	t.Helper()
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f.tables[(n-1)/f.inodesPerGroup]*blockSize + int64((n-1)%f.inodesPerGroup)*inodeSize
}

const (
	extentCount = 40 + 12 + 4 // of an inode's first extent
	extentStart = 40 + 12 + 8
)

func blockOf(t *testing.T, b []byte, n uint32) int64 {
	t.Helper()
	return int64(binary.LittleEndian.Uint32(b[inodeAt(t, b, n)+extentStart:])) * blockSize
}

// inodeOf finds a name's entry in the folders' blocks.
func inodeOf(t *testing.T, b []byte, name string) (n uint32, entry int64) {
	t.Helper()
	for at := 8; ; at++ {
		next := bytes.Index(b[at:], []byte(name))
		if next < 0 {
			t.Fatalf("no folder has %s", name)
		}
		at += next
		if at%4 == 0 && int(b[at-2]) == len(name) && b[at-1] > 0 && b[at-1] < 8 {
			return binary.LittleEndian.Uint32(b[at-8:]), int64(at - 8)
		}
	}
}

func TestRefused(t *testing.T) {
	good := image(t)
	three, _ := inodeOf(t, good, "three")
	pipe, _ := inodeOf(t, good, "pipe")
	hello, _ := inodeOf(t, good, "hello")
	empty, emptyEntry := inodeOf(t, good, "empty")
	_, second := inodeOf(t, good, "a-second-name")
	many, _ := inodeOf(t, good, "many")
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		says   string
	}{
		"no magic":            {func(b []byte) []byte { b[1024+56] ^= 1; return b }, "no magic number"},
		"another feature":     {func(b []byte) []byte { b[1024+97] |= 0x80; return b }, "other features"},
		"not clean":           {func(b []byte) []byte { b[1024+58] = 0; return b }, "not unmounted cleanly"},
		"cut off":             {func(b []byte) []byte { return b[:len(b)-blockSize] }, "blocks in"},
		"very short":          {func(b []byte) []byte { return b[:1100] }, "too short"},
		"group of no inodes":  {func(b []byte) []byte { clear(b[1024+40 : 1024+44]); return b }, "0 inodes"},
		"hidden bytes":        {func(b []byte) []byte { b[len(b)-1] = 1; return b }, "belong to no file"},
		"an inode unnamed":    {func(b []byte) []byte { b[inodeAt(t, b, 1000)] = 1; return b }, "inode 1000 has no name"},
		"bytes behind a file": {func(b []byte) []byte { b[blockOf(t, b, three)+9000] = 1; return b }, "three: not an ext4 file system that isotrace reads: there are bytes behind the end of a file"},
		"a block of two": {func(b []byte) []byte {
			copy(b[inodeAt(t, b, three)+extentStart:][:4], b[inodeAt(t, b, hello)+extentStart:])
			return b
		}, "belongs to two"},
		"a block of the table": {func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[inodeAt(t, b, three)+extentStart:], 1)
			return b
		}, "belongs to two"},
		"a block outside": {func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[inodeAt(t, b, three)+extentStart:], 1<<30)
			return b
		}, "lie outside"},
		"unwritten blocks":     {func(b []byte) []byte { b[inodeAt(t, b, three)+extentCount+1] |= 0x80; return b }, "an extent of"},
		"a huge file":          {func(b []byte) []byte { b[inodeAt(t, b, three)+110] = 1; return b }, "larger than itself"},
		"a file cut short":     {func(b []byte) []byte { b[inodeAt(t, b, three)+5] = 0; return b }, "behind its end"},
		"a device":             {func(b []byte) []byte { b[inodeAt(t, b, pipe)+1] = 0x21; return b }, "pipe: is a device"},
		"inline data":          {func(b []byte) []byte { b[inodeAt(t, b, three)+35] |= 0x10; return b }, "flags"},
		"a slash in a name":    {func(b []byte) []byte { b[second+9] = '/'; return b }, "has an entry"},
		"a name twice":         {func(b []byte) []byte { copy(b[second+8:], "empty"); b[second+6] = 5; return b }, "has an entry"},
		"a damaged entry":      {func(b []byte) []byte { b[second+4] = 3; return b }, "an entry is damaged"},
		"a folder twice":       {func(b []byte) []byte { binary.LittleEndian.PutUint32(b[emptyEntry:], many); return b }, "two names"},
		"the root again":       {func(b []byte) []byte { binary.LittleEndian.PutUint32(b[emptyEntry:], 2); return b }, "is inode 2"},
		"an inode outside":     {func(b []byte) []byte { binary.LittleEndian.PutUint32(b[emptyEntry:], 1<<31); return b }, "there is no inode"},
		"links miscounted":     {func(b []byte) []byte { b[inodeAt(t, b, hello)+26] = 1; return b }, "has 2 names and says 1"},
		"an access list":       {func(b []byte) []byte { b[inodeAt(t, b, hello)+128+32+4+1] = 2; return b }, "access control list"},
		"an attribute outside": {func(b []byte) []byte { b[inodeAt(t, b, hello)+128+32+4+3] = 0x10; return b }, "outside its place"},
		"a shared attribute block": {func(b []byte) []byte {
			b[int64(binary.LittleEndian.Uint32(b[inodeAt(t, b, empty)+104:]))*blockSize+4] = 2
			return b
		}, "more than one file's"},
		"a damaged extent tree": {func(b []byte) []byte { b[inodeAt(t, b, three)+40] ^= 1; return b }, "extent tree is damaged"},
	} {
		_, err := read(t, c.change(bytes.Clone(good)))
		if err == nil || !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// FuzzTree changes bytes at places: four bytes say where, modulo the size, and one what.
func FuzzTree(f *testing.F) {
	good := image(f)
	f.Add([]byte{})
	f.Add([]byte{0, 4, 0, 0, 1, 0x38, 4, 0, 0, 0})
	for _, at := range []uint32{1024 + 40, 1024 + 96, 4096, 4096 + 8, 0x3000, 0x4000, 0x5000 + 40, 0x22000} {
		f.Add(append(binary.LittleEndian.AppendUint32(nil, at), 0xff))
	}
	f.Fuzz(func(t *testing.T, changes []byte) {
		b := bytes.Clone(good)
		for len(changes) >= 5 && len(changes) < 500 {
			b[int64(binary.LittleEndian.Uint32(changes))%int64(len(b))] = changes[4]
			changes = changes[5:]
		}
		if _, err := read(t, b); err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, io.EOF) {
			t.Errorf("%v", err)
		}
		any, err := OpenAny(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			err = any.WriteTar(t.Context(), io.Discard)
		}
		if err != nil && !errors.Is(err, ErrFormat) && !errors.Is(err, io.EOF) && !errors.Is(err, tar.ErrHeader) {
			t.Errorf("as anybody's: %v", err)
		}
	})
}

// TestSecondNames: of file systems that others made, a link and a pipe may have two
// names; a folder may not.
func TestSecondNames(t *testing.T) {
	b := image(t)
	inodeOf := func(name string) []byte {
		at := bytes.Index(b, append([]byte{byte(len(name))}, append([]byte{map[string]byte{"short": 7, "pipe": 5, "dir": 2}[name]}, name...)...))
		if at < 6 {
			t.Fatalf("no entry %s", name)
		}
		return b[at-6 : at-2]
	}
	copy(inodeOf("pipe"), inodeOf("short"))
	members := func() (map[string]string, error) {
		f, err := OpenAny(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := f.WriteTar(t.Context(), &out); err != nil {
			return nil, err
		}
		all := map[string]string{}
		for r := tar.NewReader(&out); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return all, nil
			}
			if err != nil {
				t.Fatal(err)
			}
			all[h.Name] = string(h.Typeflag) + h.Linkname
		}
	}
	if all, err := members(); err != nil || all["pipe"] != all["short"] || all["short"] != "2dir/hello" {
		t.Errorf("%q and %q, %v", all["pipe"], all["short"], err)
	}
	if _, err := read(t, b); err == nil || !strings.Contains(err.Error(), "is there under two names") {
		t.Errorf("isotrace's own: %v", err)
	}
	copy(inodeOf("short"), inodeOf("dir"))
	if _, err := members(); err == nil || !strings.Contains(err.Error(), "is there under two names") {
		t.Errorf("a folder: %v", err)
	}
}
