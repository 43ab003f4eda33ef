package provenance

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/secureboot"
	"github.com/isotrace/isotrace/internal/trace"
)

// bootPlaces are the paths in packages of the boot set from which files are taken as they
// are, by the path where they are put.
var bootPlaces = map[string][]string{
	secureboot.FirstPath: {"usr/lib/shim/shimx64.efi.signed.latest", "usr/lib/shim/shimx64.efi.signed"},
	secureboot.GRUBPath:  {"usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"},
	"boot/memtest.bin":   {"boot/memtest86+x64.bin", "boot/memtest86+.bin"},
	"boot/memtest.efi":   {"boot/memtest86+x64.efi", "boot/memtest86+.efi"},
	mbrName:              {hybridImage},
}

// The boot code of an ISO, and of a disk, in a package of the boot set.
const (
	hybridImage = trace.ModuleFolder + "i386-pc/boot_hybrid.img"
	diskImage   = trace.ModuleFolder + "i386-pc/boot.img"
)

// bootSet are the .debs of the boot set as they are.
type bootSet struct {
	head *trace.Head
	have map[int]map[string]*roottree.Entry // by package and path
	// images are the files of GRUB that an image has in another form, by path.
	images map[string][]byte
}

// newBootSet takes down what the .debs of the boot set install.
func newBootSet(head *trace.Head, debs []debContent) *bootSet {
	b := &bootSet{head: head, have: map[int]map[string]*roottree.Entry{}, images: map[string][]byte{}}
	for _, d := range debs {
		maps.Copy(b.images, d.images)
		files := map[string]*roottree.Entry{}
		for i := range d.List.Entries {
			files[d.List.Entries[i].Path] = &d.List.Entries[i]
		}
		b.have[d.Package] = files
	}
	return b
}

// judge says what is wrong with a file that is said to be of the boot set; "" for nothing.
// Equal bytes at another path of the package do not do.
func (b *bootSet) judge(part string, o *trace.Origin) string {
	if o.Kind != trace.Archive || o.Of != "" {
		return ""
	}
	if o.Package == nil || b.have[*o.Package] == nil {
		return "is said to be in a package that is none of the boot set"
	}
	within := path.Base(path.Dir(o.Path)) + "/" + path.Base(o.Path) // PLATFORM/NAME
	places := []string{trace.ModuleFolder + within}
	if other, ok := bootPlaces[strings.TrimPrefix(o.Path, inDiskESP)]; ok && part != trace.PartBIOS && part != trace.PartEFI {
		places = other
	}
	for _, at := range places {
		if e, ok := b.have[*o.Package][at]; ok && e.Type == roottree.File && e.SHA256 == o.SHA256 && e.Size == o.Size {
			return ""
		}
	}
	return fmt.Sprintf("is said to be in %s, which does not hold it at %s", b.head.Packages[*o.Package].ID(), strings.Join(places, " or "))
}

// inDiskESP is how the trace calls the EFI system partition of a disk.
const inDiskESP = espName + "/"

// pieces compares what an image of GRUB has of its kernel with the files of the boot set.
func (b *bootSet) pieces(r *rereading, part string, kernel []string) (problems []Problem) {
	image := r.grub[part]
	if image == nil {
		return nil
	}
	for _, name := range kernel {
		at := trace.ModuleFolder + image.Platform + "/" + name
		content, ok := b.images[at]
		if !ok {
			problems = append(problems, Problem{part + ":/" + image.Platform + "/" + name, "is in no package of the boot set"})
		} else if err := image.Verify(name, content); err != nil {
			problems = append(problems, problemOf(part+":/"+image.Platform+"/"+name, err))
		}
	}
	return problems
}

// The first sector of an ISO has the boot code of boot_hybrid.img, but for where GRUB's
// image begins, in sectors of 512 bytes (xorriso --grub2-mbr), and the partition table.
const (
	mbrAddress = 0x1b0
	mbrTable   = 0x1b8
)

// firstSector compares the boot code in the first sector of the ISO with the package's.
func (b *bootSet) firstSector(iso *medium.ISO) string {
	want, ok := b.images[hybridImage]
	if !ok || len(want) != 512 {
		return "no package of the boot set has " + hybridImage
	}
	have, err := iso.FirstSector()
	if err != nil {
		return err.Error()
	}
	if !bytes.Equal(have[:mbrAddress], want[:mbrAddress]) {
		return "its boot code is not that of " + hybridImage
	}
	// GRUB's own image begins with the sector behind the four that El Torito loads.
	if at, begins := binary.LittleEndian.Uint64(have[mbrAddress:mbrTable]), uint64(iso.Files[biosImagePath].Offset)/512+4; at != begins {
		return fmt.Sprintf("its boot code goes on at sector %d, GRUB's image begins at %d", at, begins)
	}
	return ""
}

// grubFiles reads the files of GRUB that an image has in another form than the package.
func grubFiles(pkg *deb.Deb) (map[string][]byte, error) {
	images := map[string][]byte{}
	names := slices.Concat(kernelOfBIOS, kernelOfEFI, []string{path.Base(hybridImage), path.Base(diskImage)})
	return images, pkg.Walk(func(at string, h *tar.Header, r io.Reader) error {
		if h.Typeflag != tar.TypeReg || h.Size > maxLoader || !strings.HasPrefix(at, trace.ModuleFolder) || !slices.Contains(names, path.Base(at)) {
			return nil
		}
		b, err := io.ReadAll(r)
		images[at] = b
		return err
	})
}

// provedBoot holds what is said to be of the boot set against its .debs.
func (v *verification) provedBoot(t *Tracing, iso *medium.ISO, r *rereading, boot []debContent) (problems []Problem, err error) {
	b := newBootSet(&t.Head, boot)
	for _, part := range []string{trace.PartBIOS, trace.PartEFI, trace.PartESP, trace.PartMedium, trace.PartDisk} {
		err := t.Each(part, nil, func(o trace.Origin) bool {
			if wrong := b.judge(part, &o); wrong != "" {
				problems = append(problems, Problem{part + ":/" + o.Path, wrong})
			}
			return len(problems) <= maxProblems
		})
		if err != nil {
			return nil, err
		}
	}
	problems = append(problems, b.pieces(r, trace.PartBIOS, kernelOfBIOS)...)
	problems = append(problems, b.pieces(r, trace.PartEFI, kernelOfEFI)...)
	if wrong := b.firstSector(iso); wrong != "" {
		problems = append(problems, Problem{trace.PartMedium + ":/" + mbrName, wrong})
	}
	if len(v.Config.DiskFormats()) > 0 {
		if wrong := v.diskBootCode(b.images); wrong != "" {
			problems = append(problems, Problem{trace.PartDisk + ":/[boot code]", wrong})
		}
	}
	return problems, nil
}

// diskBootCode compares the boot code of a disk with the package's.
func (v *verification) diskBootCode(images map[string][]byte) string {
	code, err := diskimage.BootCode(images[diskImage])
	if err != nil {
		return err.Error()
	}
	if artifact.HashBytes(code) != v.made[recordBootCode] {
		return "is not that of " + diskImage
	}
	return ""
}
