package grubimage

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// The parts of an image for BIOS, in bytes.
const (
	cdbootSize   = 2048
	diskbootSize = 512
	// decompressorMax is what fits between its address and the kernel's.
	decompressorMax = 0x9000 - 0x8200
	// decompressorHead is how far its header reaches.
	decompressorHead = 0x1c
)

// biosBase is the address at which the kernel is linked and runs.
const biosBase = 0x9000

// readBIOS reads an image for BIOS: cdboot.img if it starts from a CD, then
// diskboot.img, then lzma_decompress.img, then one stream of LZMA without a
// header, of the kernel with its modules behind it.
func readBIOS(image []byte) (*Image, error) {
	i := &Image{Platform: "i386-pc", base: biosBase, alignment: 1}
	core := image
	if len(core) > cdbootSize && isDiskboot(core[cdbootSize:]) {
		i.cdboot, core = core[:cdbootSize], core[cdbootSize:]
	} else if !isDiskboot(core) {
		return nil, malformed("neither a PE file nor the sector that loads GRUB")
	}
	i.diskboot, core = core[:diskbootSize], core[diskbootSize:]
	packed, unpacked := uint64(binary.LittleEndian.Uint32(core[8:])), uint64(binary.LittleEndian.Uint32(core[12:]))
	if binary.LittleEndian.Uint32(core[16:]) != 0 {
		return nil, malformed("with Reed-Solomon data, as grub-install writes them to a disk")
	}
	decompressor := uint64(len(core)) - packed
	if packed > uint64(len(core)) || decompressor < decompressorHead || decompressor > decompressorMax || unpacked > maxImage {
		return nil, malformed("%d bytes, of which %d are said to hold %d more", len(core), packed, unpacked)
	}
	i.decompressor = core[:decompressor]
	plain, err := unpack(core[decompressor:], unpacked)
	if err != nil {
		return nil, err
	}
	at, err := findArea(plain)
	if err != nil {
		return nil, err
	}
	i.kernel = plain[:at]
	i.Modules, err = readArea(plain[at:], 4)
	return i, err
}

// isDiskboot tells whether b begins with diskboot.img before what follows it:
// its last bytes say how many sectors are to be loaded, in 16 bits, and to which
// segment, 0x820.
func isDiskboot(b []byte) bool {
	if len(b) < diskbootSize+decompressorHead {
		return false
	}
	sectors := (len(b) - 1) / 512 // without diskboot.img
	return int(binary.LittleEndian.Uint16(b[508:])) == sectors && binary.LittleEndian.Uint16(b[510:]) == 0x820
}

// unpack decodes LZMA of 3 literal context bits, 2 position bits and a
// dictionary of 64 KiB. All of b must be used up.
func unpack(b []byte, size uint64) ([]byte, error) {
	head := []byte{2*45 + 3, 0, 0, 1, 0}
	head = binary.LittleEndian.AppendUint64(head, size)
	packed := bytes.NewReader(b)
	r, err := lzma.NewReader(&joined{head: bytes.NewReader(head), tail: packed})
	if err != nil {
		return nil, malformed("LZMA: %v", err)
	}
	plain := make([]byte, size)
	if _, err := io.ReadFull(r, plain); err != nil {
		return nil, malformed("LZMA: %v", err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, malformed("LZMA: more than %d bytes", size)
	}
	if packed.Len() > 0 {
		return nil, malformed("%d bytes behind the LZMA", packed.Len())
	}
	return plain, nil
}

// joined reads a head and then a tail, byte by byte where it is asked for, so
// that nothing is read ahead.
type joined struct{ head, tail *bytes.Reader }

func (j *joined) Read(p []byte) (int, error) {
	if j.head.Len() > 0 {
		return j.head.Read(p)
	}
	return j.tail.Read(p)
}

func (j *joined) ReadByte() (byte, error) {
	if j.head.Len() > 0 {
		return j.head.ReadByte()
	}
	return j.tail.ReadByte()
}

// findArea returns where the modules begin. GRUB knows that from its own
// symbols, which are not here: it is where an area reaches to the very end.
func findArea(plain []byte) (int, error) {
	found := -1
	for at := 0; ; at++ {
		next := bytes.Index(plain[at:], []byte(magic))
		if next < 0 {
			break
		}
		at += next
		if size, ok := areaSize(plain[at:], 4); !ok || size != len(plain)-at {
			continue
		}
		if found >= 0 {
			return 0, malformed("two areas of modules")
		}
		found = at
	}
	if found < 0 {
		return 0, malformed("no modules behind the kernel")
	}
	return found, nil
}
