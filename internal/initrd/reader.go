package initrd

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/isotrace/isotrace/internal/archive/decompress"
)

// counter knows how far it has read. It is an io.ByteReader, so that decoders
// read nothing past their stream.
type counter struct {
	br *bufio.Reader
	n  int64 // the offset of the next byte
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.br.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.br.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// skip passes over n bytes, which must be there.
func (c *counter) skip(n int64) error {
	for n > 0 {
		k, err := c.br.Discard(int(min(n, 1<<30)))
		c.n += int64(k)
		if n -= int64(k); err != nil {
			return noEOF(err)
		}
	}
	return nil
}

// atArchive passes over zeros and tells whether a member of an archive may
// begin after them: a digit 0, at a multiple of four.
func (c *counter) atArchive() (bool, error) {
	for {
		head, err := c.br.Peek(1)
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if head[0] != 0 {
			return head[0] == '0' && c.n%4 == 0, nil
		}
		if head, err = c.br.Peek(c.br.Buffered()); err != nil {
			return false, err
		}
		n := 0
		for n < len(head) && head[n] == 0 {
			n++
		}
		if err := c.skip(int64(n)); err != nil {
			return false, err
		}
	}
}

func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// interruptible stops reading when its context ends.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p)
}

// bounded takes what is read from r off the bytes that may be decompressed.
type bounded struct {
	r  io.Reader
	rd *reader
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.rd.bytes -= int64(n)
	return n, err
}

// bound stops a decoder at what the image may yet hold.
func (rd *reader) bound(decoder io.Reader) (io.Reader, error) {
	r, err := decompress.NewReader(&interruptible{rd.ctx, decoder}, "", rd.bytes)
	if err != nil {
		return nil, err
	}
	return &bounded{r: r, rd: rd}, nil
}
