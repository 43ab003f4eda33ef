package sbom

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/scan"
)

// headSize is what of a file is looked at, in bytes.
const headSize = 64 << 10

// nature tells by its first bytes and its mode what a file is to TR-03183-2. The
// names of what an archive holds can be read in all formats that are known here.
func nature(head []byte, mode uint32) sbom.Nature {
	holds, boots := isArchive(head)
	n := sbom.Nature{Executable: sbom.No, Archive: sbom.No, Structured: sbom.No}
	if holds {
		n.Archive, n.Structured = sbom.Yes, sbom.Yes
	}
	if boots || mode&0o111 != 0 || scan.CodeType(head) != "" {
		n.Executable = sbom.Yes
	}
	return n
}

// magics of file systems and archives that mimetype does not tell, and whether
// the system boots from what is in them.
var magics = []struct {
	at    int
	magic string
	boots bool
}{
	{0, "hsqs", true},      // squashfs
	{0, "070701", true},    // cpio, as in an initial RAM file system
	{0, "070702", true},    // cpio with checksums
	{54, "FAT12   ", true}, // an EFI system partition
	{54, "FAT16   ", true},
	{82, "FAT32   ", true},
	{257, "ustar", false},
}

// archiveTypes are mimetype's of files that hold other files; what is derived
// from one, as a .jar is from zip, is one, too.
var archiveTypes = []string{"application/zip", "application/x-tar", "application/x-7z-compressed", "application/x-rar-compressed", "application/x-archive",
	"application/vnd.ms-cab-compressed", "application/x-cpio", "application/x-xar", "application/x-rpm", "application/vnd.debian.binary-package"}

// isArchive tells a file that holds others, compressed or not, and one that a
// system boots from.
func isArchive(head []byte) (holds, boots bool) {
	for range 2 {
		for _, m := range magics {
			if len(head) >= m.at+len(m.magic) && string(head[m.at:m.at+len(m.magic)]) == m.magic {
				return true, m.boots
			}
		}
		for t := mimetype.Detect(head); t != nil; t = t.Parent() {
			if slices.ContainsFunc(archiveTypes, func(s string) bool { return strings.HasPrefix(t.String(), s) }) {
				return true, false
			}
		}
		var ok bool
		if head, ok = inside(head); !ok {
			return false, false
		}
	}
	return false, false
}

// inside decompresses the beginning of a compressed file.
func inside(head []byte) ([]byte, bool) {
	b := bufio.NewReader(bytes.NewReader(head))
	format, err := decompress.Detect(b)
	if err != nil || format == "" {
		return nil, false
	}
	r, err := decompress.NewReader(b, format, headSize)
	if err != nil {
		return nil, false
	}
	plain := make([]byte, 1024)
	n, err := io.ReadFull(r, plain)
	if n == 0 || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, false
	}
	return plain[:n], true
}
