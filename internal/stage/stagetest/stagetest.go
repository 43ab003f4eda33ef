// Package stagetest is for tests and measurements of stages.
package stagetest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
)

// Forget removes the results of the named stages from the store at dir, so that they
// run again; what they keep of single packages stays.
func Forget(dir string, names ...string) error {
	results, err := filepath.Glob(filepath.Join(dir, "results", "*.json"))
	if err != nil {
		return err
	}
	for _, file := range results {
		var r struct {
			Record struct{ Name string }
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if json.Unmarshal(b, &r) != nil || !slices.Contains(names, r.Record.Name) {
			continue // not a stage's result, or another's
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}
