package diskimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/diskfs/go-diskfs/backend"

	"github.com/isotrace/isotrace/internal/artifact"
)

// edges keeps what is written to the first and the last MiB of a disk.
type edges struct {
	size        int64
	first, last []byte
}

func newEdges(size int64) *edges {
	return &edges{size: size, first: make([]byte, MiB), last: make([]byte, MiB)}
}

func (e *edges) part(off int64, n int) ([]byte, error) {
	switch end := off + int64(n); {
	case off >= 0 && end <= MiB:
		return e.first[off:end], nil
	case off >= e.size-MiB && end <= e.size:
		return e.last[off-(e.size-MiB) : end-(e.size-MiB)], nil
	}
	return nil, errors.New("a partition table is written outside its place")
}

func (e *edges) ReadAt(b []byte, off int64) (int, error) {
	from, err := e.part(off, len(b))
	return copy(b, from), err
}

func (e *edges) WriteAt(b []byte, off int64) (int, error) {
	to, err := e.part(off, len(b))
	return copy(to, b), err
}

func (e *edges) Stat() (fs.FileInfo, error)     { return nil, errors.ErrUnsupported }
func (e *edges) Read([]byte) (int, error)       { return 0, errors.ErrUnsupported }
func (e *edges) Seek(int64, int) (int64, error) { return 0, errors.ErrUnsupported }
func (e *edges) Close() error                   { return nil }

var _ backend.WritableFile = (*edges)(nil)

// ReadLayout reads the partition table of a disk of the given size, in bytes, that
// holds a tree. All that stands around the partitions has to be just what WriteTable
// writes, and the boot code, which is given back.
func ReadLayout(disk io.ReaderAt, size int64, tree artifact.Digest) (_ Layout, bootCode []byte, err error) {
	if size < Minimum || size%MiB != 0 {
		return Layout{}, nil, fmt.Errorf("a disk of %d bytes", size)
	}
	have := newEdges(size)
	for at, b := range map[int64][]byte{0: have.first, size - MiB: have.last} {
		if _, err := disk.ReadAt(b, at); err != nil {
			return Layout{}, nil, err
		}
	}
	// The one thing to be known is how large the EFI system partition is.
	const entries, entry, lastBlock = 2 * Sector, 128, 40
	end := int64(binary.LittleEndian.Uint64(have.first[entries+entry+lastBlock:])) + 1
	const begin = 2 * MiB
	if end > size/Sector || end*Sector <= begin {
		return Layout{}, nil, errors.New("the EFI system partition is not where isotrace puts it")
	}
	l, err := NewLayout(end*Sector-begin, 1, size)
	if err != nil {
		return l, nil, fmt.Errorf("the partition table: %w", err)
	}
	want := newEdges(size)
	if err := l.WriteTable(want, tree); err != nil {
		return l, nil, err
	}
	code := bytes.Clone(have.first[:BootCodeSize])
	copy(want.first, code)
	if !bytes.Equal(have.first, want.first) || !bytes.Equal(have.last, want.last) {
		return l, nil, errors.New("the partition table is not the one of this disk, or there is something beside it")
	}
	return l, code, nil
}
