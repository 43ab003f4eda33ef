package medium

import (
	"encoding/binary"
	"hash/crc32"
	"unicode/utf16"

	"github.com/google/uuid"

	"github.com/isotrace/isotrace/internal/epoch"
)

// What xorriso writes around the volumes, so that the image also starts from a disk: an
// MBR, a GUID partition table, and that once more at the end. Blocks have 512 bytes.
const (
	block         = 512
	systemArea    = firstDescriptor * sector
	bootCode      = 440 // bytes of the MBR before the partition table
	partitionBase = 16  // sector at which the first partition, and its own volume, begins
	entrySize     = 128
	entryCount    = 248 // as many as the system area has room for
	tableBlocks   = entryCount * entrySize / block
	backupBlocks  = tableBlocks + 1
)

// Types of partitions: basic data for the ISO itself and for the padding behind it.
var (
	basicData = guid(uuid.MustParse("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"))
	efiSystem = guid(uuid.MustParse("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"))
)

// guid is a UUID as partition tables have it: the first three fields little endian.
func guid(u [16]byte) [16]byte {
	u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7] = u[3], u[2], u[1], u[0], u[5], u[4], u[7], u[6]
	return u
}

// dateGUID is what libisofs makes of the time of the volume and a partition's number.
func dateGUID(e epoch.Epoch, number int) [16]byte {
	d := volumeDate(e)
	id := [16]byte([]byte(d[:9] + "00" + d[9:14]))
	id[7] = id[7]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	id[9] += byte(number)
	return id
}

// partition is an entry of the GUID partition table, in blocks.
type partition struct {
	kind        [16]byte
	first, last int64
	flags       uint64
	name        string
}

// readOnly and required by the platform.
const protectedData = 1<<60 | 1

// partitions are those of an image of so many blocks: the volume, the EFI system
// partition behind it, and the padding.
func partitions(blocks int64, esp Extent) []partition {
	first, end := esp.Offset/block, (esp.Offset+esp.Size)/block
	p := []partition{
		{basicData, partitionBase * sector / block, first - 1, protectedData, "ISO9660"},
		{efiSystem, first, end - 1, 0, "Appended2"},
	}
	if last := blocks - backupBlocks - 2; end <= last {
		p = append(p, partition{basicData, end, last, protectedData, "Gap1"})
	}
	return p
}

// guidTable returns the entries and the header, which lies at one end of the disk and
// names the other.
func guidTable(blocks int64, esp Extent, e epoch.Epoch, backup bool) (entries, header []byte) {
	entries = make([]byte, 0, entryCount*entrySize)
	for n, p := range partitions(blocks, esp) {
		id := dateGUID(e, n+1)
		entries = append(append(entries, p.kind[:]...), id[:]...)
		for _, x := range []uint64{uint64(p.first), uint64(p.last), p.flags} {
			entries = binary.LittleEndian.AppendUint64(entries, x)
		}
		for _, c := range utf16.Encode([]rune(p.name)) {
			entries = binary.LittleEndian.AppendUint16(entries, c)
		}
		entries = entries[:(n+1)*entrySize]
	}
	entries = entries[:cap(entries)]
	const headerSize = 92
	header = make([]byte, block)
	copy(header, "EFI PART\x00\x00\x01\x00")
	header[12] = headerSize
	own, other, table := int64(1), blocks-1, int64(2)
	if backup {
		own, other, table = other, own, blocks-backupBlocks
	}
	for i, x := range []int64{own, other, 2 + tableBlocks, blocks - backupBlocks - 1} {
		binary.LittleEndian.PutUint64(header[24+8*i:], uint64(x))
	}
	id := dateGUID(e, 0)
	copy(header[56:], id[:])
	binary.LittleEndian.PutUint64(header[72:], uint64(table))
	binary.LittleEndian.PutUint32(header[80:], entryCount)
	binary.LittleEndian.PutUint32(header[84:], entrySize)
	binary.LittleEndian.PutUint32(header[88:], crc32.ChecksumIEEE(entries))
	binary.LittleEndian.PutUint32(header[16:], crc32.ChecksumIEEE(header[:headerSize]))
	return entries, header
}

// The address by which GRUB's boot code finds its El Torito image, --grub2-mbr: that of
// its second block. grub-mkimage leaves it as 1.
const (
	codeAddress   = 0x1b0
	codeBlock     = 4
	codeUnpatched = 1
)

// firstSectors is what stands before the volume descriptors. code are the first 440 bytes
// of the MBR, with GRUB's address in them.
func firstSectors(code []byte, blocks int64, esp Extent, e epoch.Epoch) []byte {
	b := make([]byte, systemArea)
	copy(b, code)
	protective := b[446:]
	copy(protective, []byte{0, 0, 2, 0, 0xee})
	end := cylinders(blocks - 1)
	copy(protective[5:], end[:])
	binary.LittleEndian.PutUint32(protective[8:], 1)
	binary.LittleEndian.PutUint32(protective[12:], uint32(min(blocks-1, 1<<32-1)))
	// --mbr-force-bootable: some BIOSes want an active partition.
	copy(b[462:], []byte{0x80, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1})
	copy(b[510:], "\x55\xaa")
	entries, header := guidTable(blocks, esp, e, false)
	copy(b[block:], header)
	copy(b[2*block:], entries)
	return b
}

// lastSectors are the backup of the partition table, up to the image's end.
func lastSectors(blocks int64, esp Extent, e epoch.Epoch) []byte {
	entries, header := guidTable(blocks, esp, e, true)
	return append(entries, header...)
}

// cylinders is a block's address of 64 heads and 32 sectors a track, as an MBR has it.
func cylinders(at int64) [3]byte {
	const heads, perTrack, most = 64, 32, 1023
	c, h, s := at/(heads*perTrack), at/perTrack%heads, at%perTrack+1
	if c > most {
		c, h, s = most, heads-1, perTrack
	}
	return [3]byte{byte(h), byte(s | c>>8<<6), byte(c)}
}

// bootCatalogue names the El Torito images, in sectors: one for BIOS, and the EFI system
// partition for UEFI.
func bootCatalogue(bios int64, esp Extent) []byte {
	b := make([]byte, sector)
	copy(b, "\x01")
	copy(b[28:], "\xaa\x55\x55\xaa") // the checksum and the key
	copy(b[32:], "\x88\x00\x00\x00\x00\x00\x04\x00")
	binary.LittleEndian.PutUint32(b[40:], uint32(bios))
	copy(b[64:], "\x91\xef\x01")
	b[96] = 0x88
	if blocks := esp.Size / block; blocks < 1<<16 { // else firmware takes all that there is
		binary.LittleEndian.PutUint16(b[102:], uint16(blocks))
	}
	binary.LittleEndian.PutUint32(b[104:], uint32(esp.Offset/sector))
	return b
}
