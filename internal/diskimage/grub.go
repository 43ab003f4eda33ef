package diskimage

import (
	"encoding/binary"
	"errors"
)

// Places in GRUB's boot.img, include/grub/i386/pc/boot.h of its source: where the
// core image begins, and a jump that grub-install overwrites, after which a drive
// number from the firmware is believed only where it is a hard disk's.
const (
	bootCode      = 440 // bytes of the master boot record before the partition table's
	kernelSector  = 0x5c
	driveCheck    = 0x66
	diskbootList  = 0x1f4 // the first block list of diskboot.img: begin, length, segment
	minCore       = 2 * Sector
	nop           = 0x90
	errNoBootCode = "boot.img is not the sector that GRUB's package has"
)

// BootCodeSize is that of the boot code in front of the partition table, in bytes.
const BootCodeSize = bootCode

// BootCode is GRUB's boot.img as it stands in front of the partition table, for a
// core image in the BIOS boot partition.
func BootCode(bootImage []byte) ([]byte, error) {
	if len(bootImage) != Sector || bootImage[510] != 0x55 || bootImage[511] != 0xaa {
		return nil, errors.New(errNoBootCode)
	}
	code := append([]byte(nil), bootImage[:bootCode]...)
	binary.LittleEndian.PutUint64(code[kernelSector:], uint64(biosBoot.Offset/Sector))
	code[driveCheck], code[driveCheck+1] = nop, nop
	return code, nil
}

// BIOSBoot is the BIOS boot partition that holds GRUB's core image, of the format
// i386-pc: its first sector says where the rest is.
func BIOSBoot(core []byte) ([]byte, error) {
	if len(core) < minCore || int64(len(core)) > biosBoot.Size {
		return nil, errors.New("GRUB's core image does not fit the BIOS boot partition")
	}
	placed := make([]byte, biosBoot.Size)
	copy(placed, core)
	binary.LittleEndian.PutUint64(placed[diskbootList:], uint64(biosBoot.Offset/Sector)+1)
	return placed, nil
}
