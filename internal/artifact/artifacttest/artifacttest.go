// Package artifacttest opens stores for tests.
package artifacttest

import (
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Open opens the store at dir until the test ends.
func Open(t testing.TB, dir string) *artifact.Store {
	t.Helper()
	s, err := artifact.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
