package sbom

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/isotrace/isotrace/internal/strictjson"
)

// LicencesFile is the name of the licence facts beside the bills of materials.
const LicencesFile = "licences.jsonl.zst"

// Bounds of the licence facts, in bytes.
const (
	maxLicences     = 512 << 20 // uncompressed
	maxLicencesLine = 32 << 20
)

// licencesHead is the first line of the licence facts.
type licencesHead struct {
	Format     int `json:"format"`
	Copyrights int `json:"copyrights"`
	Texts      int `json:"texts"`
}

// WriteLicences writes what copyright files say, and the texts that they have,
// one JSON object a line, compressed with zstd. docs/formats/licences.md
// describes it.
func WriteLicences(w io.Writer, copyrights []Copyright, texts []Text) error {
	copyrights = slices.SortedFunc(slices.Values(copyrights), func(a, b Copyright) int { return strings.Compare(string(a.SHA256), string(b.SHA256)) })
	texts = slices.SortedFunc(slices.Values(texts), func(a, b Text) int { return strings.Compare(string(a.SHA256), string(b.SHA256)) })
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	lines := json.NewEncoder(z)
	lines.SetEscapeHTML(false)
	err = lines.Encode(licencesHead{Format: Format, Copyrights: len(copyrights), Texts: len(texts)})
	for i := 0; i < len(copyrights) && err == nil; i++ {
		err = lines.Encode(&copyrights[i])
	}
	for i := 0; i < len(texts) && err == nil; i++ {
		err = lines.Encode(&texts[i])
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return fmt.Errorf("licences: %w", err)
	}
	return nil
}

// ReadLicences reads what WriteLicences writes. It refuses keys that it does not
// know, lines of more than 32 MiB and more than 512 MiB of them.
func ReadLicences(r io.Reader) ([]Copyright, []Text, error) {
	copyrights, texts, err := readLicences(r)
	if err != nil {
		return nil, nil, fmt.Errorf("licences: %w", err)
	}
	return copyrights, texts, nil
}

func readLicences(r io.Reader) (copyrights []Copyright, texts []Text, err error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil, nil, err
	}
	defer z.Close()
	l := newLineReader(z)
	var head licencesHead
	if err := l.next(&head); err != nil {
		return nil, nil, err
	}
	if head.Format != Format || head.Copyrights < 0 || head.Texts < 0 || head.Copyrights > maxComponents || head.Texts > maxComponents {
		return nil, nil, fmt.Errorf("format %d, this isotrace reads %d", head.Format, Format)
	}
	for range head.Copyrights {
		var c Copyright
		if err := l.next(&c); err != nil {
			return nil, nil, err
		}
		if err := first(c.SHA256.Validate(), checkExpression(c.Expression, nil)); err != nil {
			return nil, nil, err
		}
		copyrights = append(copyrights, c)
	}
	for range head.Texts {
		var t Text
		if err := l.next(&t); err != nil {
			return nil, nil, err
		}
		if err := t.SHA256.Validate(); err != nil {
			return nil, nil, err
		}
		texts = append(texts, t)
	}
	if err := l.next(&head); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("there are more lines than the first one says")
	}
	return copyrights, texts, nil
}

// lineReader reads JSON objects, one a line.
type lineReader struct{ *bufio.Scanner }

func newLineReader(r io.Reader) lineReader {
	s := bufio.NewScanner(io.LimitReader(r, maxLicences))
	s.Buffer(make([]byte, 1<<16), maxLicencesLine)
	return lineReader{s}
}

func (l lineReader) next(v any) error {
	if !l.Scan() {
		if err := l.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	return strictjson.Unmarshal(l.Bytes(), v)
}
