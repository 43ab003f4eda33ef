package attack

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/medium"
)

// ISOChange writes over bytes of the ISO, in its place.
type ISOChange struct {
	// In is what is searched and counted in: "" for the whole image, "esp" for its EFI
	// system partition, else one of its files.
	In string `yaml:"in"`
	// Find is the text at which, for the Nth time (1 where it is left out), the place is;
	// Wide one in UCS-2, Bytes one in hexadecimal.
	Find  string `yaml:"find"`
	Wide  string `yaml:"wide"`
	Bytes string `yaml:"bytes"`
	Nth   int    `yaml:"nth"`
	// At is the distance from there, from the beginning without Find, or, where it is
	// negative, from the end.
	At int `yaml:"at"`
	// Put is written there: bytes in hexadecimal, and words such as END-5 for the number of
	// the fifth sector before the image's end, 32 bits, little endian.
	Put string `yaml:"put"`
	// Text is written there instead.
	Text string `yaml:"text"`
	// Append lengthens the image by so many bytes, which are not zero, after all else.
	Append int `yaml:"append"`
}

func (t target) patchISO(c ISOChange) error {
	iso, err := t.iso()
	if err != nil {
		return err
	}
	region := medium.Extent{}
	if c.In != "" {
		if region, err = regionOf(iso, c.In); err != nil {
			return err
		}
	}
	return t.edit(filepath.Base(iso), func(b []byte) ([]byte, error) {
		put, err := c.bytes(len(b))
		if err != nil {
			return nil, err
		}
		if region.Size == 0 {
			region.Size = int64(len(b))
		}
		part := b[region.Offset : region.Offset+region.Size]
		at, err := c.place(part)
		if err != nil {
			return nil, err
		}
		if at < 0 || at+len(put) > len(part) {
			return nil, errors.New("writes outside")
		}
		if len(put) > 0 && bytes.Equal(part[at:at+len(put)], put) {
			return nil, errors.New("changes nothing")
		}
		copy(part[at:], put)
		return append(b, bytes.Repeat([]byte{0xeb}, c.Append)...), nil
	})
}

// regionOf is where a file of the image, or its EFI system partition, lies.
func regionOf(iso, name string) (e medium.Extent, err error) {
	image, err := medium.OpenISO(iso)
	if err != nil {
		return e, err
	}
	if name == "esp" {
		e, _, err = image.SystemPartition()
	} else {
		e = image.Files[name]
	}
	if err := errors.Join(err, image.Close()); err != nil {
		return e, err
	}
	if e.Size == 0 {
		return e, fmt.Errorf("the image has no %s", name)
	}
	return e, nil
}

func (c ISOChange) bytes(size int) ([]byte, error) {
	out := []byte(c.Text)
	for _, word := range strings.Fields(c.Put) {
		if back, ok := strings.CutPrefix(word, "END-"); ok {
			n, err := strconv.Atoi(back)
			if err != nil {
				return nil, err
			}
			out = binary.LittleEndian.AppendUint32(out, uint32(size/2048-n))
			continue
		}
		b, err := hex.DecodeString(word)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

func (c ISOChange) place(part []byte) (int, error) {
	find := []byte(c.Find)
	for _, r := range c.Wide {
		find = binary.BigEndian.AppendUint16(find, uint16(r))
	}
	if c.Bytes != "" {
		b, err := hex.DecodeString(strings.ReplaceAll(c.Bytes, " ", ""))
		if err != nil {
			return 0, err
		}
		find = b
	}
	if len(find) == 0 {
		if c.At < 0 {
			return len(part) + c.At, nil
		}
		return c.At, nil
	}
	at := -1
	for range max(c.Nth, 1) {
		n := bytes.Index(part[at+1:], find)
		if n < 0 {
			return 0, fmt.Errorf("does not hold %q so often", find)
		}
		at += 1 + n
	}
	return at + c.At, nil
}

// partition is the digest of the ISO's EFI system partition; "" where none is to be found.
func partition(iso string) (artifact.Digest, error) {
	image, err := medium.OpenISO(iso)
	if err != nil {
		return "", nil
	}
	_, digest, err := image.SystemPartition()
	if err != nil {
		digest = ""
	}
	return digest, image.Close()
}
