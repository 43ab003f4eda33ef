package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostile is a program that tries ways out of a build, for whom it is named; victim is a
// file of the host that its links lead to.
func hostile(t *testing.T, name, victim string) []byte {
	t.Helper()
	text := string(readAll(t, filepath.Join("testdata", "hostile.sh")))
	return []byte(strings.NewReplacer("@NAME@", name, "@VICTIM@", victim).Replace(text))
}

// newVictim is a file that nobody may write to.
func newVictim(t *testing.T) string {
	t.Helper()
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("the host's"), 0o640); err != nil {
		t.Fatal(err)
	}
	return victim
}

// checkHostile wants each of those programs to have run in the build and to have found no
// way out.
func checkHostile(t *testing.T, p *project, victim string, names ...string) {
	t.Helper()
	for _, name := range names {
		at := "/var/lib/hostile-" + name
		if out, code := p.run("trace", p.out(), at+"/tries"); code != 0 {
			t.Errorf("%s: did not run to its end: exit status %d\n%s", name, code, out)
		}
		if out, code := p.run("trace", p.out(), at+"/open"); code == 0 || !strings.Contains(out, "is not in the image") {
			t.Errorf("%s: found a way out: exit status %d\n%s", name, code, out)
		}
	}
	if st, err := os.Lstat(victim); err != nil || st.Mode() != 0o640 || string(readAll(t, victim)) != "the host's" {
		t.Errorf("a file of the host was changed: %v, %v", st, err)
	}
}
