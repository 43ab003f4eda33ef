package manifest

import (
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/roottree"
)

const status = `Package: zsh
Status: install ok installed
Architecture: amd64
Version: 2

Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 1:2.41-1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: casper
Status: hold ok installed
Architecture: amd64
Version: 1.5
`

func TestFromStatus(t *testing.T) {
	m, err := FromStatus(strings.NewReader(status), Params{LiveOnly: []string{"casper", "ubiquity"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		All:     "casper\t1.5\nlibc6:amd64\t1:2.41-1\nzsh\t2\n",
		Desktop: "libc6:amd64\t1:2.41-1\nzsh\t2\n",
		Remove:  "casper\n",
	} {
		if m[name] != want {
			t.Errorf("%s: %q, want %q", name, m[name], want)
		}
	}
	if _, err := FromStatus(strings.NewReader("no stanza"), Params{}); err == nil {
		t.Error("a damaged status was read")
	}
}

func TestTreeSize(t *testing.T) {
	m := &roottree.Manifest{Entries: []roottree.Entry{
		{Path: ".", Type: roottree.Dir},
		{Path: "a", Type: roottree.File, Size: 1, HardLink: "a"},
		{Path: "b", Type: roottree.File, Size: 1, HardLink: "a"},
		{Path: "c", Type: roottree.File, Size: 4097},
		{Path: "d", Type: roottree.File},
		{Path: "l", Type: roottree.Link, Target: "a"},
	}}
	if have := TreeSize(m); have != 4096+4096+8192 {
		t.Errorf("%d", have)
	}
}
