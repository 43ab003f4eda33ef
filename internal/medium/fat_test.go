package medium

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat16"

	"github.com/isotrace/isotrace/internal/artifact"
)

// fatImage is a FAT16 file system as makeFAT lays it out.
type fatImage []byte

const (
	fatSize    = 5 << 20
	fatStart   = 4 * 512
	fatCluster = 1024
)

func (i fatImage) tableSize() int { return int(binary.LittleEndian.Uint16(i[22:])) * 512 }
func (i fatImage) root() int      { return fatStart + 2*i.tableSize() }
func (i fatImage) data() int      { return i.root() + 512*32 }

func (i fatImage) next(cluster int) int {
	return int(binary.LittleEndian.Uint16(i[fatStart+2*cluster:]))
}

// lead lets a cluster lead to another, in both tables.
func (i fatImage) lead(cluster, to int) {
	binary.LittleEndian.PutUint16(i[fatStart+2*cluster:], uint16(to))
	binary.LittleEndian.PutUint16(i[fatStart+i.tableSize()+2*cluster:], uint16(to))
}

// entry is the folder entry with a short name, as it stands there: 11 characters.
func (i fatImage) entry(short string) []byte {
	at := bytes.Index(i, []byte(short))
	if len(short) != 11 || at < i.root() || at%32 != 0 {
		panic(short)
	}
	return i[at : at+32]
}

// cluster is the first of a file; with to, it is set.
func (i fatImage) cluster(short string, to ...int) int {
	e := i.entry(short)
	if len(to) > 0 {
		binary.LittleEndian.PutUint16(e[26:], uint16(to[0]))
	}
	return int(binary.LittleEndian.Uint16(e[26:]))
}

func (i fatImage) resize(short string, size int) {
	binary.LittleEndian.PutUint32(i.entry(short)[28:], uint32(size))
}

// makeFAT writes a FAT16 file system of the files; a path that ends in a slash
// is a folder.
func makeFAT(t testing.TB, files map[string]string) fatImage {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.img")
	b, err := file.CreateFromPath(name, fatSize)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := fat16.Create(b, fatSize, 0, 512, "", true)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for p := range files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		if dir := path.Dir(p); dir != "." {
			if err := fs.Mkdir(dir); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasSuffix(p, "/") {
			continue
		}
		f, err := fs.OpenFile("/"+p, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if files[p] != "" {
			if _, err := f.Write([]byte(files[p])); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	image := fatImage(read(t, name))
	image.lead(2, 0) // the library takes a cluster for the root folder, which has none in FAT16
	return image
}

func listFAT(t testing.TB, image []byte) ([]artifact.Ref, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.img")
	if err := os.WriteFile(name, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return FAT16(name)
}

// system are the files of an EFI system partition, more or less.
var system = map[string]string{
	"EFI/BOOT/BOOTX64.EFI": strings.Repeat("grub", 3000), "EFI/BOOT/grub of a long name.cfg": strings.Repeat("x", 2*fatCluster), "EFI/debian/": "",
	"STARTUP.NSH": "start", "EMPTY": "", "EFI/DEEP/A/A/A/A/A": "deep", "STARTUP/STARTUP": "a folder's own name",
}

func TestFAT16(t *testing.T) {
	image := makeFAT(t, system)
	files, err := listFAT(t, image)
	if err != nil {
		t.Fatal(err)
	}
	have, want := map[string]artifact.Ref{}, map[string]artifact.Ref{}
	for p, text := range system {
		if !strings.HasSuffix(p, "/") {
			want[p] = artifact.Ref{Path: p, Digest: artifact.HashBytes([]byte(text)), Size: int64(len(text))}
		}
	}
	for i, f := range files {
		have[f.Path] = f
		if i > 0 && files[i-1].Path >= f.Path {
			t.Errorf("%s stands after %s", f.Path, files[i-1].Path)
		}
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("have %v\nwant %v", have, want)
	}
	// Others give an empty file no cluster.
	image.lead(image.cluster("EMPTY      "), 0)
	image.cluster("EMPTY      ", 0)
	if files, err = listFAT(t, image); err != nil || len(files) != len(want) {
		t.Errorf("%v, %v", files, err)
	}
	if files, err := listFAT(t, makeFAT(t, nil)); err != nil || len(files) != 0 {
		t.Errorf("nothing in it: %v, %v", files, err)
	}
}

func TestFAT16Refused(t *testing.T) {
	const grub, start, empty, deep = "BOOTX64 EFI", "STARTUP NSH", "EMPTY      ", "DEEP       "
	for name, c := range map[string]struct {
		change func(i fatImage) fatImage
		text   string
	}{
		"circle":              {func(i fatImage) fatImage { i.lead(i.cluster(start), i.cluster(start)); return i }, "lead in a circle"},
		"long circle":         {func(i fatImage) fatImage { g := i.cluster(grub); n := i.next(g); i.lead(n, g); return i }, "lead in a circle"},
		"two chains":          {func(i fatImage) fatImage { i.lead(i.cluster(start), i.next(i.cluster(grub))); return i }, "where it must not"},
		"into the free":       {func(i fatImage) fatImage { i.lead(i.cluster(start), 4000); return i }, "leads to 4000"},
		"past the end":        {func(i fatImage) fatImage { i.lead(i.cluster(start), 6000); return i }, "leads to 6000"},
		"bad cluster":         {func(i fatImage) fatImage { i.lead(4000, 0xfff7); return i }, "leads to 65527"},
		"reserved":            {func(i fatImage) fatImage { i.lead(i.cluster(start), 1); return i }, "leads to 1"},
		"behind the end":      {func(i fatImage) fatImage { i.lead(i.tableSize()/2-1, 0xffff); return i }, "where it must not"},
		"lost cluster":        {func(i fatImage) fatImage { i.lead(4000, 0xffff); return i }, "1 clusters belong to no file"},
		"one for two":         {func(i fatImage) fatImage { i.cluster(start, i.cluster(grub)); i.resize(start, 12000); return i }, "is another file's"},
		"amidst another":      {func(i fatImage) fatImage { i.cluster(start, i.next(i.cluster(grub))); return i }, "STARTUP.NSH: "},
		"folder in circle":    {func(i fatImage) fatImage { i.cluster(deep, i.cluster("EFI        ")); return i }, "is another file's"},
		"root as folder":      {func(i fatImage) fatImage { i.cluster(deep, 0); return i }, "EFI/DEEP: "},
		"file as folder":      {func(i fatImage) fatImage { i.entry(grub)[11] |= 0x10; return i }, "BOOTX64.EFI"},
		"folder as file":      {func(i fatImage) fatImage { i.entry(deep)[11] &^= 0x10; return i }, "belong to no file"},
		"too long":            {func(i fatImage) fatImage { i.resize(start, fatCluster+1); return i }, "STARTUP.NSH: its 1025 bytes do not fit"},
		"absurd size":         {func(i fatImage) fatImage { i.resize(start, 1<<32-1); return i }, "do not fit"},
		"too short":           {func(i fatImage) fatImage { i.resize(grub, 11*fatCluster); return i }, "do not fit"},
		"no size":             {func(i fatImage) fatImage { i.resize(grub, 0); return i }, "BOOTX64.EFI: its 0 bytes do not fit"},
		"no cluster":          {func(i fatImage) fatImage { i.cluster(start, 0); return i }, "STARTUP.NSH: "},
		"cluster far out":     {func(i fatImage) fatImage { i.cluster(start, 0xfff0); return i }, "STARTUP.NSH: "},
		"hidden label":        {func(i fatImage) fatImage { i.entry(start)[11] |= 8; return i }, "belong to no file"},
		"removed":             {func(i fatImage) fatImage { i.entry(start)[0] = 0xe5; return i }, "belong to no file"},
		"cut off folder":      {func(i fatImage) fatImage { i.entry(grub)[0] = 0; return i }, "belong to no file"},
		"no name":             {func(i fatImage) fatImage { copy(i.entry(start), "           "); return i }, "belong to no file"},
		"name of dots":        {func(i fatImage) fatImage { copy(i.entry(start), "..         "); return i }, "belong to no file"},
		"slash in a name":     {func(i fatImage) fatImage { copy(i.entry(start), "A/B        "); return i }, "A/B"},
		"same name":           {func(i fatImage) fatImage { copy(i.entry(start), "EMPTY      "); return i }, "EMPTY: "},
		"sector size":         {func(i fatImage) fatImage { binary.LittleEndian.PutUint16(i[11:], 32768); return i }, "not one that is known"},
		"no sector size":      {func(i fatImage) fatImage { i[11], i[12] = 0, 0; return i }, "sector size 0"},
		"cluster size":        {func(i fatImage) fatImage { i[13] = 0; return i }, "not one that is known"},
		"nothing reserved":    {func(i fatImage) fatImage { i[14] = 0; return i }, "not one that is known"},
		"one table":           {func(i fatImage) fatImage { i[16] = 1; return i }, "not one that is known"},
		"no root":             {func(i fatImage) fatImage { i[17], i[18] = 0, 0; return i }, "root folder has 0 bytes"},
		"large root":          {func(i fatImage) fatImage { i[18] = 0xff; return i }, "at most 16384 are allowed"},
		"long table":          {func(i fatImage) fatImage { i[23] = 0xff; return i }, "it is cut off"},
		"short table":         {func(i fatImage) fatImage { i[22], i[23] = 1, 0; return i }, "table is too short"},
		"large":               {func(i fatImage) fatImage { binary.LittleEndian.PutUint16(i[19:], fatSize/512+1); return i }, "it is cut off"},
		"small":               {func(i fatImage) fatImage { binary.LittleEndian.PutUint16(i[19:], 4000); return i }, "cluster"},
		"cut off":             {func(i fatImage) fatImage { return i[:len(i)-512] }, "it is cut off"},
		"boot sector only":    {func(i fatImage) fatImage { return i[:512] }, "it is cut off"},
		"part of a sector":    {func(i fatImage) fatImage { return i[:100] }, "EOF"},
		"nothing":             {func(fatImage) fatImage { return nil }, ""},
		"zeros":               {func(i fatImage) fatImage { clear(i); return i }, "sector size 0"},
		"empty, out of place": {func(i fatImage) fatImage { i.cluster(empty, 4000); return i }, "belong to no file"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := listFAT(t, c.change(makeFAT(t, system)))
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q; %v", err, c.text, files)
			}
		})
	}
	if _, err := FAT16(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestFAT16Bounds(t *testing.T) {
	many := map[string]string{}
	for i := range maxFATNames + 1 {
		many[fmt.Sprintf("D%d/F%d", i%3, i)] = "x"
	}
	if _, err := listFAT(t, makeFAT(t, many)); err == nil || !strings.Contains(err.Error(), "more than 500 files") {
		t.Errorf("many files: %v", err)
	}
	deep := strings.Repeat("D/", maxFATDepth)
	if files, err := listFAT(t, makeFAT(t, map[string]string{deep + "F": "x"})); err != nil || len(files) != 1 {
		t.Errorf("the deepest: %v", err)
	}
	if _, err := listFAT(t, makeFAT(t, map[string]string{deep + "D/F": "x"})); err == nil || !strings.Contains(err.Error(), "too deeply") {
		t.Errorf("too deep: %v", err)
	}
	// A folder of file content, as long as there is room.
	long := makeFAT(t, map[string]string{"A": strings.Repeat("x", maxFATFolder+1), "B": strings.Repeat("\x00", maxFATFolder)})
	long.entry("B          ")[11] |= 0x10
	if _, err := listFAT(t, long); err != nil {
		t.Errorf("the longest folder: %v", err)
	}
	long.entry("A          ")[11] |= 0x10
	if _, err := listFAT(t, long); err == nil || !strings.Contains(err.Error(), "A: the folder is longer") {
		t.Errorf("a long folder: %v", err)
	}
}

// TestFAT16Damaged flips bytes where the file system's own data is: never a
// panic, never without end; what is listed without an error is plausible.
func TestFAT16Damaged(t *testing.T) {
	image := makeFAT(t, system)
	name := filepath.Join(t.TempDir(), "x.img")
	if err := os.WriteFile(name, image, 0o600); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewSource(1))
	listed := 0
	for range 400 {
		damaged := slices.Clone(image[:image.data()+32*fatCluster])
		for range 1 + random.Intn(4) {
			at := random.Intn(len(damaged))
			if random.Intn(2) == 0 { // the more telling places
				at = []int{random.Intn(62), fatStart + random.Intn(100), image.root() + random.Intn(200), image.data() + random.Intn(4*fatCluster)}[random.Intn(4)]
			}
			damaged[at] ^= byte(1 + random.Intn(255))
		}
		overwrite(t, name, damaged)
		begun := time.Now()
		files, err := FAT16(name)
		if err == nil {
			plausible(t, files)
			listed++
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Fatalf("took %s", took)
		}
	}
	if listed == 0 || listed == 400 {
		t.Errorf("%d of 400 damaged images were listed", listed)
	}
}

// overwrite writes the beginning of a file anew.
func overwrite(t *testing.T, name string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func plausible(t *testing.T, files []artifact.Ref) {
	t.Helper()
	var size int64
	for _, f := range files {
		size += f.Size
		if f.Digest.Validate() != nil || f.Size < 0 || f.Path == "" {
			t.Errorf("%+v", f)
		}
	}
	if size > fatSize {
		t.Errorf("%d bytes in an image of %d", size, fatSize)
	}
}

// FuzzFAT16 changes bytes of an image: each four are a place and a value.
func FuzzFAT16(f *testing.F) {
	image := makeFAT(f, system)
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 13, 0, 0, 8, 8, 3, 0, 8, 9, 0})
	f.Add([]byte{0, byte(image.root() >> 8), 11, 0x18})
	name := filepath.Join(f.TempDir(), "x.img")
	if err := os.WriteFile(name, image, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 400 {
			return
		}
		damaged := slices.Clone(image[:image.data()+64*fatCluster])
		for ; len(b) >= 4; b = b[4:] {
			damaged[(int(b[0])<<16|int(b[1])<<8|int(b[2]))%len(damaged)] = b[3]
		}
		overwrite(t, name, damaged)
		if files, err := FAT16(name); err == nil {
			plausible(t, files)
		}
	})
}
