package copyright

import (
	"strings"
	"testing"
)

// brackets writes a clause with all its parentheses.
func brackets(c clause) string {
	if c.op == "" {
		return c.String()
	}
	var parts []string
	for _, d := range c.clauses {
		parts = append(parts, brackets(d))
	}
	return "(" + strings.Join(parts, " "+string(c.op)+" ") + ")"
}

func TestParseSynopsis(t *testing.T) {
	cases := map[string]string{
		"GPL-2+":                   "GPL-2+",
		" GPL-2+  or\tArtistic ":   "(GPL-2+ OR Artistic)",
		"A or B or C":              "(A OR B OR C)",
		"A or B and C":             "(A OR (B AND C))",
		"A and B or C":             "((A AND B) OR C)",
		"A or B, and C":            "((A OR B) AND C)",
		"A, and B or C":            "(A AND (B OR C))",
		"A or B, and C or D":       "((A OR B) AND (C OR D))",
		"A and B, or C and D":      "((A AND B) OR (C AND D))",
		"A or B and C, and D":      "((A OR (B AND C)) AND D)",
		"A, or B, and C or D":      "(A OR (B AND (C OR D)))",
		"A, B and C":               "(A AND B AND C)",
		"A, B, or C":               "(A OR B OR C)",
		"A,B and C":                "(A AND B AND C)",
		"(A or B) and C":           "((A OR B) AND C)",
		"((A)) AND (B Or C)":       "(A AND (B OR C))",
		"A with X exception":       "A with X exception",
		"A WITH X exception and B": "(A with X exception AND B)",
		"A or B with long X thing": "(A OR B with long X thing)",
		"MIT/X Consortium License": "MIT/X Consortium License",
		"ISC and/or LGPL-2.1+":     "(ISC and/or LGPL-2.1+)",
		"A or/and B, and C":        "(A and/or B and/or C)",
		"(A and/or B) and C":       "((A and/or B) AND C)",
		"A, B":                     "(A and/or B)",
		"A, B or C and D":          "(A and/or B and/or C and/or D)",
		"A-or-B":                   "A-or-B",
		strings.Repeat("(", 8) + "A" + strings.Repeat(")", 8): "A",
	}
	for in, want := range cases {
		c, err := parseSynopsis(in)
		if err != nil || brackets(c) != want {
			t.Errorf("%s: have %s, %v; want %s", in, brackets(c), err, want)
		}
		if have, want := c.unclear(), strings.Contains(want, "and/or"); have != want {
			t.Errorf("%s: unclear is %v", in, have)
		}
	}
}

func TestParseSynopsisRefuses(t *testing.T) {
	cases := map[string]string{
		"":                           "a short name is missing",
		"and":                        "a short name is missing",
		"A or":                       "a short name is missing",
		"or A":                       "a short name is missing",
		"A and or B":                 "a short name is missing",
		"A,":                         "a short name is missing",
		"A,,B":                       "a short name is missing",
		"()":                         "a short name is missing",
		"with X":                     "a short name is missing",
		"A with":                     "the exception's name is missing",
		"A with or B":                "the exception's name is missing",
		"A with X with Y":            "two exceptions",
		"(A or B":                    "a parenthesis is not closed",
		"A (B)":                      "a parenthesis closes that none opens",
		"A)":                         "a parenthesis closes that none opens",
		"(A) B":                      "a parenthesis closes that none opens",
		"GPL-2 or later":             `"later" is no licence`,
		"GPL-2 or any newer":         `"any" is no licence`,
		strings.Repeat("(", 9) + "A": "more than 8 parentheses",
		strings.Repeat("(", 4000):    "more than 8 parentheses",
		strings.Repeat("A", 4097):    "longer than 4096 bytes",
	}
	for in, want := range cases {
		if c, err := parseSynopsis(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: have %s, %v; want %q", in, brackets(c), err, want)
		}
	}
}

func TestCombine(t *testing.T) {
	a, b, c := leaf("A"), leaf("B"), leaf("C")
	cases := []struct {
		have term
		want string
		size int
	}{
		{combine(and, []term{a}), "A", 1},
		{combine(or, []term{b, a, b}), "A OR B", 2},
		{combine(and, []term{b, combine(or, []term{c, a})}), "(A OR C) AND B", 3},
		{combine(and, []term{combine(and, []term{c, a}), combine(and, []term{b, a})}), "A AND B AND C", 3},
		{combine(or, []term{combine(and, []term{c, a}), b}), "(A AND C) OR B", 3},
		{combine(or, []term{combine(or, []term{combine(and, []term{c, a}), b}), a}), "(A AND C) OR A OR B", 4},
		{combine(and, []term{combine(or, []term{c, a}), combine(or, []term{a, c})}), "A OR C", 2},
		{combine(and, []term{combine(and, []term{a, combine(or, []term{b, c})}), combine(or, []term{c, b})}), "(B OR C) AND A", 3},
		{combine(and, []term{leaf("A WITH X"), a}), "A AND A WITH X", 2},
	}
	for _, x := range cases {
		if x.have.String() != x.want || x.have.size != x.size {
			t.Errorf("have %s of %d, want %s of %d", x.have, x.have.size, x.want, x.size)
		}
	}
}
