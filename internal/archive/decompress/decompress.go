// Package decompress reads the compressions of Debian archives and packages,
// as streams and within bounds.
package decompress

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// ErrLimit is in the chain of the error of content that is too long.
var ErrLimit = errors.New("decompressed content is longer than allowed")

// window bounds the memory that a stream may ask for: that of xz -9 and of
// zstd --ultra -22 --long=27.
const window = 128 << 20

// Format returns the compression that a file's name ends in: "xz", "gz",
// "zst", or "" for none, and the name without it.
func Format(name string) (format, base string) {
	for _, format := range []string{"xz", "gz", "zst"} {
		if base, ok := strings.CutSuffix(name, "."+format); ok {
			return format, base
		}
	}
	return "", name
}

// NewReader decompresses r, of a format that Format returns. Reading more than
// limit bytes from it gives an error with ErrLimit. It starts no goroutine and
// needs no closing.
func NewReader(r io.Reader, format string, limit int64) (io.Reader, error) {
	d, err := decoder(r, format)
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", format, err)
	}
	return &limited{r: d, left: limit, limit: limit}, nil
}

func decoder(r io.Reader, format string) (io.Reader, error) {
	switch format {
	case "":
		return r, nil
	case "gz":
		return gzip.NewReader(bufio.NewReaderSize(r, 1<<16))
	case "xz":
		return xz.NewReader(bufio.NewReaderSize(r, 1<<16), window)
	case "zst":
		// With a concurrency of one it decodes within Read.
		return zstd.NewReader(bufio.NewReaderSize(r, 1<<16), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxWindow(window), zstd.WithDecoderLowmem(true))
	}
	return nil, errors.New("the compression is not supported")
}

// What a layer of an image may hold however well it compresses, and for each of its bytes
// past that. gzip alone makes a thousand bytes of one.
const (
	layerFree  = 256 << 20
	layerRatio = 100
)

// LayerLimit is how many bytes a layer of an image that has packed bytes may hold, at most
// most: nothing says it beforehand.
func LayerLimit(packed, most int64) int64 {
	if packed > (most-layerFree)/layerRatio {
		return most
	}
	return layerFree + packed*layerRatio
}

type limited struct {
	r     io.Reader
	left  int64
	limit int64
}

// Read asks for one byte past the limit, to tell content of just that length
// from a longer one.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, fmt.Errorf("%w: %d bytes", ErrLimit, l.limit)
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return n - 1, fmt.Errorf("%w: %d bytes", ErrLimit, l.limit)
	}
	return n, err
}

// magics are the first bytes of each format.
var magics = []struct{ format, magic string }{
	{"gz", "\x1f\x8b"}, {"xz", "\xfd7zXZ\x00"}, {"zst", "\x28\xb5\x2f\xfd"},
}

// Detect tells the compression of what r holds by its first bytes, and leaves
// them to be read.
func Detect(r *bufio.Reader) (string, error) {
	head, err := r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	for _, m := range magics {
		if strings.HasPrefix(string(head), m.magic) {
			return m.format, nil
		}
	}
	// A zstd stream may begin with a frame to skip: RFC 8878, 3.1.2.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		return "zst", nil
	}
	return "", nil
}
