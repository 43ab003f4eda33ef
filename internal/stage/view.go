package stage

import (
	"context"
	"errors"
)

// WithTree runs what a tree needs, mounts it read-only and lets use have its
// folder.
func (r *Runner) WithTree(ctx context.Context, g *Graph, tree Tree, use func(dir string) error) (err error) {
	results, err := r.Run(ctx, g, tree)
	if err != nil {
		return err
	}
	h := tree.handle()
	m := mounts{store: r.Store}
	defer func() { err = errors.Join(err, m.close()) }()
	dir, err := m.view(h.stage, results[h.stage].Outputs[h.name].Tree.Layers)
	if err != nil {
		return err
	}
	return use(dir)
}
