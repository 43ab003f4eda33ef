package desk

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/printable"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// types are the types of files, by what stands for them in a column.
var types = []roottree.Type{roottree.File, roottree.Dir, roottree.Link, roottree.Char, roottree.Block, roottree.Fifo, roottree.Socket}

// hasHash is the bit of a file's type that says that it has a digest.
const hasHash = 0x80

// columns hold the files of all parts, one after the other, a value a file in each
// column. Numbers are unsigned varints.
type columns struct {
	paths []byte // length shared with the path before, length of the rest, the rest
	types []byte // with hasHash
	kinds []byte // index into trace.Kinds
	sizes []byte
	pkgs  []byte // 0 for none, else index and 1
	by    []byte // likewise
	hash  []byte // 32 bytes, of those that have one

	files int
	last  string
	// what few files have, by the number of the file
	Target  sparse[string]   `json:"target"`
	Of      sparse[string]   `json:"of"`
	Allowed sparse[string]   `json:"allowed"`
	Others  sparse[[]int]    `json:"others"`
	Was     sparse[*wasText] `json:"was"`
}

// sparse is a column that few files have a value in.
type sparse[T any] struct {
	At     []int `json:"at"` // from the one before
	Values []T   `json:"values"`
	last   int
}

func (s *sparse[T]) add(at int, v T) {
	s.At = append(s.At, at-s.last)
	s.Values = append(s.Values, v)
	s.last = at
}

// wasText is what a file was before somebody changed it.
type wasText struct {
	What []string `json:"what"` // field, value, …
	By   *int     `json:"by,omitempty"`
}

// addPart adds the files of a part, and says how many there are.
func (c *columns) addPart(t *provenance.Tracing, part string) (int, error) {
	before := c.files
	c.last = ""
	var bad error
	err := t.Each(part, nil, func(o trace.Origin) bool {
		if c.files >= maxFiles {
			bad = fault.New(fault.Failed, "isotrace trace answers from evidence of any size", "more than %d files: too many for a page", maxFiles)
			return false
		}
		bad = c.add(o)
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	return c.files - before, err
}

func (c *columns) add(o trace.Origin) error {
	name := printable.Line(o.Path)
	same := 0
	for same < len(name) && same < len(c.last) && name[same] == c.last[same] {
		same++
	}
	c.paths = binary.AppendUvarint(c.paths, uint64(same))
	c.paths = binary.AppendUvarint(c.paths, uint64(len(name)-same))
	c.paths = append(c.paths, name[same:]...)
	c.last = name

	kind := slices.Index(types, o.Type)
	if kind < 0 || o.Size < 0 {
		return fault.New(fault.Refused, "", "%s: a file of type %q and %d bytes", name, o.Type, o.Size)
	}
	if o.SHA256 != "" {
		sum, err := hex.DecodeString(string(o.SHA256))
		if err != nil || len(sum) != 32 {
			return fault.New(fault.Refused, "", "%s: %q is no SHA-256", name, o.SHA256)
		}
		kind |= hasHash
		c.hash = append(c.hash, sum...)
	}
	c.types = append(c.types, byte(kind))
	c.kinds = append(c.kinds, byte(slices.Index(trace.Kinds, o.Kind)))
	c.sizes = binary.AppendUvarint(c.sizes, uint64(o.Size))
	c.pkgs = appendIndex(c.pkgs, o.Package)
	c.by = appendIndex(c.by, o.By)
	if o.Target != "" {
		c.Target.add(c.files, printable.Line(o.Target))
	}
	if o.Of != "" {
		c.Of.add(c.files, printable.Line(o.Of))
	}
	if o.Allowed != "" {
		c.Allowed.add(c.files, o.Allowed)
	}
	if len(o.Others) > 0 {
		c.Others.add(c.files, o.Others)
	}
	if o.Was != nil {
		c.Was.add(c.files, was(o.Was))
	}
	c.files++
	return nil
}

func appendIndex(b []byte, i *int) []byte {
	if i == nil {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(*i)+1)
}

func was(w *trace.Was) *wasText {
	t := &wasText{What: []string{}, By: w.By}
	say := func(field, value string) {
		if value != "" {
			t.What = append(t.What, field, printable.Line(value))
		}
	}
	say("type", string(w.Type))
	say("mode", w.Mode)
	if w.UID != nil {
		say("owner", fmt.Sprint(*w.UID))
	}
	if w.GID != nil {
		say("group", fmt.Sprint(*w.GID))
	}
	say("sha256", string(w.SHA256))
	say("target", w.Target)
	return t
}
