package requirement

import (
	"fmt"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	l, err := Read("r.csv", []byte("id\nHLR-9\nHLR-10\nHLR-12\nSYS_SAFETY/1\nA\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ id, want string }{
		{"hlr-10", "HLR-10"}, {"HLR-010", "HLR-10"}, {"HLR_12", "HLR-12"}, {"HLR12", "HLR-12"}, {"HLR-11", "HLR-10"},
		{"HRL-12", "HLR-12"}, {"HLR-21", "HLR-12"}, {"SYS_SFAETY/2", "SYS_SAFETY/1"}, {"SYS_SAFTY/1", "SYS_SAFETY/1"}, {"SYS_SAFETY/", "SYS_SAFETY/1"}, {"a", "A"},
		{"B", ""}, {"LLR-8", ""}, {"LLR-22", ""}, {"RSC-1", ""}, {"SYS", ""}, {"HLR-10000", ""}, {strings.Repeat("x", 64), ""},
	} {
		if have, ok := l.Nearest(c.id); have != c.want || ok != (c.want != "") {
			t.Errorf("%s: nearest %q, want %q", c.id, have, c.want)
		}
	}
}

// TestDistance compares with the definition.
func TestDistance(t *testing.T) {
	var slow func(a, b string) int
	slow = func(a, b string) int {
		if a == "" || b == "" {
			return len(a) + len(b)
		}
		if a[0] == b[0] {
			return slow(a[1:], b[1:])
		}
		d := 1 + min(slow(a[1:], b), slow(a, b[1:]), slow(a[1:], b[1:]))
		if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
			d = min(d, 1+slow(a[2:], b[2:]))
		}
		return d
	}
	words := []string{""}
	for n := 0; n < len(words) && len(words) < 400; n++ {
		words = append(words, words[n]+"a", words[n]+"b", words[n]+"c")
	}
	for _, a := range words {
		for _, b := range words {
			for limit := range 3 {
				want := min(slow(a, b), limit+1)
				if have := distance(a, b, limit); have != want {
					t.Fatalf("distance(%q, %q, %d) = %d, want %d", a, b, limit, have, want)
				}
			}
		}
	}
}

// An unknown identifier does not hold up who has a list as long as may be.
func BenchmarkNearest(b *testing.B) {
	var text strings.Builder
	text.WriteString("id\n")
	for i := range MaxRequirements {
		fmt.Fprintf(&text, "%s-%06d\n", strings.Repeat("R", 57), i)
	}
	l, err := Read("r.csv", []byte(text.String()))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l.Nearest(strings.Repeat("R", 55) + "Q-1000000")
	}
}
