package medium

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
)

// claims keep account of an image: which bytes belong to what.
type claims []claim

type claim struct {
	at, size int64
	what     string
}

func (c *claims) add(at, size int64, what string) {
	if size > 0 {
		*c = append(*c, claim{at, size, what})
	}
}

// settle refuses bytes that belong to two things, and bytes other than zero that belong
// to none.
func (c claims) settle(image io.ReaderAt, size int64) error {
	c = slices.Clone(c)
	slices.SortStableFunc(c, func(a, b claim) int { return cmp.Compare(a.at, b.at) })
	last := claim{what: "its beginning"}
	for _, next := range append(c, claim{at: size, what: "its end"}) {
		gap := next.at - last.at - last.size
		if gap < 0 {
			return fmt.Errorf("byte %d belongs to %s and to %s", next.at, last.what, next.what)
		}
		if err := zero(image, last.at+last.size, gap); err != nil {
			return fmt.Errorf("between %s and %s: %w", last.what, next.what, err)
		}
		last = next
	}
	return nil
}

var zeros [64 << 10]byte

// zero refuses a range that holds anything but zeros.
func zero(image io.ReaderAt, at, size int64) error {
	var buf [len(zeros)]byte
	for size > 0 {
		b := buf[:min(size, int64(len(buf)))]
		if _, err := image.ReadAt(b, at); err != nil {
			return err
		}
		if !bytes.Equal(b, zeros[:len(b)]) {
			n := slices.IndexFunc(b, func(c byte) bool { return c != 0 })
			return fmt.Errorf("byte %d is %#02x, but belongs to nothing", at+int64(n), b[n])
		}
		at, size = at+int64(len(b)), size-int64(len(b))
	}
	return nil
}
