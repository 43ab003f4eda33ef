package grubimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

// built is one of all kinds, and what is to be read of it.
func built(class elf.Class, word int) (records []record, want []Module) {
	add := func(kind uint32, content []byte, m Module) {
		records = append(records, record{kind, content})
		if m.SHA256 == "" {
			m.Size, m.SHA256 = int64(len(content)), artifact.HashBytes(content)
		}
		if m.Kind != "pubkey" { // the size of a key is that of its content
			filled := (len(content) + word - 1) / word * word
			m.Padding = int64(filled) - m.Size
		}
		want = append(want, m)
	}
	for _, name := range []string{"normal", "gcry_sha256", "iso9660", "part_gpt"} {
		add(0, makeModule(class, name), Module{Kind: "module", Name: name})
	}
	add(0, []byte("no ELF file"), Module{Kind: "module", Size: int64(word * ((11 + word - 1) / word)), SHA256: artifact.HashBytes(words([]byte("no ELF file"), word))})
	add(4, []byte("a key"), Module{Kind: "pubkey"})
	add(1, bytes.Repeat([]byte{0}, 1024), Module{Kind: "memdisk"})
	add(5, []byte("tree or certificate"+strings.Repeat("\xff", 5)), Module{Kind: "dtb or x509-pubkey"})
	add(6, nil, Module{Kind: "disable-shim-lock"})
	add(6, []byte("tree...."), Module{Kind: "disable-shim-lock or dtb"})
	add(7, nil, Module{Kind: "disable-shim-lock"})
	add(8, nil, Module{Kind: "disable-cli"})
	text := func(kind uint32, name, s string) {
		add(kind, []byte(s+"\x00"), Module{Kind: name, Text: s, Size: int64(len(s)), SHA256: artifact.HashBytes([]byte(s))})
	}
	text(2, "config", "search --file /x\n")
	text(3, "prefix", "(memdisk)/boot/grub")
	return records, want
}

func TestModules(t *testing.T) {
	records64, want64 := built(elf.ELFCLASS64, 8)
	records32, want32 := built(elf.ELFCLASS32, 4)
	area64, area32 := makeArea(8, records64...), makeArea(4, records32...)
	sbat := Module{Kind: "sbat", Size: 4, SHA256: artifact.HashBytes([]byte("sbat")), Padding: page - 4}
	decoy := []byte("mimg\x0c\x00\x00\x00\x0c\x00\x00\x00mimg the kernel mim")
	for name, c := range map[string]struct {
		image []byte
		want  []Module
	}{
		"efi":              {makeEFI([]byte("code"), []byte("data"), area64, nil, nil), want64},
		"efi with sbat":    {makeEFI([]byte("code"), []byte("data"), area64, []byte("sbat"), nil), append(want64, sbat)},
		"efi signed":       {makeEFI([]byte("code"), []byte("data"), area64, nil, []byte("signature")), want64},
		"bios":             {makeBIOS(t, false, decoy, area32), want32},
		"bios, from a CD":  {makeBIOS(t, true, decoy, area32), want32},
		"bios, no modules": {makeBIOS(t, true, decoy, makeArea(4)), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Modules("grub.img", c.image)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(c.want) {
				t.Fatalf("have %d modules, want %d", len(got), len(c.want))
			}
			for i := range got {
				if !reflect.DeepEqual(got[i], c.want[i]) {
					t.Errorf("have %+v\nwant %+v", got[i], c.want[i])
				}
			}
		})
	}
}

// TestModuleIsItsFile has modules of every length stand for their files.
func TestModuleIsItsFile(t *testing.T) {
	for n := range 16 {
		for _, c := range []struct {
			class elf.Class
			word  int
		}{{elf.ELFCLASS32, 4}, {elf.ELFCLASS64, 8}} {
			file := makeELF(c.class, part{name: ".text", kind: elf.SHT_PROGBITS, data: bytes.Repeat([]byte{0}, n)})
			m, err := readArea(makeArea(c.word, record{0, file}), c.word)
			if err != nil || len(m) != 1 || m[0].SHA256 != artifact.HashBytes(file) || m[0].Size != int64(len(file)) {
				t.Errorf("%v, %d: have %+v, %v", c.class, n, m, err)
			}
			// What is no filling is counted in.
			for _, more := range []string{"\x00\x00\x00\x00\x00\x00\x00\x00", "x"} {
				long := words(append(bytes.Clone(file), more...), c.word)
				m, err := readArea(makeArea(c.word, record{0, long}), c.word)
				if err != nil || len(m) != 1 || m[0].SHA256 != artifact.HashBytes(long) || m[0].Padding != 0 {
					t.Errorf("%v, %d: have %+v, %v", c.class, n, m, err)
				}
			}
		}
	}
}

func TestModuleNames(t *testing.T) {
	for have, want := range map[string]string{
		"normal\x00": "normal", "x\x00normal\x00": "x", "gcry_a-1+\x00": "gcry_a-1+",
		"normal": "", "": "", "../normal\x00": "", "a\nb\x00": "", strings.Repeat("a", 128) + "\x00": "",
	} {
		m, err := newModule("module", makeELF(elf.ELFCLASS64, part{name: ".modname", kind: elf.SHT_PROGBITS, data: []byte(have)}), 8)
		if err != nil || m.Name != want {
			t.Errorf("%q: have %q, %v", have, m.Name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	area := makeArea(4, record{3, []byte("/x\x00")})
	bios := makeBIOS(t, true, []byte("kernel"), area)
	efi := func() []byte {
		return makeEFI([]byte("code"), []byte("data"), makeArea(8, record{3, []byte("/x\x00")}), nil, nil)
	}
	patched := func(b []byte, at int, with ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], with)
		return b
	}
	raw := func(records []byte) []byte {
		return makeBIOS(t, false, nil, append(le([]byte(magic), uint32(12), uint32(12+len(records))), records...))
	}
	const core, headers, mods = cdbootSize + diskbootSize, 0x80 + 4 + 20 + 240, 3 * page
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"nothing":            {nil, "neither a PE file"},
		"text":               {[]byte("MZ, said nobody"), "no PE file"},
		"large":              {make([]byte, maxImage+1), "more than 16777216 bytes"},
		"cut":                {bios[:len(bios)-1000], "neither a PE file"},
		"one byte more":      {append(bytes.Clone(bios), 0), "malformed"},
		"Reed-Solomon":       {patched(bios, core+16, 1), "Reed-Solomon"},
		"sizes":              {patched(bios, core+8, 0xff, 0xff), "are said to hold"},
		"too much unpacked":  {patched(bios, core+12, 0xff, 0xff, 0xff, 0xff), "are said to hold"},
		"more unpacked":      {patched(bios, core+13, 0xff), "LZMA"},
		"less unpacked":      {patched(bios, core+12, 5, 0), "malformed"},
		"damaged":            {patched(bios, len(bios)-12, 1, 2, 3, 4), "malformed"},
		"no area":            {makeBIOS(t, true, []byte("kernel"), nil), "no modules behind the kernel"},
		"bytes behind":       {makeBIOS(t, true, []byte("kernel"), append(bytes.Clone(area), 0)), "no modules behind the kernel"},
		"two areas":          {raw(append(le(uint32(4), uint32(8+12)), le([]byte(magic), uint32(12), uint32(12))...)), "two areas of modules"},
		"type":               {raw(le(uint32(9), uint32(8))), "type 9, which is not known"},
		"short record":       {raw(le(uint32(0), uint32(7))), "a module of 7 bytes among 8"},
		"long record":        {raw(le(uint32(0), uint32(9))), "a module of 9 bytes among 8"},
		"cut record":         {raw(le(uint32(0))), "end within a header"},
		"filling":            {raw(le(uint32(4), uint32(9), []byte("key!"))), "bytes behind a pubkey"},
		"text without NUL":   {raw(le(uint32(2), uint32(12), []byte("text"))), "a config that does not end"},
		"text behind NUL":    {raw(le(uint32(3), uint32(16), []byte("a\x00text\x00\x00"))), "a prefix that does not end"},
		"a flag with more":   {raw(le(uint32(7), uint32(12), []byte("more"))), "a disable-shim-lock with content"},
		"many":               {raw(bytes.Repeat(le(uint32(8), uint32(8)), maxModules+1)), "more than 4096 things"},
		"machine":            {patched(efi(), 0x84, 0x4c, 0x01), "machine 0x14c"},
		"another section":    {patched(efi(), headers, []byte(".evil")...), `a section ".evil"`},
		"order":              {patched(efi(), headers, []byte(".data")...), `a section ".data"`},
		"place":              {patched(efi(), headers+40+20, 0, 0x30), "out of place"},
		"address":            {patched(efi(), headers+40+12, 0, 0x30), "out of place"},
		"size in memory":     {patched(efi(), headers+8, 1), "out of place"},
		"cut section":        {efi()[:4*page], "malformed"},
		"no sections":        {makeEFI([]byte("code"), nil, makeArea(8), nil, nil), "without the sections of GRUB"},
		"behind sections":    {append(efi(), 0, 1), "bytes behind the sections"},
		"magic":              {patched(efi(), mods, 'M'), "does not hold modules alone"},
		"later records":      {patched(efi(), mods+8, 32), "does not hold modules alone"},
		"long area":          {patched(efi(), mods+18, 1), "does not hold modules alone"},
		"behind the area":    {patched(efi(), mods+page-1, 1), "does not hold modules alone"},
		"unsigned signature": {patched(makeEFI([]byte("c"), []byte("d"), makeArea(8), nil, []byte("signature")), 0x80+4+20+112+32, 8), "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Modules("grub.img", c.image)
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "grub.img: ") {
				t.Fatalf("have %+v, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

func FuzzModules(f *testing.F) {
	records64, _ := built(elf.ELFCLASS64, 8)
	records32, _ := built(elf.ELFCLASS32, 4)
	f.Add(makeEFI([]byte("code"), []byte("data"), makeArea(8, records64...), []byte("sbat"), []byte("signature")))
	f.Add(makeBIOS(f, true, []byte("kernel"), makeArea(4, records32...)))
	f.Add(makeBIOS(f, false, nil, makeArea(4)))
	f.Fuzz(func(t *testing.T, image []byte) {
		i, err := Open("grub.img", image)
		if err != nil {
			return
		}
		for _, m := range i.Modules {
			if err := m.SHA256.Validate(); err != nil || m.Kind == "" || m.Size < 0 || m.Padding < 0 {
				t.Fatalf("have %+v, %v", m, err)
			}
		}
		_ = i.Verify("kernel.img", image)
	})
}

// FuzzELF reads modules and kernels, which Open finds only within LZMA.
func FuzzELF(f *testing.F) {
	f.Add(makeModule(elf.ELFCLASS64, "normal"))
	f.Add(makeModule(elf.ELFCLASS32, "normal"))
	f.Add(kernel64())
	f.Add(kernel32())
	f.Fuzz(func(t *testing.T, b []byte) {
		for word := 4; word <= 8; word += 4 {
			m, err := newModule("module", b, word)
			if err != nil || m.Size+m.Padding != int64(len(b)) {
				t.Fatalf("have %+v, %v", m, err)
			}
		}
		efi := &Image{Platform: "x86_64-efi", kernel: loaded64(), base: page, alignment: page}
		bios := &Image{Platform: "i386-pc", kernel: loaded32(), base: biosBase, alignment: 1}
		for _, i := range []*Image{efi, bios} {
			_ = i.Verify("kernel.img", b)
		}
		if len(b) >= 12 {
			size, ok := areaSize(b, 4)
			if ok && binary.LittleEndian.Uint32(b[8:]) != uint32(size) {
				t.Fatalf("have %d", size)
			}
		}
	})
}
