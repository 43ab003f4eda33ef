package changelog

import (
	"reflect"
	"strings"
	"testing"
)

const sample = `hello (2.10-3) unstable; urgency=Medium, binary-only=yes

  * New.
    - deeper

  * Last.

 -- A Person <a@example.org>  Mon, 26 Dec 2022 16:30:00 +0100

hello (2.10-2) unstable experimental; urgency=low
  * Old.
 -- B Person <b@example.org>  Sun, 25 Dec 2022 16:30:00 +0100
`

func read(t *testing.T, text string) []Entry {
	t.Helper()
	var all []Entry
	if err := Read(strings.NewReader(text), func(e Entry) bool { all = append(all, e); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRead(t *testing.T) {
	first := Entry{Source: "hello", Version: "2.10-3", Distribution: "unstable", Urgency: "medium", Text: "  * New.\n    - deeper\n\n  * Last.", By: "A Person <a@example.org>", Date: "Mon, 26 Dec 2022 16:30:00 +0100"}
	second := Entry{Source: "hello", Version: "2.10-2", Distribution: "unstable experimental", Urgency: "low", Text: "  * Old.", By: "B Person <b@example.org>", Date: "Sun, 25 Dec 2022 16:30:00 +0100"}
	bare := Entry{Source: "hello", Version: "1", Distribution: "stable"}
	for name, c := range map[string]struct {
		text string
		want []Entry
	}{
		"two":                {sample, []Entry{first, second}},
		"text of upstream's": {"Version 3\n\n * no heading\n -- nobody\n" + sample + "\nLocal variables:\nmode: debian-changelog\nEnd:\n", []Entry{first, second}},
		"empty":              {"", nil},
		"no end of line":     {"hello (1) stable;", []Entry{bare}},
		"no trailer":         {"hello (1) stable; urgency=low\n\n  * Cut", []Entry{{Source: "hello", Version: "1", Distribution: "stable", Urgency: "low", Text: "  * Cut"}}},
		"no trailer between": {"hello (1) stable;\nhello (1) stable;\n", []Entry{bare, bare}},
		"carriage returns":   {"hello (1) stable;\r\n\r\n  * X\r\n", []Entry{{Source: "hello", Version: "1", Distribution: "stable", Text: "  * X"}}},
		"no version":         {"hello (_) stable; urgency=low\n  * X\n", nil},
		"no package":         {"Hello (1) stable; urgency=low\n  * X\n", nil},
		"other bytes":        {"hello (1) stable;\n  * \xff\n", []Entry{{Source: "hello", Version: "1", Distribution: "stable", Text: "  * \uFFFD"}}},
		"trailer, one blank": {"hello (1) stable;\n -- A <a@example.org> today\n", []Entry{{Source: "hello", Version: "1", Distribution: "stable", By: "A <a@example.org> today"}}},
	} {
		if have := read(t, c.text); !reflect.DeepEqual(have, c.want) {
			t.Errorf("%s: have %+v, want %+v", name, have, c.want)
		}
	}
}

func TestReadStops(t *testing.T) {
	n := 0
	if err := Read(strings.NewReader(sample), func(Entry) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d entries, %v", n, err)
	}
}

func TestBounds(t *testing.T) {
	long := "hello (1) stable;\n" + strings.Repeat(" "+strings.Repeat("x", 2*MaxLine)+"\n", 100) + " -- A  today\n" + sample
	all := read(t, long)
	if len(all) != 3 || !all[0].Cut || len(all[0].Text) > MaxText || all[0].Date != "today" {
		t.Errorf("%d entries, the first of %d bytes, cut: %v", len(all), len(all[0].Text), all[0].Cut)
	}
}

func TestBetween(t *testing.T) {
	for _, c := range []struct {
		version, from, to string
		want              bool
	}{
		{"1.1", "1.0", "1.1", true}, {"1.0", "1.0", "1.1", false}, {"1.2", "1.0", "1.1", false},
		{"1.1~rc1", "1.0", "1.1", true}, {"1:0.1", "1.0", "1:0.2", true}, {"1.10", "1.9", "1.11", true},
	} {
		if have := Between(c.version, c.from, c.to); have != c.want {
			t.Errorf("%s between %s and %s: %v", c.version, c.from, c.to, have)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sample)
	f.Add("hello (1) stable;")
	f.Add("\n -- \n  \nhello (1:2~3) a b;urgency=HIGH\n -- x  y\n")
	f.Fuzz(func(t *testing.T, text string) {
		size := 0
		err := Read(strings.NewReader(text), func(e Entry) bool {
			if size += len(e.Text); len(e.Text) > MaxText || e.Source == "" || e.Version == "" || strings.ContainsAny(e.Distribution, "\n") {
				t.Errorf("%+v", e)
			}
			return true
		})
		if err != nil || size > 3*len(text) { // a byte that is no UTF-8 becomes three
			t.Errorf("%d bytes of %d, %v", size, len(text), err)
		}
	})
}
