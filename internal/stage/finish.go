package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
)

// finish moves the outputs into the store.
func (w *Work) finish(ctx context.Context, key artifact.Digest) (map[string]Product, error) {
	outputs := map[string]Product{}
	for _, o := range w.node.Outputs {
		p := Product{Kind: o.Kind}
		switch o.Kind {
		case KindFile:
			ref, err := w.Adopt(o.Name)
			if err != nil {
				return nil, fmt.Errorf("output %s: %w", o.Name, err)
			}
			ref.Path = o.Name
			p.File = &ref
		case KindSet:
			set := w.sets[o.Name]
			slices.SortFunc(set, func(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) })
			p.Set = slices.CompactFunc(set, func(a, b artifact.Ref) bool { return a == b })
			for i := 1; i < len(p.Set); i++ {
				if p.Set[i-1].Path == p.Set[i].Path {
					return nil, fmt.Errorf("output %s: two contents for %s", o.Name, p.Set[i].Path)
				}
			}
		case KindTree:
			t, err := w.finishTree(ctx, o.Name, key)
			if err != nil {
				return nil, fmt.Errorf("output %s: %w", o.Name, err)
			}
			p.Tree = t
		}
		outputs[o.Name] = p
	}
	return outputs, nil
}

func (w *Work) finishTree(ctx context.Context, name string, key artifact.Digest) (_ *TreeProduct, err error) {
	t := w.trees[name]
	if t == nil {
		return nil, errors.New("the stage did not make it")
	}
	known, err := w.untouched(t)
	if err != nil {
		return nil, err
	}
	m, err := roottree.Walk(ctx, t.dir, roottree.WalkOptions{Known: known})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(w.dir, name+".mtree")
	if err := artifact.WriteFile(path, 0o444, func(out io.Writer) error { return m.Write(out) }); err != nil {
		return nil, err
	}
	manifest, err := w.run.Store.Adopt(path, "")
	if err != nil {
		return nil, err
	}
	manifest.Path = name + ".mtree"
	// Only an unmounted layer may move.
	if err := w.mounts.close(); err != nil {
		return nil, err
	}
	id := string(key)[:40] + "." + name + "." + w.run.signer()
	if err := w.run.Store.AdoptLayer(t.layer, id); err != nil {
		return nil, err
	}
	return &TreeProduct{Manifest: manifest, Layers: append([]string{id}, t.lowers...)}, nil
}

// untouched returns the digests of the files of a copied tree that nobody wrote
// to: those that stand in no layer of its own are the first tree's, which was
// verified.
func (w *Work) untouched(t *newTree) (func(path string, size int64) (artifact.Digest, bool), error) {
	if t.input == "" {
		return nil, nil
	}
	was, err := w.Manifest(t.input)
	if err != nil {
		return nil, err
	}
	return func(path string, size int64) (artifact.Digest, bool) {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(t.layer, path), &st); !errors.Is(err, unix.ENOENT) {
			return "", false
		}
		e, ok := was.Lookup(path)
		return e.SHA256, ok && e.Type == roottree.File && e.Size == size
	}, nil
}
