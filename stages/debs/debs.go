// Package debs takes down what the .debs of all sets say of their packages.
package debs

import (
	"context"
	"fmt"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/background"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/sbom/debfacts"
)

// Output is the file that the stage gives.
const Output = "debs.json"

// Sets are sets of .debs.
type Sets struct {
	// Target are those of packages in the root tree.
	Target      []stage.Set
	Boot, Tools stage.Set
}

// Stage takes the .debs and gives their control fields and digests; of those
// that are only unpacked also what their data has for a bill of materials.
func Stage(sets Sets) stage.Stage {
	s := stage.Stage{
		Name: "debs", Version: 1,
		Takes: ".debs of all sets", Gives: "what each .deb says of its package",
		Inputs:  []stage.Input{{Name: "boot", From: sets.Boot}, {Name: "tools", From: sets.Tools}},
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindFile}},
	}
	var target []string
	for _, set := range sets.Target {
		name := "target-" + stage.NameOf(set)
		target = append(target, name)
		s.Inputs = append(s.Inputs, stage.Input{Name: name, From: set})
	}
	s.Run = func(ctx context.Context, w *stage.Work) error { return run(ctx, w, target) }
	return s
}

func run(ctx context.Context, w *stage.Work, target []string) (err error) {
	var refs []artifact.Ref
	for _, name := range target {
		refs = append(refs, w.Set(name)...)
	}
	var f debfacts.Facts
	if f.Target, err = read(ctx, w, refs, false); err != nil {
		return err
	}
	if f.Boot, err = read(ctx, w, w.Set("boot"), true); err != nil {
		return err
	}
	if f.Tools, err = read(ctx, w, w.Set("tools"), true); err != nil {
		return err
	}
	return w.Write(Output, f.Write)
}

// read reads .debs, what their data holds, too, where withData says so.
func read(ctx context.Context, w *stage.Work, refs []artifact.Ref, withData bool) ([]debfacts.Deb, error) {
	all := make([]debfacts.Deb, len(refs))
	what := "control"
	if withData {
		what = "control-and-data"
	}
	err := background.Each(ctx, len(refs), func(i int) error {
		ref := refs[i]
		made, err := w.Remember(ctx, what, ref, func(to string) error { return debfacts.Write(w.Content(ref), ref, withData, to) })
		if err != nil {
			return err
		}
		if all[i], err = debfacts.Read(w.Content(made)); err != nil {
			return fmt.Errorf("%s: %w", ref.Path, err)
		}
		all[i].Package.Deb.Path = ref.Path // of several that have this content
		return nil
	})
	return all, err
}
