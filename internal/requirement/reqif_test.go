package requirement

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestReqIF(t *testing.T) {
	b, err := os.ReadFile("testdata/rescue.reqif")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Read("rescue.reqif", b)
	if err != nil {
		t.Fatal(err)
	}
	want := []Requirement{
		{ID: "HLR-9", Text: "The medium shall get its address by DHCP.", Source: "rescue.reqif:_so-hlr-9"},
		{ID: "HLR-10", Title: "Remote access & tools", Text: "The medium shall offer SSH, but no Telnet. (picture of the ports)", Source: "rescue.reqif:_so-hlr-10"},
		{ID: "LLR-1", Text: "sshd shall refuse passwords of root.", Parent: "HLR-10", Source: "rescue.reqif:_so-llr-1"},
	}
	if !reflect.DeepEqual(l.All(), want) {
		t.Errorf("have %+v\nwant %+v", l.All(), want)
	}
	if left := []string{"rescue.reqif:_so-network", "rescue.reqif:_so-preface"}; !slices.Equal(l.LeftOut(), left) {
		t.Errorf("left out: %q", l.LeftOut())
	}
}

const (
	head = `<REQ-IF xmlns="` + namespace + `"><CORE-CONTENT><REQ-IF-CONTENT>`
	tail = `</REQ-IF-CONTENT></CORE-CONTENT></REQ-IF>`
)

// reqif is a document of these parts, with an attribute of each name in types.
func reqif(types []string, parts ...string) string {
	var b strings.Builder
	b.WriteString(head + "<SPEC-TYPES><SPEC-OBJECT-TYPE><SPEC-ATTRIBUTES>")
	for _, n := range types {
		fmt.Fprintf(&b, `<ATTRIBUTE-DEFINITION-STRING IDENTIFIER="d.%s" LONG-NAME="%s"/>`, n, n)
	}
	b.WriteString("</SPEC-ATTRIBUTES></SPEC-OBJECT-TYPE></SPEC-TYPES>")
	return b.String() + strings.Join(parts, "") + tail
}

// objects are SPEC-OBJECTS: of each the IDENTIFIER, and names and values.
func objects(list ...[]string) string {
	var b strings.Builder
	for _, o := range list {
		fmt.Fprintf(&b, `<SPEC-OBJECT IDENTIFIER="%s"><VALUES>`, o[0])
		for i := 1; i < len(o); i += 2 {
			fmt.Fprintf(&b, `<ATTRIBUTE-VALUE-STRING THE-VALUE="%s"><DEFINITION><ATTRIBUTE-DEFINITION-STRING-REF> d.%s
				</ATTRIBUTE-DEFINITION-STRING-REF></DEFINITION></ATTRIBUTE-VALUE-STRING>`, o[i+1], o[i])
		}
		b.WriteString("</VALUES></SPEC-OBJECT>\n")
	}
	return "<SPEC-OBJECTS>" + b.String() + "</SPEC-OBJECTS>"
}

// below are SPEC-HIERARCHYs, each within the one before it.
func below(ids ...string) string {
	s := ""
	for _, id := range slices.Backward(ids) {
		s = "<CHILDREN><SPEC-HIERARCHY><OBJECT><SPEC-OBJECT-REF>" + id + "</SPEC-OBJECT-REF></OBJECT>" + s + "</SPEC-HIERARCHY></CHILDREN>"
	}
	return s
}

func specs(children ...string) string {
	return "<SPECIFICATIONS><SPECIFICATION>" + strings.Join(children, "</SPECIFICATION><SPECIFICATION>") + "</SPECIFICATION></SPECIFICATIONS>"
}

func TestReqIFObjects(t *testing.T) {
	all := []string{"ReqIF.ForeignID", "ReqIF.Identifier", "ID", "ReqIF.Name", "ReqIF.ChapterName", "ReqIF.Text", "Text", "Description", "Owner"}
	cases := map[string]struct {
		text    string
		want    []Requirement
		leftOut []string
	}{
		"identifiers by preference": {
			reqif(all, objects(
				[]string{"_1", "ID", "x", "ReqIF.Identifier", "y", "ReqIF.ForeignID", "R-1"}, []string{"_2", "ID", "R-2", "ReqIF.ForeignID", " "}, []string{"_3", "ReqIF.Identifier", "R-3"},
			)),
			[]Requirement{{ID: "R-1", Source: "a.reqif:_1"}, {ID: "R-2", Source: "a.reqif:_2"}, {ID: "R-3", Source: "a.reqif:_3"}}, nil,
		},
		"texts and titles by preference": {
			reqif(all, objects(
				[]string{"_1", "ID", "R-1", "Description", "x", "Text", "y", "ReqIF.Text", "z", "ReqIF.ChapterName", "c", "ReqIF.Name", "n"},
				[]string{"_2", "ID", "R-2", "Description", "x", "Text", "y", "Owner", "o", "ReqIF.ChapterName", "c"},
				[]string{"_3", "ID", "R-3", "Text", "y", "Description", "x"},
			)),
			[]Requirement{
				{ID: "R-1", Title: "n", Text: "z", Source: "a.reqif:_1"}, {ID: "R-2", Title: "c", Text: "y", Source: "a.reqif:_2"}, {ID: "R-3", Text: "y", Source: "a.reqif:_3"},
			}, nil,
		},
		"no identifiers but IDENTIFIERs": {
			reqif(all, objects([]string{"R-1", "ReqIF.Text", "a"}, []string{"_H", "ReqIF.ChapterName", "b", "Owner", "o"}, []string{"R-2", "ReqIF.Name", "c", "ReqIF.ChapterName", "d"}, []string{"R-3"})),
			[]Requirement{{ID: "R-1", Text: "a", Source: "a.reqif:R-1"}, {ID: "R-2", Title: "c", Source: "a.reqif:R-2"}, {ID: "R-3", Source: "a.reqif:R-3"}}, []string{"a.reqif:_H"},
		},
		"prose among requirements": {
			reqif(all, objects([]string{"P-1", "ReqIF.Text", "a"}, []string{"_1", "ID", "R-1"}, []string{"P-0"})),
			[]Requirement{{ID: "R-1", Source: "a.reqif:_1"}}, []string{"a.reqif:P-1", "a.reqif:P-0"},
		},
		"heading with an identifier": {
			reqif(all, objects([]string{"_1", "ID", "7", "ReqIF.ChapterName", "a"})),
			[]Requirement{{ID: "7", Title: "a", Source: "a.reqif:_1"}}, nil,
		},
		"parts in another order": {
			head + specs(below("_1", "_2")) + objects([]string{"_2", "ID", "R-2"}, []string{"_1", "ID", "R-1"}) + strings.TrimPrefix(reqif(all), head),
			[]Requirement{{ID: "R-1", Source: "a.reqif:_1"}, {ID: "R-2", Parent: "R-1", Source: "a.reqif:_2"}}, nil,
		},
		"places": { // those without an object, of headings and of unknown ones do not count; the first with a requirement around it does
			reqif(all, objects([]string{"_1", "ID", "R-1"}, []string{"_2", "ID", "R-2"}, []string{"_3", "ID", "R-3"}, []string{"_h", "ReqIF.ChapterName", "h"}),
				specs(below("_h", "_2"), below("_1", "unknown", "", "_h", "_2", "_3"), below("_1", "_3"), "<OBJECT><X>_h</X></OBJECT>")),
			[]Requirement{{ID: "R-1", Source: "a.reqif:_1"}, {ID: "R-2", Parent: "R-1", Source: "a.reqif:_2"}, {ID: "R-3", Parent: "R-2", Source: "a.reqif:_3"}}, []string{"a.reqif:_h"},
		},
		"prefix": {
			"\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><!-- c --><r:REQ-IF xmlns:r=\"" + namespace + "\"><r:CORE-CONTENT><r:REQ-IF-CONTENT><r:SPEC-OBJECTS>" +
				"<r:SPEC-OBJECT r:IDENTIFIER=\"R-0\" IDENTIFIER=\"R-1\"/><SPEC-OBJECT IDENTIFIER=\"R-2\"/></r:SPEC-OBJECTS></r:REQ-IF-CONTENT></r:CORE-CONTENT></r:REQ-IF>",
			[]Requirement{{ID: "R-1", Source: "a.reqif:R-1"}}, nil,
		},
		"kinds": {
			reqif([]string{"ID", "ReqIF.Text"}, "<SPEC-OBJECTS><SPEC-OBJECT IDENTIFIER=\"_1\"><VALUES>"+
				"<ATTRIBUTE-VALUE-INTEGER THE-VALUE=\"12\"><DEFINITION><X>d.ID</X></DEFINITION></ATTRIBUTE-VALUE-INTEGER>"+
				"<ATTRIBUTE-VALUE-ENUMERATION><VALUES><ENUM-VALUE-REF>e</ENUM-VALUE-REF></VALUES><DEFINITION><X>d.ReqIF.Text</X></DEFINITION></ATTRIBUTE-VALUE-ENUMERATION>"+
				"<ATTRIBUTE-VALUE-BOOLEAN THE-VALUE=\"true\"><DEFINITION><X>d.ReqIF.Text</X></DEFINITION></ATTRIBUTE-VALUE-BOOLEAN>"+
				"<ATTRIBUTE-VALUE-XHTML><THE-VALUE>a<![CDATA[<b>]]>&lt;c/&gt;<p>d</p>e<i>f</i></THE-VALUE><DEFINITION><X>d.ReqIF.Text</X></DEFINITION></ATTRIBUTE-VALUE-XHTML>"+
				"</VALUES></SPEC-OBJECT></SPEC-OBJECTS>"),
			[]Requirement{{ID: "12", Text: "a<b><c/> d ef", Source: "a.reqif:_1"}}, nil,
		},
		"defined twice, alike": {
			reqif([]string{"ID", "ID"}, objects([]string{"_1", "ID", "R-1"})), []Requirement{{ID: "R-1", Source: "a.reqif:_1"}}, nil,
		},
		"a long text of no use": {
			reqif(all, objects([]string{"_1", "ID", "R-1", "Owner", strings.Repeat("x", MaxText+1)})), []Requirement{{ID: "R-1", Source: "a.reqif:_1"}}, nil,
		},
		"deepest": {
			reqif(all, objects([]string{"_1", "ID", "R-1"}, []string{"_2", "ID", "R-2"}), specs(below(append([]string{"_1", 62: ""}, "_2")...))),
			[]Requirement{{ID: "R-1", Source: "a.reqif:_1"}, {ID: "R-2", Parent: "R-1", Source: "a.reqif:_2"}}, nil,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l, err := Read("a.reqif", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(l.all, c.want) || !slices.Equal(l.LeftOut(), c.leftOut) {
				t.Errorf("have %+v, left out %q\nwant %+v, %q", l.all, l.leftOut, c.want, c.leftOut)
			}
		})
	}
}

func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, strconv.Itoa(i))
	}
	return list
}

func TestReqIFRefuses(t *testing.T) {
	all := []string{"ID", "ReqIF.ChapterName", "ReqIF.Text"}
	checkRefusals(t, map[string]refusal{
		"empty":         {"a.reqif", "", "a.reqif: has no REQ-IF element", rootHint},
		"no XML":        {"a.reqif", "id,text\nR-1,a\n", "a.reqif: has no REQ-IF element", rootHint},
		"other XML":     {"a.reqif", "<html><REQ-IF/></html>", `a.reqif:1: element "html" of namespace "" is no document of ReqIF 1.0 to 1.2`, rootHint},
		"RIF":           {"a.reqif", `<RIF xmlns="http://automotive-his.de/schema/rif"/>`, `a.reqif:1: element "RIF" of namespace "http://automotive-his.de/schema/rif" is no document of ReqIF 1.0 to 1.2`, rootHint},
		"no namespace":  {"a.reqif", "\n<REQ-IF/>", `a.reqif:2: element "REQ-IF" of namespace "" is no document of ReqIF 1.0 to 1.2`, rootHint},
		"two documents": {"a.reqif", head + tail + "\n" + head + tail, `a.reqif:2: element "REQ-IF" of namespace "` + namespace + `" is no document of ReqIF 1.0 to 1.2`, rootHint},
		"nothing":       {"a.reqif", reqif(all), "a.reqif: lists no requirement", "want the project's requirements, with their identifiers"},
		"headings":      {"a.reqif", reqif(all, objects([]string{"_1", "ReqIF.ChapterName", "x"})), "a.reqif: lists no requirement", "want the project's requirements, with their identifiers"},
		"document type": {
			"a.reqif", "<?xml version=\"1.0\"?>\n<!DOCTYPE REQ-IF [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>" + head + tail,
			"a.reqif:2: declares a document type or entities, which ReqIF has no use for", "export it without a DOCTYPE",
		},
		"entity":   {"a.reqif", reqif(all, objects([]string{"_1", "ID", "&a;"})), "a.reqif:1: is no well-formed XML: invalid character entity &a;", ""},
		"encoding": {"a.reqif", `<?xml version="1.0" encoding="ISO-8859-1"?>` + head + tail, "a.reqif:1: is not UTF-8", utf8Hint},
		"version":  {"a.reqif", `<?xml version="1.1"?>` + head + tail, `a.reqif:1: is no well-formed XML: unsupported version "1.1"; only version 1.0 is supported`, ""},
		"bytes":    {"a.reqif", head + "\n\xff" + tail, "a.reqif:2: is no well-formed XML: invalid UTF-8", ""},
		"cut off":  {"a.reqif", head + "\n<SPEC-OBJECTS>", "a.reqif:2: is no well-formed XML: unexpected EOF", ""},
		"tags":     {"a.reqif", head + "\n<" + strings.Repeat("x", 200) + ">" + tail, "a.reqif:2: is no well-formed XML: element <" + strings.Repeat("x", maxQuote-9) + "…", ""},
		"token":    {"a.reqif", head + "\n<X a=\"" + strings.Repeat("x", maxToken) + "\"/>" + tail, "a.reqif:2: a tag or a text is too long: more than 4194304 bytes", ""},
		"attributes": {
			"a.reqif", head + "\n<X" + strings.Repeat(" a=\"\"", maxToken/4) + "/>" + tail,
			"a.reqif:2: a tag or a text is too long: more than 4194304 bytes", "",
		},
		"depth":          {"a.reqif", head + strings.Repeat("<X>", maxDepth-2) + strings.Repeat("</X>", maxDepth-2) + tail, "a.reqif:1: elements are nested deeper than 256", ""},
		"depth that is":  {"a.reqif", head + strings.Repeat("<X>", maxDepth-3) + strings.Repeat("</X>", maxDepth-3) + tail, "a.reqif: lists no requirement", "want the project's requirements, with their identifiers"},
		"nesting":        {"a.reqif", reqif(all, "\n", specs(below(make([]string, MaxNesting+1)...))), "a.reqif:2: SPEC-HIERARCHY is nested deeper than 64", ""},
		"places":         {"a.reqif", reqif(all, specs("<CHILDREN>"+strings.Repeat("<SPEC-HIERARCHY/>", maxPlaces+1)+"</CHILDREN>")), "a.reqif:1: more than 1000000 places in the hierarchy", ""},
		"definitions":    {"a.reqif", reqif(numbers(maxDefinitions + 1)), "a.reqif:1: more than 100000 attributes are defined", ""},
		"objects":        {"a.reqif", reqif(all, "<SPEC-OBJECTS>"+strings.Repeat("\n<SPEC-OBJECT IDENTIFIER=\"x\"/>", MaxRequirements+1)), "a.reqif:200002: more than 200000 objects", ""},
		"two meanings":   {"a.reqif", reqif(all, `<SPEC-TYPES><SPEC-OBJECT-TYPE><SPEC-ATTRIBUTES><X IDENTIFIER="d.ID" LONG-NAME="ReqIF.Text"/></SPEC-ATTRIBUTES></SPEC-OBJECT-TYPE></SPEC-TYPES>`), `a.reqif:1: two attributes have the IDENTIFIER "d.ID"`, ""},
		"no IDENTIFIER":  {"a.reqif", reqif(all, "<SPEC-OBJECTS><SPEC-OBJECT/></SPEC-OBJECTS>"), `a.reqif:1: "" is no IDENTIFIER of a SPEC-OBJECT`, ""},
		"odd IDENTIFIER": {"a.reqif", reqif(all, objects([]string{"a&#10;b"})), `a.reqif:1: "a\nb" is no IDENTIFIER of a SPEC-OBJECT`, ""},
		"long IDENTIFIER": {
			"a.reqif", reqif(all, objects([]string{strings.Repeat("x", maxName+1)})), `a.reqif:1: "` + strings.Repeat("x", maxQuote) + `"… is no IDENTIFIER of a SPEC-OBJECT`, "",
		},
		"same IDENTIFIER": {"a.reqif", reqif(all, objects([]string{"_1", "ID", "R-1"}, []string{"_1", "ID", "R-2"})), "a.reqif:_1: two objects have this IDENTIFIER", ""},
		"no DEFINITION":   {"a.reqif", reqif(all, "<SPEC-OBJECTS><SPEC-OBJECT IDENTIFIER=\"_1\"><VALUES><ATTRIBUTE-VALUE-STRING THE-VALUE=\"R-1\"/></VALUES></SPEC-OBJECT></SPEC-OBJECTS>"), `a.reqif:1: value "R-1" has no DEFINITION`, ""},
		"two values":      {"a.reqif", reqif(all, objects([]string{"_1", "ID", "R-1", "ID", "R-2"})), `a.reqif:_1: has two values of "ID"`, ""},
		"long text":       {"a.reqif", reqif(all, objects([]string{"_1", "ReqIF.Text", strings.Repeat("x", MaxText+1)})), `a.reqif:_1: "ReqIF.Text" is longer than 65536 bytes`, ""},
		"bad id":          {"a.reqif", reqif(all, objects([]string{"_1", "ID", "R 1"})), `a.reqif:_1: "R 1" is not an identifier`, idHint},
		"no id": {
			"a.reqif", reqif(all, objects([]string{"R-1", "ReqIF.Text", "a"}, []string{"_2", "ReqIF.Text", "b"})),
			"a.reqif:_2: has no identifier that a config could name", "give requirements an attribute ReqIF.ForeignID, such as HLR-12",
		},
		"twice": {
			"a.reqif", reqif(all, objects([]string{"_1", "ID", "R-1"}, []string{"_2", "ID", "R-1"})),
			"a.reqif:_2: R-1 is listed twice, first at a.reqif:_1", "give every requirement an identifier of its own",
		},
		"circle": {
			"a.reqif", reqif(all, objects([]string{"_1", "ID", "R-1"}, []string{"_2", "ID", "R-2"}), specs(below("_1", "_2"), below("_2", "_1"))),
			"a.reqif:_1: R-1 refines itself, directly or by way of others", "a requirement refines one of a higher level",
		},
		"circle of one": {
			"a.reqif", reqif(all, objects([]string{"_1", "ID", "R-1"}), specs(below("_1", "_1"))),
			"a.reqif:_1: R-1 refines itself, directly or by way of others", "a requirement refines one of a higher level",
		},
	})
}

func FuzzReqIF(f *testing.F) {
	sample, err := os.ReadFile("testdata/rescue.reqif")
	if err != nil {
		f.Fatal(err)
	}
	all := []string{"ID", "ReqIF.Name", "ReqIF.ChapterName", "ReqIF.Text"}
	for _, s := range []string{
		string(sample), head + tail, reqif(all, objects([]string{"_1", "ID", "R-1", "ReqIF.Text", "a"}, []string{"_2", "ID", "R-10"}), specs(below("_1", "", "_2"))),
		reqif(all, objects([]string{"R-1", "ReqIF.Name", "a"}, []string{"h", "ReqIF.ChapterName", "b"})), "<!DOCTYPE a>", "<?xml version='1.0' encoding='x'?><a/>",
		reqif(all, objects([]string{"_1", "ID", "R-1"}), specs(below("_1", "_1"))),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		l, err := Read("fuzz.reqif", in)
		checkResult(t, "fuzz.reqif", l, err)
		again, other := Read("fuzz.reqif", in)
		if fmt.Sprint(err) != fmt.Sprint(other) || err == nil && (!equal(l, again) || !slices.Equal(l.leftOut, again.leftOut)) {
			t.Errorf("have %+v, %v\nthen %+v, %v", l, err, again, other)
		}
	})
}
