package fetch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/artifact/artifacttest"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
)

func TestMain(m *testing.M) {
	inside, code, err := sandbox.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !inside {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestTamperedContent: a package that was changed in the store is not used, and
// not kept either.
func TestTamperedContent(t *testing.T) {
	store := artifacttest.Open(t, filepath.Join(t.TempDir(), "store"))
	ref, err := store.Add(strings.NewReader("a package"), 100)
	if err != nil {
		t.Fatal(err)
	}
	items := []Item{{Set: Target, Repository: "debian", Path: "pool/x.deb", Digest: ref.Digest, Size: ref.Size}}
	fetched := 0
	run := func() error {
		g := &stage.Graph{}
		lock := stage.Material{Ref: artifact.Ref{Path: "lock", Digest: artifact.HashBytes(nil)}}
		n := g.Add(Stage(lock, nil, items, func(_ context.Context, s *artifact.Store, items []Item, _ func(int64, int64)) error {
			fetched++ // a mirror that has nothing; the store is asked first
			for _, it := range items {
				if !s.Has(it.Digest) {
					return fmt.Errorf("%s: not found", it.Path)
				}
			}
			return nil
		}))
		_, err := (&stage.Runner{Store: store}).Run(t.Context(), g, n.Set(Target))
		return err
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	path := store.Path(ref.Digest)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("A PACKAGE"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "pool/x.deb") {
		t.Errorf("the changed package was taken: %v", err)
	}
	if store.Has(ref.Digest) {
		t.Error("the changed package is still in the store")
	}
	// One that the stage itself meets.
	if err := os.WriteFile(path, []byte("A PACKAGE"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(store.Root(), "results")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(store.Root(), "results"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run(); fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("class %d: %v", fault.ClassOf(err), err)
	}
	items[0].Size++
	if _, err := store.Add(strings.NewReader("a package"), 100); err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "the lock says 10") {
		t.Errorf("a wrong size was taken: %v", err)
	}
}
