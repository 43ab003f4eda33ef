package grubimage

import (
	"bytes"
	"debug/elf"
	"errors"
	"strings"
	"testing"
)

const code, data = elf.SHF_ALLOC | elf.SHF_EXECINSTR, elf.SHF_ALLOC

// kernel32 is linked for 0x9000, with a gap before its data.
func kernel32() []byte {
	return makeELF(elf.ELFCLASS32,
		part{name: ".text", kind: elf.SHT_PROGBITS, flags: code, addr: 0x9000, data: []byte("code!")},
		part{name: ".rodata", kind: elf.SHT_PROGBITS, flags: data, addr: 0x9008, data: []byte("data")},
		part{name: ".bss", kind: elf.SHT_NOBITS, flags: data, addr: 0x900c, size: 100},
		part{name: ".comment", kind: elf.SHT_PROGBITS, data: []byte("not loaded")})
}

func loaded32() []byte { return []byte("code!\x00\x00\x00data") }

// kernel64 is to be relocated. Its sections, from 1: .text, .rela.text, .data,
// .rela.data, .bss, .symtab, .strtab, .comment, .rela.comment.
func kernel64() []byte {
	symbol := func(name uint32, section elf.SectionIndex, value uint64) []byte {
		return le(elf.Sym64{Name: name, Shndx: uint16(section), Value: value})
	}
	relocation := func(offset uint64, symbol uint32, kind elf.R_X86_64, addend int64) []byte {
		return le(elf.Rela64{Off: offset, Info: elf.R_INFO(symbol, uint32(kind)), Addend: addend})
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	return makeELF(elf.ELFCLASS64,
		part{name: ".text", kind: elf.SHT_PROGBITS, flags: code, align: 16, data: []byte("code----....end.")},
		part{name: ".rela.text", kind: elf.SHT_RELA, info: 1, data: join(
			relocation(4, 1, elf.R_X86_64_PC32, -4), relocation(8, 2, elf.R_X86_64_32, 2), relocation(0, 0, elf.R_X86_64_NONE, 0))},
		part{name: ".data", kind: elf.SHT_PROGBITS, flags: data, align: 32, data: append([]byte("data...."), make([]byte, 32)...)},
		part{name: ".rela.data", kind: elf.SHT_RELA, info: 3, data: join(
			relocation(8, 3, elf.R_X86_64_64, 1), relocation(16, 4, elf.R_X86_64_64, 0), relocation(24, 5, elf.R_X86_64_PC64, 0), relocation(32, 6, elf.R_X86_64_64, 0))},
		part{name: ".bss", kind: elf.SHT_NOBITS, flags: data, align: 64, size: 5000},
		part{name: ".symtab", kind: elf.SHT_SYMTAB, link: 7, data: join(
			symbol(0, elf.SHN_UNDEF, 0), symbol(0, 3, 4), symbol(0, elf.SHN_ABS, 0x30), symbol(0, 5, 8), symbol(1, elf.SHN_UNDEF, 0), symbol(0, 1, 1), symbol(13, elf.SHN_UNDEF, 0))},
		part{name: ".strtab", kind: elf.SHT_STRTAB, data: []byte("\x00__bss_start\x00_end\x00")},
		part{name: ".comment", kind: elf.SHT_PROGBITS, data: []byte("not loaded")},
		part{name: ".rela.comment", kind: elf.SHT_RELA, info: 8, data: relocation(0, 2, elf.R_X86_64_64, 0)})
}

// loaded64 is kernel64 at 0x1000: code there, data at 0x2000, zeros from 0x2040
// to the end of a page, 0x4000. The numbers are reckoned by hand.
func loaded64() []byte {
	b := make([]byte, 3*page)
	copy(b, "code")
	copy(b[4:], le(uint32(0x2d2d2d2d+0x2004-4-0x1004))) // what stands there counts
	copy(b[8:], le(uint32(0x2e2e2e2e+0x32)))
	copy(b[12:], "end.")
	copy(b[page:], "data....")
	copy(b[page+8:], le(uint64(0x2040+8+1)))
	copy(b[page+16:], le(uint64(0x1028))) // __bss_start, as the tool reckons it
	copy(b[page+24:], le(uint64(1<<64-(0x2018-0x1001))))
	copy(b[page+32:], le(uint64(0x3000))) // _end
	return b
}

func TestVerify(t *testing.T) {
	loaded := loaded64()
	efi := makeEFI(loaded[:page], loaded[page:], makeArea(8), nil, nil)
	bios := makeBIOS(t, true, loaded32(), makeArea(4))
	disk := makeBIOS(t, false, loaded32(), makeArea(4))
	flipped := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		image   []byte
		file    string
		content []byte
		want    string // the error; none when empty
	}{
		"efi kernel":              {efi, "kernel.img", kernel64(), ""},
		"bios kernel":             {bios, "kernel.img", kernel32(), ""},
		"cdboot":                  {bios, "cdboot.img", cdbootImg(), ""},
		"cdboot with a table":     {flipped(flipped(bios, 8), 63), "cdboot.img", cdbootImg(), ""},
		"diskboot":                {bios, "diskboot.img", diskbootImg(), ""},
		"diskboot with a sector":  {flipped(bios, cdbootSize+500), "diskboot.img", diskbootImg(), ""},
		"decompressor":            {bios, "lzma_decompress.img", decompressorImg(), ""},
		"cdboot's start":          {flipped(bios, 7), "cdboot.img", cdbootImg(), "holds other bytes"},
		"cdboot's code":           {flipped(bios, 64), "cdboot.img", cdbootImg(), "holds other bytes"},
		"cdboot's end":            {bios, "cdboot.img", cdbootImg()[:2047], "holds other bytes"},
		"no cdboot":               {disk, "cdboot.img", cdbootImg(), "holds other bytes"},
		"no cdboot, no file":      {disk, "cdboot.img", nil, "holds other bytes"},
		"no cdboot in efi":        {efi, "cdboot.img", nil, "holds other bytes"},
		"diskboot's code":         {flipped(bios, cdbootSize+499), "diskboot.img", diskbootImg(), "holds other bytes"},
		"decompressor's code":     {flipped(bios, cdbootSize+diskbootSize+20), "lzma_decompress.img", decompressorImg(), "holds other bytes"},
		"bios kernel's code":      {makeBIOS(t, true, flipped(loaded32(), 0), makeArea(4)), "kernel.img", kernel32(), "holds other bytes"},
		"bios kernel's gap":       {makeBIOS(t, true, flipped(loaded32(), 6), makeArea(4)), "kernel.img", kernel32(), "holds other bytes"},
		"bios kernel, longer":     {makeBIOS(t, true, append(loaded32(), 0), makeArea(4)), "kernel.img", kernel32(), "holds other bytes"},
		"bios kernel, shorter":    {makeBIOS(t, true, loaded32()[:11], makeArea(4)), "kernel.img", kernel32(), "holds other bytes"},
		"efi kernel, longer":      {makeEFI(loaded[:page], append(bytes.Clone(loaded[page:]), 0), makeArea(8), nil, nil), "kernel.img", kernel64(), "holds other bytes"},
		"another platform's":      {efi, "kernel.img", kernel32(), "an ELF file for EM_386"},
		"no ELF":                  {efi, "kernel.img", []byte("kernel"), "no ELF file"},
		"another file":            {efi, "normal.mod", nil, "no file of which an image has a part"},
		"a large file":            {efi, "kernel.img", make([]byte, maxImage+1), "more than 16777216 bytes"},
		"many sections":           {efi, "kernel.img", makeELF(elf.ELFCLASS64, make([]part, 64)...), "more than 64 sections"},
		"no symbols":              {efi, "kernel.img", without(kernel64(), elf.SHT_SYMTAB), "a kernel without symbols"},
		"an odd alignment":        {efi, "kernel.img", makeELF(elf.ELFCLASS64, part{flags: code, align: 3}), "an alignment to 3 bytes"},
		"a symbol of nowhere":     {efi, "kernel.img", bytes.Replace(kernel64(), le(uint16(3), uint64(4)), le(uint16(77), uint64(4)), 1), "a symbol of section 77"},
		"a relocation too far":    {efi, "kernel.img", bytes.Replace(kernel64(), le(uint64(8), elf.R_INFO(3, 1)), le(uint64(33), elf.R_INFO(3, 1)), 1), "outside of its section"},
		"a relocation of nothing": {efi, "kernel.img", bytes.Replace(kernel64(), le(elf.R_INFO(3, 1)), le(elf.R_INFO(7, 1)), 1), "outside of its section"},
		"an unknown relocation":   {efi, "kernel.img", bytes.Replace(kernel64(), le(elf.R_INFO(1, 2)), le(elf.R_INFO(1, 3)), 1), "a relocation of type R_X86_64_GOT32"},
		"another relocation":      {efi, "kernel.img", bytes.Replace(kernel64(), le(elf.R_INFO(1, 2)), le(elf.R_INFO(2, 2)), 1), "holds other bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			i, err := Open("grub.img", c.image)
			if err != nil {
				t.Fatal(err)
			}
			err = i.Verify(c.file, c.content)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("have %v, want %q", err, c.want)
			}
			if strings.Contains(c.want, "other bytes") != errors.Is(err, ErrDiffers) {
				t.Errorf("the class of %v", err)
			}
		})
	}
	// Each byte of the kernel counts.
	for at := range loaded {
		b := flipped(loaded, at)
		i := &Image{Platform: "x86_64-efi", kernel: b, base: page, alignment: page}
		if at%97 == 0 && !errors.Is(i.Verify("kernel.img", kernel64()), ErrDiffers) {
			t.Errorf("byte %d may be anything", at)
		}
	}
}

// without makes the sections of a type ones of none.
func without(b []byte, kind elf.SectionType) []byte {
	f, err := parseELF(b)
	if err != nil {
		panic(err)
	}
	b = bytes.Clone(b)
	at := int(f.table) - 64*len(f.sections)
	for n, s := range f.sections {
		if elf.SectionType(s.Type) == kind {
			copy(b[at+64*n+4:], make([]byte, 4))
		}
	}
	return b
}
