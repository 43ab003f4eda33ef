package roottree

import (
	"path"
	"strings"
	"testing"
)

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

func TestResolveManyLinks(t *testing.T) {
	chain := func(links int) (string, error) {
		targets := map[string]string{}
		for i := range links {
			targets[strings.Repeat("l", i+1)] = strings.Repeat("l", i+2)
		}
		return Resolve("l/f", func(p string) (string, bool) { t, ok := targets[p]; return t, ok })
	}
	if have, err := chain(maxLinks); err != nil || have != strings.Repeat("l", maxLinks+1)+"/f" {
		t.Errorf("have %q, %v", have, err)
	}
	if have, err := chain(maxLinks + 1); err == nil {
		t.Errorf("have %q", have)
	}
}

// FuzzResolve resolves a name in a tree of links, given as lines of "PATH
// TARGET": it comes to an end, within the tree, and at no link's far side.
func FuzzResolve(f *testing.F) {
	f.Add("lib/two/doc", "lib /usr/lib\nusr/lib/two ../share")
	f.Add("loop/x/../y", "loop loop/loop\nx .")
	f.Add("/a//b/", "a ../../..\nb \nc /")
	f.Add("a/a/a", "a b/a\nb/a .\nb/b ..//./a")
	f.Fuzz(func(t *testing.T, name, tree string) {
		links := map[string]string{}
		for line := range strings.Lines(tree) {
			if p, target, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok && validPath(p) && len(links) < 100 {
				links[p] = target
			}
		}
		readlink := func(p string) (string, bool) {
			if p == "." || p != path.Clean(p) || !validPath(p) && len(p) <= 4096 && !strings.Contains(p, "\x00") {
				t.Fatalf("asked for %q", p)
			}
			target, ok := links[p]
			return target, ok
		}
		have, err := Resolve(name, readlink)
		if err != nil {
			if len(links) == 0 {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		if have != "." && (have != path.Clean(have) || path.IsAbs(have) || have == ".." || strings.HasPrefix(have, "../")) {
			t.Errorf("%q: %q", name, have)
		}
		for dir := path.Dir(have); dir != "."; dir = path.Dir(dir) {
			if to, ok := links[dir]; ok {
				t.Errorf("%q: %q, where %s leads to %s", name, have, dir, to)
			}
		}
		if again, err := Resolve(have, readlink); err != nil || again != have {
			t.Errorf("%q: %q, and that %q, %v", name, have, again, err)
		}
	})
}
