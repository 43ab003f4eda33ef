package livetree

import (
	"bytes"
	"debug/pe"
	"fmt"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
)

// VendorTest is a memory test as the menu offers it.
type VendorTest struct {
	Title string
	Path  string // absolute, on the medium
	// Options of the program, each after a space.
	Options string
	UEFI    bool // else a BIOS starts it
	// Signed tells that it bears a signature, so that Secure Boot may let it pass.
	Signed bool
}

// memoryTests puts the project's memory tests on the medium. What the firmware named for
// it could not start is refused here, and not when somebody sits before the machine.
func (t *tree) memoryTests() ([]VendorTest, error) {
	var tests []VendorTest
	for i, m := range t.params.MemoryTests {
		b, err := regular.ReadFile(t.work.Material(m.File), maxMemoryTest)
		if err != nil {
			return nil, fmt.Errorf("boot.memory-tests[%d]: %s: %w", i, m.File, err)
		}
		v := VendorTest{Title: m.Title, Path: "/" + m.Path, UEFI: m.Firmware == "uefi"}
		for _, o := range m.Options {
			v.Options += " " + o
		}
		start := startBIOS
		if v.UEFI {
			start = startUEFI
		}
		if v.Signed, err = start(b); err != nil {
			return nil, fault.New(fault.Usage, "give the file and the firmware that belong together", "boot.memory-tests[%d]: %s: %w", i, m.File, err)
		}
		if err := t.addBytes(m.Path, b); err != nil {
			return nil, err
		}
		tests = append(tests, v)
	}
	return tests, nil
}

// maxMemoryTest bounds a memory test, in bytes.
const maxMemoryTest = 64 << 20

// startUEFI refuses what is no program for UEFI on amd64, and tells whether it has a
// table of signatures: whose they are, the machine judges.
func startUEFI(b []byte) (signed bool, err error) {
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		return false, fmt.Errorf("is no program for UEFI: %w", err)
	}
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 || h.Subsystem != pe.IMAGE_SUBSYSTEM_EFI_APPLICATION {
		return false, fmt.Errorf("is no program for UEFI on amd64: machine %#04x", f.Machine)
	}
	return h.NumberOfRvaAndSizes > pe.IMAGE_DIRECTORY_ENTRY_SECURITY && h.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size > 0, nil
}

// startBIOS refuses what GRUB's linux16 would: it has to begin with a boot sector.
func startBIOS(b []byte) (signed bool, err error) {
	if len(b) < 1024 || b[510] != 0x55 || b[511] != 0xaa {
		return false, fmt.Errorf("has no boot sector, as Linux's 16-bit boot protocol wants")
	}
	return false, nil
}
