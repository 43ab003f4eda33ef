package config

import (
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
)

const withEntries = minimal + `packages:
  - a2
  - {name: b2=1, requirements: [R-1, R-2]}
preseed: [{from: p.txt, requirements: [R-3]}]
scripts: [s.sh]
overlay:
  - {from: files/, to: /, requirements: [R-1]}
users: [{name: op, requirements: [R-4]}]
boot: {requirements: [R-5]}
`

func TestEntries(t *testing.T) {
	c, err := Parse(FileName, []byte(withEntries))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range c.Entries() {
		have = append(have, e.String()+" ["+strings.Join(e.Requirements, " ")+"]")
	}
	want := []string{
		"packages[0]: a2 []", "packages[1]: b2=1 [R-1 R-2]", "preseed[0]: p.txt [R-3]", "scripts[0]: s.sh []",
		"overlay[0]: files/ [R-1]", "users[0]: op [R-4]", "boot [R-5]",
	}
	if strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}

func TestErrorAt(t *testing.T) {
	for _, c := range []struct{ text, path, want string }{
		{withEntries, "packages[1].requirements[1]", "isotrace.yaml:6: packages[1].requirements[1]: what is wrong"},
		{withEntries, "overlay[0]", "isotrace.yaml:10: overlay[0]: what is wrong"},
		{withEntries, "boot.requirements[0]", "isotrace.yaml:12: boot.requirements[0]: what is wrong"},
		{withEntries, "none[3].x", "isotrace.yaml:1: none[3].x: what is wrong"},
		{"", "boot", "isotrace.yaml:1: boot: what is wrong"},
		{"a: [", "boot", "isotrace.yaml:1: boot: what is wrong"},
	} {
		err := ErrorAt([]byte(c.text), c.path, "do this", "what is %s", "wrong")
		if err.Error() != c.want || fault.ClassOf(err) != fault.Usage || fault.HintOf(err) != "do this" {
			t.Errorf("%s: %v (%s), want %s", c.path, err, fault.HintOf(err), c.want)
		}
	}
}
