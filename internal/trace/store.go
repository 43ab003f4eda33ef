package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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

// Trace is an open trace.
type Trace struct {
	Head
	open func(name string) (File, error)
}

// File is an open file of a trace.
type File interface {
	io.ReaderAt
	io.Closer
}

// Open reads the head of a trace; open opens its files by name.
func Open(open func(name string) (File, error)) (_ *Trace, err error) {
	f, err := open(HeadFile)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxHead))
	if err != nil {
		return nil, err
	}
	t := &Trace{open: open}
	if err := json.Unmarshal(text, &t.Head); err != nil {
		return nil, fmt.Errorf("%s: %w", HeadFile, err)
	}
	if err := t.fromRaw(); err != nil {
		return nil, fmt.Errorf("%s: %w", HeadFile, err)
	}
	again, err := t.Encode()
	if err == nil && !bytes.Equal(again, text) {
		err = errors.New("is not as isotrace writes it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", HeadFile, err)
	}
	return t, t.check()
}

// OpenDir reads the head of the trace in a folder. No link leads out of it.
func OpenDir(root *os.Root, dir string) (*Trace, error) {
	return Open(func(name string) (File, error) { return root.Open(dir + "/" + name) })
}

// check makes sure that every index leads somewhere.
func (h *Head) check() error {
	if h.Format != Format {
		return fmt.Errorf("%s: format %d, this isotrace reads %d", HeadFile, h.Format, Format)
	}
	packages := func(what string, list ...int) error {
		for _, i := range list {
			if i < 0 || i >= len(h.Packages) {
				return fmt.Errorf("%s: %s: there is no package %d", HeadFile, what, i)
			}
		}
		return nil
	}
	for i := range h.Packages {
		p := &h.Packages[i]
		if err := packages(p.Name, p.Needs...); err != nil {
			return err
		}
		for _, s := range p.Requirements {
			if err := packages(p.Name, s.Path...); err != nil {
				return err
			}
		}
	}
	for _, a := range h.Actors {
		if a.Package != nil {
			if err := packages(a.Name, *a.Package); err != nil {
				return err
			}
		}
	}
	for _, r := range h.Removed {
		if err := errors.Join(packages(r.Path, r.Package), h.actor(r.Path, r.By)); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for _, p := range h.Parts {
		if !slices.Contains(Parts, p.Name) || len(p.Frames) > maxFrames || seen[p.Name] {
			return fmt.Errorf("%s: part %q is not known, too large, or there twice", HeadFile, p.Name)
		}
		seen[p.Name] = true
		var end int64
		for i, f := range p.Frames {
			if f.Offset != end || f.Size <= 0 || f.Size > maxPlain || f.Plain <= 0 || f.Plain > maxPlain || i > 0 && p.Frames[i-1].First >= f.First {
				return fmt.Errorf("%s: part %s: frame %d is not where it belongs", HeadFile, p.Name, i)
			}
			end += f.Size
		}
	}
	return nil
}

func (h *Head) actor(what string, i *int) error {
	if i != nil && (*i < 0 || *i >= len(h.Actors)) {
		return fmt.Errorf("%s: there is no actor %d", what, *i)
	}
	return nil
}

// Part returns the part of that name.
func (h *Head) Part(name string) (Part, bool) {
	for _, p := range h.Parts {
		if p.Name == name {
			return p, true
		}
	}
	return Part{}, false
}

// Lookup returns the origin of a path of a part: of its only frame that may
// hold it, everything else stays unread.
func (t *Trace) Lookup(part, path string) (Origin, bool, error) {
	p, ok := t.Part(part)
	if !ok {
		return Origin{}, false, nil
	}
	i, found := slices.BinarySearchFunc(p.Frames, path, func(f Frame, path string) int { return strings.Compare(f.First, path) })
	if !found {
		i--
	}
	if i < 0 {
		return Origin{}, false, nil
	}
	var hit Origin
	ok = false
	err := t.frames(p, p.Frames[i:i+1], quoted(path), func(o Origin) bool {
		if o.Path == path {
			hit, ok = o, true
		}
		return !ok
	})
	return hit, ok, err
}

// quoted is a path as it stands in a line.
func quoted(s string) []byte {
	b, err := encode(s)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(b)
}

// Each calls visit with every origin of a part that may hold the bytes has in
// its line, in order, until visit returns false. Lines without them are not judged:
// whoever proves something reads them all.
func (t *Trace) Each(part string, has []byte, visit func(Origin) bool) error {
	p, ok := t.Part(part)
	if !ok {
		return nil
	}
	return t.frames(p, p.Frames, has, visit)
}

func (t *Trace) frames(p Part, frames []Frame, has []byte, visit func(Origin) bool) (err error) {
	f, err := t.open(p.Name + Suffix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlain))
	if err != nil {
		return err
	}
	defer dec.Close()
	for _, frame := range frames {
		packed := make([]byte, frame.Size)
		if _, err := f.ReadAt(packed, frame.Offset); err != nil {
			return fmt.Errorf("%s%s: %w", p.Name, Suffix, err)
		}
		plain, err := dec.DecodeAll(packed, make([]byte, 0, frame.Plain))
		if err != nil {
			return fmt.Errorf("%s%s: %w", p.Name, Suffix, err)
		}
		if int64(len(plain)) != frame.Plain {
			return fmt.Errorf("%s%s: a frame has %d bytes, the head says %d", p.Name, Suffix, len(plain), frame.Plain)
		}
		for line := range bytes.Lines(plain) {
			if !bytes.Contains(line, has) {
				continue
			}
			o, err := decodeLine(line)
			if err == nil {
				err = t.checkOrigin(&o)
			}
			if err != nil {
				return fmt.Errorf("%s%s: %w", p.Name, Suffix, err)
			}
			if !visit(o) {
				return nil
			}
		}
	}
	return nil
}

// CheckPart reads the whole of a part and holds it against its place in the head:
// the paths in order, each once, the counts, where frames begin, and no bytes behind
// the last one. What visit does not want to see the end of is not held.
func (t *Trace) CheckPart(part string, visit func(Origin) bool) error {
	p, ok := t.Part(part)
	if !ok {
		return fmt.Errorf("%s: lacks the part %s", HeadFile, part)
	}
	first := map[string]bool{}
	for _, f := range p.Frames {
		first[f.First] = true
	}
	files, last, begun, more := 0, "", 0, true
	counted := counter{}
	var wrong error
	err := t.Each(part, nil, func(o Origin) bool {
		if files > 0 && o.Path <= last {
			wrong = fmt.Errorf("%s%s: /%s is named twice, or out of order", part, Suffix, o.Path)
			return false
		}
		if files%linesInFrame == 0 && first[o.Path] {
			begun++
		}
		files, last = files+1, o.Path
		counted.add(&o)
		more = visit(o)
		return more
	})
	if err := errors.Join(err, wrong); err != nil || !more {
		return err
	}
	if files != p.Files || begun != len(p.Frames) || !slices.Equal(counted.counts(), p.Counts) {
		return fmt.Errorf("%s: part %s is not as its lines are: it has %d files in %d frames", HeadFile, part, files, begun)
	}
	return t.endsAt(p)
}

// endsAt makes sure that nothing stands behind a part's last frame.
func (t *Trace) endsAt(p Part) (err error) {
	var end int64
	if n := len(p.Frames); n > 0 {
		end = p.Frames[n-1].Offset + p.Frames[n-1].Size
	}
	f, err := t.open(p.Name + Suffix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if n, err := f.ReadAt(make([]byte, 1), end); n > 0 {
		return fmt.Errorf("%s%s: there is something behind its last frame", p.Name, Suffix)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (t *Trace) checkOrigin(o *Origin) error {
	all := o.Others
	if o.Package != nil {
		all = append(slices.Clone(all), *o.Package)
	}
	for _, i := range all {
		if i < 0 || i >= len(t.Packages) {
			return fmt.Errorf("%s: there is no package %d", o.Path, i)
		}
	}
	if !slices.Contains(Kinds, o.Kind) {
		return fmt.Errorf("%s: origin %q is not known", o.Path, o.Kind)
	}
	err := t.actor(o.Path, o.By)
	if o.Was != nil {
		err = errors.Join(err, t.actor(o.Path, o.Was.By))
	}
	return err
}
