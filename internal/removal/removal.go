// Package removal tells which packages go with those that are removed, because they
// need them.
package removal

import (
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
)

// Package is what bears on a removal, its fields as control files have them.
type Package struct {
	Name, Version                 string
	PreDepends, Depends, Provides string
}

// Offers tells whether the package provides a name.
func (p Package) Offers(name string) bool {
	if !strings.Contains(p.Provides, name) {
		return false
	}
	provided, err := archive.ParseDependency(p.Provides)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(provided, func(a archive.Alternatives) bool { return a[0].Name == name })
}

// Loss is why a package goes.
type Loss struct {
	// Remove is the index of the name, among those to be removed, that takes it.
	Remove int
	// Path are names, from the package to the one that is to be removed: each needs the
	// next.
	Path []string
}

// String says it in words: "needs b, which needs c", or nothing of the package that
// is named itself.
func (l Loss) String() string {
	if len(l.Path) < 2 {
		return ""
	}
	return "needs " + strings.Join(l.Path[1:], ", which needs ")
}

// provider is a package by one of its names.
type provider struct {
	index int
	real  bool
}

// Losses returns what goes of all when the names of remove are removed, by index: these,
// and what has a dependency that only they or others that go fulfil. A field that cannot
// be read asks for nothing.
func Losses(all []Package, remove []string) map[int]Loss {
	lost := map[int]Loss{}
	for i, p := range all {
		if at := slices.Index(remove, p.Name); at >= 0 {
			lost[i] = Loss{Remove: at, Path: []string{p.Name}}
		}
	}
	if len(lost) == 0 {
		return lost
	}
	needs := make([][][]int, len(all)) // of each package, by dependency, who fulfils it
	byName := providers(all)
	for i, p := range all {
		for _, field := range []string{p.PreDepends, p.Depends} {
			relations, err := archive.ParseDependency(field)
			if err != nil {
				continue
			}
			for _, alternatives := range relations {
				if by := fulfil(all, byName, alternatives); len(by) > 0 {
					needs[i] = append(needs[i], by)
				}
			}
		}
	}
	for {
		before := len(lost)
		found := map[int]Loss{}
		for i, p := range all {
			if _, gone := lost[i]; gone {
				continue
			}
			for _, by := range needs[i] {
				if l, ok := lost[by[0]]; ok && !slices.ContainsFunc(by, func(k int) bool { _, gone := lost[k]; return !gone }) {
					found[i] = Loss{Remove: l.Remove, Path: append([]string{p.Name}, l.Path...)}
					break
				}
			}
		}
		for i, l := range found {
			lost[i] = l
		}
		if len(lost) == before {
			return lost
		}
	}
}

// providers are the packages by their names and by what they provide.
func providers(all []Package) map[string][]provider {
	byName := map[string][]provider{}
	for i, p := range all {
		byName[p.Name] = append(byName[p.Name], provider{i, true})
		provided, err := archive.ParseDependency(p.Provides)
		if err != nil {
			continue
		}
		for _, v := range provided {
			if v[0].Name != p.Name {
				byName[v[0].Name] = append(byName[v[0].Name], provider{i, false})
			}
		}
	}
	return byName
}

// fulfil lists the packages that fulfil one of the alternatives.
func fulfil(all []Package, byName map[string][]provider, alternatives archive.Alternatives) []int {
	var by []int
	for _, r := range alternatives {
		for _, p := range byName[r.Name] {
			if (!p.real || r.Holds(all[p.index].Version)) && !slices.Contains(by, p.index) {
				by = append(by, p.index)
			}
		}
	}
	return by
}
