package initrd

import (
	"bufio"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/fault"
)

// stream is a compressed stream of an image.
type stream struct {
	compression string
	plain       io.Reader
	// end is where the stream ends in the image, once plain has been read to
	// its end.
	end func() int64
}

// maxDict is the dictionary of lzma -9, and more than any other level has.
const maxDict = 128 << 20

// headLength is how many bytes tell a compression: lzop's magic is the longest.
const headLength = 9

// magics are the first bytes of each compression that the kernel takes, as its
// lib/decompress.c has them, but for the longer ones of xz, LZ4 and lzop.
var magics = []struct{ compression, magic string }{
	{"gzip", "\x1f\x8b"}, {"bzip2", "BZh"}, {"lzma", "\x5d\x00\x00"}, {"xz", "\xfd7zXZ\x00"},
	{"lzop", "\x89LZO\x00\r\n\x1a\n"}, {"lz4", "\x02\x21\x4c\x18"}, {"zstd", "\x28\xb5\x2f\xfd"},
}

// decompress opens the stream that begins at an offset with head.
func (rd *reader) decompress(at int64, head []byte) (*stream, error) {
	s := &stream{}
	for _, m := range magics {
		if strings.HasPrefix(string(head), m.magic) {
			s.compression = m.compression
		}
	}
	src := rd.open(at)
	s.end = func() int64 { return src.n }
	var decoder io.Reader
	var err error
	switch s.compression {
	case "":
		return nil, fmt.Errorf("%w: neither an archive nor a known compression", ErrFormat)
	case "gzip":
		// Of a bufio.Reader the decoder takes no byte too many either, in half of the time.
		packed := bufio.NewReaderSize(src, 1<<16)
		s.end = func() int64 { return src.n - int64(packed.Buffered()) }
		var z *gzip.Reader
		if z, err = gzip.NewReader(packed); err == nil {
			z.Multistream(false)
			decoder = z
		}
	case "zstd":
		decoder, err = rd.walked(src, "zst", walkZstd)
	case "xz":
		decoder, err = rd.walked(src, "xz", walkXZ)
	case "lzma":
		decoder, err = lzma.ReaderConfig{DictCap: maxDict}.NewReader(src)
	case "lz4":
		decoder, err = newLZ4(src)
	case "bzip2":
		// The decoder takes whatever follows for more of its stream.
		decoder = bzip2.NewReader(src)
	default:
		err = fault.New(fault.Failed, "set COMPRESS=zstd in /etc/initramfs-tools/initramfs.conf", "the compression is not supported")
	}
	if err == nil {
		s.plain, err = rd.bound(decoder)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.compression, noEOF(err))
	}
	return s, nil
}

// walked leads src to the end of the stream that it begins with, and returns a
// decoder of just that stream.
func (rd *reader) walked(src *counter, format string, walk func(*counter) error) (io.Reader, error) {
	at := src.n
	if err := walk(src); err != nil {
		return nil, err
	}
	return decompress.NewReader(io.NewSectionReader(rd.image, at, src.n-at), format, rd.bytes)
}

// lz4Block is what a block of the legacy frame format holds at most.
const lz4Block = 8 << 20

// newLZ4 decodes a legacy frame of LZ4: its magic, then blocks, each after its
// compressed size in 32 bits. It has no end but where no such size stands: a
// stream of gzip, lzma or bzip2 next to it, without zeros between, would be
// taken for a block, by the kernel too.
func newLZ4(src *counter) (io.Reader, error) {
	if err := src.skip(4); err != nil {
		return nil, err
	}
	return &lz4Reader{src: src}, nil
}

type lz4Reader struct {
	src          *counter
	packed, full []byte
	left         []byte // of full
}

func (l *lz4Reader) Read(p []byte) (int, error) {
	for len(l.left) == 0 {
		if err := l.block(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.left)
	l.left = l.left[n:]
	return n, nil
}

func (l *lz4Reader) block() error {
	word, err := l.src.br.Peek(4)
	if errors.Is(err, io.EOF) {
		return io.EOF // what is left belongs to no block
	}
	if err != nil {
		return err
	}
	size := int64(binary.LittleEndian.Uint32(word))
	if size == 0 || size > int64(lz4.CompressBlockBound(lz4Block)) {
		return io.EOF
	}
	if err := l.src.skip(4); err != nil {
		return err
	}
	if l.full == nil {
		l.full = make([]byte, lz4Block)
	}
	if int64(cap(l.packed)) < size {
		l.packed = make([]byte, size)
	}
	l.packed = l.packed[:size]
	if _, err := io.ReadFull(l.src, l.packed); err != nil {
		return noEOF(err)
	}
	n, err := lz4.UncompressBlock(l.packed, l.full)
	if err != nil {
		return err
	}
	l.left = l.full[:n]
	return nil
}
