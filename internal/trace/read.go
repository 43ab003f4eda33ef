package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/strictjson"
)

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
	text, err := regular.ReadAll(io.NewSectionReader(f, 0, maxHead+1), HeadFile, maxHead)
	if err != nil {
		return nil, err
	}
	t := &Trace{open: open}
	if err := strictjson.Unmarshal(text, &t.Head); err != nil {
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
	return Open(func(name string) (File, error) { return regular.Open(root, dir+"/"+name) })
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
