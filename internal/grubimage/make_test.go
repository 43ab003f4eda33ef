package grubimage

import (
	"bytes"
	"debug/elf"
	"debug/pe"
	"encoding/binary"
	"testing"

	"github.com/ulikunitz/xz/lzma"
)

// part is a section of an ELF file that a test makes.
type part struct {
	name  string
	kind  elf.SectionType
	flags elf.SectionFlag
	addr  uint64
	align uint64
	link  uint32
	info  uint32
	data  []byte
	size  uint64 // of SHT_NOBITS
}

func le(values ...any) []byte {
	var b []byte
	for _, v := range values {
		var err error
		if b, err = binary.Append(b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return b
}

// makeELF makes a file of the sections, numbered from 1, with the table of
// section headers last, as that of GRUB's modules is.
func makeELF(class elf.Class, parts ...part) []byte {
	machine, head := elf.EM_X86_64, 64
	if class == elf.ELFCLASS32 {
		machine, head = elf.EM_386, 52
	}
	names := []byte{0}
	b := make([]byte, head)
	parts = append(parts, part{name: ".shstrtab", kind: elf.SHT_STRTAB})
	for _, p := range parts {
		names = append(append(names, p.name...), 0)
	}
	parts[len(parts)-1].data = names
	table := [][]byte{make([]byte, map[elf.Class]int{elf.ELFCLASS32: 40, elf.ELFCLASS64: 64}[class])}
	name := uint32(1)
	for _, p := range parts {
		size := max(p.size, uint64(len(p.data)))
		if class == elf.ELFCLASS64 {
			table = append(table, le(elf.Section64{
				Name: name, Type: uint32(p.kind), Flags: uint64(p.flags), Addr: p.addr, Off: uint64(len(b)), Size: size, Link: p.link, Info: p.info, Addralign: p.align,
			}))
		} else {
			table = append(table, le(elf.Section32{
				Name: name, Type: uint32(p.kind), Flags: uint32(p.flags), Addr: uint32(p.addr), Off: uint32(len(b)), Size: uint32(size), Addralign: uint32(p.align),
			}))
		}
		b = append(b, p.data...)
		name += uint32(len(p.name)) + 1
	}
	var h []byte
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	if class == elf.ELFCLASS64 {
		h = le(elf.Header64{
			Ident: ident, Type: 1, Machine: uint16(machine), Version: 1, Shoff: uint64(len(b)), Shentsize: 64, Shnum: uint16(len(table)), Shstrndx: uint16(len(table) - 1),
		})
	} else {
		h = le(elf.Header32{
			Ident: ident, Type: 1, Machine: uint16(machine), Version: 1, Shoff: uint32(len(b)), Shentsize: 40, Shnum: uint16(len(table)), Shstrndx: uint16(len(table) - 1),
		})
	}
	copy(b, h)
	return append(b, bytes.Join(table, nil)...)
}

// makeModule makes a module of no length that is a multiple of a pointer's.
func makeModule(class elf.Class, name string) []byte {
	text := []byte("code of " + name)
	for {
		b := makeELF(class, part{name: ".text", kind: elf.SHT_PROGBITS, data: text},
			part{name: ".bss", kind: elf.SHT_NOBITS, size: 1 << 30}, part{name: ".modname", data: []byte(name + "\x00"), kind: elf.SHT_PROGBITS})
		if len(b)%4 == 1 {
			return b
		}
		text = append(text, '!')
	}
}

// record is what a test builds in.
type record struct {
	kind    uint32
	content []byte
}

// words fills b up with zeros.
func words(b []byte, to int) []byte {
	for len(b)%to != 0 {
		b = append(b, 0)
	}
	return b
}

// makeArea makes an area of modules. As grub-mkimage does, it counts filling
// into the size of all records but keys'.
func makeArea(word int, records ...record) []byte {
	var b []byte
	for _, r := range records {
		content := r.content
		if r.kind != 4 {
			content = words(bytes.Clone(content), word)
		}
		b = words(append(b, append(le(r.kind, uint32(8+len(content))), content...)...), word)
	}
	if word == 8 {
		return append(le([]byte(magic), uint32(0), uint64(24), uint64(24+len(b))), b...)
	}
	return append(le([]byte(magic), uint32(12), uint32(12+len(b))), b...)
}

const page = 0x1000

// makeEFI makes an image of the kernel's code and data and of the area; each is
// filled up to whole pages.
func makeEFI(code, data, area, sbat, rest []byte) []byte {
	content := [][]byte{code, data, area, sbat, []byte("relocations")}
	b := make([]byte, 0x80)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x80)
	var table, body []byte
	count := 0
	for i, name := range efiSections {
		if content[i] == nil {
			continue
		}
		count++
		c := words(bytes.Clone(content[i]), page)
		h := pe.SectionHeader32{VirtualSize: uint32(len(c)), VirtualAddress: uint32(page + len(body)), SizeOfRawData: uint32(len(c)), PointerToRawData: uint32(page + len(body))}
		copy(h.Name[:], name)
		table, body = append(table, le(h)...), append(body, c...)
	}
	optional := pe.OptionalHeader64{Magic: 0x20b, SectionAlignment: page, FileAlignment: page, SizeOfHeaders: page, NumberOfRvaAndSizes: 16}
	if rest != nil {
		optional.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY] = pe.DataDirectory{VirtualAddress: uint32(page + len(body)), Size: uint32(len(rest))}
	}
	b = append(b, le([]byte("PE\x00\x00"), pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(count), SizeOfOptionalHeader: uint16(binary.Size(optional)),
	}, optional)...)
	return append(append(words(append(b, table...), page), body...), rest...)
}

// makeBIOS makes an image of the kernel and of the area, with cdboot.img if
// it is to start from a CD.
func makeBIOS(t testing.TB, cd bool, kernel, area []byte) []byte {
	t.Helper()
	plain := append(bytes.Clone(kernel), area...)
	var packed bytes.Buffer
	w, err := lzma.WriterConfig{Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2}, DictCap: 1 << 16, Size: int64(len(plain)), SizeInHeader: true}.NewWriter(&packed)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	core := bytes.Clone(decompressorImg())
	stream := packed.Bytes()[13:] // without the header of a file
	binary.LittleEndian.PutUint32(core[8:], uint32(len(stream)))
	binary.LittleEndian.PutUint32(core[12:], uint32(len(plain)))
	core = append(core, stream...)
	b := diskbootImg()
	binary.LittleEndian.PutUint16(b[508:], uint16((len(core)+511)/512))
	if cd {
		b = append(cdbootImg(), b...)
	}
	return append(b, core...)
}

func cdbootImg() []byte { return bytes.Repeat([]byte("cd"), 1024) }

func diskbootImg() []byte {
	b := bytes.Repeat([]byte("disk"), 128)
	copy(b[500:], []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0x08})
	return b
}

func decompressorImg() []byte {
	b := bytes.Repeat([]byte("unpack"), 8)
	copy(b[8:], make([]byte, 12))
	return b
}
