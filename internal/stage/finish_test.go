package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/isotrace/isotrace/internal/roottree"
)

// TestManifestOfCopy: the manifest of a copied tree is what a walk of all of it
// finds, whatever was done to the copy.
func TestManifestOfCopy(t *testing.T) {
	write := func(dir, name, text string) error {
		return errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	g := &Graph{}
	first := g.Add(Stage{Name: "first", Outputs: []Output{{Name: "root", Kind: KindTree}}, Run: func(_ context.Context, w *Work) error {
		dir, err := w.NewTree("root")
		for _, name := range []string{"kept", "written", "replaced", "moved", "gone", "d/kept", "e/again", "f/kept", "mode", "linked"} {
			err = errors.Join(err, write(dir, name, "before"))
		}
		return errors.Join(err, os.Link(filepath.Join(dir, "linked"), filepath.Join(dir, "linked-too")))
	}}).Tree("root")
	var walked, kept *roottree.Manifest
	second := g.Add(Stage{
		Name: "second", Inputs: []Input{{Name: "root", From: first}}, Outputs: []Output{{Name: "root", Kind: KindTree}}, Run: func(ctx context.Context, w *Work) (err error) {
			dir, err := w.CopyTree("root", "root")
			at := func(name string) string { return filepath.Join(dir, name) }
			err = errors.Join(err,
				write(dir, "written", "after!"), write(dir, "new", "before"),
				write(dir, "other", "after!"), os.Rename(at("other"), at("replaced")), os.Rename(at("moved"), at("d/moved")), os.Remove(at("gone")),
				os.RemoveAll(at("e")), write(dir, "e/again", "after!"), os.Chmod(at("mode"), 0o600), write(dir, "linked", "after!"),
				os.RemoveAll(at("f")), os.Symlink("d", at("f")))
			if err != nil {
				return err
			}
			walked, err = roottree.Walk(ctx, dir, roottree.WalkOptions{})
			return err
		},
	}).Tree("root")
	store := newStore(t)
	res, err := (&Runner{Store: store}).Run(t.Context(), g, second)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(store.Path(res["second"].Outputs["root"].Tree.Manifest.Digest))
	if err != nil {
		t.Fatal(err)
	}
	kept, err = roottree.Parse(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, d := range roottree.Compare(walked, kept, roottree.CompareOptions{}) {
		t.Error(d)
	}
	e, ok := kept.Lookup("written")
	if before, _ := kept.Lookup("kept"); !ok || e.SHA256 == before.SHA256 {
		t.Error("what was written with the same length is as before")
	}
}
