package livetree

import (
	"debug/pe"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/system"
)

// TestDescribe: what a medium says of itself, for either live system.
func TestDescribe(t *testing.T) {
	t.Parallel()
	t1 := &tree{work: &stage.Work{}, params: Params{Name: "desk", Title: "Desk", Release: "2", Architecture: "amd64", Live: "live-boot"}}
	facts := system.Facts{Codename: "focal", Medium: "0b6b5f2c-8c5d-5f1e-9c5e-3d1f4b8f7a10"}
	files := t1.describe(facts)
	if files[".disk/info"] != `Desk 2 "focal" - Release amd64 (19700101)` || len(files) != 4 {
		t.Errorf("live-boot: %v", files)
	}
	t1.params.Live = "casper"
	files = t1.describe(facts)
	if files[".disk/casper-uuid"] != facts.Medium+"\n" || len(files) != 6 {
		t.Errorf("casper: %v", files)
	}
	const want = "#define DISKNAME  Desk 2\n#define TYPE  binary\n#define TYPEbinary  1\n#define ARCH  amd64\n#define ARCHamd64  1\n" +
		"#define DISKNUM  1\n#define DISKNUM1  1\n#define TOTALNUM  0\n#define TOTALNUM0  1\n"
	if have := files["README.diskdefines"]; have != want {
		t.Errorf("README.diskdefines:\n%s", have)
	}
	if _, ok := t1.describe(system.Facts{})[".disk/casper-uuid"]; ok {
		t.Error("a UUID that no initrd looks for")
	}
}

// program is the head of a PE32+ file without sections.
func program(machine, subsystem uint16, signatures uint32) []byte {
	b := make([]byte, 64+4+20+240+512)
	copy(b, "MZ")
	b[0x3c] = 64
	copy(b[64:], "PE\x00\x00")
	le := binary.LittleEndian
	le.PutUint16(b[68:], machine)
	le.PutUint16(b[68+16:], 240) // size of the optional header
	optional := b[88:]
	le.PutUint16(optional, 0x20b)
	le.PutUint16(optional[68:], subsystem)
	le.PutUint32(optional[108:], 16)
	le.PutUint32(optional[112+8*pe.IMAGE_DIRECTORY_ENTRY_SECURITY+4:], signatures)
	return b
}

func TestMemoryTestPrograms(t *testing.T) {
	t.Parallel()
	const app = pe.IMAGE_SUBSYSTEM_EFI_APPLICATION
	for _, c := range []struct {
		name   string
		b      []byte
		signed bool
		want   string
	}{
		{"unsigned", program(pe.IMAGE_FILE_MACHINE_AMD64, app, 0), false, ""},
		{"signed", program(pe.IMAGE_FILE_MACHINE_AMD64, app, 8), true, ""},
		{"for another machine", program(pe.IMAGE_FILE_MACHINE_ARM64, app, 0), false, "is no program for UEFI on amd64"},
		{"for Windows", program(pe.IMAGE_FILE_MACHINE_AMD64, 3, 0), false, "is no program for UEFI on amd64"},
		{"text", []byte("#!/bin/sh\n"), false, "is no program for UEFI"},
		{"empty", nil, false, "is no program for UEFI"},
		{"cut off", program(pe.IMAGE_FILE_MACHINE_AMD64, app, 0)[:80], false, "is no program for UEFI"},
	} {
		signed, err := startUEFI(c.b)
		if signed != c.signed || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", c.name, signed, err)
		}
	}
	sector := make([]byte, 1024)
	sector[510], sector[511] = 0x55, 0xaa
	if _, err := startBIOS(sector); err != nil {
		t.Error(err)
	}
	for _, b := range [][]byte{nil, sector[:512], make([]byte, 1024)} {
		if _, err := startBIOS(b); err == nil {
			t.Errorf("%d bytes that a BIOS does not start", len(b))
		}
	}
}
