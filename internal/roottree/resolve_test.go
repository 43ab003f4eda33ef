package roottree

import "testing"

func TestResolve(t *testing.T) {
	m := &Manifest{Entries: []Entry{
		{Path: ".", Type: Dir}, {Path: "bin", Type: Link, Target: "usr/bin"}, {Path: "etc", Type: Dir},
		{Path: "lib", Type: Link, Target: "/usr/lib"}, {Path: "loop", Type: Link, Target: "loop/x"},
		{Path: "opt", Type: Link, Target: "../../../etc/./up"}, {Path: "usr", Type: Dir}, {Path: "usr/bin", Type: Dir},
		{Path: "usr/lib", Type: Dir}, {Path: "usr/lib/two", Type: Link, Target: "../share"}, {Path: "usr/share", Type: Dir},
	}}
	for name, want := range map[string]string{
		"bin/sh": "usr/bin/sh", "lib/two/doc": "usr/share/doc", "bin": "bin", "usr/lib/two": "usr/lib/two", "/lib/x/": "usr/lib/x",
		"opt/f": "etc/up/f", "no/such/file": "no/such/file", ".": ".", "../../bin/x": "usr/bin/x",
	} {
		have, err := m.Resolve(name)
		if err != nil || have != want {
			t.Errorf("%s: have %q, %v, want %q", name, have, err, want)
		}
	}
	if _, err := m.Resolve("loop/f"); err == nil {
		t.Error("a loop was resolved")
	}
}
