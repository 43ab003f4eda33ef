package grubimage

import (
	"bytes"
	"fmt"
)

// Verify tells whether what the image has of a file of usr/lib/grub/PLATFORM is
// just what grub-mkimage makes of the file: nil if so, ErrDiffers if not.
//
//   - kernel.img: all of the kernel, as its sections are laid out and, for UEFI,
//     relocated. It proves, too, that the modules begin where the kernel looks
//     for them.
//   - cdboot.img, of El Torito: but for bytes 8 to 63, the boot information
//     table, which the maker of a medium fills.
//   - diskboot.img: but for bytes 500 to 509, where and how many sectors to load.
//   - lzma_decompress.img: but for bytes 8 to 15, sizes, which Open has used.
//
// Modules are told by their digests. Left are an image's PE headers and
// .reloc, which Verify says nothing of.
func (i *Image) Verify(file string, content []byte) error {
	if len(content) > maxImage {
		return fmt.Errorf("%s: %w: more than %d bytes", file, ErrFormat, maxImage)
	}
	have, want, from, to := []byte(nil), content, 0, 0
	switch file {
	case "kernel.img":
		have = i.kernel
		var err error
		if want, err = i.load(content); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	case "cdboot.img":
		have, from, to = i.cdboot, 8, 64
	case "diskboot.img":
		have, from, to = i.diskboot, 500, 510
	case "lzma_decompress.img":
		have, from, to = i.decompressor, 8, 16
	default:
		return fmt.Errorf("%s: %w: no file of which an image has a part", file, ErrFormat)
	}
	if have == nil || len(have) != len(want) || !bytes.Equal(have[:from], want[:from]) || !bytes.Equal(have[to:], want[to:]) {
		return fmt.Errorf("%s: %w", file, ErrDiffers)
	}
	return nil
}
