// Package scan finds with syft what is in a root tree and no .deb tells of:
// Python, Go, Rust, Java and others' components. It has syft read dpkg's database,
// too, for comparison with what this module reads there.
//
// syft's cataloguers are called one by one, and not through its own front end:
// that, and its cataloguer of Java, link clients of three clouds, which cost each
// start of the program half of its time. Java archives are read here.
//
// Nothing is fetched, and nothing is read outside the tree. What is found comes
// out in one order. docs/formats/sbom.md says which cataloguers look at which files.
package scan

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/anchore/syft/syft/pkg"
	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/sbom"
)

// Tree is a root tree to look at.
type Tree struct {
	Root     *os.Root
	Manifest *roottree.Manifest
	// Owner returns the ID of the package that has a path, or "".
	Owner func(path string) string
}

// Result is what syft sees in a tree.
type Result struct {
	Found []sbom.Found
	// Packages are dpkg's, as syft reads its database.
	Packages []sbom.Seen
	// Findings are what syft found and cannot be told.
	Findings []sbom.Finding
	// Programs are the regular files that hold machine code, by path.
	Programs map[string]bool
}

// Run looks at a tree.
func Run(ctx context.Context, t Tree) (*Result, error) {
	all, err := newResolver(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("look for programs: %w", err)
	}
	looks := cataloguers(all)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range looks {
		group.Go(func() error {
			looks[i].run(gctx)
			return context.Cause(gctx)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	jars, err := findJars(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("look into Java archives: %w", err)
	}
	r := &Result{Programs: all.programs.paths()}
	c := newCollector(all.owner)
	for i := range looks {
		for _, p := range looks[i].packages {
			if d, ok := p.Metadata.(pkg.DpkgDBEntry); ok && p.Type == pkg.DebPkg {
				r.Packages = append(r.Packages, seen(d))
			} else {
				c.addPackage(p, looks[i].Name())
			}
		}
		c.problem(looks[i].Name(), looks[i].err)
	}
	for _, j := range jars {
		c.add(j)
	}
	for i := range looks {
		c.depend(looks[i].relations)
	}
	r.Found, r.Findings = c.finish()
	slices.SortFunc(r.Packages, func(a, b sbom.Seen) int { return strings.Compare(a.ID(), b.ID()) })
	return r, nil
}

func seen(d pkg.DpkgDBEntry) sbom.Seen {
	s := sbom.Seen{Name: d.Package, Architecture: d.Architecture, Version: d.Version, Source: d.Source, SourceVersion: d.SourceVersion}
	if s.Source == "" {
		s.Source = s.Name
	}
	if s.SourceVersion == "" {
		s.SourceVersion = s.Version
	}
	return s
}
