package requirement

import "encoding/xml"

// inline are the elements that do not part words.
var inline = map[string]bool{
	"a": true, "abbr": true, "acronym": true, "b": true, "bdo": true, "big": true, "cite": true, "code": true,
	"dfn": true, "em": true, "i": true, "ins": true, "kbd": true, "q": true, "samp": true, "small": true,
	"span": true, "strong": true, "sub": true, "sup": true, "tt": true, "u": true, "var": true,
}

// unread are the elements whose text is not the document's: what was struck
// out, and what is no text.
var unread = map[string]bool{"del": true, "script": true, "style": true}

// text returns the text within the element that was begun last, XHTML or not.
func (x *xmlReader) text() (text, error) {
	var f folder
	for outside := x.depth - 1; x.depth > outside; {
		t, err := x.next()
		if err != nil {
			return text{}, err
		}
		switch t := t.(type) {
		case xml.CharData:
			f.add(string(t))
		case xml.EndElement:
			if !inline[t.Name.Local] {
				f.space()
			}
		case xml.StartElement:
			if unread[t.Name.Local] {
				if err := x.skip(); err != nil {
					return text{}, err
				}
			} else if !inline[t.Name.Local] {
				f.space()
			}
		}
	}
	return f.text(), nil
}
