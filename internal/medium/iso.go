// Package medium reads finished images from their own bytes: the files of an
// ISO and the tree of a squashfs inside it.
package medium

import (
	"crypto/md5" // md5sum.txt
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/regular"
)

const sector = 2048 // bytes of an ISO 9660 block

// ISO is an open image.
type ISO struct {
	image  io.ReaderAt
	close  func() error
	size   int64
	volume *volume
	claims claims // the records of its folders
	// Files are the regular files by path, without a leading slash.
	Files map[string]Extent
}

// Extent is where a file lies in the image.
type Extent struct{ Offset, Size int64 }

// firstDescriptor is the sector of the primary volume descriptor.
const firstDescriptor = 16

// OpenISO reads the folders of an image, which have to be as xorriso writes them, with
// Rock Ridge. What else there is in the image Account looks at.
func OpenISO(name string) (_ *ISO, err error) {
	f, err := regular.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	i, err := ReadISO(f)
	if err != nil {
		return nil, err
	}
	i.close = f.Close
	return i, nil
}

// ReadISO reads the folders of an image that is open, and stays so.
func ReadISO(f *os.File) (*ISO, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	i, err := readISO(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("read the ISO: %w", err)
	}
	return i, nil
}

func readISO(image io.ReaderAt, size int64) (*ISO, error) {
	i := &ISO{image: image, size: size, Files: map[string]Extent{}, close: func() error { return nil }}
	d, err := descriptor(image, firstDescriptor)
	if err != nil {
		return nil, err
	}
	if d[0] != typePrimary {
		return nil, errors.New("its first volume descriptor is not the primary one")
	}
	if i.volume, err = readVolume(image, size, d, 0, &i.claims); err != nil {
		return nil, err
	}
	i.volume.walk(func(path string, n *node) {
		if !n.folder {
			i.Files[path] = Extent{Offset: n.at * sector, Size: n.size}
		}
	})
	return i, nil
}

// Close lets go of the image.
func (i *ISO) Close() error { return i.close() }

// Open returns the content of a file.
func (i *ISO) Open(name string) (*io.SectionReader, error) {
	e, ok := i.Files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return io.NewSectionReader(i.image, e.Offset, e.Size), nil
}

// Sums reads a file and returns its SHA-256 and, in hexadecimal, its MD5.
func (i *ISO) Sums(name string) (artifact.Digest, string, error) {
	e, ok := i.Files[name]
	if !ok {
		return "", "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	s, m := sha256.New(), md5.New()
	var group errgroup.Group
	for _, h := range []hash.Hash{s, m} {
		group.Go(func() error {
			_, err := io.CopyBuffer(h, io.NewSectionReader(i.image, e.Offset, e.Size), make([]byte, 1<<18))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", "", fmt.Errorf("%s: %w", name, err)
	}
	return artifact.Digest(hex.EncodeToString(s.Sum(nil))), hex.EncodeToString(m.Sum(nil)), nil
}

// SystemPartition returns where the EFI system partition lies, by the GUID
// partition table, and its SHA-256.
func (i *ISO) SystemPartition() (Extent, artifact.Digest, error) {
	e, err := i.espExtent()
	if err != nil {
		return Extent{}, "", err
	}
	digest, _, err := artifact.HashReader(io.NewSectionReader(i.image, e.Offset, e.Size))
	return e, digest, err
}

// SystemFiles lists the files of the EFI system partition as FAT16 does.
func (i *ISO) SystemFiles() ([]artifact.Ref, error) {
	e, err := i.espExtent()
	if err != nil {
		return nil, err
	}
	return ListFAT16(io.NewSectionReader(i.image, e.Offset, e.Size), e.Size)
}

// recovered turns a panic of a file system library on hostile bytes into an error.
func recovered(err *error, what string) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: it is damaged: %v", what, p)
	}
}

// The places that xorriso patches in a GRUB El Torito image: the boot
// information table (-boot-info-table) and, in GRUB's own way, the address of
// what follows its first sectors (--grub2-boot-info). grub-mkimage leaves the
// table as zeros and the address, eight bytes, as 2.
const (
	tableStart, tableEnd = 8, 64
	grubStart, grubEnd   = 0x9f4, 0x9fc
	grubAddress          = 5 // xorriso lets it point to the sixth sector of 512 bytes
	grubUnpatched        = 2
)

// Unpatched returns an El Torito image as it was before xorriso wrote where it
// lies into it, and refuses patches that do not say just that.
func (i *ISO) Unpatched(name string) ([]byte, error) {
	r, err := i.Open(name)
	if err != nil {
		return nil, err
	}
	const most = 8 << 20
	if r.Size() > most || r.Size() < grubEnd {
		return nil, fmt.Errorf("%s: %d bytes are not the size of a boot image", name, r.Size())
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	lba := uint32(i.Files[name].Offset / sector)
	var sum uint32
	for at := tableEnd; at < len(b); at += 4 {
		var word [4]byte
		copy(word[:], b[at:])
		sum += binary.LittleEndian.Uint32(word[:])
	}
	want := []uint32{16, lba, uint32(len(b)), sum}
	for n, w := range want {
		if have := binary.LittleEndian.Uint32(b[tableStart+4*n:]); have != w {
			return nil, fmt.Errorf("%s: its boot information table holds %d where %d belongs", name, have, w)
		}
	}
	if have, w := binary.LittleEndian.Uint64(b[grubStart:]), uint64(lba)*4+grubAddress; have != w {
		return nil, fmt.Errorf("%s: GRUB's address of itself is %d, want %d", name, have, w)
	}
	if n := slices.IndexFunc(b[tableStart+4*len(want):tableEnd], func(c byte) bool { return c != 0 }); n >= 0 {
		return nil, fmt.Errorf("%s: something stands behind its boot information table", name)
	}
	clear(b[tableStart:tableEnd])
	binary.LittleEndian.PutUint64(b[grubStart:], grubUnpatched)
	return b, nil
}

// FirstSector returns the first 512 bytes of the image: what BIOS starts from a disk.
func (i *ISO) FirstSector() ([]byte, error) {
	b := make([]byte, 512)
	if _, err := i.image.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read the first sector: %w", err)
	}
	return b, nil
}
