package squashfs

import (
	"encoding/binary"
	"sort"
)

// stream is a row of metadata blocks, decompressed and joined.
type stream struct {
	bytes  []byte
	starts []int64 // of the blocks, from the first one's place in the image
}

// place returns where in the stream something lies that the image names by its block
// and its offset there.
func (s *stream) place(block, offset int64) (int64, bool) {
	i := sort.Search(len(s.starts), func(i int) bool { return s.starts[i] >= block })
	at := int64(i)*metaSize + offset
	return at, i < len(s.starts) && s.starts[i] == block && offset >= 0 && offset < metaSize && at < int64(len(s.bytes))
}

// reference is the way in which the image names a place.
func (s *stream) reference(at int64) uint64 {
	return uint64(s.starts[at/metaSize])<<16 | uint64(at%metaSize)
}

// block reads one block of metadata and returns how long it is in the image.
func (f *FS) block(d *decompressor, at int64) ([]byte, int64, error) {
	var head [2]byte
	if _, err := f.image.ReadAt(head[:], at); err != nil {
		return nil, 0, err
	}
	const plain = 1 << 15
	h := binary.LittleEndian.Uint16(head[:])
	n := int64(h &^ plain)
	if n == 0 || n > metaSize || at+2+n > int64(f.super.Used) {
		return nil, 0, malformed("a block of metadata of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := f.image.ReadAt(b, at+2); err != nil {
		return nil, 0, err
	}
	if h&plain == 0 {
		var err error
		if b, err = d.decompress(b, make([]byte, 0, metaSize)); err != nil {
			return nil, 0, err
		}
	}
	if len(b) == 0 {
		return nil, 0, malformed("a block of metadata holds nothing")
	}
	return b, n + 2, nil
}

// read reads the blocks from one place to another: all but the last are full.
func (f *FS) read(d *decompressor, from, to int64) (*stream, error) {
	s := &stream{}
	for at := from; at < to; {
		if len(s.bytes)%metaSize != 0 || len(s.bytes) > maxMetadata {
			return nil, malformed("a block of metadata is not full, or there are too many")
		}
		b, n, err := f.block(d, at)
		if err != nil {
			return nil, err
		}
		s.starts = append(s.starts, at-from)
		s.bytes = append(s.bytes, b...)
		if at += n; at > to {
			return nil, malformed("a block of metadata reaches into what follows")
		}
	}
	return s, nil
}

func blocksOf(count, size int64) int64 { return (count*size + metaSize - 1) / metaSize }

// indexSize is how long the index of a table is, in bytes.
func indexSize(count, size int64) int64 { return 8 * blocksOf(count, size) }

// lookup reads a table of so many entries: blocks, and behind them at start the index
// that names them. It returns where the first block is.
func (f *FS) lookup(d *decompressor, start uint64, count, size int64) ([]byte, int64, error) {
	n := blocksOf(count, size)
	if start > f.super.Used || uint64(8*n) > f.super.Used-start {
		return nil, 0, malformed("lies outside")
	}
	if n == 0 {
		return nil, int64(start), nil
	}
	index := make([]byte, 8*n)
	if _, err := f.image.ReadAt(index, int64(start)); err != nil {
		return nil, 0, err
	}
	first := binary.LittleEndian.Uint64(index)
	if first >= start {
		return nil, 0, malformed("its index is wrong")
	}
	s, err := f.read(d, int64(first), int64(start))
	if err != nil {
		return nil, 0, err
	}
	if int64(len(s.bytes)) != count*size {
		return nil, 0, malformed("has %d bytes, want %d", len(s.bytes), count*size)
	}
	for i := range n {
		if binary.LittleEndian.Uint64(index[8*i:]) != first+uint64(s.starts[i]) {
			return nil, 0, malformed("its index is wrong")
		}
	}
	return s.bytes, int64(first), nil
}
