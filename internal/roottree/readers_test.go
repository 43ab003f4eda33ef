package roottree

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vbatts/go-mtree"
	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/roottree/hardtree"
)

// TestGomtree: gomtree reads our manifests, finds a tree to be as they say, and says so
// where it is not.
func TestGomtree(t *testing.T) {
	dir := t.TempDir()
	if err := hardtree.Make(dir); err != nil {
		t.Fatal(err)
	}
	m, err := Walk(t.Context(), dir, WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.Entries[len(m.Entries)-1].Xattrs = []Xattr{{Name: "user.\xff", Value: []byte("x")}} // not every file system has some
	spec, err := mtree.ParseSpec(strings.NewReader(text(t, m)))
	if err != nil {
		t.Fatal(err)
	}
	check := func() (wrong []string) {
		deltas, err := mtree.Check(dir, spec, spec.UsedKeywords(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range deltas { // as the command does: what the manifest does not say of a file is not compared
			if d.Type() != mtree.Modified {
				wrong = append(wrong, d.String())
			}
			for _, k := range d.Diff() {
				if k.Type() == mtree.Modified {
					wrong = append(wrong, d.Path()+": "+string(k.Name()))
				}
			}
		}
		return wrong
	}
	if wrong := check(); len(wrong) > 0 {
		t.Errorf("%q in\n%s", wrong, text(t, m))
	}
	for _, change := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, hardtree.Pattern), []byte("changed"), 0o644) },
		func() error { return os.Chmod(filepath.Join(dir, "setuid"), 0o755) },
		func() error { return os.Remove(filepath.Join(dir, hardtree.NotUTF8)) },
		func() error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.Symlink("elsewhere", filepath.Join(dir, "link")))
		},
		func() error { return unix.Mkfifo(filepath.Join(dir, "another"), 0o644) },
	} {
		before := len(check())
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if after := len(check()); after <= before {
			t.Errorf("%d differences as before", after)
		}
	}
	if _, err := mtree.ParseSpec(strings.NewReader(text(t, sample()))); err != nil { // with devices and extended attributes
		t.Error(err)
	}
}
