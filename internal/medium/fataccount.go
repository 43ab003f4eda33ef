package medium

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
)

// AccountFAT16 takes every byte of an EFI system partition into account. files are what
// FAT16 lists; the rest has to be just what mkfs.fat and mtools write for them, in the
// order in which the stages call them: the folders, then the files.
func AccountFAT16(image io.ReaderAt, size int64, files []artifact.Ref, e epoch.Epoch) error {
	table, err := readFATTable(image, size)
	if err != nil {
		return err
	}
	w := &fatWriter{fatTable: table, stamp: fatStamp(e), folders: map[string]*fatFolder{"": {}}, claims: &claims{}}
	if err := w.lay(files); err != nil {
		return err
	}
	have := make([]byte, block)
	if _, err := image.ReadAt(have, 0); err != nil {
		return err
	}
	perTable := (table.data - block - fatRootSize) / 2
	w.next = append(w.next, make([]byte, max(0, perTable-int64(len(w.next))))...)
	type part struct {
		at   int64
		want []byte
		what string
	}
	parts := []part{
		{0, fatBootSector(size/block, perTable/block), "the boot sector"},
		{block, w.next, "the first table"}, {block + perTable, w.next, "the second table"},
		{block + 2*perTable, w.folders[""].entries, "the root folder"},
	}
	for name, f := range w.folders {
		if name != "" {
			parts = append(parts, part{w.place(f.cluster), f.entries, "folder " + name})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return int(a.at - b.at) })
	for _, p := range parts {
		have := make([]byte, len(p.want))
		if _, err := image.ReadAt(have, p.at); err != nil {
			return fmt.Errorf("%s: %w", p.what, err)
		}
		for n := range have {
			if have[n] != p.want[n] {
				return fmt.Errorf("%s: byte %d is %#02x, want %#02x", p.what, p.at+int64(n), have[n], p.want[n])
			}
		}
		w.claims.add(p.at, int64(len(p.want)), p.what)
	}
	return w.claims.settle(image, size)
}

const fatRootSize = 512 * 32 // bytes, as mkfs.fat has it

// fatBootSector is the one of mkfs.fat with the options of the stages.
func fatBootSector(sectors, perTable int64) []byte {
	b := make([]byte, block)
	copy(b, "\xeb\x3c\x90mkfs.fat\x00\x02\x01\x01\x00\x02\x00\x02")
	if sectors < 1<<16 {
		binary.LittleEndian.PutUint16(b[19:], uint16(sectors))
	} else {
		binary.LittleEndian.PutUint32(b[32:], uint32(sectors))
	}
	b[21] = 0xf8
	binary.LittleEndian.PutUint16(b[22:], uint16(perTable))
	b[24], b[26] = 32, 2 // sectors a track, heads
	if sectors > 16<<20/block {
		b[26] = 4
	}
	copy(b[36:], "\x80\x00\x29\xcd\xab\x34\x12NO NAME    FAT16   ") // the number is that of --invariant
	copy(b[62:], "\x0e\x1f\xbe\x5b\x7c\xac\x22\xc0\x74\x0b\x56\xb4\x0e\xbb\x07\x00\xcd\x10\x5e\xeb\xf0\x32\xe4\xcd\x16\xcd\x19\xeb\xfe"+
		"This is not a bootable disk.  Please insert a bootable floppy and\r\npress any key to try again ... \r\n")
	copy(b[510:], "\x55\xaa")
	return b
}

// fatWriter lays out folders and files one behind the other.
type fatWriter struct {
	*fatTable
	stamp   [4]byte // time and date
	next    []byte  // the table
	folders map[string]*fatFolder
	claims  *claims
}

type fatFolder struct {
	cluster int64 // 0 for the root
	entries []byte
}

func (w *fatWriter) place(cluster int64) int64 { return w.data + (cluster-2)*w.cluster }

// fatStamp is a time in the local time of FAT, which is UTC here.
func fatStamp(e epoch.Epoch) (b [4]byte) {
	t := e.Time()
	binary.LittleEndian.PutUint16(b[:], uint16(t.Hour()<<11|t.Minute()<<5|t.Second()/2))
	binary.LittleEndian.PutUint16(b[2:], uint16((t.Year()-1980)<<9|int(t.Month())<<5|t.Day()))
	return b
}

func (w *fatWriter) lay(files []artifact.Ref) error {
	if w.cluster != block {
		return errors.New("the boot sector: its clusters have more than a sector")
	}
	w.next = []byte{0xf8, 0xff, 0xff, 0xff}
	var folders []string
	for _, f := range files {
		for at := path.Dir(f.Path); at != "."; at = path.Dir(at) {
			folders = append(folders, at)
		}
	}
	slices.Sort(folders)
	for _, dir := range slices.Compact(folders) {
		parent := w.folders[parentOf(dir)]
		cluster := w.take(1)
		if err := parent.add(path.Base(dir), 0x10, cluster, 0, w.stamp); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		f := &fatFolder{cluster: cluster}
		f.entries = append(w.entry(".          ", 0x10, cluster, 0), w.entry("..         ", 0x10, parent.cluster, 0)...)
		w.folders[dir] = f
	}
	for _, f := range files {
		cluster := w.take((f.Size + w.cluster - 1) / w.cluster)
		if err := w.folders[parentOf(f.Path)].add(path.Base(f.Path), 0x20, cluster, f.Size, w.stamp); err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		w.claims.add(w.place(cluster), f.Size, f.Path)
	}
	return nil
}

func parentOf(name string) string {
	if dir := path.Dir(name); dir != "." {
		return dir
	}
	return ""
}

// take gives the next so many clusters, and returns the first, 0 for none.
func (w *fatWriter) take(count int64) int64 {
	if count == 0 {
		return 0
	}
	first := int64(len(w.next) / 2)
	for n := first + 1; n < first+count; n++ {
		w.next = binary.LittleEndian.AppendUint16(w.next, uint16(n))
	}
	w.next = append(w.next, 0xff, 0xff)
	return first
}

func (w *fatWriter) entry(name string, attributes byte, cluster, size int64) []byte {
	return fatEntry(name, attributes, cluster, size, w.stamp)
}

func fatEntry(name string, attributes byte, cluster, size int64, stamp [4]byte) []byte {
	b := make([]byte, 32)
	copy(b, name)
	b[11] = attributes
	copy(b[14:], stamp[:])
	copy(b[18:], stamp[2:])
	copy(b[22:], stamp[:])
	binary.LittleEndian.PutUint16(b[26:], uint16(cluster))
	binary.LittleEndian.PutUint32(b[28:], uint32(size))
	return b
}

func (f *fatFolder) add(name string, attributes byte, cluster, size int64, stamp [4]byte) error {
	stem, ending, _ := strings.Cut(name, ".")
	if len(stem) == 0 || len(stem) > 8 || len(ending) > 3 || strings.ToUpper(name) != name || strings.ContainsAny(name, " +,;=[]") || strings.Contains(ending, ".") {
		return errors.New("has a name that FAT has to keep apart")
	}
	if f.cluster != 0 && len(f.entries) == block || len(f.entries) == fatRootSize {
		return errors.New("stands in a folder that is longer than a cluster")
	}
	f.entries = append(f.entries, fatEntry(fmt.Sprintf("%-8s%-3s", stem, ending), attributes, cluster, size, stamp)...)
	return nil
}
