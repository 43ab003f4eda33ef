package requirement

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"unicode"

	"github.com/isotrace/isotrace/internal/fault"
)

// namespace is that of ReqIF 1.0, 1.1 and 1.2 (OMG formal/2016-07-01).
const namespace = "http://www.omg.org/spec/ReqIF/20110401/reqif.xsd"

const rootHint = "want one REQ-IF element of namespace " + namespace

// The bounds of what a ReqIF file may hold beside its objects.
const (
	maxDefinitions = 100_000
	maxPlaces      = 1_000_000
)

// document is what of a ReqIF file is of use. The schema lets its parts stand
// in any order, so that nothing can be looked up before all are read.
type document struct {
	x           *xmlReader
	definitions map[string]string // IDENTIFIER of a spec object's attribute: its LONG-NAME
	objects     []object
	places      []place
}

// object is a SPEC-OBJECT.
type object struct {
	identifier string
	values     []value
}

// value is an ATTRIBUTE-VALUE.
type value struct {
	definition string // IDENTIFIER
	text
}

// place is a SPEC-HIERARCHY: where an object stands in a specification.
type place struct {
	object string // IDENTIFIER
	parent int    // index, or -1
}

func (l *List) readReqIF(name string, b []byte) error {
	d, err := readDocument(name, b)
	if err != nil {
		return err
	}
	return d.addTo(l, name)
}

func readDocument(name string, b []byte) (*document, error) {
	d := &document{x: newXMLReader(name, b), definitions: map[string]string{}}
	seen := false
	for {
		t, err := d.x.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		root, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		if seen || root.Name != (xml.Name{Space: namespace, Local: "REQ-IF"}) {
			return nil, d.x.fail(rootHint, "element %s of namespace %s is no document of ReqIF 1.0 to 1.2", quote(root.Name.Local), quote(root.Name.Space))
		}
		seen = true
		if err := d.x.within("CORE-CONTENT", func() error { return d.x.within("REQ-IF-CONTENT", d.content) }); err != nil {
			return nil, err
		}
	}
	if !seen {
		return nil, fault.New(fault.Usage, rootHint, "%s: has no REQ-IF element", name)
	}
	return d, nil
}

func (d *document) content() error {
	return d.x.each(func(e xml.StartElement) error {
		switch e.Name.Local {
		case "SPEC-TYPES":
			return d.x.within("SPEC-OBJECT-TYPE", func() error {
				return d.x.within("SPEC-ATTRIBUTES", d.specAttributes)
			})
		case "SPEC-OBJECTS":
			return d.specObjects()
		case "SPECIFICATIONS":
			return d.x.within("SPECIFICATION", func() error { return d.hierarchy(-1, 0) })
		}
		return d.x.skip()
	})
}

func (d *document) specAttributes() error {
	return d.x.each(func(e xml.StartElement) error {
		id, long := attribute(e, "IDENTIFIER"), attribute(e, "LONG-NAME")
		if other, ok := d.definitions[id]; ok && other != long {
			return d.x.fail("", "two attributes have the IDENTIFIER %s", quote(id))
		}
		if len(d.definitions) == maxDefinitions {
			return d.x.fail("", "more than %d attributes are defined", maxDefinitions)
		}
		d.definitions[id] = long
		return d.x.skip()
	})
}

func (d *document) specObjects() error {
	return d.x.each(func(e xml.StartElement) error {
		if e.Name.Local != "SPEC-OBJECT" {
			return d.x.skip()
		}
		o := object{identifier: attribute(e, "IDENTIFIER")}
		if !validIdentifier(o.identifier) {
			return d.x.fail("", "%s is no IDENTIFIER of a SPEC-OBJECT", quote(o.identifier))
		}
		if len(d.objects) == MaxRequirements {
			return d.x.fail("", "more than %d objects", MaxRequirements)
		}
		err := d.x.within("VALUES", func() error {
			return d.x.each(func(e xml.StartElement) error { return d.value(&o, e) })
		})
		d.objects = append(d.objects, o)
		return err
	})
}

// validIdentifier tells whether an IDENTIFIER can stand in a line of text. The
// schema allows fewer: xsd:ID.
func validIdentifier(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsGraphic(c) || unicode.IsSpace(c) })
}

// value reads an attribute of one of the kinds that an identifier, a title or a
// text may have. An enumeration is none of them: one that is named Requirement
// has values such as yes.
func (d *document) value(o *object, e xml.StartElement) error {
	switch e.Name.Local {
	case "ATTRIBUTE-VALUE-STRING", "ATTRIBUTE-VALUE-INTEGER", "ATTRIBUTE-VALUE-XHTML":
	default:
		return d.x.skip()
	}
	v := value{text: fold(attribute(e, "THE-VALUE"))}
	err := d.x.each(func(e xml.StartElement) (err error) {
		switch e.Name.Local {
		case "DEFINITION":
			v.definition, err = d.x.reference()
		case "THE-VALUE":
			v.text, err = d.x.text()
		default:
			err = d.x.skip()
		}
		return err
	})
	if err != nil || v.s == "" {
		return err
	}
	if v.definition == "" {
		return d.x.fail("", "value %s has no DEFINITION", quote(v.s))
	}
	o.values = append(o.values, v)
	return nil
}

// hierarchy reads the places within a SPECIFICATION or a SPEC-HIERARCHY; above
// is the latter's index, and depth counts it and those around it.
func (d *document) hierarchy(above, depth int) error {
	return d.x.each(func(e xml.StartElement) error {
		switch {
		case e.Name.Local == "CHILDREN":
			return d.x.within("SPEC-HIERARCHY", func() error {
				if depth == MaxNesting {
					return d.x.fail("", "SPEC-HIERARCHY is nested deeper than %d", MaxNesting)
				}
				if len(d.places) == maxPlaces {
					return d.x.fail("", "more than %d places in the hierarchy", maxPlaces)
				}
				d.places = append(d.places, place{parent: above})
				return d.hierarchy(len(d.places)-1, depth+1)
			})
		case e.Name.Local == "OBJECT" && above >= 0:
			id, err := d.x.reference()
			d.places[above].object = id
			return err
		}
		return d.x.skip()
	})
}
