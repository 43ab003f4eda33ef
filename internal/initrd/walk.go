package initrd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The decoders of zstd and xz read ahead and take what follows for more of
// their stream. So the end of the stream is found first, by the lengths that
// stand in it; all else is the decoder's to check.

// walkZstd passes over one frame, RFC 8878, 3.1.1.
func walkZstd(src *counter) error {
	head, err := src.br.Peek(zstd.HeaderMaxSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var h zstd.Header
	if err := h.Decode(head); err != nil {
		return err
	}
	if err := src.skip(int64(h.HeaderSize)); err != nil {
		return err
	}
	const raw, rle, packed = 0, 1, 2
	for last := false; !last; {
		var b [3]byte
		if _, err := io.ReadFull(src, b[:]); err != nil {
			return noEOF(err)
		}
		word := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		last = word&1 != 0
		length := int64(word >> 3)
		switch word >> 1 & 3 {
		case raw, packed:
		case rle:
			length = 1
		default:
			return fmt.Errorf("%w: a block of no known type", ErrFormat)
		}
		if err := src.skip(length); err != nil {
			return err
		}
	}
	if h.HasCheckSum {
		return src.skip(4)
	}
	return nil
}

// xzChecks are the lengths of a block's check, by its type.
var xzChecks = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

// walkXZ passes over one stream, "The .xz File Format" 1.2.1.
func walkXZ(src *counter) error {
	start := src.n
	var head [12]byte
	if _, err := io.ReadFull(src, head[:]); err != nil {
		return noEOF(err)
	}
	check := xzChecks[head[7]&15]
	align := func() error { return src.skip((start - src.n) & 3) }
	for {
		size, err := src.ReadByte()
		if err != nil {
			return noEOF(err)
		}
		if size == 0 {
			break // the index
		}
		if err := src.skip(int64(size)*4 + 3); err != nil {
			return err
		}
		if err := walkLZMA2(src); err != nil {
			return err
		}
		if err := align(); err != nil {
			return err
		}
		if err := src.skip(check); err != nil {
			return err
		}
	}
	records, err := binary.ReadUvarint(src)
	if err != nil {
		return noEOF(err)
	}
	// Each takes two bytes at least, and so the image bounds them.
	for range records {
		for range 2 {
			if _, err := binary.ReadUvarint(src); err != nil {
				return noEOF(err)
			}
		}
	}
	if err := align(); err != nil {
		return err
	}
	const checksum, footer = 4, 12
	return src.skip(checksum + footer)
}

// walkLZMA2 passes over the chunks of a block.
func walkLZMA2(src *counter) error {
	for {
		control, err := src.ReadByte()
		if err != nil {
			return noEOF(err)
		}
		var h [5]byte
		var length int64
		switch {
		case control == 0:
			return nil
		case control <= 2: // two bytes of size, then the bytes themselves
			if _, err := io.ReadFull(src, h[:2]); err != nil {
				return noEOF(err)
			}
			length = int64(binary.BigEndian.Uint16(h[:])) + 1
		case control < 0x80:
			return fmt.Errorf("%w: a chunk of no known type", ErrFormat)
		default: // both sizes, and the properties where they are new
			if _, err := io.ReadFull(src, h[:4]); err != nil {
				return noEOF(err)
			}
			length = int64(binary.BigEndian.Uint16(h[2:])) + 1
			if control >= 0xc0 {
				length++
			}
		}
		if err := src.skip(length); err != nil {
			return err
		}
	}
}
