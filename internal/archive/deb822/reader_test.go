package deb822

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

type field struct{ name, value string }

func read(rd *Reader) (stanzas [][]field, err error) {
	for {
		s, err := rd.Next()
		if err == io.EOF {
			return stanzas, nil
		}
		if err != nil {
			return stanzas, err
		}
		var fields []field
		for _, f := range s.Fields() {
			fields = append(fields, field{string(f.Name), string(f.Value)})
		}
		stanzas = append(stanzas, fields)
	}
}

func TestReader(t *testing.T) {
	long := strings.Repeat("x", 1<<17)
	cases := map[string]struct {
		in       string
		comments bool
		want     [][]field
	}{
		"nothing":           {"", false, nil},
		"blank":             {"\n \n\t\n\r\n", false, nil},
		"one":               {"A: 1\nB: 2\n", false, [][]field{{{"A", "1"}, {"B", "2"}}}},
		"no last line end":  {"A: 1", false, [][]field{{{"A", "1"}}}},
		"no blank":          {"A:1\n", false, [][]field{{{"A", "1"}}}},
		"blanks around":     {"A: \t 1 \t \n", false, [][]field{{{"A", "1"}}}},
		"empty value":       {"A:\nB: \n", false, [][]field{{{"A", ""}, {"B", ""}}}},
		"two":               {"\nA: 1\n\n\n \t\nA: 2\n\n", false, [][]field{{{"A", "1"}}, {{"A", "2"}}}},
		"carriage returns":  {"A: 1\r\n 2\r\n\r\nB: 3\r\n", false, [][]field{{{"A", "1\n 2"}}, {{"B", "3"}}}},
		"continuation":      {"A: 1\n 2\n\t3\n .\n  4 \nB: 5\n", false, [][]field{{{"A", "1\n 2\n\t3\n .\n  4"}, {"B", "5"}}}},
		"value below name":  {"Files:\n a 1\n b 2\n", false, [][]field{{{"Files", "a 1\n b 2"}}}},
		"colons":            {"A: b:c:d\n e: f\n", false, [][]field{{{"A", "b:c:d\n e: f"}}}},
		"odd name":          {"X-!$_%[1]~: 1\n", false, [][]field{{{"X-!$_%[1]~", "1"}}}},
		"not UTF-8":         {"A: \xff\xfe\n", false, [][]field{{{"A", "\xff\xfe"}}}},
		"long line":         {"A: " + long + "\nB: 1\n", false, [][]field{{{"A", long}, {"B", "1"}}}},
		"number sign":       {"A: #1\n #2\n", false, [][]field{{{"A", "#1\n #2"}}}},
		"comments":          {"# one\nA: 1\n# two\n 2\n#B: 3\n\n#\n# four\nC: 5\n", true, [][]field{{{"A", "1\n 2"}}, {{"C", "5"}}}},
		"comments alone":    {"# one\n# two", true, nil},
		"comment with text": {"A: 1 # one\n", true, [][]field{{{"A", "1 # one"}}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
				rd := NewReader(r, "test")
				rd.Comments = c.comments
				if got, err := read(rd); err != nil || !reflect.DeepEqual(got, c.want) {
					t.Errorf("have %q, %v\nwant %q", got, err, c.want)
				}
			}
		})
	}
}

func TestReaderRefuses(t *testing.T) {
	limits := Limits{Stanza: 100, Fields: 3}
	long := strings.Repeat("x", 1<<17)
	cases := map[string]struct{ in, text string }{
		"no colon":               {"A: 1\ngarbage\n", `test: line 2: want a field, have "garbage"`},
		"binary":                 {"\xfd7zXZ\n", "line 1: want a field"},
		"no name":                {": 1\n", `line 1: field name "" is not valid`},
		"blank in name":          {"A B: 1\n", "is not valid"},
		"blank after name":       {"A : 1\n", "is not valid"},
		"name with dash":         {"-----BEGIN PGP: 1\n", "is not valid"},
		"dash":                   {"-A: 1\n", "is not valid"},
		"name not ASCII":         {"É: 1\n", "is not valid"},
		"byte order mark":        {"\ufeffA: 1\n", "is not valid"},
		"DEL in name":            {"A\x7f: 1\n", "is not valid"},
		"comment":                {"# A: 1\n", "is not valid"},
		"comment without colon":  {"A: 1\n# one\n", "line 2: want a field"},
		"continuation first":     {" A: 1\n", "line 1: continuation line outside a field"},
		"continuation after gap": {"A: 1\n\n 2\n", "line 3: continuation line outside a field"},
		"NUL":                    {"A: 1\nB: \x00\n", `line 2: control character '\x00'`},
		"carriage return":        {"A: 1\rB: 2\n", `line 1: control character '\r'`},
		"two carriage returns":   {"A: 1\r\r\n", `control character '\r'`},
		"twice":                  {"A: 1\nB: 2\nA: 3\n", "line 3: field A stands twice"},
		"twice, another case":    {"\nAbc: 1\naBC: 1\n", "line 3: field aBC stands twice"},
		"twice in the second":    {"A: 1\n\nB: 1\nB: 2\n", "line 4: field B stands twice"},
		"fields":                 {"A: 1\nB: 1\nC: 1\nD: 1\n", "line 4: stanza has more than 3 fields"},
		"stanza":                 {"A: " + strings.Repeat("x\n ", 50), "stanza is longer than 100 bytes"},
		"line":                   {"A: " + strings.Repeat("x", 100), "line 1: stanza is longer than 100 bytes"},
		"long line":              {"A: 1\nB: " + long + "\n", "line 2: line is longer than 100 bytes"},
		"long quote":             {strings.Repeat("x", 90) + "\n", `"` + strings.Repeat("x", 60) + `"…`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got, err := read(NewReaderLimits(strings.NewReader(c.in), "test", limits)); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%q, error %v, want %q", got, err, c.text)
			}
		})
	}
	broken := errors.New("broken")
	in := io.MultiReader(strings.NewReader("A: 1\nB"), iotest.ErrReader(broken))
	if _, err := read(NewReader(in, "test")); !errors.Is(err, broken) || !strings.Contains(err.Error(), "test: line 2") {
		t.Errorf("error %v", err)
	}
	just := "A: " + strings.Repeat("x", 96) + "\n"
	if _, err := read(NewReaderLimits(strings.NewReader(just+"\n"+just), "test", limits)); err != nil {
		t.Errorf("stanzas that just fit: %v", err)
	}
}

func TestStanza(t *testing.T) {
	rd := NewReader(strings.NewReader("\nPackage: a\nDepends: b,\n c\nEmpty:\n\nB: 1\n"), "test")
	s, err := rd.Next()
	if err != nil {
		t.Fatal(err)
	}
	if s.Line != 2 || s.Get("package") != "a" || s.Get("DEPENDS") != "b,\n c" || s.Get("Packages") != "" {
		t.Errorf("line %d of %q", s.Line, s.Map())
	}
	if v, ok := s.Lookup("Empty"); v != "" || !ok {
		t.Errorf("%q, %v", v, ok)
	}
	if _, ok := s.Lookup("Other"); ok {
		t.Error("there is a field Other")
	}
	if w := s.Words("Depends"); !reflect.DeepEqual(w, []string{"b,", "c"}) {
		t.Errorf("words %q", w)
	}
	for _, name := range []string{"Empty", "Other"} {
		if _, err := s.Require(name); err == nil || err.Error() != "test: line 2: stanza has no field "+name {
			t.Errorf("error %v", err)
		}
	}
	cause := errors.New("why")
	for name, want := range map[string]string{"depends": "test: line 3: depends: because why", "Other": "test: line 2: Other: because why"} {
		if err := s.Errorf(name, "because %w", cause); err.Error() != want || !errors.Is(err, cause) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	m := s.Map()
	if s, err = rd.Next(); err != nil || s.Line != 7 || s.Get("B") != "1" || s.Get("Package") != "" {
		t.Errorf("line %d of %q, %v", s.Line, s.Map(), err)
	}
	if want := map[string]string{"Package": "a", "Depends": "b,\n c", "Empty": ""}; !reflect.DeepEqual(m, want) {
		t.Errorf("after the next stanza: %q", m)
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"", "A: 1\n 2\n\nB:\n c\n", "# c\nA: 1\r\n#\n\t2", "A: 1\nA: 2", " x", "A:\x00", "A: 1\n \t\nB : 2\n", "é: 1", ": :",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, comments bool) {
		limits := Limits{Stanza: 1 << 12, Fields: 16}
		rd := NewReaderLimits(bytes.NewReader(in), "fuzz", limits)
		rd.Comments = comments
		stanzas, err := read(rd)
		if err != nil && !strings.HasPrefix(err.Error(), "fuzz: line ") {
			t.Errorf("error %v", err)
		}
		var out bytes.Buffer
		for _, fields := range stanzas {
			size := 0
			for _, f := range fields {
				size += len(f.name) + len(f.value)
				if !validName([]byte(f.name)) || strings.ContainsAny(f.value, "\x00\r") || strings.Contains(f.value, "\n\n") {
					t.Errorf("passed: %q", f)
				}
				fmt.Fprintf(&out, "%s: %s\n", f.name, f.value)
			}
			if len(fields) == 0 || len(fields) > limits.Fields || size > limits.Stanza {
				t.Errorf("passed: %q", fields)
			}
			out.WriteByte('\n')
		}
		again, err := read(NewReader(&out, "again"))
		if err != nil || !reflect.DeepEqual(again, stanzas) {
			t.Errorf("have %q, %v\nwant %q", again, err, stanzas)
		}
	})
}
