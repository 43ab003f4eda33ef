package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/config"
)

// TestScriptsOverTheirLimits builds with scripts that take too much of the host: each ends
// the build with what it took, where, and the key to raise. The lock is that of the config
// without limits.
func TestScriptsOverTheirLimits(t *testing.T) {
	t.Parallel()
	reference := rescue(t)
	for name, c := range map[string]struct{ script, limits, want, hint string }{
		"output":    {"yes isotrace", "output: 4MiB", "wrote more than 4194304 bytes of output", "raise output under limits"},
		"processes": {"f() { f & f & }; f; sleep 100", "processes: 500", "more than 500 processes at once", "raise processes under limits"},
		"memory":    {"head -c 900M /dev/zero > /dev/shm/x; sleep 100", "memory: 600MiB", "more than 600 MiB of memory", "raise memory under limits"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &project{dir: filepath.Join(t.TempDir(), "rescue")}
			if err := p.copyOf(reference); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(p.dir, "hostile.sh"), []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(p.dir, config.FileName))
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, "\nscripts: [hostile.sh]\nlimits: {"+c.limits+"}\n"...)
			if err := os.WriteFile(filepath.Join(p.dir, config.FileName), text, 0o644); err != nil {
				t.Fatal(err)
			}
			out, code := p.run("build")
			if code != 1 || !strings.Contains(out, "isotrace: error: stage customise: ") || !strings.Contains(out, "hostile.sh") ||
				!strings.Contains(out, c.want) || !strings.Contains(out, "isotrace: hint: ") || !strings.Contains(out, c.hint) {
				t.Errorf("exit status %d:\n%s", code, out)
			}
			if st, err := os.Stat(p.out("journal", "customise.log")); err != nil || st.Size() > 5<<20 {
				t.Errorf("the journal: %v, %v", st, err)
			}
		})
	}
}
