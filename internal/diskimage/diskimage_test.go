package diskimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
)

var (
	tree  = artifact.HashBytes([]byte("tree"))
	other = artifact.HashBytes([]byte("other"))
)

func TestNewLayout(t *testing.T) {
	for _, c := range []struct {
		esp, root, disk  int64 // what is asked for
		size, start, end int64 // of the disk; of the root file system; MiB
		says             string
	}{
		{8 * MiB, 100 * MiB, 0, 111, 10, 110, ""},
		{8*MiB - 1, 100*MiB + 1, 0, 112, 10, 111, ""},
		{MiB, MiB, 0, 20, 3, 19, ""}, // the smallest that Azure takes
		{8 * MiB, 100 * MiB, 4096 * MiB, 4096, 10, 4095, ""},
		{8 * MiB, 100 * MiB, 110 * MiB, 0, 0, 0, "110 MiB are too small: what it holds needs 111 MiB"},
		{8 * MiB, 100 * MiB, 200*MiB + 1, 0, 0, 0, "no whole number of MiB"},
	} {
		l, err := NewLayout(c.esp, c.root, c.disk)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil || l.Size != c.size*MiB || l.Root.Offset != c.start*MiB || l.Root.Offset+l.Root.Size != c.end*MiB {
			t.Errorf("%+v: %+v, %v", c, l, err)
		}
	}
}

// TestUUID keeps the identifiers: another one would be another disk.
func TestUUID(t *testing.T) {
	if have, want := UUID(tree, ForFiles), "ea8b20a3-9a96-559a-89f1-22a5fd44b09c"; have != want {
		t.Errorf("%s, want %s", have, want)
	}
	if UUID(tree, ForFiles) == UUID(other, ForFiles) || UUID(tree, ForFiles) == UUID(tree, ForRoot) {
		t.Error("two things have one UUID")
	}
}

// TestGeometry has the values of the specification's formula at its bounds.
func TestGeometry(t *testing.T) {
	for _, c := range []struct {
		mib                    int64
		cylinders              uint16
		heads, sectorsPerTrack uint8
	}{
		{20, 602, 4, 17}, {33, 993, 4, 17}, {34, 140, 16, 31}, {136, 561, 16, 31}, {855, 1737, 16, 63}, {2040 << 10, 65535, 16, 255},
	} {
		if cyl, h, s := geometry(c.mib * MiB / Sector); cyl != c.cylinders || h != c.heads || s != c.sectorsPerTrack {
			t.Errorf("%d MiB: %d cylinders, %d heads, %d sectors a track", c.mib, cyl, h, s)
		}
	}
}

func TestFooter(t *testing.T) {
	const e = epoch.Epoch(year2000 + 1000)
	b, err := Footer(855*MiB, tree, e)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != FooterSize || string(b[:8]) != "conectix" || binary.BigEndian.Uint64(b[48:]) != 855*MiB || binary.BigEndian.Uint32(b[24:]) != 1000 || b[63] != 2 {
		t.Errorf("%x", b[:85])
	}
	sum := binary.BigEndian.Uint32(b[64:])
	for i, c := range b {
		if i < 64 || i >= 68 {
			sum += uint32(c)
		}
	}
	if sum != 1<<32-1 {
		t.Errorf("the checksum is off by %x", ^sum)
	}
	if err := CheckFooter(b, 855*MiB, tree, e); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"another disk":  CheckFooter(b, 855*MiB, other, e),
		"another size":  CheckFooter(b, 856*MiB, tree, e),
		"another time":  CheckFooter(b, 855*MiB, tree, e+1),
		"no whole size": CheckFooter(b, 855*MiB+512, tree, e),
	} {
		if err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
	if early, err := Footer(20*MiB, tree, 0); err != nil || binary.BigEndian.Uint32(early[24:]) != 0 {
		t.Errorf("a time before 2000: %v", err)
	}
}

func TestGRUB(t *testing.T) {
	image := make([]byte, Sector)
	image[510], image[511] = 0x55, 0xaa
	code, err := BootCode(image)
	if err != nil || len(code) != BootCodeSize || binary.LittleEndian.Uint64(code[kernelSector:]) != 2048 || code[driveCheck] != nop {
		t.Errorf("%x, %v", code, err)
	}
	if _, err := BootCode(image[:511]); err == nil {
		t.Error("a short boot.img is taken")
	}
	if _, err := BootCode(make([]byte, Sector)); err == nil {
		t.Error("a boot.img without signature is taken")
	}
	core := bytes.Repeat([]byte{1}, 3*Sector)
	placed, err := BIOSBoot(core)
	if err != nil || len(placed) != MiB || binary.LittleEndian.Uint64(placed[diskbootList:]) != 2049 || placed[3*Sector-1] != 1 || placed[3*Sector] != 0 {
		t.Errorf("%v", err)
	}
	for _, size := range []int{0, Sector, MiB + 1} {
		if _, err := BIOSBoot(make([]byte, size)); err == nil {
			t.Errorf("a core image of %d bytes is taken", size)
		}
	}
}

// disk is what stands around the partitions of one of 64 MiB.
func disk(t testing.TB) []byte {
	t.Helper()
	l, err := NewLayout(8*MiB, 1, 64*MiB)
	if err != nil {
		t.Fatal(err)
	}
	e := newEdges(l.Size)
	if err := l.WriteTable(e, tree); err != nil {
		t.Fatal(err)
	}
	copy(e.first, "boot code")
	b := make([]byte, l.Size)
	copy(b, e.first)
	copy(b[l.Size-MiB:], e.last)
	return b
}

func TestReadLayout(t *testing.T) {
	good := disk(t)
	l, code, err := ReadLayout(bytes.NewReader(good), int64(len(good)), tree)
	want := Layout{Size: 64 * MiB, BIOS: Extent{MiB, MiB}, ESP: Extent{2 * MiB, 8 * MiB}, Root: Extent{10 * MiB, 53 * MiB}}
	if err != nil || l != want || !bytes.HasPrefix(code, []byte("boot code")) || len(code) != BootCodeSize {
		t.Errorf("%+v, %v", l, err)
	}
	table, err := gpt.Read(storage{bytes.NewReader(good)}, Sector, Sector)
	if err != nil || len(table.Partitions) != 3 || table.RecoveredFromBackup || !table.ProtectiveMBR {
		t.Errorf("%+v, %v", table, err)
	}
	if _, _, err := ReadLayout(bytes.NewReader(good), int64(len(good)), other); err == nil {
		t.Error("another tree's disk is taken")
	}
	if _, _, err := ReadLayout(bytes.NewReader(good[:32*MiB]), 32*MiB, tree); err == nil {
		t.Error("half a disk is taken")
	}
	if _, _, err := ReadLayout(bytes.NewReader(good), 63*MiB+1, tree); err == nil {
		t.Error("a size that is no whole number of MiB is taken")
	}
	for name, at := range map[string]int{
		"disk signature": 440, "protective partition": 446, "header": 512 + 56, "type": 1024, "name": 1024 + 60, "end of the EFI system partition": 1024 + 128 + 40,
		"a fourth partition": 1024 + 3*128, "behind the table": 40 * Sector, "second table": 64*MiB - 33*Sector, "before the second table": 63 * MiB, "second header": 64*MiB - Sector + 20,
	} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if _, _, err := ReadLayout(bytes.NewReader(bad), int64(len(bad)), tree); err == nil {
			t.Errorf("%s: is taken", name)
		}
	}
}

// FuzzReadLayout changes the table of a disk.
func FuzzReadLayout(f *testing.F) {
	good := disk(f)
	f.Add(good[:3*Sector])
	f.Add(bytes.Repeat([]byte{0xff}, 3*Sector))
	f.Fuzz(func(t *testing.T, first []byte) {
		b := bytes.Clone(good[:64*MiB])
		copy(b[:min(len(first), MiB)], first)
		l, _, err := ReadLayout(bytes.NewReader(b), int64(len(b)), tree)
		if err == nil && l.Root.Offset+l.Root.Size != 63*MiB {
			t.Errorf("%+v", l)
		}
	})
}

// storage is a disk for the library that reads partition tables.
type storage struct{ *bytes.Reader }

func (storage) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
func (storage) Close() error               { return nil }
