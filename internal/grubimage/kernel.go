package grubimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// load makes of kernel.img what stands in memory before the modules.
func (i *Image) load(content []byte) ([]byte, error) {
	f, err := parseELF(content)
	if err != nil {
		return nil, err
	}
	// Sections may lie over one another, and so their number bounds the work.
	const most = 64
	if len(f.sections) > most {
		return nil, malformed("a kernel of more than %d sections", most)
	}
	switch {
	case i.Platform == "i386-pc" && f.machine == elf.EM_386 && f.class == elf.ELFCLASS32:
		return i.copied(f)
	case i.Platform == "x86_64-efi" && f.machine == elf.EM_X86_64 && f.class == elf.ELFCLASS64:
		return i.relocated(f)
	}
	return nil, malformed("an ELF file for %v", f.machine)
}

// flags are those of a section that decide where it goes.
func flags(s elf.Section64) elf.SectionFlag {
	return elf.SectionFlag(s.Flags) & (elf.SHF_ALLOC | elf.SHF_EXECINSTR)
}

// copied lays out the sections of a kernel that is linked for its address.
func (i *Image) copied(f *elfFile) ([]byte, error) {
	out := make([]byte, len(i.kernel))
	end := uint64(0)
	for _, s := range f.sections {
		if elf.SectionType(s.Type) != elf.SHT_PROGBITS || flags(s)&elf.SHF_ALLOC == 0 {
			continue
		}
		at, b := s.Addr-i.base, f.data(s)
		if uint64(len(b)) != s.Size || s.Addr < i.base || at > uint64(len(out)) || s.Size > uint64(len(out))-at {
			return nil, ErrDiffers // longer than what the image has
		}
		copy(out[at:], b)
		end = max(end, at+s.Size)
	}
	return out[:end], nil
}

// relocated lays out and relocates the sections of a kernel that is not linked.
func (i *Image) relocated(f *elfFile) ([]byte, error) {
	l, err := i.layOut(f)
	if err != nil {
		return nil, err
	}
	if l.end != uint64(len(i.kernel)) {
		return nil, ErrDiffers
	}
	out := make([]byte, l.end)
	for n, s := range f.sections {
		if l.kept[n] {
			copy(out[l.addr[n]-i.base:], f.data(s))
		}
	}
	symbols, err := l.symbols(f)
	if err != nil {
		return nil, err
	}
	for _, s := range f.sections {
		if elf.SectionType(s.Type) != elf.SHT_RELA || uint64(s.Info) >= uint64(len(f.sections)) || !l.kept[s.Info] {
			continue
		}
		if err := relocate(out, i.base, l.addr[s.Info], f.sections[s.Info].Size, f.data(s), symbols); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// layout says where the sections of a kernel go.
type layout struct {
	addr     []uint64
	kept     []bool
	bss, end uint64 // from the kernel's start
}

// layOut places code, then data, then what is zero at first. Code ends at a
// multiple of the alignment of sections, and so does the whole.
func (i *Image) layOut(f *elfFile) (*layout, error) {
	l := &layout{addr: make([]uint64, len(f.sections)), kept: make([]bool, len(f.sections))}
	at := i.base
	up := func(align uint64) error {
		if align > maxImage || align&(align-1) != 0 {
			return malformed("an alignment to %d bytes", align)
		}
		if align > 0 {
			at = (at + align - 1) &^ (align - 1)
		}
		return nil
	}
	place := func(want func(elf.Section64) bool) error {
		for n, s := range f.sections {
			if !want(s) {
				continue
			}
			if err := up(s.Addralign); err != nil {
				return err
			}
			if s.Size > maxImage || at > i.base+maxImage {
				return malformed("sections of more than %d bytes", maxImage)
			}
			l.addr[n], l.kept[n] = at, true
			at += s.Size
		}
		return nil
	}
	empty := func(s elf.Section64) bool { return elf.SectionType(s.Type) == elf.SHT_NOBITS }
	err := place(func(s elf.Section64) bool { return flags(s) == elf.SHF_ALLOC|elf.SHF_EXECINSTR })
	if err == nil {
		err = up(i.alignment)
	}
	if err == nil {
		err = place(func(s elf.Section64) bool { return flags(s) == elf.SHF_ALLOC && !empty(s) })
	}
	l.bss = at - i.base
	if err == nil {
		err = place(func(s elf.Section64) bool { return flags(s) == elf.SHF_ALLOC && empty(s) })
	}
	if err == nil {
		err = up(i.alignment)
	}
	l.end = at - i.base
	// A section that is not kept has the address of the start.
	for n := range l.addr {
		if !l.kept[n] {
			l.addr[n] = i.base
		}
	}
	return l, err
}

// symbols returns the values of all symbols.
func (l *layout) symbols(f *elfFile) ([]uint64, error) {
	for _, s := range f.sections {
		if elf.SectionType(s.Type) != elf.SHT_SYMTAB {
			continue
		}
		var names []byte
		if uint64(s.Link) < uint64(len(f.sections)) {
			names = f.data(f.sections[s.Link])
		}
		b := f.data(s)
		values := make([]uint64, len(b)/elf.Sym64Size)
		for n := range values {
			sym := b[n*elf.Sym64Size:]
			name, section := uint64(binary.LittleEndian.Uint32(sym)), elf.SectionIndex(binary.LittleEndian.Uint16(sym[6:]))
			values[n] = binary.LittleEndian.Uint64(sym[8:])
			switch {
			case section == elf.SHN_ABS:
			case section == elf.SHN_UNDEF && name < uint64(len(names)) && bytes.HasPrefix(names[name:], []byte("__bss_start\x00")):
				values[n] = l.bss
			case section == elf.SHN_UNDEF && name < uint64(len(names)) && bytes.HasPrefix(names[name:], []byte("_end\x00")):
				values[n] = l.end
			case section == elf.SHN_UNDEF:
			case int(section) >= len(l.addr):
				return nil, malformed("a symbol of section %d", section)
			default:
				values[n] += l.addr[section]
			}
		}
		return values, nil
	}
	return nil, malformed("a kernel without symbols")
}

// relocate applies relocations to the section of size bytes at an address.
func relocate(out []byte, base, section, size uint64, relocations []byte, symbols []uint64) error {
	const entry = 24
	for ; len(relocations) >= entry; relocations = relocations[entry:] {
		offset, info := binary.LittleEndian.Uint64(relocations), binary.LittleEndian.Uint64(relocations[8:])
		kind, symbol := elf.R_X86_64(elf.R_TYPE64(info)), uint64(elf.R_SYM64(info))
		if kind == elf.R_X86_64_NONE {
			continue
		}
		width := uint64(4)
		if kind == elf.R_X86_64_64 || kind == elf.R_X86_64_PC64 {
			width = 8
		}
		if size < width || offset > size-width || symbol >= uint64(len(symbols)) || section-base+offset+width > uint64(len(out)) {
			return malformed("a relocation outside of its section")
		}
		value := symbols[symbol] + binary.LittleEndian.Uint64(relocations[16:])
		switch kind {
		case elf.R_X86_64_64, elf.R_X86_64_32, elf.R_X86_64_32S:
		case elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64:
			value -= section + offset
		default:
			return malformed("a relocation of type %v", kind)
		}
		if at := out[section-base+offset:]; width == 8 {
			binary.LittleEndian.PutUint64(at, binary.LittleEndian.Uint64(at)+value)
		} else {
			binary.LittleEndian.PutUint32(at, binary.LittleEndian.Uint32(at)+uint32(value))
		}
	}
	return nil
}
