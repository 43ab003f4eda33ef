package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/isotrace/isotrace/internal/artifact"
)

// OfOne begins the names of the store's results that a stage has for one piece of
// content each and that hold for every build with it.
func OfOne(stage string) string { return "of-" + stage + "-" }

// Remember returns the file, called what, that do makes of one piece of content,
// which a stage takes among others: from the store, if it was made before by the
// same version of the stage and the same signer, and still verifies. It may be
// called from several goroutines.
func (w *Work) Remember(ctx context.Context, what string, of artifact.Ref, do func(to string) error) (artifact.Ref, error) {
	const output = "of"
	rec := Record{
		Name: w.node.Name + "-of-one/" + what, Version: w.node.Version, Params: json.RawMessage("null"),
		Materials: map[string]artifact.Digest{output: of.Digest},
	}
	key, err := keyOf(rec)
	if err != nil {
		return artifact.Ref{}, err
	}
	id := OfOne(w.node.Name) + w.run.resultID(key)
	if res, ok := w.run.lookup(id, key, rec); ok {
		if p := res.Outputs[output]; p.File != nil {
			if ref, err := w.run.Store.Verify(p.File.Digest); err == nil {
				ref.Path = output
				return ref, nil
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return artifact.Ref{}, context.Cause(ctx)
	}
	dir, err := os.MkdirTemp(w.Temp(), "of-*")
	if err != nil {
		return artifact.Ref{}, err
	}
	to := filepath.Join(dir, output)
	if err := do(to); err != nil {
		return artifact.Ref{}, fmt.Errorf("%s: %w", of.Path, err)
	}
	ref, err := w.run.Store.Adopt(to, "")
	if err != nil {
		return artifact.Ref{}, fmt.Errorf("%s: %w", of.Path, err)
	}
	ref.Path = output
	res := Result{Key: key, Outputs: map[string]Product{output: {Kind: KindFile, File: &ref}}, Record: rec}
	res.Record.Products = res.Outputs[output].entries(rec.Name, output)
	return ref, w.run.keep(id, &res)
}
