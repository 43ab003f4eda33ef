package grubimage

import (
	"bytes"
	"debug/pe"
)

// efiSections are those that grub-mkimage writes, in its order.
var efiSections = []string{".text", ".data", "mods", ".sbat", ".reloc"}

// readEFI reads an image for UEFI: a PE file of the section that the kernel's
// code makes, that of its data, the modules, SBAT data if there are any, and
// the relocations.
func readEFI(image []byte) (*Image, error) {
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, malformed("no PE file: %v", err)
	}
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		return nil, malformed("a PE file for machine %#x, where only x86-64 is known", f.Machine)
	}
	found, err := sections(f, h, image)
	if err != nil {
		return nil, err
	}
	text, data, mods := found[".text"], found[".data"], found["mods"]
	if text == nil || data == nil || mods == nil || found[".reloc"] == nil {
		return nil, malformed("a PE file without the sections of GRUB")
	}
	i := &Image{
		Platform: "x86_64-efi", kernel: image[text.Offset:mods.Offset],
		base: uint64(text.VirtualAddress), alignment: uint64(h.SectionAlignment),
	}
	area := image[mods.Offset : mods.Offset+mods.Size]
	size, ok := areaSize(area, 8)
	if !ok || !zeros(area[size:]) {
		return nil, malformed("the section mods does not hold modules alone")
	}
	if i.Modules, err = readArea(area[:size], 8); err != nil {
		return nil, err
	}
	if s := found[".sbat"]; s != nil {
		m, err := newModule("sbat", image[s.Offset:s.Offset+s.Size], 8)
		if err != nil {
			return nil, err
		}
		i.Modules = append(i.Modules, m)
	}
	return i, nil
}

// sections returns the sections by name. They stand one after the other from
// the end of the headers to that of the image or to its signature, and are
// loaded as they stand.
func sections(f *pe.File, h *pe.OptionalHeader64, image []byte) (map[string]*pe.Section, error) {
	found := map[string]*pe.Section{}
	at, order := uint64(h.SizeOfHeaders), 0
	for _, s := range f.Sections {
		for order < len(efiSections) && efiSections[order] != s.Name {
			order++
		}
		if order == len(efiSections) {
			return nil, malformed("a section %q, which GRUB does not have there", s.Name)
		}
		if uint64(s.Offset) != at || s.VirtualAddress != s.Offset || s.VirtualSize != s.Size {
			return nil, malformed("the section %q is out of place", s.Name)
		}
		if at += uint64(s.Size); at > uint64(len(image)) {
			return nil, malformed("the section %q is cut off", s.Name)
		}
		found[s.Name] = s
		order++
	}
	rest := image[min(at, uint64(len(image))):]
	// Of all addresses, that of the signature alone is an offset in the file.
	signature := h.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY]
	if signature.Size > 0 && uint64(signature.VirtualAddress) >= at && uint64(signature.VirtualAddress)+uint64(signature.Size) == uint64(len(image)) {
		rest = image[at:signature.VirtualAddress]
	}
	if !zeros(rest) {
		return nil, malformed("bytes behind the sections")
	}
	return found, nil
}
