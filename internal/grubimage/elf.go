package grubimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// elfFile is an ELF file, little-endian, with its sections. elf.NewFile would
// decompress the sections' names without a bound, and so the structures alone
// are that package's.
type elfFile struct {
	b       []byte
	class   elf.Class
	machine elf.Machine
	// table is where the headers of the sections end.
	table    uint64
	names    []byte
	sections []elf.Section64
}

// parseELF reads the headers.
func parseELF(b []byte) (*elfFile, error) {
	if len(b) < elf.EI_NIDENT || string(b[:4]) != elf.ELFMAG || elf.Data(b[elf.EI_DATA]) != elf.ELFDATA2LSB {
		return nil, malformed("no ELF file")
	}
	f := &elfFile{b: b, class: elf.Class(b[elf.EI_CLASS])}
	var h elf.Header64
	switch f.class {
	case elf.ELFCLASS64:
		if _, err := binary.Decode(b, binary.LittleEndian, &h); err != nil {
			return nil, malformed("an ELF file that ends in its header")
		}
	case elf.ELFCLASS32:
		var s elf.Header32
		if _, err := binary.Decode(b, binary.LittleEndian, &s); err != nil {
			return nil, malformed("an ELF file that ends in its header")
		}
		h.Machine, h.Shoff, h.Shentsize, h.Shnum, h.Shstrndx = s.Machine, uint64(s.Shoff), s.Shentsize, s.Shnum, s.Shstrndx
	default:
		return nil, malformed("an ELF file of class %d", f.class)
	}
	f.machine = elf.Machine(h.Machine)
	entry := uint64(binary.Size(elf.Section64{}))
	if f.class == elf.ELFCLASS32 {
		entry = uint64(binary.Size(elf.Section32{}))
	}
	f.table = h.Shoff + entry*uint64(h.Shnum)
	if uint64(h.Shentsize) != entry || h.Shnum == 0 || h.Shoff > uint64(len(b)) || f.table > uint64(len(b)) {
		return nil, malformed("an ELF file without its section headers")
	}
	f.sections = make([]elf.Section64, h.Shnum)
	for i := range f.sections {
		f.sections[i] = f.section(b[h.Shoff+entry*uint64(i):])
	}
	if int(h.Shstrndx) < len(f.sections) {
		f.names = f.data(f.sections[h.Shstrndx])
	}
	return f, nil
}

// section reads the header of a section, of which all bytes are there.
func (f *elfFile) section(b []byte) elf.Section64 {
	u32, u64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	if f.class == elf.ELFCLASS64 {
		return elf.Section64{
			Name: u32(b), Type: u32(b[4:]), Flags: u64(b[8:]), Addr: u64(b[16:]), Off: u64(b[24:]), Size: u64(b[32:]),
			Link: u32(b[40:]), Info: u32(b[44:]), Addralign: u64(b[48:]), Entsize: u64(b[56:]),
		}
	}
	return elf.Section64{
		Name: u32(b), Type: u32(b[4:]), Flags: uint64(u32(b[8:])), Addr: uint64(u32(b[12:])), Off: uint64(u32(b[16:])), Size: uint64(u32(b[20:])),
		Link: u32(b[24:]), Info: u32(b[28:]), Addralign: uint64(u32(b[32:])), Entsize: uint64(u32(b[36:])),
	}
}

// data returns a section's bytes in the file, none where they are not there.
func (f *elfFile) data(s elf.Section64) []byte {
	if elf.SectionType(s.Type) == elf.SHT_NOBITS || s.Off > uint64(len(f.b)) || s.Size > uint64(len(f.b))-s.Off {
		return nil
	}
	return f.b[s.Off : s.Off+s.Size]
}

// end returns where the file ends by what its headers say; it may lie past the
// bytes that are there.
func (f *elfFile) end() int {
	end := f.table
	for _, s := range f.sections {
		if t := elf.SectionType(s.Type); t == elf.SHT_NOBITS || t == elf.SHT_NULL {
			continue
		}
		if s.Off > maxImage || s.Size > maxImage {
			return 2 * maxImage
		}
		end = max(end, s.Off+s.Size)
	}
	return int(end)
}

// moduleName returns what the section .modname has, if it is a name.
func (f *elfFile) moduleName() string {
	for _, s := range f.sections {
		if uint64(s.Name) >= uint64(len(f.names)) || !bytes.HasPrefix(f.names[s.Name:], []byte(".modname\x00")) {
			continue
		}
		name, _, ok := bytes.Cut(f.data(s), []byte{0})
		const of = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+"
		if ok && len(name) < 128 && len(bytes.Trim(name, of)) == 0 {
			return string(name)
		}
	}
	return ""
}
