package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// Format is the version of the files' format.
const Format = 1

// The files of a trace.
const (
	HeadFile = "trace.json"
	Suffix   = ".jsonl.zst" // of a part's
)

// Bounds of what is read.
const (
	linesInFrame = 512
	maxHead      = 512 << 20
	maxPlain     = 64 << 20 // bytes of a frame
	maxFrames    = 100_000
	maxLine      = 1 << 20
)

// WritePart writes the origins, sorted by path, one JSON object a line in zstd
// frames of their own, and returns the part's place in the head.
func WritePart(w io.Writer, name string, origins []Origin) (Part, error) {
	slices.SortFunc(origins, func(a, b Origin) int { return strings.Compare(a.Path, b.Path) })
	part := Part{Name: name, Files: len(origins), Counts: count(origins), Frames: []Frame{}}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return part, err
	}
	var offset int64
	for chunk := range slices.Chunk(origins, linesInFrame) {
		var text bytes.Buffer
		for i := range chunk {
			line, err := chunk[i].line()
			if err != nil {
				return part, fmt.Errorf("%s: %w", chunk[i].Path, err)
			}
			text.Write(line)
		}
		frame := enc.EncodeAll(text.Bytes(), nil)
		if _, err := w.Write(frame); err != nil {
			return part, err
		}
		part.Frames = append(part.Frames, Frame{First: chunk[0].Path, Offset: offset, Size: int64(len(frame)), Plain: int64(text.Len())})
		offset += int64(len(frame))
	}
	return part, nil
}

// raw returns the bytes of a text that is no UTF-8; else nil.
func raw(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

// withRaw is an origin as it stands in a file.
func (o Origin) withRaw() *Origin {
	if r := (Raw{raw(o.Path), raw(o.Target), raw(o.Of)}); r.Path != nil || r.Target != nil || r.Of != nil {
		o.Raw = &r
	}
	return &o
}

// line is an origin in its one form.
func (o Origin) line() ([]byte, error) { return encode(o.withRaw()) }

// encode writes a value in the one form that it has in a trace.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// decodeLine reads an origin. A line that is not in the one form is refused: whoever
// looks for its bytes, or reads JSON in another way, would find something else in it.
func decodeLine(line []byte) (o Origin, err error) {
	if len(line) > maxLine {
		return o, fmt.Errorf("a line is longer than %d bytes", maxLine)
	}
	if err := json.Unmarshal(line, &o); err != nil {
		return o, err
	}
	if err := o.fromRaw(); err != nil {
		return o, err
	}
	again, err := o.line()
	if err == nil && !bytes.Equal(again, line) {
		err = fmt.Errorf("%s: its line is not as isotrace writes it", o.Path)
	}
	return o, err
}

// fromRaw takes the texts back that a file has as bytes.
func (o *Origin) fromRaw() error {
	if o.Raw == nil {
		return nil
	}
	for _, f := range []struct {
		text *string
		raw  []byte
	}{{&o.Path, o.Raw.Path}, {&o.Target, o.Raw.Target}, {&o.Of, o.Raw.Of}} {
		if err := takeRaw(f.text, f.raw); err != nil {
			return err
		}
	}
	o.Raw = nil
	return nil
}

// toRaw adds the bytes of texts that are no UTF-8.
func (h *Head) toRaw() {
	for _, p := range h.Parts {
		for i := range p.Frames {
			p.Frames[i].RawFirst = raw(p.Frames[i].First)
		}
	}
	for i := range h.Removed {
		h.Removed[i].RawPath = raw(h.Removed[i].Path)
	}
}

// fromRaw takes the texts of a head back that a file has as bytes.
func (h *Head) fromRaw() error {
	for _, p := range h.Parts {
		for i := range p.Frames {
			if err := takeRaw(&p.Frames[i].First, p.Frames[i].RawFirst); err != nil {
				return err
			}
		}
	}
	for i := range h.Removed {
		if err := takeRaw(&h.Removed[i].Path, h.Removed[i].RawPath); err != nil {
			return err
		}
	}
	return nil
}

// takeRaw puts bytes in the place of their text, which must be what is left of them.
func takeRaw(text *string, b []byte) error {
	if b == nil {
		return nil
	}
	if utf8.Valid(b) || string([]rune(string(b))) != *text {
		return fmt.Errorf("%s: its bytes are those of another text", *text)
	}
	*text = string(b)
	return nil
}

// counter counts files and bytes by kind.
type counter map[Kind]*Count

func (c counter) add(o *Origin) {
	if c[o.Kind] == nil {
		c[o.Kind] = &Count{Kind: o.Kind}
	}
	c[o.Kind].Files++
	c[o.Kind].Bytes += o.Size
}

// counts are in the order of Kinds, without the zeros.
func (c counter) counts() []Count {
	counts := []Count{}
	for _, k := range Kinds {
		if c[k] != nil {
			counts = append(counts, *c[k])
		}
	}
	return counts
}

func count(origins []Origin) []Count {
	c := counter{}
	for i := range origins {
		c.add(&origins[i])
	}
	return c.counts()
}

// Encode writes a head in its one form.
func (h *Head) Encode() ([]byte, error) {
	h.toRaw()
	return encode(h)
}
