package diskimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
)

// FooterSize is that of the footer of a fixed VHD, in bytes.
const FooterSize = 512

// footer is the hard disk footer of the Virtual Hard Disk Image Format
// Specification, version 1.0, big endian.
type footer struct {
	Cookie                    [8]byte
	Features, Version         uint32
	DataOffset                uint64
	Time                      uint32 // seconds since 2000
	Creator                   [4]byte
	CreatorVersion            uint32
	CreatorHost               [4]byte
	OriginalSize, CurrentSize uint64
	Cylinders                 uint16
	Heads, SectorsPerTrack    uint8
	DiskType, Checksum        uint32
	ID                        [16]byte
	Saved                     uint8
	_                         [427]byte
}

// year2000 is 2000-01-01T00:00:00Z.
const year2000 = 946684800

// Footer is the footer of a fixed VHD of a disk, which stands behind its last byte.
// Time and id are those of epoch and content. QEMU takes the disk's size from its
// geometry, which is rounded down, unless it knows the creator: hence its own name.
func Footer(size int64, tree artifact.Digest, e epoch.Epoch) ([]byte, error) {
	if size < Minimum || size%MiB != 0 || size > 2040<<30 {
		return nil, fmt.Errorf("%d bytes are no size of a VHD: whole MiB, 20 MiB to 2040 GiB", size)
	}
	f := footer{
		Cookie: [8]byte([]byte("conectix")), Features: 2, Version: 0x10000, DataOffset: 1<<64 - 1,
		Time: uint32(max(int64(e)-year2000, 0)), Creator: [4]byte([]byte("qem2")), CreatorVersion: 0x50003, CreatorHost: [4]byte([]byte("Wi2k")),
		OriginalSize: uint64(size), CurrentSize: uint64(size), DiskType: 2,
		ID: uuid.MustParse(UUID(tree, ForFooter)),
	}
	f.Cylinders, f.Heads, f.SectorsPerTrack = geometry(size / Sector)
	b := encode(f)
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	f.Checksum = ^sum
	return encode(f), nil
}

func encode(f footer) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.BigEndian, f); err != nil {
		panic(err) // all fields are of fixed size
	}
	return b.Bytes()
}

// geometry is the one of so many sectors, by the appendix of the specification.
func geometry(sectors int64) (cylinders uint16, heads, perTrack uint8) {
	sectors = min(sectors, 65535*16*255)
	if sectors >= 65535*16*63 {
		return uint16(sectors / 255 / 16), 16, 255
	}
	perTrack = 17
	tracks := sectors / 17
	h := max((tracks+1023)/1024, 4)
	if tracks >= h*1024 || h > 16 {
		perTrack, h = 31, 16
		tracks = sectors / 31
	}
	if tracks >= h*1024 {
		perTrack, h = 63, 16
		tracks = sectors / 63
	}
	return uint16(tracks / h), uint8(h), perTrack
}

// CheckFooter refuses bytes that are not the footer of a fixed VHD of a disk.
func CheckFooter(b []byte, size int64, tree artifact.Digest, e epoch.Epoch) error {
	want, err := Footer(size, tree, e)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, want) {
		return errors.New("the VHD's footer is not the one of this disk")
	}
	return nil
}
