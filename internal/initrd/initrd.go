// Package initrd reads the images of an initial RAM file system that
// initramfs-tools and its like make: cpio archives one after the other, each
// bare or within a compressed stream. The format is that of Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst. Nothing is
// written and nothing is run.
package initrd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/isotrace/isotrace/internal/roottree"
)

// ErrFormat is in the chain of every error about the structure of an image.
// Content that is longer than the limits gives decompress.ErrLimit.
var ErrFormat = errors.New("malformed initramfs image")

// Limits bounds what an image may hold. A zero field is the default.
type Limits struct {
	Bytes    int64 // decompressed bytes of all streams; 4 GiB
	Ratio    int64 // decompressed bytes for each byte of the image, past the first 64 MiB; 100
	Entries  int   // names of all archives, with the folders that only stand in paths; 500,000
	Name     int   // bytes of a path and of a link's target; 4096, as the kernel's
	Segments int   // archives; 64
}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 4 << 30
	}
	if l.Ratio == 0 {
		l.Ratio = 100
	}
	if l.Entries == 0 {
		l.Entries = 500_000
	}
	if l.Name == 0 {
		l.Name = 4096
	}
	if l.Segments == 0 {
		l.Segments = 64
	}
	return l
}

// freeOfRatio is what an image may hold however well it compresses.
const freeOfRatio = 64 << 20

// of returns the decompressed bytes that an image of size bytes may have.
func (l Limits) of(size int64) int64 {
	if byRatio := freeOfRatio + size*l.Ratio; size < l.Bytes/l.Ratio && byRatio < l.Bytes {
		return byRatio
	}
	return l.Bytes
}

// Segment is one cpio archive of an image.
type Segment struct {
	// Offset is where the archive begins in the image, or the compressed stream
	// that holds it; a stream may hold several.
	Offset int64
	// Compression is "zstd", "gzip", "xz", "lz4", "lzma", "bzip2", or "" for none.
	Compression string
	// Tree is what the kernel makes of the archive alone, as roottree.Walk
	// describes trees: sorted, a later member in the place of an earlier one of
	// the same path. The format has no extended attributes. Folders are there
	// only where the archive has them as members.
	Tree *roottree.Manifest
}

// Read reads the whole image of size bytes, in its order; name stands in
// errors. What the kernel would pass over in silence is an error: bytes between
// archives, files below what is no folder, a file where a folder with content
// stands. An archive's end without a "TRAILER!!!" is none.
func Read(ctx context.Context, name string, r io.ReaderAt, size int64, limits Limits) ([]Segment, error) {
	return segmentsOf(ctx, name, r, size, limits, false)
}

// ReadNames is Read, but that files have no digests.
func ReadNames(ctx context.Context, name string, r io.ReaderAt, size int64, limits Limits) ([]Segment, error) {
	return segmentsOf(ctx, name, r, size, limits, true)
}

func segmentsOf(ctx context.Context, name string, r io.ReaderAt, size int64, limits Limits, noDigests bool) ([]Segment, error) {
	limits = limits.withDefaults()
	rd := &reader{
		noDigests: noDigests,
		ctx:       ctx, image: r, size: size, limits: limits,
		bytes: limits.of(size), entries: limits.Entries, buf: make([]byte, 1<<18),
	}
	for at := int64(0); at < size; {
		n, err := rd.part(at)
		if err != nil {
			return nil, fmt.Errorf("%s: offset %d: %w", name, at, err)
		}
		at += n
	}
	if len(rd.segments) == 0 {
		return nil, fmt.Errorf("%s: %w: it holds no archive", name, ErrFormat)
	}
	return rd.segments, nil
}

type reader struct {
	ctx       context.Context
	image     io.ReaderAt
	size      int64
	limits    Limits
	noDigests bool
	bytes     int64 // that may yet be decompressed
	entries   int   // that may yet come
	buf       []byte
	segments  []Segment
}

// part reads what begins at an offset, a compressed stream or a run of bare
// archives and padding, and returns its length, which is not 0.
func (rd *reader) part(at int64) (int64, error) {
	head := make([]byte, min(headLength, rd.size-at))
	if n, err := rd.image.ReadAt(head, at); n < len(head) {
		return 0, fmt.Errorf("read the image: %w", noEOF(err))
	}
	// As the kernel does, take an archive only at a multiple of four.
	if head[0] == 0 || head[0] == '0' && at%4 == 0 {
		src := rd.open(at)
		err := rd.archives(src, func() Segment { return Segment{Offset: src.n} })
		return src.n - at, err
	}
	s, err := rd.decompress(at, head)
	if err != nil {
		return 0, err
	}
	if err := rd.stream(s, at); err != nil {
		return 0, fmt.Errorf("%s: %w", s.compression, err)
	}
	return s.end() - at, nil
}

// stream reads the archives of a compressed stream, to its end: there its
// checksum stands.
func (rd *reader) stream(s *stream, at int64) error {
	src := &counter{br: bufio.NewReaderSize(s.plain, 1<<16)}
	if err := rd.archives(src, func() Segment { return Segment{Offset: at, Compression: s.compression} }); err != nil {
		return err
	}
	if _, err := src.br.Peek(1); err == nil {
		return fmt.Errorf("%w: byte %d of the stream begins no archive", ErrFormat, src.n)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// open reads the image from an offset on.
func (rd *reader) open(at int64) *counter {
	return &counter{br: bufio.NewReaderSize(&interruptible{rd.ctx, io.NewSectionReader(rd.image, at, rd.size-at)}, 1<<16), n: at}
}

// archives reads archives and the zeros before, between and after them, up to
// what is neither.
func (rd *reader) archives(src *counter, segment func() Segment) error {
	for {
		if more, err := src.atArchive(); !more {
			return err
		}
		if len(rd.segments) == rd.limits.Segments {
			return fmt.Errorf("%w: more than %d archives", ErrFormat, rd.limits.Segments)
		}
		s := segment()
		var err error
		if s.Tree, err = rd.archive(src); err != nil {
			return err
		}
		rd.segments = append(rd.segments, s)
	}
}

// archive reads one archive, up to its trailer or to what is no member.
func (rd *reader) archive(src *counter) (*roottree.Manifest, error) {
	t := newTree(&rd.entries)
	for {
		start := src.n
		m, err := rd.member(src)
		if err == nil && m != nil {
			err = t.add(m)
		}
		if err != nil {
			return nil, fmt.Errorf("member at %d: %w", start, err)
		}
		if m == nil { // the trailer
			return t.manifest(), nil
		}
		if more, err := src.atArchive(); err != nil {
			return nil, err
		} else if !more {
			return t.manifest(), nil
		}
	}
}
