package squashfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Compressors, by their number in the superblock: those that a config may name.
const (
	compressedGzip = 1
	compressedXZ   = 4
	compressedZstd = 6
)

// decompressor decompresses blocks, one at a time.
type decompressor struct {
	kind      uint16
	blockSize int
	zstd      *zstd.Decoder
}

func newDecompressor(kind uint16, blockSize int) (*decompressor, error) {
	d := &decompressor{kind: kind, blockSize: blockSize}
	switch kind {
	case compressedGzip, compressedXZ:
		return d, nil
	case compressedZstd:
		var err error
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(64<<20))
		return d, err
	}
	return nil, malformed("the compressor %d is none of gzip, xz and zstd", kind)
}

func (d *decompressor) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}

// decompress returns the content of a compressed block, which has to be nothing else. It
// goes into the room that out has: a block with more is refused.
func (d *decompressor) decompress(b, out []byte) ([]byte, error) {
	switch d.kind {
	case compressedZstd:
		if err := oneFrame(b); err != nil {
			return nil, err
		}
		return d.zstd.DecodeAll(b, out[:0])
	case compressedGzip:
		in := bytes.NewReader(b)
		r, err := zlib.NewReader(in)
		if err != nil {
			return nil, err
		}
		return fill(r, in, out)
	}
	if err := d.checkXZ(b); err != nil {
		return nil, err
	}
	in := bytes.NewReader(b)
	r, err := xz.ReaderConfig{SingleStream: true}.NewReader(in)
	if err != nil {
		return nil, err
	}
	return fill(r, in, out)
}

// fill reads r to its end, which has to be that of in.
func fill(r io.Reader, in *bytes.Reader, out []byte) ([]byte, error) {
	out = out[:cap(out)]
	n, err := io.ReadFull(r, out)
	if err == nil { // there may be more
		var more [1]byte
		if n, err := r.Read(more[:]); n > 0 || err == nil {
			return nil, malformed("a block has more than %d bytes", len(out))
		} else if !errors.Is(err, io.EOF) {
			return nil, err
		}
	} else if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if in.Len() > 0 {
		return nil, malformed("something follows in a compressed block")
	}
	return out[:n], nil
}

// oneFrame refuses what a decoder of zstd skips without a word: frames that hold nothing
// for it, and more frames than one. RFC 8878, 3.1.1.
func oneFrame(b []byte) error {
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	if h.Skippable || h.DictionaryID != 0 {
		return malformed("a frame of zstd that is skipped, or wants a dictionary")
	}
	at := h.HeaderSize
	for last := false; !last; {
		if at+3 > len(b) {
			return io.ErrUnexpectedEOF
		}
		head := int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16
		size := head >> 3
		if last = head&1 == 1; head>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		at += 3 + size
	}
	if h.HasCheckSum {
		at += 4
	}
	if at != len(b) {
		return malformed("something follows in a compressed block")
	}
	return nil
}

// checkXZ bounds the dictionary, for which a decoder takes memory beforehand: mksquashfs
// has one of a block. See the .xz file format, 3.1 and 5.3.1.
func (d *decompressor) checkXZ(b []byte) error {
	const head = 12 // of the stream
	if len(b) < head+2 {
		return io.ErrUnexpectedEOF
	}
	flags, rest := b[head+1], b[head+2:]
	for _, has := range []byte{0x40, 0x80} { // sizes of the block
		if flags&has != 0 {
			_, n := binary.Uvarint(rest)
			if n <= 0 {
				return io.ErrUnexpectedEOF
			}
			rest = rest[n:]
		}
	}
	if flags&3 != 0 || len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 || rest[2] > 40 {
		return malformed("a block of xz has other filters than LZMA2")
	}
	if size := (2 | int64(rest[2]&1)) << (rest[2]/2 + 11); size > int64(max(d.blockSize, metaSize)) {
		return malformed("a block of xz wants a dictionary of %d bytes", size)
	}
	return nil
}
