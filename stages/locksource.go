package stages

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// sourceSuites are the suites whose Sources indexes are wanted: those that the
// packages in the image and those that boot it come from.
func (k *locking) sourceSuites() []*suite {
	if !k.config.Sources {
		return nil
	}
	var all []*suite
	for _, s := range append(k.of(k.config.Archives), k.of(k.config.BootArchives())...) {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// sourceNeed is a source package by name and version, and a package that was
// built from it or has parts of it.
type sourceNeed struct {
	name, version string
	by            string // NAME:ARCH=VERSION
	archive       string // that the package comes from; "" where it is not known
}

// sources finds the source package of every package in the image and of every
// one that boots it. What no archive has is told, and stands in the lock.
func (k *locking) sources(context.Context) error {
	needs, err := k.sourceNeeds()
	if err != nil {
		return err
	}
	f := newSourceFinder(k.sourceSuites())
	for _, n := range needs {
		f.find(n)
	}
	k.lock.Sources, k.lock.SourcesMissing = f.found, f.missing
	if len(f.missing) > 0 && k.Progress != nil {
		var names []string
		for _, m := range f.missing {
			names = append(names, m.ID()+" of "+someOf(m.For))
		}
		k.Progress.Line("sources", fmt.Sprintf("no archive has the source packages %s", someOf(names)))
	}
	return nil
}

// sourceNeeds lists what is to be found, by package.
func (k *locking) sourceNeeds() ([]sourceNeed, error) {
	built := map[artifact.Digest]*archive.Package{}
	for _, p := range slices.Concat(k.lock.Target, k.lock.Boot) {
		built[p.SHA256] = nil
	}
	for _, s := range k.sourceSuites() {
		for i, p := range s.packages {
			if have, ok := built[p.SHA256]; ok && have == nil {
				built[p.SHA256] = &s.packages[i]
			}
		}
	}
	for i := range k.debs {
		built[k.debs[i].SHA256] = &k.debs[i]
	}
	var needs []sourceNeed
	known := map[string]bool{}
	for _, p := range slices.Concat(k.lock.Target, k.lock.Boot) {
		if known[p.ID()] {
			continue // it is in the image and boots it
		}
		known[p.ID()] = true
		needs = append(needs, sourceNeed{p.Source, p.SourceVersion, p.ID(), p.Archive})
		if built[p.SHA256] == nil {
			return nil, fmt.Errorf("sources: %s is in no index of its archive", p.ID())
		}
		more, err := builtUsing(built[p.SHA256].BuiltUsing, p.ID(), p.Archive)
		if err != nil {
			return nil, err
		}
		needs = append(needs, more...)
	}
	if k.base == nil {
		return needs, nil
	}
	// What came with the base image, and no archive has its .deb.
	kept := map[string]bool{}
	for _, id := range k.lock.Installed() {
		kept[id] = !known[id]
	}
	more, err := baseSources(k.base.status, kept)
	return append(needs, more...), err
}

// builtUsing reads a package's field of that name: source packages of which it
// has parts, each with its version.
func builtUsing(field, by, from string) ([]sourceNeed, error) {
	relations, err := archive.ParseDependency(field)
	if err != nil {
		return nil, fmt.Errorf("%s: Built-Using: %w", by, err)
	}
	var needs []sourceNeed
	for _, r := range relations {
		if len(r) != 1 || r[0].Operator != archive.Equal {
			return nil, fmt.Errorf("%s: Built-Using: %s names no version", by, r)
		}
		needs = append(needs, sourceNeed{r[0].Name, r[0].Version, by, from})
	}
	return needs, nil
}

// baseSources reads from dpkg's status what the packages of a base image were
// built from.
func baseSources(status []byte, wanted map[string]bool) ([]sourceNeed, error) {
	var needs []sourceNeed
	r := deb822.NewReader(bytes.NewReader(status), "var/lib/dpkg/status")
	for {
		s, err := r.Next()
		if err == io.EOF {
			return needs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("base image: %w", err)
		}
		id := s.Get("Package") + ":" + s.Get("Architecture") + "=" + s.Get("Version")
		if !wanted[id] {
			continue
		}
		name, version, err := archive.ParseSource(s.Get("Source"), s.Get("Package"), s.Get("Version"))
		if err != nil {
			return nil, fmt.Errorf("base image: %w", s.Errorf("Source", "%w", err))
		}
		more, err := builtUsing(s.Get("Built-Using"), id, "")
		if err != nil {
			return nil, fmt.Errorf("base image: %w", err)
		}
		needs = append(append(needs, sourceNeed{name, version, id, ""}), more...)
	}
}

// sourceFinder looks up source packages by name and version, written NAME VERSION.
type sourceFinder struct {
	suites  []*suite
	listed  map[*suite]map[string]*archive.SourcePackage
	told    map[string]bool // NAME VERSION and the package that needs it
	found   []lockfile.Source
	missing []lockfile.MissingSource
	// Where in found and missing a source package stands.
	foundAt   map[string][]int
	missingAt map[string]int
}

func newSourceFinder(suites []*suite) *sourceFinder {
	f := &sourceFinder{
		suites: suites, listed: map[*suite]map[string]*archive.SourcePackage{}, told: map[string]bool{},
		foundAt: map[string][]int{}, missingAt: map[string]int{},
	}
	for _, s := range suites {
		f.listed[s] = map[string]*archive.SourcePackage{}
		for i := range s.sources {
			if p := &s.sources[i]; f.listed[s][p.String()] == nil {
				f.listed[s][p.String()] = p
			}
		}
	}
	return f
}

// find adds what is needed to what was found, or to what is missing.
func (f *sourceFinder) find(n sourceNeed) {
	id := n.name + " " + n.version
	if f.told[id+" "+n.by] {
		return
	}
	f.told[id+" "+n.by] = true
	if s := f.suiteOf(id, n.archive); s != nil {
		f.add(s, f.listed[s][id], n.by)
		return
	}
	i, ok := f.missingAt[id]
	if !ok {
		i = len(f.missing)
		f.missingAt[id] = i
		f.missing = append(f.missing, lockfile.MissingSource{Name: n.name, Version: n.version})
	}
	f.missing[i].For = append(f.missing[i].For, n.by)
}

// suiteOf returns the suite that has a source package: the one that the package
// comes from, or another one of its repository, or any. A source package of
// another repository may be another one of the same name and version.
func (f *sourceFinder) suiteOf(id, from string) *suite {
	repository := ""
	for _, s := range f.suites {
		if s.id == from {
			repository = s.Repository
		}
	}
	for _, near := range []func(*suite) bool{
		func(s *suite) bool { return s.id == from },
		func(s *suite) bool { return s.Repository == repository },
		func(*suite) bool { return true },
	} {
		for _, s := range f.suites {
			if f.listed[s][id] != nil && near(s) {
				return s
			}
		}
	}
	return nil
}

// add adds a source package; one that was added with the same files, from
// whichever suite, has one more user.
func (f *sourceFinder) add(s *suite, p *archive.SourcePackage, by string) {
	for _, i := range f.foundAt[p.String()] {
		if sameContent(f.found[i].Files, p.Files) {
			f.found[i].For = append(f.found[i].For, by)
			return
		}
	}
	f.foundAt[p.String()] = append(f.foundAt[p.String()], len(f.found))
	f.found = append(f.found, lockfile.Source{Name: p.Name, Version: p.Version, Archive: s.id, For: []string{by}, Files: p.Files})
}

func sameContent(a, b []artifact.Ref) bool {
	return slices.EqualFunc(a, b, func(a, b artifact.Ref) bool { return path.Base(a.Path) == path.Base(b.Path) && a.Digest == b.Digest })
}
