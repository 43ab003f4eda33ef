package requirement

import (
	"bytes"
	"encoding/csv"
	"reflect"
	"strings"
	"testing"
)

func TestCSV(t *testing.T) {
	one := []Requirement{{"R-1", "Boots", "The medium shall boot.", "S-1", "a.csv:2"}}
	quoted := []Requirement{{ID: "R-1", Text: `Says "yes", and; no`, Source: "a.csv:2"}, {ID: "R-2", Text: "b", Source: "a.csv:5"}}
	cases := map[string]struct {
		file, text string
		want       []Requirement
	}{
		"commas":          {"a.csv", "id,title,text,parent\nR-1,Boots,The medium shall boot.,S-1\n", one},
		"semicolons":      {"a.csv", "id;title;text;parent\nR-1;Boots;The medium shall boot.;S-1\n", one},
		"tabs":            {"a.csv", "id\ttitle\ttext\tparent\nR-1\tBoots\tThe medium shall boot.\tS-1\n", one},
		"another ending":  {"A.CSV", "id\nR-1\n", []Requirement{{ID: "R-1", Source: "A.CSV:2"}}},
		"tsv":             {"a.tsv", "id\ttext\nR-1\ta, b; c\n", []Requirement{{ID: "R-1", Text: "a, b; c", Source: "a.tsv:2"}}},
		"tsv of commas":   {"a.tsv", "id,text\nR-1,a\n", []Requirement{{ID: "R-1", Text: "a", Source: "a.tsv:2"}}},
		"byte order mark": {"a.csv", "\ufeff\"id\",title,text,parent\r\nR-1,Boots,The medium shall boot.,S-1\r\n", one},
		"no last end":     {"a.csv", "id,title,text,parent\nR-1,Boots,The medium shall boot.,S-1", one},
		"another order":   {"a.csv", "text,x,parent,id,title\nThe medium shall boot.,9,S-1,R-1,Boots\n", one},
		"other names":     {"a.csv", "Req. ID;NAME;Description;Refines\nR-1;Boots;The medium shall boot.;S-1\n", one},
		"names of DOORS":  {"a.csv", "Object Identifier,Object Heading,Object Text,Satisfies\nR-1,Boots,The medium shall boot.,S-1\n", one},
		"names of ReqIF":  {"a.csv", "ReqIF.ForeignID,ReqIF.ChapterName,ReqIF.Text,Parent\nR-1,Boots,The medium shall boot.,S-1\n", one},
		"preferred names": {"a.csv", "Description,uid,Summary,text,Heading,ID,Title,parent\nx,x,x,The medium shall boot.,x,R-1,Boots,S-1\n", one},
		"quotes":          {"a.csv", "id,text\nR-1,\"Says \"\"yes\"\",\n and; no\"\n\nR-2,b\n", quoted},
		"quoted header":   {"a.csv", "\"id\";\"text\nof, it\"\nR-1;b\n", []Requirement{{ID: "R-1", Source: "a.csv:3"}}},
		"blanks":          {"a.csv", "id , text\n R-1 ,  a  b \n", []Requirement{{ID: "R-1", Text: "a b", Source: "a.csv:2"}}},
		"empty rows":      {"a.csv", "\n\r\nid,text\n\n,\n , \n\r\nR-1,\n\r\n", []Requirement{{ID: "R-1", Source: "a.csv:8"}}},
		"one column":      {"a.csv", "id\nR-2\nR-1\n", []Requirement{{ID: "R-1", Source: "a.csv:3"}, {ID: "R-2", Source: "a.csv:2"}}},
		"chapter":         {"a.csv", "id,title,heading\nR-1,a,b\nR-2,,b\n", []Requirement{{ID: "R-1", Title: "a", Source: "a.csv:2"}, {ID: "R-2", Title: "b", Source: "a.csv:3"}}},
		"control":         {"a.csv", "id,text\nR-1,\x1b[31ma\x00\n", []Requirement{{ID: "R-1", Text: "\ufffd[31ma\ufffd", Source: "a.csv:2"}}},
		"no formula":      {"a.csv", "id,text\nR-1,=1+1\n", []Requirement{{ID: "R-1", Text: "=1+1", Source: "a.csv:2"}}},
		"longest":         {"a.csv", "id,text\nR-1," + strings.Repeat("x", MaxText) + "\n", []Requirement{{ID: "R-1", Text: strings.Repeat("x", MaxText), Source: "a.csv:2"}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l, err := Read(c.file, []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(l.all, c.want) {
				t.Errorf("have %+v\nwant %+v", l.all, c.want)
			}
		})
	}
}

func TestCSVRefuses(t *testing.T) {
	commas := `cells are separated by ','; quote one that holds it`
	checkRefusals(t, map[string]refusal{
		"empty":           {"a.csv", "", "a.csv: is empty", headerHint},
		"only line ends":  {"a.csv", "\n\r\n\n", "a.csv: is empty", headerHint},
		"only a mark":     {"a.csv", "\ufeff", "a.csv: is empty", headerHint},
		"no header":       {"a.csv", "\nR-1,a\n", "a.csv:2: no column is named id", headerHint},
		"carriage return": {"a.csv", "\r\r\nid\nR-1\n", "a.csv:1: no column is named id", headerHint},
		"another BOM":     {"a.csv", "\xff\xfei\x00d\x00", "a.csv:1: is not UTF-8", utf8Hint},
		"Latin-1":         {"a.csv", "id,text\nR-1,x\nR-2,\xe9\n", "a.csv:3: is not UTF-8", utf8Hint},
		"two ids":         {"a.csv", "\nid,text,ID\nR-1,a,R-2\n", `a.csv:2: two columns are named "ID"`, ""},
		"two texts":       {"a.csv", "id;Requirement Text;title;requirement-text\n", `a.csv:1: two columns are named "requirement-text"`, ""},
		"columns":         {"a.csv", "id" + strings.Repeat(",", maxColumns) + "\n", "a.csv:1: more than 256 columns", ""},
		"header":          {"a.csv", "id,\"" + strings.Repeat("x", maxHeader) + "\"\n", "a.csv:1: header row is longer than 65536 bytes", ""},
		"header's quote":  {"a.csv", "\nid,te\"xt\nR-1,a\n", `a.csv:2: bare " in non-quoted-field`, quoteHint},
		"header's end":    {"a.csv", "id,\"text\nR-1,a\n", `a.csv:1: extraneous or missing " in quoted-field`, quoteHint},
		"few cells":       {"a.csv", "id,text\nR-1,a\nR-2\n", "a.csv:3: row has 1 cells, the header row has 2", commas},
		"many cells":      {"a.csv", "id,text\nR-1,\"a,\nb\"\nR-2,a, b\n", "a.csv:4: row has more cells than the header row's 2", commas},
		"many, quoted":    {"a.csv", "id,text\r\n\"R-1\",\"a\"\r\nR-2,a, b\r\n", "a.csv:3: row has more cells than the header row's 2", commas},
		"cells":           {"a.csv", "id,text\n" + strings.Repeat(",", 1<<20), "a.csv:2: row has more cells than the header row's 2", commas},
		"semicolons":      {"a.csv", "id;text\nR-1;a;b\n", "a.csv:2: row has more cells than the header row's 2", `cells are separated by ';'; quote one that holds it`},
		"bare quote":      {"a.csv", "id,text\nR-1,5\" disk\nR-2,\"a, b\"\n", `a.csv:2: bare " in non-quoted-field`, quoteHint},
		"quote, cells":    {"a.csv", "id,text\nR-1,5\" disk\nR-2,a, b\n", `a.csv:2: bare " in non-quoted-field`, quoteHint},
		"quoted, cells":   {"a.csv", "id,text\nR-1,\"a\"b\nR-2,a, b\n", `a.csv:2: extraneous or missing " in quoted-field`, quoteHint},
		"quote in quotes": {"a.csv", "id,text\nR-1,a\nR-2,\"a\nb\"c,d\n", `a.csv:3: extraneous or missing " in quoted-field`, quoteHint},
		"no end":          {"a.csv", "id,text\nR-1,\"a\nR-2,b\n", `a.csv:2: extraneous or missing " in quoted-field`, quoteHint},
		"text":            {"a.csv", "id,text\nR-1," + strings.Repeat("x", MaxText+1) + "\n", "a.csv:2: cell 2 is longer than 65536 bytes", ""},
		"title":           {"a.csv", "id,text,title\nR-1,a," + strings.Repeat("x", MaxText+1) + "\n", "a.csv:2: cell 3 is longer than 65536 bytes", ""},
	})
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{
		"id,title,text,parent\nR-1,Boots,The medium shall boot.,S-1\n", "\ufeffid;text\r\n\"R-1\";\"a\n\"\"b\"\"\"\r\n", "id\ttext\nR-1\t5\" disk\n",
		"id\n\n,\nR-1\nR-1", "id,parent\nA,B\nB,A\n", "\"id\",\"a\nb\"\nR-1,\"x", "id,ID\n", "a\xff", "\r\r\nid\nx", "heading,uid\n\x1b,R-10\n,R-9\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		l, err := Read("fuzz.csv", in)
		checkResult(t, "fuzz.csv", l, err)
		if err != nil {
			return
		}
		// What was read, written again, reads the same.
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		rows := [][]string{{"id", "title", "text", "parent"}}
		for _, r := range l.all {
			rows = append(rows, []string{r.ID, r.Title, r.Text, r.Parent})
		}
		if err := w.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		again, err := Read("fuzz.csv", b.Bytes())
		if err != nil {
			t.Fatalf("%v in %q", err, b.String())
		}
		for i := range again.all {
			again.all[i].Source = l.all[i].Source
		}
		if !equal(l, again) {
			t.Errorf("have %+v\nwant %+v", again.all, l.all)
		}
	})
}
