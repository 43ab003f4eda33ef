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
	"path"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
)

const sector = 2048 // bytes of an ISO 9660 block

// ISO is an open image.
type ISO struct {
	storage backend.Storage
	fs      *iso9660.FileSystem
	size    int64
	// Files are the regular files by path, without a leading slash.
	Files map[string]Extent
}

// Extent is where a file lies in the image.
type Extent struct{ Offset, Size int64 }

// Bounds of what an image may make us do.
const (
	maxFiles = 100_000
	maxDepth = 32
)

// OpenISO reads the folders of an image.
func OpenISO(name string) (_ *ISO, err error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	storage, err := file.OpenFromPath(name, true)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, storage.Close())
		}
	}()
	i := &ISO{storage: storage, size: st.Size(), Files: map[string]Extent{}}
	defer recovered(&err, "read the ISO")
	if i.fs, err = iso9660.Read(storage, st.Size(), 0, sector); err != nil {
		return nil, fmt.Errorf("read the ISO: %w", err)
	}
	return i, i.walk(".", 0)
}

// recovered turns a panic of a file system library on hostile bytes into an error.
func recovered(err *error, what string) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: it is damaged: %v", what, p)
	}
}

func (i *ISO) walk(dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: folders are nested too deeply", dir)
	}
	entries, err := i.fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the ISO: %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.Name() == "." || e.Name() == ".." || e.Name() == "" {
			continue
		}
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if err := i.walk(name, depth+1); err != nil {
				return err
			}
		case e.Type().IsRegular():
			if err := i.extent(name); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: is neither a file nor a folder", name)
		}
		if len(i.Files) > maxFiles {
			return fmt.Errorf("the ISO has more than %d files", maxFiles)
		}
	}
	return nil
}

func (i *ISO) extent(name string) error {
	f, err := i.fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("read the ISO: %s: %w", name, err)
	}
	defer func() { _ = f.Close() }() // holds nothing
	located, ok := f.(*iso9660.File)
	if !ok {
		return fmt.Errorf("%s: has no place in the ISO", name)
	}
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the ISO: %s: %w", name, err)
	}
	e := Extent{Offset: int64(located.Location()) * sector, Size: st.Size()}
	if e.Size < 0 || e.Offset < 0 || e.Offset+e.Size > i.size {
		return fmt.Errorf("%s: lies outside the ISO", name)
	}
	i.Files[name] = e
	return nil
}

// Close lets go of the image.
func (i *ISO) Close() error { return i.storage.Close() }

// Open returns the content of a file.
func (i *ISO) Open(name string) (*io.SectionReader, error) {
	e, ok := i.Files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return io.NewSectionReader(i.storage, e.Offset, e.Size), nil
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
			_, err := io.CopyBuffer(h, io.NewSectionReader(i.storage, e.Offset, e.Size), make([]byte, 1<<18))
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
func (i *ISO) SystemPartition() (_ Extent, _ artifact.Digest, err error) {
	defer recovered(&err, "read the partition table")
	table, err := gpt.Read(i.storage, 512, 512)
	if err != nil {
		return Extent{}, "", fmt.Errorf("read the partition table: %w", err)
	}
	for _, p := range table.Partitions {
		if p.Type != gpt.EFISystemPartition {
			continue
		}
		e := Extent{Offset: p.GetStart(), Size: p.GetSize()}
		if e.Offset < 0 || e.Size <= 0 || e.Size > i.size || e.Offset > i.size-e.Size {
			return Extent{}, "", errors.New("the EFI system partition lies outside the image")
		}
		digest, _, err := artifact.HashReader(io.NewSectionReader(i.storage, e.Offset, e.Size))
		return e, digest, err
	}
	return Extent{}, "", errors.New("there is no EFI system partition")
}

// SystemFiles lists the files of the EFI system partition as FAT16 does.
func (i *ISO) SystemFiles() (_ []artifact.Ref, err error) {
	e, _, err := i.SystemPartition()
	if err != nil {
		return nil, err
	}
	defer recovered(&err, "read the EFI system partition")
	return listFAT16(backend.Sub(i.storage, e.Offset, e.Size), e.Size)
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
	clear(b[tableStart:tableEnd])
	binary.LittleEndian.PutUint64(b[grubStart:], grubUnpatched)
	return b, nil
}

// FirstSector returns the first 512 bytes of the image: what BIOS starts from a disk.
func (i *ISO) FirstSector() ([]byte, error) {
	b := make([]byte, 512)
	if _, err := i.storage.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read the first sector: %w", err)
	}
	return b, nil
}
