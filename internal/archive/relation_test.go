package archive

import (
	"strings"
	"testing"
)

func TestParseDependency(t *testing.T) {
	cases := map[string]string{
		"":                         "",
		" , ":                      "",
		"a":                        "a",
		"a,b":                      "a, b",
		"a | b ,c":                 "a | b, c",
		"a(>=1)":                   "a (>= 1)",
		"a ( << 1:2-3~ )":          "a (<< 1:2-3~)",
		"a (< 1), b (> 2)":         "a (<= 1), b (>= 2)",
		"python3:any (>= 3.5~)":    "python3:any (>= 3.5~)",
		"libc6 (= 2.36-9+deb12u7)": "libc6 (= 2.36-9+deb12u7)",
		"a,\n b |\n c,":            "a, b | c",
	}
	for field, want := range cases {
		got, err := ParseDependency(field)
		if err != nil {
			t.Errorf("%q: %v", field, err)
			continue
		}
		if text := join(got); text != want {
			t.Errorf("%q: %q, want %q", field, text, want)
		}
	}
	for _, field := range []string{
		"a b", "a |", "| a", "a (1)", "a (= )", "a (== 1)", "a (>= 1", "a >= 1)", "-a", "a:", "a:b:c", "a (>= 1) x",
		"a [amd64]", "a <!nocheck>", "a/b", "a (>= 1)(<< 2)", "a\x00", strings.Repeat("a", 256),
	} {
		if got, err := ParseDependency(field); err == nil {
			t.Errorf("%q: %q, want an error", field, join(got))
		}
	}
	if _, err := ParseDependency(strings.Repeat("a,", maxRelations+1)); err == nil {
		t.Error("a field without end passed")
	}
}

func join(all []Alternatives) string {
	var parts []string
	for _, a := range all {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, ", ")
}

func TestRelationHolds(t *testing.T) {
	for op, want := range map[Operator]string{Earlier: "1", EarlierOrEqual: "1 2", Equal: "2", LaterOrEqual: "2 3", Later: "3", "": "1 2 3", "~": ""} {
		var held []string
		for _, v := range []string{"1", "2", "3"} {
			if (Relation{Name: "a", Operator: op, Version: "2"}).Holds(v) {
				held = append(held, v)
			}
		}
		if got := strings.Join(held, " "); got != want {
			t.Errorf("%q 2 holds for %q, want %q", op, got, want)
		}
	}
}

func FuzzParseDependency(f *testing.F) {
	f.Add("libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0, python3:any")
	f.Add("a [amd64] <!nocheck>, b (<< 1:2~), c (")
	f.Fuzz(func(t *testing.T, field string) {
		all, err := ParseDependency(field)
		if err != nil {
			return
		}
		again, err := ParseDependency(join(all))
		if err != nil || join(again) != join(all) {
			t.Fatalf("%q is written as %q, which reads as %q, %v", field, join(all), join(again), err)
		}
	})
}
