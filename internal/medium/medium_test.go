package medium

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/diskfs/go-diskfs/filesystem/squashfs"

	"github.com/isotrace/isotrace/internal/artifact"
)

// makeSquashfs writes a squashfs of a few files.
func makeSquashfs(t testing.TB) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.squashfs")
	b, err := file.CreateFromPath(name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := squashfs.Create(b, 1<<20, 0, 4096)
	if err != nil {
		t.Fatal(err)
	}
	dir := fs.Workspace()
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // the library leaves it
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"bin/sudo": "run", "hello": strings.Repeat("hello ", 5000)} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "bin/sudo"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := fs.Finalize(squashfs.FinalizeOptions{NoCompressInodes: true}); err != nil {
		t.Fatal(err)
	}
	// The library writes no set-id bits: they go into the inode by hand, a basic
	// file's of mode 0755.
	image := read(t, name)
	inode := []byte{2, 0, 0xed, 1}
	if bytes.Count(image, inode) != 1 {
		t.Fatal("the inode of bin/sudo cannot be found")
	}
	return bytes.Replace(image, inode, []byte{2, 0, 0xed, 9}, 1)
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeISO writes an ISO of the files.
func makeISO(t testing.TB, files map[string][]byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.iso")
	b, err := file.CreateFromPath(name, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := iso9660.Create(b, 4<<20, 0, 2048, "")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range files {
		at := filepath.Join(fs.Workspace(), path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := fs.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "TEST"}); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestISO(t *testing.T) {
	image := makeISO(t, map[string][]byte{"casper/filesystem.squashfs": makeSquashfs(t), "md5sum.txt": []byte("sums"), "empty": nil})
	iso, err := OpenISO(image)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := iso.Close(); err != nil {
			t.Error(err)
		}
	}()
	if len(iso.Files) != 3 || iso.Files["md5sum.txt"].Size != 4 {
		t.Errorf("files: %v", iso.Files)
	}
	sha, sum, err := iso.Sums("md5sum.txt")
	want := md5.Sum([]byte("sums"))
	if err != nil || sha != artifact.HashBytes([]byte("sums")) || sum != hex.EncodeToString(want[:]) {
		t.Errorf("%s %s %v", sha, sum, err)
	}
	if _, err := iso.Open("nothing"); err == nil {
		t.Error("a file that is not there was opened")
	}
	if _, _, err := iso.SystemPartition(); err == nil {
		t.Error("a partition that is not there was found")
	}
	m, err := iso.Squashfs(t.Context(), "casper/filesystem.squashfs")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range m.Entries {
		have = append(have, e.Path+":"+string(e.Type)+e.Target)
	}
	if list := strings.Join(have, " "); list != ".:dir bin:dir bin/sudo:file hello:file" {
		t.Errorf("tree: %s", list)
	}
	if e, _ := m.Lookup("bin/sudo"); e.Mode != 0o4755 || e.SHA256 != artifact.HashBytes([]byte("run")) {
		t.Errorf("bin/sudo: mode %o, %s", e.Mode, e.SHA256)
	}
	if e, _ := m.Lookup("hello"); e.SHA256 != artifact.HashBytes([]byte(strings.Repeat("hello ", 5000))) {
		t.Errorf("hello: %s", e.SHA256)
	}
}

// TestUnpatched takes an El Torito image back to what it was.
func TestUnpatched(t *testing.T) {
	original := make([]byte, 6000)
	for i := range original {
		original[i] = byte(i)
	}
	clear(original[tableStart:tableEnd])
	binary.LittleEndian.PutUint64(original[grubStart:], grubUnpatched)
	image := makeISO(t, map[string][]byte{"bios.img": original})
	iso, err := OpenISO(image)
	if err != nil {
		t.Fatal(err)
	}
	extent := iso.Files["bios.img"]
	if err := iso.Close(); err != nil {
		t.Fatal(err)
	}
	b := read(t, image)
	patched := b[extent.Offset : extent.Offset+extent.Size]
	lba := uint32(extent.Offset / sector)
	binary.LittleEndian.PutUint64(patched[grubStart:], uint64(lba)*4+grubAddress)
	var sum uint32
	for at := tableEnd; at < len(patched); at += 4 {
		sum += binary.LittleEndian.Uint32(patched[at:])
	}
	for n, word := range []uint32{16, lba, uint32(len(patched)), sum} {
		binary.LittleEndian.PutUint32(patched[tableStart+4*n:], word)
	}
	open := func() ([]byte, error) {
		if err := os.WriteFile(image, b, 0o644); err != nil {
			t.Fatal(err)
		}
		iso, err := OpenISO(image)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = iso.Close() }() // only read
		return iso.Unpatched("bios.img")
	}
	have, err := open()
	if err != nil || artifact.HashBytes(have) != artifact.HashBytes(original) {
		t.Errorf("not what it was: %v", err)
	}
	for name, at := range map[string]int{"address": tableStart + 4, "length": tableStart + 8, "checksum": tableStart + 12, "GRUB's address": grubStart} {
		patched[at] ^= 1
		if _, err := open(); err == nil {
			t.Errorf("a wrong %s was taken", name)
		}
		patched[at] ^= 1
	}
}

func FuzzOpenISO(f *testing.F) {
	f.Add(read(f, makeISO(f, map[string][]byte{"casper/filesystem.squashfs": makeSquashfs(f), "x": []byte("x")})))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "x.iso")
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		iso, err := OpenISO(name)
		if err != nil {
			return
		}
		defer func() { _ = iso.Close() }() // only read
		for file := range iso.Files {
			_, _, _ = iso.Sums(file)
			_, _ = iso.Unpatched(file)
		}
		_, _, _ = iso.SystemPartition()
	})
}
