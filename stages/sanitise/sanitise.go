// Package sanitise is the last stage of the root tree: what varies or leaks
// goes, what is left ships.
package sanitise

import (
	"context"

	"github.com/isotrace/isotrace/internal/sanitise"
	"github.com/isotrace/isotrace/internal/stage"
)

// Params decide which passes run.
type Params struct {
	// Keep names passes that are left out.
	Keep []string `json:"keep,omitempty"`
	// Protect names paths that the project itself put there and no pass may touch.
	Protect []string `json:"protect,omitempty"`
}

// Changes is the output that says which pass changed what.
const Changes = "changes"

// Stage takes the customised root tree and gives the one that ships.
func Stage(root stage.Tree, p Params) stage.Stage {
	return stage.Stage{
		Name: "sanitise", Version: 5, Params: p,
		Takes: "root tree", Gives: "root tree without what varies or leaks",
		Inputs:  []stage.Input{{Name: "root", From: root}},
		Outputs: []stage.Output{{Name: "root", Kind: stage.KindTree}, {Name: Changes, Kind: stage.KindFile}},
		Run: func(ctx context.Context, w *stage.Work) error {
			dir, err := w.CopyTree("root", "root")
			if err != nil {
				return err
			}
			err = sanitise.Apply(ctx, dir, sanitise.Options{Epoch: w.Epoch, Keep: p.Keep, Protect: p.Protect, Changed: w.ByPass("root"), Log: w.Log})
			if err != nil {
				return err
			}
			return w.WriteChanges(ctx, "root", Changes)
		},
	}
}
