// Package grubimage reads what is built into an image of GRUB that
// grub-mkimage made, from the image's bytes alone: for UEFI, x86_64-efi, and
// for BIOS, i386-pc and i386-pc-eltorito. The layout is that of GRUB 2.06 to
// 2.14: include/grub/kernel.h, include/grub/offsets.h, util/mkimage.c and
// util/grub-mkimagexx.c of its source.
package grubimage

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/isotrace/isotrace/internal/artifact"
)

// ErrFormat is in the chain of every error about the structure of an image or
// of a file that it is compared with.
var ErrFormat = errors.New("malformed image")

// ErrDiffers is in the chain of the error of a file that an image does not hold.
var ErrDiffers = errors.New("the image holds other bytes")

// maxImage bounds an image and what it is decompressed to. The largest of
// Debian's, with all modules, have 4 MiB.
const maxImage = 16 << 20

// Image is what grub-mkimage made.
type Image struct {
	// Platform is "x86_64-efi" or "i386-pc": the folder below usr/lib/grub that
	// has the files of which the image was made.
	Platform string
	// Modules are all that was built in, in the image's order.
	Modules []Module

	cdboot, diskboot, decompressor []byte // of BIOS; no cdboot without El Torito

	kernel    []byte // as it is loaded, before its modules
	base      uint64 // address of the kernel's first byte
	alignment uint64 // of sections and of the kernel's end
}

// Module is one thing built into an image.
type Module struct {
	// Kind is "module", "memdisk", "config", "prefix", "pubkey",
	// "disable-shim-lock" or "disable-cli"; "dtb or x509-pubkey" and
	// "disable-shim-lock or dtb" where versions of GRUB differ; "sbat" for the
	// section of that name.
	Kind string
	// Size and SHA256 are those of the content without the zeros that fill it up.
	// For a module they are those of usr/lib/grub/PLATFORM/NAME.mod, byte for
	// byte; for a config, a prefix and SBAT data those of the text. A memdisk is
	// filled up to 512 bytes, which an archive of tar(1) always is, and a dtb to
	// the size of a pointer: how much of them is filling cannot be told, and so
	// it is counted in.
	Size   int64
	SHA256 artifact.Digest
	// Padding is how many zeros were left out.
	Padding int64
	// Name is a module's, as its section .modname has it; else "".
	Name string
	// Text is that of a config and of a prefix.
	Text string
}

// Modules returns what is built into an image; name stands in errors.
func Modules(name string, image []byte) ([]Module, error) {
	i, err := Open(name, image)
	if err != nil {
		return nil, err
	}
	return i.Modules, nil
}

// Open reads an image of at most 16 MiB. It refuses what grub-mkimage does not
// write, such as further sections and bytes in gaps, so that all code of an
// image is in its kernel, its modules or what starts them. Behind an image for
// UEFI its signature may stand. The bytes must stay as they are while the Image
// is in use.
func Open(name string, image []byte) (*Image, error) {
	if len(image) > maxImage {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrFormat, maxImage)
	}
	read := readBIOS
	if bytes.HasPrefix(image, []byte("MZ")) {
		read = readEFI
	}
	i, err := read(image)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return i, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// zeros tells whether b holds nothing else.
func zeros(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
