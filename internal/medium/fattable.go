package medium

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/diskfs/go-diskfs/filesystem/fat12"
)

// fatTable is where the clusters of a FAT16 file system lie, and which are in
// use and yet without a file.
type fatTable struct {
	data      int64 // offset of cluster 2
	cluster   int64 // bytes
	unclaimed map[int64]bool
}

// readFATTable checks the layout and the first table of a FAT16 file system
// before the library follows them: it would follow a circle for ever, and read
// what lies outside the image as anything.
func readFATTable(image io.ReaderAt, size int64) (*fatTable, error) {
	sector := make([]byte, 512)
	if _, err := image.ReadAt(sector, 0); err != nil {
		return nil, err
	}
	bpb, err := fat12.Dos40EBPBFromBytesOnly(sector[11:])
	if err != nil {
		return nil, err
	}
	b := bpb.Dos331BPB.Dos20BPB
	start, length, root := int64(b.ReservedSectors)*512, int64(b.SectorsPerFat)*512, int64(b.RootDirectoryEntries)*32
	t := &fatTable{data: start + 2*length + (root+511)/512*512, cluster: int64(b.SectorsPerCluster) * 512, unclaimed: map[int64]bool{}}
	end := int64(bpb.TotalSectors()) * 512
	switch {
	case b.BytesPerSector != 512 || b.FatCount != 2 || t.cluster == 0 || start == 0:
		return nil, errors.New("its layout is not one that is known")
	case root == 0 || root > maxFATFolder:
		return nil, fmt.Errorf("its root folder has %d bytes; at most %d are allowed", root, maxFATFolder)
	case end > size || t.data > end:
		return nil, errors.New("it is cut off")
	}
	last := (end-t.data)/t.cluster + 1
	if last >= length/2 {
		return nil, errors.New("its table is too short")
	}
	table := make([]byte, length)
	if _, err := image.ReadAt(table, start); err != nil {
		return nil, err
	}
	return t, t.check(table, last)
}

// check makes sure that all clusters in use make up chains that end and do not
// meet.
func (t *fatTable) check(table []byte, last int64) error {
	const endMark = 0xfff8
	next := func(c int64) int64 { return int64(binary.LittleEndian.Uint16(table[2*c:])) }
	after := map[int64]bool{} // those that another leads to
	for c := int64(2); c < int64(len(table)/2); c++ {
		n := next(c)
		if n == 0 {
			continue
		}
		if c > last || n < endMark && (n < 2 || n > last || next(n) == 0) || after[n] {
			return fmt.Errorf("cluster %d leads to %d, where it must not", c, n)
		}
		if n < endMark {
			after[n] = true
		}
		t.unclaimed[c] = true
	}
	reached := 0
	for c := range t.unclaimed {
		if after[c] {
			continue
		}
		for ; c < endMark; c = next(c) {
			reached++
		}
	}
	if reached != len(t.unclaimed) {
		return errors.New("clusters lead in a circle")
	}
	return nil
}
