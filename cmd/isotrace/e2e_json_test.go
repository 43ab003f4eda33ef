package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/isotrace/isotrace/internal/strictjson"
	"github.com/isotrace/isotrace/internal/strictjson/tricky"
)

// TestReadersOfJSON: what isotrace reads, Python and jq read as the same; and at least one
// of the three takes something for another thing of what it refuses.
func TestReadersOfJSON(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unpackDebian(t, root, "bookworm", "python3-minimal", "libpython3-stdlib", "jq", "base-files", "libc-bin")
	file := filepath.Join(root, "document.json")
	read := func(args ...string) (any, bool) {
		c := namespaced(append([]string{"root", root, "0"}, args...)...)
		c.Env = []string{"PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"}
		out, err := c.Output()
		if err != nil {
			return nil, false
		}
		var v any
		if err := json.Unmarshal(out, &v); err != nil {
			return string(out), true // several values
		}
		return v, true
	}
	same := func(a, b any) bool {
		x, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		y, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(x) == string(y)
	}
	const python = "import json, sys; json.dump(json.loads(open('/document.json', 'rb').read()), sys.stdout)"
	differ := 0
	for _, d := range tricky.Documents {
		if err := os.WriteFile(file, []byte(d.Text), 0o644); err != nil {
			t.Fatal(err)
		}
		inPython, pythonReads := read("/usr/bin/python3", "-c", python)
		inJq, jqReads := read("/usr/bin/jq", "-c", ".", "/document.json")
		var ours any
		err := strictjson.Check([]byte(d.Text))
		if d.Refused != "" {
			var go1 any
			goReads := json.Unmarshal([]byte(d.Text), &go1) == nil
			if pythonReads != jqReads || goReads != pythonReads || goReads && !(same(go1, inPython) && same(go1, inJq)) {
				differ++
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", d.Name, err)
			continue
		}
		if err := json.Unmarshal([]byte(d.Text), &ours); err != nil || !pythonReads || !jqReads || !same(ours, inPython) || !same(ours, inJq) {
			t.Errorf("%s: %v, Python has %v, jq has %v (%v)", d.Name, ours, inPython, inJq, err)
		}
	}
	if differ < 8 {
		t.Errorf("the readers differ on %d documents alone", differ)
	}
}
