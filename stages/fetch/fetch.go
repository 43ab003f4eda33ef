// Package fetch brings every file that the lock names into the store, checked
// against the locked digest, and nothing else.
package fetch

import (
	"context"
	"fmt"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
)

// Item is one locked file: its set, the repository that it comes from, its
// path below the repository's base and its content.
type Item struct {
	Set        string          `json:"set"`
	Repository string          `json:"repository"`
	Path       string          `json:"path"`
	Digest     artifact.Digest `json:"sha256"`
	Size       int64           `json:"size"`
}

// Fetcher brings content that is not in the store yet; internal/archive's
// client is one.
type Fetcher func(ctx context.Context, store *artifact.Store, items []Item, progress func(done, total int64)) error

// The sets that the stage gives.
const (
	Archives = "archives" // signed Release files and the indexes they name
	Base     = "base"     // packages of the minimal system, or the base image's blobs
	Target   = "target"   // packages added to it
	Proof    = "proof"    // the .debs of packages that came with the base image
	Boot     = "boot"     // packages that boot it
	Tools    = "tools"    // packages that build it
	Sources  = "sources"  // source packages of what is in the image and boots it
)

// What stands in place of a repository where content comes from elsewhere, and is in the
// store before the stage runs: parts of the base image, and files of the project.
const (
	ImageRepository   = "image"
	ProjectRepository = lockfile.Project
)

// Elsewhere tells whether no mirror has the item.
func (i Item) Elsewhere() bool {
	return i.Repository == ImageRepository || i.Repository == ProjectRepository
}

// Stage takes the lock's items, and package files of the project among them, and gives
// them as sets, each file under REPOSITORY/PATH.
func Stage(lock stage.Material, debs []stage.Material, items []Item, fetch Fetcher) stage.Stage {
	s := stage.Stage{
		Name: "fetch", Version: 2, Params: items,
		Takes: "lock", Gives: ".debs, sources, base image and signed indexes, each checked by digest",
		Materials: append([]stage.Material{lock}, debs...),
	}
	for _, name := range []string{Archives, Base, Target, Proof, Boot, Tools, Sources} {
		s.Outputs = append(s.Outputs, stage.Output{Name: name, Kind: stage.KindSet})
	}
	s.Run = func(ctx context.Context, w *stage.Work) error {
		if err := fetch(ctx, w.Store(), items, w.Progress); err != nil {
			return err
		}
		for _, it := range items {
			ref := artifact.Ref{Path: it.Repository + "/" + it.Path, Digest: it.Digest, Size: it.Size}
			have, err := w.Store().Verify(it.Digest)
			if err != nil {
				return fmt.Errorf("%s: %w", ref.Path, err)
			}
			if have.Size != it.Size {
				return fmt.Errorf("%s: %d bytes, the lock says %d", ref.Path, have.Size, it.Size)
			}
			if err := w.AddToSet(it.Set, ref); err != nil {
				return err
			}
		}
		return nil
	}
	return s
}
