package main

import (
	"fmt"
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

// checkHostile wants each of those programs to have run in a stage of the build, and to have
// found no way out.
func checkHostile(t *testing.T, p *project, victim string, stages map[string]string) {
	t.Helper()
	tries := strings.Count(string(readAll(t, filepath.Join("testdata", "hostile.sh"))), "\ntry ")
	for name, stage := range stages {
		log := string(readAll(t, p.out("journal", stage+".log")))
		_, said, ran := strings.Cut(log, "hostile-"+name+": ")
		said, _, _ = strings.Cut(said, "\n")
		var ways int
		if _, err := fmt.Sscanf(said, "%d ways", &ways); !ran || err != nil || ways < tries || !strings.HasSuffix(said, "open: none") {
			t.Errorf("%s, in stage %s, of at least %d ways: %q", name, stage, tries, said)
		}
	}
	if st, err := os.Lstat(victim); err != nil || st.Mode() != 0o640 || string(readAll(t, victim)) != "the host's" {
		t.Errorf("a file of the host was changed: %v, %v", st, err)
	}
}
