package requirement

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/isotrace/isotrace/internal/fault"
)

const (
	maxToken = 4 << 20 // bytes of a tag, with its attributes, or of text between two
	maxDepth = 256     // of elements: two a place of the hierarchy, and XHTML
)

var (
	errToken   = errors.New("a tag or a text is too long")
	errCharset = errors.New("is not UTF-8")
)

// xmlReader reads XML of the ReqIF namespace, element by element. It expands
// no entity but those of XML itself.
type xmlReader struct {
	name  string
	src   *bounded
	dec   *xml.Decoder
	depth int
}

func newXMLReader(name string, b []byte) *xmlReader {
	src := &bounded{b: bytes.TrimPrefix(b, byteOrderMark)}
	x := &xmlReader{name: name, src: src, dec: xml.NewDecoder(src)}
	x.dec.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errCharset }
	return x
}

// bounded is what a decoder reads from, up to maxToken bytes beyond mark.
type bounded struct {
	b        []byte
	at, mark int
}

func (s *bounded) ReadByte() (byte, error) {
	if s.at == len(s.b) {
		return 0, io.EOF
	}
	if s.at-s.mark >= maxToken {
		return 0, errToken
	}
	s.at++
	return s.b[s.at-1], nil
}

// Read makes it an io.Reader; encoding/xml calls ReadByte alone.
func (s *bounded) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c, err := s.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

// next returns the next token, valid until the call after it, or io.EOF.
func (x *xmlReader) next() (xml.Token, error) {
	x.src.mark = x.src.at
	t, err := x.dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, x.broken(err)
	}
	switch t.(type) {
	case xml.Directive:
		return nil, x.fail("export it without a DOCTYPE", "declares a document type or entities, which ReqIF has no use for")
	case xml.StartElement:
		if x.depth++; x.depth > maxDepth {
			return nil, x.fail("", "elements are nested deeper than %d", maxDepth)
		}
	case xml.EndElement:
		x.depth--
	}
	return t, nil
}

func (x *xmlReader) broken(err error) error {
	if errors.Is(err, errCharset) {
		return x.fail(utf8Hint, "%w", errCharset)
	}
	if errors.Is(err, errToken) {
		return x.fail("", "%w: more than %d bytes", errToken, maxToken)
	}
	line, _ := x.dec.InputPos()
	reason := strings.TrimPrefix(err.Error(), "xml: ")
	if s, ok := errors.AsType[*xml.SyntaxError](err); ok {
		line, reason = s.Line, s.Msg // which may hold a name of the file's
	}
	return fault.New(fault.Usage, "", "%s:%d: is no well-formed XML: %s", x.name, line, shorten(strings.Join(strings.Fields(reason), " ")))
}

// fail makes an error that names the line.
func (x *xmlReader) fail(hint, format string, args ...any) error {
	line, _ := x.dec.InputPos()
	return fault.New(fault.Usage, hint, "%s:%d: %w", x.name, line, fmt.Errorf(format, args...))
}

// each calls f with the elements within the one that was begun last, which f
// has to read to their ends. Elements of other namespaces are left out.
func (x *xmlReader) each(f func(xml.StartElement) error) error {
	for {
		t, err := x.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if t.Name.Space != namespace {
				err = x.skip()
			} else {
				err = f(t)
			}
			if err != nil {
				return err
			}
		}
	}
}

// within calls f for the elements of that name.
func (x *xmlReader) within(name string, f func() error) error {
	return x.each(func(e xml.StartElement) error {
		if e.Name.Local == name {
			return f()
		}
		return x.skip()
	})
}

// skip reads to the end of the element that was begun last.
func (x *xmlReader) skip() error {
	for outside := x.depth - 1; x.depth > outside; {
		if _, err := x.next(); err != nil {
			return err
		}
	}
	return nil
}

// reference returns the IDENTIFIER that the one element within holds.
func (x *xmlReader) reference() (string, error) {
	t, err := x.text()
	return t.s, err
}

// attribute returns an attribute's value, without white space around it.
func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return strings.TrimSpace(a.Value)
		}
	}
	return ""
}
