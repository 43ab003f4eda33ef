package initrd

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// part is a member of an archive that a test makes.
type part struct {
	name  string
	mode  uint32
	data  string
	uid   uint32
	gid   uint32
	ino   uint32
	links uint32
	major uint32 // of a device
	minor uint32
	magic string // 070701 when empty
	check uint32
	nuls  int // at the end of the name, past the first
}

func (p part) bytes() []byte {
	if p.magic == "" {
		p.magic = "070701"
	}
	name := p.name + "\x00" + strings.Repeat("\x00", p.nuls)
	b := []byte(p.magic)
	for _, n := range []uint32{
		p.ino, p.mode, p.uid, p.gid, max(p.links, 1), 1700000000, uint32(len(p.data)), 8, 1, p.major, p.minor, uint32(len(name)), p.check,
	} {
		b = fmt.Appendf(b, "%08X", n)
	}
	b = pad(append(b, name...), 4)
	return pad(append(b, p.data...), 4)
}

func pad(b []byte, to int) []byte {
	for len(b)%to != 0 {
		b = append(b, 0)
	}
	return b
}

// cpio makes an archive, padded as cpio(1) does.
func cpio(parts ...part) []byte {
	return pad(append(open(parts...), part{name: trailer}.bytes()...), 512)
}

// open makes an archive without its trailer.
func open(parts ...part) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p.bytes()...)
	}
	return b
}

// plain is the archive of the one file that packed holds.
func plain() []byte { return cpio(part{name: "file", mode: regular | 0o644, data: "content"}) }

// packed is plain in each compression, bzip2 last, as nothing may follow it.
func packed(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"": plain()}
	for name, open := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"xz": func(w io.Writer) (io.WriteCloser, error) {
			return xz.WriterConfig{CheckSum: xz.CRC32, BlockSize: 300}.NewWriter(w)
		},
		"lzma": func(w io.Writer) (io.WriteCloser, error) { return lzma.NewWriter(w) },
		"lz4": func(w io.Writer) (io.WriteCloser, error) {
			z := lz4.NewWriter(w)
			return z, z.Apply(lz4.LegacyOption(true))
		},
	} {
		var b bytes.Buffer
		w, err := open(&b)
		if err == nil {
			_, err = w.Write(plain())
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = b.Bytes()
	}
	// Go has no writer of bzip2: this is what Python's made of such an archive.
	b, err := base64.StdEncoding.DecodeString("QlpoOTFBWSZTWf6o9goAABt/gERICAAoAG7AMiQUAAslhAAgAFRQhhGTJjIyag00k0NDT1PSGQES" +
		"lT8ZILhyqIgo0wx2MQoJGIXUs60g8AHlOwQABGhjwRkm0V+LuSKcKEh/VHsFAA==")
	if err != nil {
		t.Fatal(err)
	}
	all["bzip2"] = b
	return all
}
