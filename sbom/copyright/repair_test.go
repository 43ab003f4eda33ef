package copyright

import (
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

func digestOf(s string) artifact.Digest { return artifact.Digest(s) }

func TestRepair(t *testing.T) {
	cases := map[string]struct {
		in, want string
		problems []string
	}{
		"nothing":       {"", "", nil},
		"well formed":   {"A: 1\n 2\n\nB: 3\n", "A: 1\n 2\n\nB: 3\n", nil},
		"no line end":   {"A: 1", "A: 1\n", nil},
		"CRLF":          {"A: 1\r\n 2\r\n\r\nB: 3\r\n", "A: 1\n 2\n\nB: 3\n", nil},
		"old Mac":       {"A: 1\r2\n", "A: 1 2\n", nil},
		"comments":      {"# x\nA: 1\n# y\n 2\n#\n\n# z\nB: 3\n", "A: 1\n 2\n\nB: 3\n", nil},
		"empty value":   {"A:\n 1\nB: \t\n", "A: .\n 1\nB: .\n", nil},
		"blank lines":   {"\n\nA: 1\n \t\n\n\nB: 2\n\n\n", "A: 1\n\nB: 2\n", nil},
		"text first":    {"x\ny\n z\n\nw\nA: 1\n", "A: 1\n", []string{`line 1: text before the first field: "x"`}},
		"blank within":  {"A: 1\n 2\n\n 3\n\n\n 4\nB: 5\n", "A: 1\n 2\n .\n 3\n .\n 4\nB: 5\n", []string{"line 4: a blank line within a field", "line 7: a blank line within a field"}},
		"not indented":  {"A: 1\nx y\nz: w: v\nhttp://x\n\nu (v): w\n\nB: 2\n", "A: 1\n x y\nz: w: v\n http://x\n .\n u (v): w\n\nB: 2\n", []string{`line 2: text that is not indented: "x y"`, `line 4: text that is not indented: "http://x"`}},
		"no blank line": {"Format: 1\nFiles: a\nLicense: x\nFiles: b\nLicense: x\nLicense: y\n z\n", "Format: 1\n\nFiles: a\nLicense: x\n\nFiles: b\nLicense: x\n\nLicense: y\n z\n", []string{"line 2: no blank line before the field Files", "line 4: no blank line before the field Files", "line 6: no blank line before the field License"}},
		"any order":     {"License: x\nCopyright: y\nFiles: z\n", "License: x\nCopyright: y\nFiles: z\n", nil},
		"twice":         {"A: 1\na: 2\n 3\n\n 4\nB: 5\n", "A: 1\nB: 5\n", []string{"line 2: the field a stands twice in a stanza"}},
		"odd names":     {"A: 1\n-B: 2\n3C: 3\nD E: 4\nF_: 5\n: 6\n", "A: 1\n -B: 2\n 3C: 3\n D E: 4\n F_: 5\n : 6\n", []string{`line 2: text that is not indented: "-B: 2"`}},
	}
	for name, c := range cases {
		var p problems
		r := repair(c.in, &p)
		if r.text.String() != c.want || !reflect.DeepEqual(p.list(), c.problems) {
			t.Errorf("%s: have %q, %q\nwant %q, %q", name, r.text.String(), p.list(), c.want, c.problems)
		}
		if n := strings.Count(r.text.String(), "\n"); n != len(r.lines) {
			t.Errorf("%s: %d lines with the numbers of %d", name, n, len(r.lines))
		}
	}
	var in strings.Builder
	for i := range maxFields + 2 {
		in.WriteString("F" + strings.Repeat("x", i) + ": 1\n 2\n")
	}
	var p problems
	if r := repair(in.String(), &p); strings.Count(r.text.String(), ":") != maxFields || len(p.all) != 2 {
		t.Errorf("%d fields, %q", strings.Count(r.text.String(), ":"), p.list())
	}
}

func TestProblems(t *testing.T) {
	var p, q problems
	for i := range 40 {
		p.add(2*i+2, "even")
		q.add(2*i+1, "odd %s", quote("%d\n"+strings.Repeat("é", 100)))
	}
	p.merge(&q)
	all := p.list()
	if len(all) != maxProblems || all[0] != `line 1: odd "%d\n`+strings.Repeat("é", 77)+`"…` || all[1] != "line 2: even" || all[maxProblems-1] != "and 17 more" {
		t.Errorf("%d: %q", len(all), all)
	}
}
