package requirement

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/isotrace/isotrace/internal/fault"
)

// refusal is a file that must not be read, and what is said of it.
type refusal struct{ file, text, want, hint string }

func checkRefusals(t *testing.T, cases map[string]refusal) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l, err := Read(c.file, []byte(c.text))
			if err == nil {
				t.Fatalf("read: %+v", l.all)
			}
			if err.Error() != c.want || fault.HintOf(err) != c.hint || fault.ClassOf(err) != fault.Usage {
				t.Errorf("class %d:\nhave %s\nhint %s\nwant %s\nhint %s", fault.ClassOf(err), err, fault.HintOf(err), c.want, c.hint)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	var chain strings.Builder
	chain.WriteString("id,parent\n")
	for i := range MaxNesting + 1 {
		fmt.Fprintf(&chain, "L-%d,L-%d\n", i, i+1)
	}
	checkRefusals(t, map[string]refusal{
		"format":  {"a.xlsx", "id\nR-1\n", "a.xlsx: is of no format that lists of requirements have", "a list's name ends in .csv, .tsv, .reqif or .reqifz"},
		"no name": {"", "id\nR-1\n", ": is of no format that lists of requirements have", "a list's name ends in .csv, .tsv, .reqif or .reqifz"},
		"long":    {"a.csv", strings.Repeat("a", MaxSize+1), "a.csv: longer than 67108864 bytes", ""},
		"nothing": {"a.csv", "id\n", "a.csv: lists no requirement", "want the project's requirements, with their identifiers"},
		"no id":   {"a.csv", "id,text\nR-1,x\n ,y\n", "a.csv:3: has no identifier", idHint},
		"bad id":  {"a.csv", "id\nR-1\nR 2\n", `a.csv:3: "R 2" is not an identifier`, idHint},
		"long id": {"a.csv", "id\n" + strings.Repeat("é", 60) + "\n", `a.csv:2: "` + strings.Repeat("é", 40) + `"… is not an identifier`, idHint},
		"bad parent": {"a.csv", "id,parent\nR-1,\"R-2, R-3\"\n", `a.csv:2: R-1: parent "R-2, R-3" is not an identifier`,
			"one identifier, of the requirement that this one refines"},
		"twice": {"a.csv", "id\nR-1\nR-2\n\nR-1\n", "a.csv:5: R-1 is listed twice, first at a.csv:2", "give every requirement an identifier of its own"},
		"circle of one": {"a.csv", "id,parent\nR-1,R-1\n", "a.csv:2: R-1 refines itself, directly or by way of others",
			"a requirement refines one of a higher level"},
		"circle": {"a.csv", "id,parent\nA,R-3\nR-1,R-2\nR-2,R-3\nR-3,R-1\n", "a.csv:5: R-3 refines itself, directly or by way of others",
			"a requirement refines one of a higher level"},
		"chain": {"a.csv", chain.String(), "a.csv:2: L-0 stands below more than 63 others", ""},
	})
}

func TestTooMany(t *testing.T) {
	var b strings.Builder
	b.WriteString("id\n")
	for i := range MaxRequirements {
		fmt.Fprintf(&b, "R%d\n", i)
	}
	l, err := Read("a.csv", []byte(b.String()))
	if err != nil || len(l.all) != MaxRequirements || l.all[MaxRequirements-1].ID != "R199999" {
		t.Fatalf("%v", err)
	}
	b.WriteString("R\n")
	if _, err := Read("a.csv", []byte(b.String())); err == nil || err.Error() != "a.csv:200002: more than 200000 requirements" {
		t.Errorf("error %v", err)
	}
}

func TestChain(t *testing.T) {
	var b strings.Builder
	b.WriteString("id,parent\n")
	for i := range MaxNesting - 1 {
		fmt.Fprintf(&b, "L-%d,L-%d\nS-%d,L-%d\n", i, i+1, i, i+1)
	}
	if _, err := Read("a.csv", []byte(b.String()+"L-63,ELSEWHERE-1\n")); err != nil {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	l, err := Read("a.csv", []byte("id,text\nR-10,b\nR-9,a\nQ,c\n"))
	if err != nil {
		t.Fatal(err)
	}
	all := l.All()
	if len(all) != 3 || all[0].ID != "Q" || all[1].ID != "R-9" || all[2].ID != "R-10" {
		t.Errorf("%+v", all)
	}
	all[0].ID = "changed"
	for _, id := range []string{"Q", "R-9", "R-10"} {
		if r, ok := l.Lookup(id); !ok || r.ID != id {
			t.Errorf("%s: %+v, %v", id, r, ok)
		}
	}
	for _, id := range []string{"", "R-1", "r-9", "changed"} {
		if r, ok := l.Lookup(id); ok || r != (Requirement{}) {
			t.Errorf("%s: %+v, %v", id, r, ok)
		}
	}
}

func TestCompareIDs(t *testing.T) {
	sorted := []string{
		"", "1", "2", "10", "10-1", "A", "A-", "A-1", "A-01", "A-001", "A-1.1", "A-1.2", "A-1.10", "A-1a", "A-2", "A-9", "A-10", "A-99999999999999999999",
		"A-100000000000000000000", "A-x", "A0", "A00", "A1", "AA", "B", "a",
	}
	// Identifiers that differ in zeros alone go by their bytes, and 0 is less than 1.
	i, j := slices.Index(sorted, "A-1"), slices.Index(sorted, "A-001")
	sorted[i], sorted[j] = sorted[j], sorted[i]
	for i, a := range sorted {
		for j, b := range sorted {
			if have, want := CompareIDs(a, b), compare(i, j); have != want {
				t.Errorf("%q and %q: %d, want %d", a, b, have, want)
			}
		}
	}
}

func compare(a, b int) int { return min(max(a-b, -1), 1) }

func TestFold(t *testing.T) {
	long := strings.Repeat("x", MaxText)
	for in, want := range map[string]text{
		"":                        {"", false},
		" \t\r\n ":                {"", false},
		" a  b\r\n\tc\v\f\u00a0d": {"a b c d", false},
		"a\u0085b\u2028c":         {"a b c", false},
		"\x00a\x1b[31m\x7f\u0092": {"\ufffda\ufffd[31m\ufffd\ufffd", false},
		"\xffa":                   {"\ufffda", false},
		"é — \U0001f600":          {"é — \U0001f600", false},
		long:                      {long, false},
		" " + long + " ":          {long, false},
		long + "y":                {long, true},
		long + " y":               {long, true},
		long[1:] + "é":            {long[1:], true},
		long[1:] + " y z":         {long[1:], true},
	} {
		if have := fold(in); have != want {
			t.Errorf("%.60q: %d bytes, %.60q, long %v; want %d, %v", in, len(have.s), have.s, have.long, len(want.s), want.long)
		}
	}
}

// checkResult holds what was read, or the error, to what is promised of both.
func checkResult(t *testing.T, name string, l *List, err error) {
	t.Helper()
	if err != nil {
		var f *fault.Error
		if !errors.As(err, &f) || f.Class != fault.Usage || !strings.HasPrefix(err.Error(), name) || strings.ContainsAny(err.Error(), "\n\r\x1b") {
			t.Errorf("error %q", err)
		}
		return
	}
	all := l.All()
	if len(all) == 0 || !slices.IsSortedFunc(all, func(a, b Requirement) int { return CompareIDs(a.ID, b.ID) }) {
		t.Errorf("%+v", all)
	}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.ID] || !ValidID(r.ID) || r.Parent != "" && !ValidID(r.Parent) || !strings.HasPrefix(r.Source, name) {
			t.Errorf("%+v", r)
		}
		seen[r.ID] = true
		for _, s := range []string{r.Title, r.Text, r.Source} {
			if len(s) > MaxText || strings.ContainsFunc(s, unicode.IsControl) || strings.Join(strings.Fields(s), " ") != s {
				t.Errorf("text %q", s)
			}
		}
		if got, ok := l.Lookup(r.ID); !ok || got != r {
			t.Errorf("%+v, looked up: %+v", r, got)
		}
		steps := 0
		for at, ok := r, true; ok && at.Parent != ""; steps++ {
			if at, ok = l.Lookup(at.Parent); steps > MaxNesting {
				t.Fatalf("%s: no end of parents", r.ID)
			}
		}
	}
}

func equal(a, b *List) bool { return reflect.DeepEqual(a.all, b.all) }
