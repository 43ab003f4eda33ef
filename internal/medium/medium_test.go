package medium

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hybridISO is an image that xorriso 1.5.6 of Debian made with the options of the stage iso.
// BIOS image, boot code and the programs are patterns; mkfs.fat 4.2, mtools 4.0 and
// mksquashfs 4.6.1 made the rest.
func hybridISO(t testing.TB) []byte { return unpacked(t, "testdata/hybrid.iso.gz") }

func unpacked(t testing.TB, name string) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hybrid is what hybridISO is.
func hybrid() Hybrid {
	code := make([]byte, block)
	for i := range bootCode {
		code[i] = byte(11 * i)
	}
	binary.LittleEndian.PutUint64(code[codeAddress:], codeUnpatched)
	code[510], code[511] = 0x55, 0xaa
	return Hybrid{Volume: "X_1", Epoch: 1700000000, BootCode: artifact.HashBytes(code), BIOS: "boot/grub/bios.img", Catalogue: "boot/grub/boot.cat"}
}

// account opens an image, accounts for it and compares what its EFI system partition has.
func account(b []byte) error {
	i, err := readISO(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	files, err := i.SystemFiles()
	if err != nil {
		return err
	}
	if len(files) != 1 || files[0].Path != "EFI/BOOT/BOOTX64.EFI" || files[0].Size != 3002 {
		return fmt.Errorf("%+v", files)
	}
	return i.Account(hybrid())
}

func TestISO(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.iso")
	if err := os.WriteFile(name, hybridISO(t), 0o600); err != nil {
		t.Fatal(err)
	}
	iso, err := OpenISO(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := iso.Close(); err != nil {
			t.Error(err)
		}
	}()
	var names []string
	for n := range iso.Files {
		names = append(names, n)
	}
	slices.Sort(names)
	if have, want := strings.Join(names, " "), ".disk/base_installable .disk/empty .disk/isotrace/x_1.0 EFI/BOOT/BOOTX64.EFI "+
		"boot/grub/bios.img boot/grub/boot.cat casper/filesystem.manifest-desktop casper/filesystem.squashfs md5sum.txt"; have != want {
		t.Errorf("files: %s", have)
	}
	sha, sum, err := iso.Sums("md5sum.txt")
	want := md5.Sum([]byte("sums"))
	if err != nil || sha != artifact.HashBytes([]byte("sums")) || sum != hex.EncodeToString(want[:]) {
		t.Errorf("%s %s %v", sha, sum, err)
	}
	if _, err := iso.Open("nothing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	esp, _, err := iso.SystemPartition()
	if err != nil || esp.Size != 4<<20 {
		t.Errorf("EFI system partition: %+v, %v", esp, err)
	}
	files, err := iso.SystemFiles()
	if err != nil || len(files) != 1 || files[0].Path != "EFI/BOOT/BOOTX64.EFI" || files[0].Size != 3002 {
		t.Errorf("EFI system partition: %+v, %v", files, err)
	}
	m, err := iso.Squashfs(t.Context(), "casper/filesystem.squashfs")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range m.Entries {
		have = append(have, e.Path+":"+string(e.Type)+e.Target)
	}
	if at, err := iso.SquashfsTime("casper/filesystem.squashfs"); err != nil || at != 1700000000 {
		t.Errorf("time %d, %v", at, err)
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
	if err := iso.Account(hybrid()); err != nil {
		t.Error(err)
	}
}

// TestLinks reads an image of a folder in which names share a file, as those of one content
// in a stage do: two of an empty file, three of another one. xorriso 1.5.4 made it.
func TestLinks(t *testing.T) {
	b := unpacked(t, "testdata/links.iso.gz")
	if err := account(b); err != nil {
		t.Fatal(err)
	}
	const before = 55 // of a Rock Ridge name lies the number of links, in both orders
	for _, c := range []struct {
		image []byte
		name  string
		links byte
	}{
		{b, "filesystem.manifest-remove", 1}, {b, "filesystem.manifest-remove", 3}, {b, "filesystem.manifest-desktop", 2},
		{b, "md5sum.txt", 2}, {hybridISO(t), "base_installable", 2},
	} {
		changed, found := slices.Clone(c.image), 0
		for at := range changed {
			if bytes.HasPrefix(changed[at:], []byte(c.name)) && at > before && bytes.HasPrefix(changed[at-5:], []byte("NM")) {
				changed[at-before], changed[at-before+7], found = c.links, c.links, found+1
			}
		}
		if found != 2 {
			t.Fatalf("%s: %d records, want one in each volume", c.name, found)
		}
		if err := account(changed); err == nil || !strings.Contains(err.Error(), "links, and belongs") {
			t.Errorf("%s with %d links: %v", c.name, c.links, err)
		}
	}
}

// TestUnpatched takes an El Torito image back to what it was.
func TestUnpatched(t *testing.T) {
	original := make([]byte, 6000)
	for i := range original {
		original[i] = byte(7 * i)
	}
	clear(original[tableStart:tableEnd])
	binary.LittleEndian.PutUint64(original[grubStart:], grubUnpatched)
	b := hybridISO(t)
	open := func() ([]byte, error) {
		iso, err := readISO(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, err
		}
		return iso.Unpatched("boot/grub/bios.img")
	}
	have, err := open()
	if err != nil || !bytes.Equal(have, original) {
		t.Errorf("not what it was: %v", err)
	}
	iso, err := readISO(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	patched := b[iso.Files["boot/grub/bios.img"].Offset:]
	for name, at := range map[string]int{"address": tableStart + 4, "length": tableStart + 8, "checksum": tableStart + 12, "GRUB's address": grubStart, "padding": tableStart + 16} {
		patched[at] ^= 1
		if _, err := open(); err == nil {
			t.Errorf("a wrong %s was taken", name)
		}
		patched[at] ^= 1
	}
}

// TestEveryByteCounts changes bytes wherever no file's content is, neither of the image
// nor of its EFI system partition: each makes another image.
func TestEveryByteCounts(t *testing.T) {
	b := hybridISO(t)
	if err := account(b); err != nil {
		t.Fatal(err)
	}
	iso, err := readISO(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	esp, err := iso.espExtent()
	if err != nil {
		t.Fatal(err)
	}
	content := []Extent{ // the program's place in the partition, and most of what is free there
		{esp.Offset + block + 2*32*block + fatRootSize + 2*block, 3002}, {esp.Offset + 64<<10, 3 << 20}, {esp.Offset + 3<<20 + 100<<10, 800 << 10},
	}
	for name, e := range iso.Files {
		if name != hybrid().Catalogue {
			content = append(content, e)
		}
	}
	tried := 0
	for at := int64(0); at < int64(len(b)); at++ {
		if slices.ContainsFunc(content, func(e Extent) bool { return at >= e.Offset && at < e.Offset+e.Size }) {
			continue
		}
		if b[at] == 0 && at%1021 != 0 || b[at] == ' ' && at%97 != 0 || at >= systemArea+sector && at%3 != 0 {
			continue // not all of what there is much of
		}
		tried++
		b[at] ^= 0x40
		if err := account(b); err == nil {
			t.Errorf("byte %d, %#02x, may be changed", at, b[at])
		}
		b[at] ^= 0x40
	}
	if tried < 1_000 {
		t.Errorf("only %d bytes were tried", tried)
	}
}

func TestVolumeID(t *testing.T) {
	for _, c := range [][3]string{
		{"rescue", "1.0.0", "RESCUE_1_0_0"}, {"a+b", "~1", "A_B__1"},
		{"a-very-long-name-for-a-product", "2026.11.23", "A_VERY_LONG_NAME_FOR_A_PRODUCT_2"},
	} {
		if have := VolumeID(c[0], c[1]); have != c[2] || len(have) > 32 {
			t.Errorf("VolumeID(%q, %q) = %q, want %q", c[0], c[1], have, c[2])
		}
	}
}

func FuzzOpenISO(f *testing.F) {
	image := hybridISO(f)
	// What describes the image comes before the content of the large files.
	const head = 80 * sector
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0x80, 0xa0, 2, 0x40, 1, 0x18, 20, 0xff})
	f.Fuzz(func(t *testing.T, changes []byte) {
		b := slices.Clone(image)
		for ; len(changes) >= 4; changes = changes[4:] {
			b[(int(changes[0])<<16|int(changes[1])<<8|int(changes[2]))%head] = changes[3]
		}
		iso, err := readISO(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for file := range iso.Files {
			_, _, _ = iso.Sums(file)
			_, _ = iso.Unpatched(file)
		}
		_, _, _ = iso.SystemPartition()
		if iso.Account(hybrid()) == nil && !bytes.Equal(b[:systemArea], image[:systemArea]) {
			t.Error("another system area is taken")
		}
	})
}

// sectors is an image of which only the sectors are kept that hold something.
type sectors struct {
	size int64
	kept map[int64][]byte
}

func (s sectors) ReadAt(b []byte, at int64) (int, error) {
	for n := 0; n < len(b); {
		if at >= s.size {
			return n, io.EOF
		}
		part := b[n:min(len(b), n+sector-int(at%sector))]
		clear(part)
		if kept, ok := s.kept[at/sector]; ok {
			copy(part, kept[at%sector:])
		}
		n, at = n+len(part), at+int64(len(part))
	}
	return len(b), nil
}

// TestLarge reads an image with a file of 4500 MiB, which takes more than one extent: what
// xorriso made as it made hybridISO.
func TestLarge(t *testing.T) {
	r, err := gzip.NewReader(bytes.NewReader(read(t, "testdata/large.sectors.gz")))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	image := sectors{int64(binary.LittleEndian.Uint64(b)), map[int64][]byte{}}
	for b = b[8:]; len(b) > 0; b = b[4+sector:] {
		image.kept[int64(binary.LittleEndian.Uint32(b))] = b[4 : 4+sector]
	}
	iso, err := readISO(image, image.size)
	if err != nil {
		t.Fatal(err)
	}
	if size := iso.Files["casper/filesystem.squashfs"].Size; size != 4500<<20 {
		t.Errorf("the squashfs has %d bytes", size)
	}
	if err := iso.Account(hybrid()); err != nil {
		t.Error(err)
	}
	// The second extent, elsewhere: wherever the record stands.
	at := iso.Files["casper/filesystem.squashfs"].Offset/sector + 4294965248/sector
	place := binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(at)), uint32(at))
	found := false
	for _, s := range image.kept {
		if n := bytes.Index(s, place); n >= 0 {
			s[n]--
			s[n+7]--
			found = true
		}
	}
	if _, err := readISO(image, image.size); !found || err == nil || !strings.Contains(err.Error(), "does not go on where it should") {
		t.Errorf("an extent elsewhere: %v, %v", found, err)
	}
}
