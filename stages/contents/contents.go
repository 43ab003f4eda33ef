// Package contents lists what each locked package installs, for comparison with
// what is in the image.
package contents

import (
	"context"
	"io"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/background"
	"github.com/isotrace/isotrace/internal/contents"
	"github.com/isotrace/isotrace/internal/stage"
)

// Output is the set of the lists: an mtree manifest a .deb, under the .deb's
// path with Suffix.
const (
	Output = "lists"
	Suffix = ".mtree"
)

// Stage takes sets of .debs and gives the list of each.
func Stage(debs ...stage.Set) stage.Stage {
	s := stage.Stage{
		Name: "contents", Version: 3,
		Takes: ".debs of the image", Gives: "what each .deb installs, as an mtree manifest",
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindSet}},
		Run:     func(ctx context.Context, w *stage.Work) error { return run(ctx, w) },
	}
	for _, set := range debs {
		s.Inputs = append(s.Inputs, stage.Input{Name: stage.NameOf(set), From: set})
	}
	return s
}

func run(ctx context.Context, w *stage.Work) error {
	var debs []artifact.Ref
	for _, set := range w.Sets() {
		debs = append(debs, set...)
	}
	lists := make([]artifact.Ref, len(debs))
	err := background.Each(ctx, len(debs), func(i int) (err error) {
		ref := debs[i]
		lists[i], err = w.Remember(ctx, "list", ref, func(to string) error {
			m, err := contents.Read(w.Content(ref), ref.Size)
			if err != nil {
				return err
			}
			return artifact.WriteFile(to, 0o444, func(out io.Writer) error { return m.Write(out) })
		})
		return err
	})
	if err != nil {
		return err
	}
	for i, ref := range lists {
		ref.Path = debs[i].Path + Suffix
		if err := w.AddToSet(Output, ref); err != nil {
			return err
		}
	}
	return nil
}
