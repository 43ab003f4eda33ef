// Package debs takes down what the .debs of all sets say of their packages.
package debs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/background"
	"github.com/isotrace/isotrace/internal/stage"
)

// Output is the file that the stage gives.
const Output = "debs.json"

// Sets are sets of .debs.
type Sets struct {
	// Target are those of packages in the root tree.
	Target      []stage.Set
	Boot, Tools stage.Set
}

// Facts are what the .debs say, by set, in the order of their paths.
type Facts struct {
	Target []Deb `json:"target"`
	Boot   []Deb `json:"boot"`
	Tools  []Deb `json:"tools"`
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
	var f Facts
	if f.Target, err = read(ctx, w, refs, false); err != nil {
		return err
	}
	if f.Boot, err = read(ctx, w, w.Set("boot"), true); err != nil {
		return err
	}
	if f.Tools, err = read(ctx, w, w.Set("tools"), true); err != nil {
		return err
	}
	return artifact.WriteFile(w.OutFile(Output), 0o644, func(out io.Writer) error { return json.NewEncoder(out).Encode(f) })
}

// read reads .debs, what their data holds, too, where withData says so.
func read(ctx context.Context, w *stage.Work, refs []artifact.Ref, withData bool) ([]Deb, error) {
	all := make([]Deb, len(refs))
	err := background.Each(ctx, len(refs), func(i int) (err error) {
		ref := refs[i]
		if all[i], err = readControl(w.Content(ref), ref); err != nil {
			return fmt.Errorf("%s: %w", ref.Path, err)
		}
		if !withData {
			return nil
		}
		made, err := w.Remember(ctx, ref, func(to string) error { return writeData(w.Content(ref), ref.Size, to) })
		if err != nil {
			return err
		}
		d, err := readData(w.Content(made))
		all[i].Data = &d
		return err
	})
	return all, err
}

// maxFacts bounds the stage's output, in bytes.
const maxFacts = 1 << 30

// Read reads the stage's output.
func Read(file string) (f Facts, err error) {
	in, err := os.Open(file)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	dec := json.NewDecoder(io.LimitReader(in, maxFacts))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return f, fmt.Errorf("what is known of the .debs cannot be read: %w", err)
	}
	return f, nil
}
