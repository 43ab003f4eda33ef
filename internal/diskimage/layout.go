// Package diskimage lays out disks that start by BIOS and by UEFI: a GUID partition
// table with a BIOS boot partition, an EFI system partition and the root file system.
// What writes a disk and what checks one agree on the layout here.
package diskimage

import (
	"fmt"
	"strings"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"github.com/isotrace/isotrace/internal/artifact"
)

// MiB is what partitions begin and disks end on, in bytes: Azure asks for it.
const MiB = 1 << 20

// Sector is a logical block, in bytes.
const Sector = 512

// Partition types: of GRUB's manual, the UEFI specification and the Discoverable
// Partitions Specification.
const (
	typeBIOSBoot = "21686148-6449-6E6F-744E-656564454649"
	typeESP      = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeRoot     = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" // x86-64
)

// Extent is where something lies on a disk, in bytes.
type Extent struct{ Offset, Size int64 }

// Layout is a disk's partitions.
type Layout struct {
	Size int64 // of the disk, in bytes
	// BIOS holds GRUB's core image, ESP what UEFI starts, Root the root file system.
	BIOS, ESP, Root Extent
}

// biosBoot is where the BIOS boot partition lies on every disk.
var biosBoot = Extent{MiB, MiB}

// Minimum is the size of the smallest disk that Azure takes, in bytes.
const Minimum = 20 * MiB

// NewLayout places an EFI system partition and a root file system of at least the
// given sizes, in bytes. Where disk is not 0 the root file system takes the rest of it.
func NewLayout(esp, root, disk int64) (Layout, error) {
	l := Layout{BIOS: biosBoot, ESP: Extent{2 * MiB, Ceil(esp)}}
	l.Root = Extent{l.ESP.Offset + l.ESP.Size, Ceil(root)}
	least := max(l.Root.Offset+l.Root.Size+MiB, Minimum) // the last MiB is for the second partition table
	switch {
	case disk == 0:
		disk = least
	case disk%MiB != 0:
		return l, fmt.Errorf("%d bytes are no whole number of MiB", disk)
	case disk < least:
		return l, fmt.Errorf("%d MiB are too small: what it holds needs %d MiB", disk/MiB, least/MiB)
	}
	l.Size, l.Root.Size = disk, disk-MiB-l.Root.Offset
	return l, nil
}

// Ceil is the next whole number of MiB, in bytes.
func Ceil(n int64) int64 { return (n + MiB - 1) / MiB * MiB }

// What UUIDs are for.
const (
	ForDisk     = "disk"
	ForBIOS     = "BIOS boot partition"
	ForESP      = "EFI system partition"
	ForRoot     = "root partition"
	ForFiles    = "root file system"
	ForHashSeed = "hash seed of the root file system"
	ForFooter   = "VHD footer"
)

// UUID is the one of a disk that holds the tree with this manifest: version 5 of
// RFC 9562, so that the same content has the same and another one another.
func UUID(tree artifact.Digest, what string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/isotrace/isotrace/disk/"+string(tree)+"/"+what)).String()
}

// table is the partition table of the layout.
func (l Layout) table(tree artifact.Digest) *gpt.Table {
	t := &gpt.Table{LogicalSectorSize: Sector, PhysicalSectorSize: Sector, ProtectiveMBR: true, GUID: strings.ToUpper(UUID(tree, ForDisk))}
	for i, p := range []struct {
		at         Extent
		kind, what string
	}{{l.BIOS, typeBIOSBoot, ForBIOS}, {l.ESP, typeESP, ForESP}, {l.Root, typeRoot, ForRoot}} {
		t.Partitions = append(t.Partitions, &gpt.Partition{
			Index: i + 1, Start: uint64(p.at.Offset / Sector), End: uint64((p.at.Offset+p.at.Size)/Sector - 1), Size: uint64(p.at.Size),
			Type: gpt.Type(p.kind), Name: p.what, GUID: strings.ToUpper(UUID(tree, p.what)),
		})
	}
	return t
}

// WriteTable writes the partition tables of a disk, the protective one included.
func (l Layout) WriteTable(disk backend.WritableFile, tree artifact.Digest) error {
	if err := l.table(tree).Write(disk, l.Size); err != nil {
		return fmt.Errorf("write the partition table: %w", err)
	}
	return nil
}
