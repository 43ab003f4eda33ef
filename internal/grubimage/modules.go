package grubimage

import (
	"bytes"
	"encoding/binary"

	"github.com/isotrace/isotrace/internal/artifact"
)

// magic begins the area of modules: 0x676d696d.
const magic = "mimg"

// kinds are the types of an area's records, in the order of their numbers. What
// a number past 4 means depends on the version, of which an image says nothing:
// up to 2.12 it is 5 dtb, 6 disable-shim-lock; in 2.14 it is 5 x509-pubkey,
// 6 dtb, 7 disable-shim-lock, 8 disable-cli.
var kinds = []string{
	"module", "memdisk", "config", "prefix", "pubkey", "dtb or x509-pubkey", "disable-shim-lock or dtb", shimLock, "disable-cli",
}

const shimLock = "disable-shim-lock"

// maxModules bounds what is built into an image. GRUB has 300 modules.
const maxModules = 4096

// infoSize is the length of the header of an area, for pointers of word bytes:
// the magic, then the offset of the first record and the size of the area.
func infoSize(word int) int {
	if word == 8 {
		return 24
	}
	return 12
}

// areaSize returns the size of the area that b begins with, if it does.
func areaSize(b []byte, word int) (int, bool) {
	info := infoSize(word)
	if len(b) < info || string(b[:4]) != magic {
		return 0, false
	}
	first, size := uint64(binary.LittleEndian.Uint32(b[4:])), uint64(binary.LittleEndian.Uint32(b[8:]))
	if word == 8 {
		first, size = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	}
	// Records that begin later would leave bytes between.
	if first != uint64(info) || size < first || size > uint64(len(b)) {
		return 0, false
	}
	return int(size), true
}

// readArea reads the records of an area: a type and a size with that of these
// eight bytes, in 32 bits each, and then the content. Each begins at a multiple
// of word bytes after the one before.
func readArea(area []byte, word int) ([]Module, error) {
	var modules []Module
	const header = 8
	for at := infoSize(word); at < len(area); {
		b := area[at:]
		if len(b) < header {
			return nil, malformed("the modules end within a header")
		}
		kind, size := binary.LittleEndian.Uint32(b), int64(binary.LittleEndian.Uint32(b[4:]))
		if int64(kind) >= int64(len(kinds)) {
			return nil, malformed("built in as type %d, which is not known", kind)
		}
		if size < header || size > int64(len(b)) {
			return nil, malformed("a %s of %d bytes among %d", kinds[kind], size, len(b))
		}
		end := min((int(size)+word-1)/word*word, len(b))
		if !zeros(b[size:end]) {
			return nil, malformed("bytes behind a %s", kinds[kind])
		}
		if len(modules) == maxModules {
			return nil, malformed("more than %d things built in", maxModules)
		}
		m, err := newModule(kinds[kind], b[header:size], word)
		if err != nil {
			return nil, err
		}
		modules = append(modules, m)
		at += end
	}
	return modules, nil
}

// newModule describes the content of a record.
func newModule(kind string, b []byte, word int) (Module, error) {
	content := b
	m := Module{Kind: kind}
	switch kind {
	case "module":
		if e, err := parseELF(b); err == nil {
			// The tool fills a module up to the next word, never further.
			if end := e.end(); end <= len(b) && len(b)-end < word && zeros(b[end:]) {
				content = b[:end]
			}
			m.Name = e.moduleName()
		}
	case "config", "prefix":
		content = bytes.TrimRight(b, "\x00")
		// GRUB reads up to the first NUL.
		if len(content) == len(b) || bytes.IndexByte(content, 0) >= 0 {
			return Module{}, malformed("a %s that does not end at its first NUL", kind)
		}
		m.Text = string(content)
	case "sbat":
		content = bytes.TrimRight(b, "\x00")
	case "disable-shim-lock or dtb":
		if len(b) == 0 {
			m.Kind = shimLock
		}
	case shimLock, "disable-cli":
		if len(b) > 0 {
			return Module{}, malformed("a %s with content", kind)
		}
	}
	m.Size, m.SHA256, m.Padding = int64(len(content)), artifact.HashBytes(content), int64(len(b)-len(content))
	return m, nil
}
