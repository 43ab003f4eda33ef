// Package deb822 reads the stanzas of Debian control data: Release, Packages,
// Sources, dpkg's status, apt's .sources files and the control file of a .deb.
// The format is that of deb822(5).
package deb822

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits bounds what a Reader takes; a zero field is the default.
type Limits struct {
	Stanza int // bytes of one stanza; 64 MiB, as the Release file of a large archive is one stanza
	Fields int // fields of one stanza; 1024
}

// Reader reads stanza after stanza.
type Reader struct {
	// Comments lets lines that start with # stand anywhere, as in apt's
	// .sources files.
	Comments bool

	br     *bufio.Reader
	name   string
	limits Limits
	line   int
	stanza Stanza
	long   []byte
}

// NewReader reads r; name stands in errors.
func NewReader(r io.Reader, name string) *Reader {
	return NewReaderLimits(r, name, Limits{})
}

// NewReaderLimits is NewReader with bounds of the caller's own.
func NewReaderLimits(r io.Reader, name string, limits Limits) *Reader {
	if limits.Stanza == 0 {
		limits.Stanza = 64 << 20
	}
	if limits.Fields == 0 {
		limits.Fields = 1024
	}
	return &Reader{br: bufio.NewReaderSize(r, 1<<16), name: name, limits: limits}
}

// Stanza is one paragraph of fields.
type Stanza struct {
	// Line is the number of its first line, counted from 1.
	Line int

	name   string
	fields []Field
	buf    []byte
}

// Field is one field of a stanza. Its bytes are valid until the next stanza is
// read.
type Field struct {
	Line  int
	Name  []byte
	Value []byte // without surrounding blanks; lines are separated by \n and keep their indentation

	nameEnd, start, end int
	nameStart           int
}

// Next returns the next stanza, valid until the call after it, or io.EOF.
func (r *Reader) Next() (*Stanza, error) {
	s := &r.stanza
	s.name, s.Line, s.fields, s.buf = r.name, 0, s.fields[:0], s.buf[:0]
	for {
		line, err := r.readLine()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if r.Comments && len(line) > 0 && line[0] == '#' {
			continue
		}
		if len(bytes.TrimRight(line, " \t")) == 0 {
			if len(s.fields) > 0 {
				break
			}
			continue
		}
		if err := r.add(line); err != nil {
			return nil, err
		}
	}
	if len(s.fields) == 0 {
		return nil, io.EOF
	}
	for i := range s.fields {
		f := &s.fields[i]
		f.Name = s.buf[f.nameStart:f.nameEnd]
		f.Value = bytes.Trim(s.buf[f.start:f.end], " \t\n")
	}
	return s, s.unique()
}

func (r *Reader) add(line []byte) error {
	s := &r.stanza
	if len(s.buf)+len(line)+1 > r.limits.Stanza {
		return r.fail("stanza is longer than %d bytes", r.limits.Stanza)
	}
	if line[0] == ' ' || line[0] == '\t' {
		if len(s.fields) == 0 {
			return r.fail("continuation line outside a field")
		}
		s.buf = append(append(s.buf, '\n'), line...)
		s.fields[len(s.fields)-1].end = len(s.buf)
		return nil
	}
	name, _, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return r.fail("want a field, have %s", quote(line))
	}
	if !validName(name) {
		return r.fail("field name %s is not valid", quote(name))
	}
	if len(s.fields) == r.limits.Fields {
		return r.fail("stanza has more than %d fields", r.limits.Fields)
	}
	if len(s.fields) == 0 {
		s.Line = r.line
	}
	at := len(s.buf)
	s.buf = append(s.buf, line...)
	s.fields = append(s.fields, Field{
		Line: r.line, nameStart: at, nameEnd: at + len(name), start: at + len(name) + 1, end: len(s.buf),
	})
	return nil
}

// readLine returns a line without its end. A carriage return before the line
// feed belongs to the end.
func (r *Reader) readLine() ([]byte, error) {
	r.long = r.long[:0]
	for {
		part, err := r.br.ReadSlice('\n')
		whole := err == nil || err == io.EOF
		if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("%s: line %d: %w", r.name, r.line+1, err)
		}
		if err == io.EOF && len(part) == 0 && len(r.long) == 0 {
			return nil, io.EOF
		}
		line := part
		if !whole || len(r.long) > 0 {
			if len(r.long)+len(part) > r.limits.Stanza {
				r.line++
				return nil, r.fail("line is longer than %d bytes", r.limits.Stanza)
			}
			r.long = append(r.long, part...)
			line = r.long
		}
		if !whole {
			continue
		}
		r.line++
		line = bytes.TrimSuffix(line, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'})
		if i := bytes.IndexAny(line, "\x00\r"); i >= 0 {
			return nil, r.fail("control character %q", line[i])
		}
		return line, nil
	}
}

func (r *Reader) fail(format string, args ...any) error {
	return fmt.Errorf("%s: line %d: %s", r.name, r.line, fmt.Sprintf(format, args...))
}

// unique refuses a field that stands twice: readers differ in which one they
// take.
func (s *Stanza) unique() error {
	for i := range s.fields {
		for j := range i {
			if equalFold(s.fields[i].Name, s.fields[j].Name) {
				return fmt.Errorf("%s: line %d: field %s stands twice in a stanza", s.name, s.fields[i].Line, s.fields[i].Name)
			}
		}
	}
	return nil
}

// Fields returns the fields in their order.
func (s *Stanza) Fields() []Field { return s.fields }

// Lookup returns the value of the field of that name, in whatever case, and
// whether there is one.
func (s *Stanza) Lookup(name string) (string, bool) {
	if f := s.field(name); f != nil {
		return string(f.Value), true
	}
	return "", false
}

// Get returns the value of the field, or "".
func (s *Stanza) Get(name string) string {
	v, _ := s.Lookup(name)
	return v
}

// Require returns the value of a field that must be there and not be empty.
func (s *Stanza) Require(name string) (string, error) {
	v := s.Get(name)
	if v == "" {
		return "", fmt.Errorf("%s: line %d: stanza has no field %s", s.name, s.Line, name)
	}
	return v, nil
}

// Words returns the value's words, separated by blanks or line ends.
func (s *Stanza) Words(name string) []string { return strings.Fields(s.Get(name)) }

// Errorf makes an error that names the field's place, or the stanza's where
// the field is missing.
func (s *Stanza) Errorf(field, format string, args ...any) error {
	line := s.Line
	if f := s.field(field); f != nil {
		line = f.Line
	}
	return fmt.Errorf("%s: line %d: %s: %w", s.name, line, field, fmt.Errorf(format, args...))
}

// Map returns a copy of all fields, under the names as written.
func (s *Stanza) Map() map[string]string {
	m := make(map[string]string, len(s.fields))
	for _, f := range s.fields {
		m[string(f.Name)] = string(f.Value)
	}
	return m
}

func (s *Stanza) field(name string) *Field {
	for i := range s.fields {
		if Is(s.fields[i].Name, name) {
			return &s.fields[i]
		}
	}
	return nil
}

// Is tells whether a field's name is want, in whatever case.
func Is(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i := range name {
		if lower(name[i]) != lower(want[i]) {
			return false
		}
	}
	return true
}

func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// validName holds a name to the visible ASCII characters but the colon, and
// not to begin with # or -.
func validName(name []byte) bool {
	if len(name) == 0 || name[0] == '#' || name[0] == '-' {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

func quote(b []byte) string {
	if len(b) > 60 {
		return fmt.Sprintf("%q…", b[:60])
	}
	return fmt.Sprintf("%q", b)
}
