package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/anchore/syft/syft/file"

	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
)

// resolver shows syft the tree through its manifest: the regular files, and the
// links that lead to one. syft's own would read the head of every file, and take
// ten times the memory.
type resolver struct {
	tree     Tree
	files    *fileIndex
	programs programs
	keep     func(real string) bool
}

func newResolver(ctx context.Context, t Tree) (*resolver, error) {
	programs, err := findPrograms(ctx, t.Root, t.Manifest)
	if err != nil {
		return nil, err
	}
	return &resolver{tree: t, files: newFileIndex(t.Manifest), programs: programs, keep: func(string) bool { return true }}, nil
}

// only is a view of the files that keep lets pass.
func (r *resolver) only(keep func(real string) bool) *resolver {
	view := *r
	view.keep = keep
	return &view
}

func (r *resolver) owner(real string) string {
	if r.tree.Owner == nil {
		return ""
	}
	return r.tree.Owner(real)
}

// location is one of syft's: its paths are absolute.
func location(f found) file.Location { return file.NewVirtualLocation("/"+f.real, "/"+f.path) }

// locations are those of the files that the view shows, each file once and under
// its own path where that is among them.
func (r *resolver) locations(list []found) []file.Location {
	seen := map[string]int{}
	var all []found
	for _, f := range list {
		if !r.keep(f.real) {
			continue
		}
		if i, ok := seen[f.real]; ok {
			if f.path == f.real {
				all[i] = f
			}
			continue
		}
		seen[f.real] = len(all)
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b found) int { return strings.Compare(a.real+"\x00"+a.path, b.real+"\x00"+b.path) })
	locations := make([]file.Location, len(all))
	for i, f := range all {
		locations[i] = location(f)
	}
	return locations
}

// FilesByGlob is of file.Resolver.
func (r *resolver) FilesByGlob(patterns ...string) ([]file.Location, error) {
	var all []found
	for _, p := range patterns {
		hits, err := r.files.glob(p)
		if err != nil {
			return nil, err
		}
		all = append(all, hits...)
	}
	return r.locations(all), nil
}

// FilesByPath is of file.Resolver.
func (r *resolver) FilesByPath(paths ...string) ([]file.Location, error) {
	var all []found
	for _, p := range paths {
		if f, ok := r.files.lookup(p); ok {
			all = append(all, f)
		}
	}
	return r.locations(all), nil
}

// FilesByMIMEType is of file.Resolver. Of all types, those of programs alone are
// known.
func (r *resolver) FilesByMIMEType(types ...string) ([]file.Location, error) {
	var all []found
	for _, p := range r.programs {
		if slices.Contains(types, p.mime) {
			all = append(all, found{path: p.path, real: p.path})
		}
	}
	return r.locations(all), nil
}

// HasPath is of file.Resolver.
func (r *resolver) HasPath(path string) bool {
	real, e, ok := Follow(r.tree.Manifest, path)
	return ok && (e.Type != roottree.File || r.keep(real))
}

// RelativeFileByPath is of file.Resolver.
func (r *resolver) RelativeFileByPath(_ file.Location, path string) *file.Location {
	all, err := r.FilesByPath(path)
	if err != nil || len(all) == 0 {
		return nil
	}
	return &all[0]
}

// FileContentsByLocation is of file.Resolver.
func (r *resolver) FileContentsByLocation(l file.Location) (io.ReadCloser, error) {
	name := strings.TrimPrefix(l.RealPath, "/")
	if e, ok := r.tree.Manifest.Lookup(name); !ok || e.Type != roottree.File || !r.keep(name) {
		return nil, fmt.Errorf("%s: there is no such file", l.RealPath)
	}
	return regular.Open(r.tree.Root, name)
}

// FileMetadataByLocation is of file.Resolver, and of no use to any cataloguer.
func (r *resolver) FileMetadataByLocation(file.Location) (file.Metadata, error) {
	return file.Metadata{}, errors.New("metadata of files is not kept")
}

// AllLocations is of file.Resolver.
func (r *resolver) AllLocations(ctx context.Context) <-chan file.Location {
	out := make(chan file.Location)
	go func() {
		defer close(out)
		for _, f := range r.files.list {
			if !r.keep(f.real) {
				continue
			}
			select {
			case out <- location(f):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
