package archive

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/fault"
)

// Selected is a package of a closure and why it is in.
type Selected struct {
	Package  *Package
	Asked    bool         // it was asked for
	NeededBy string       // else the package that needed it first
	Relation Alternatives // and by which relation, or what was asked
}

// Closure returns the packages of the architecture (and all) that the roots
// need by Depends and Pre-Depends, the roots included, sorted by name. A root
// is a relation: a name, perhaps with a version. Conflicts and Breaks play no
// part: it is for packages that are unpacked as tools and never configured.
//
// Of each name only the highest version counts; of two alike, the first of
// pkgs. A relation is satisfied by what is already in, in the order of its
// alternatives; else by its first alternative that some package satisfies, by
// its name before its Provides, and of several providers the first by name.
func Closure(pkgs []Package, roots []string, arch string) ([]Selected, error) {
	c := newClosure(pkgs, arch)
	roots = slices.Clone(roots)
	slices.Sort(roots)
	// All roots are in before any need is looked at, so that they satisfy
	// alternatives in whatever order they were named.
	for _, root := range slices.Compact(roots) {
		r, err := ParseRelation(root)
		if err != nil {
			return nil, fault.New(fault.Usage, "", "asked for: %w", err)
		}
		alts := Alternatives{r}
		p := c.satisfy(alts)
		if p == nil {
			return nil, c.missing(alts, "")
		}
		c.take(p, Selected{Asked: true, Relation: alts})
	}
	for len(c.queue) > 0 {
		p := c.queue[0]
		c.queue = c.queue[1:]
		for _, field := range []string{p.PreDepends, p.Depends} {
			needs, err := ParseDependency(field)
			if err != nil {
				return nil, fmt.Errorf("package %s: %w", p, err)
			}
			for _, alts := range needs {
				if c.has(alts) {
					continue
				}
				q := c.satisfy(alts)
				if q == nil {
					return nil, c.missing(alts, p.Name)
				}
				c.take(q, Selected{NeededBy: p.Name, Relation: alts})
			}
		}
	}
	result := make([]Selected, 0, len(c.in))
	for _, s := range c.in {
		result = append(result, s)
	}
	slices.SortFunc(result, func(a, b Selected) int { return strings.Compare(a.Package.Name, b.Package.Name) })
	return result, nil
}

type provider struct {
	pkg     *Package
	version string // of what is provided; empty where none is stated
}

type closure struct {
	arch      string
	byName    map[string]*Package
	providers map[string][]provider // sorted by the provider's name
	in        map[string]Selected
	queue     []*Package
}

func newClosure(pkgs []Package, arch string) *closure {
	c := &closure{
		arch:      arch,
		byName:    make(map[string]*Package, len(pkgs)),
		providers: map[string][]provider{},
		in:        map[string]Selected{},
	}
	for i := range pkgs {
		p := &pkgs[i]
		if p.Architecture != arch && p.Architecture != "all" {
			continue
		}
		if have, ok := c.byName[p.Name]; !ok || CompareVersions(p.Version, have.Version) > 0 {
			c.byName[p.Name] = p
		}
	}
	for _, p := range c.byName {
		// A Provides that cannot be read provides nothing; the package itself
		// may be fine.
		provides, err := ParseDependency(p.Provides)
		if err != nil {
			continue
		}
		for _, alts := range provides {
			v := alts[0]
			if v.Operator != "" && v.Operator != Equal || v.Architecture != "" && v.Architecture != "any" && v.Architecture != arch {
				continue
			}
			c.providers[v.Name] = append(c.providers[v.Name], provider{p, v.Version})
		}
	}
	for _, list := range c.providers {
		slices.SortFunc(list, func(a, b provider) int {
			if n := strings.Compare(a.pkg.Name, b.pkg.Name); n != 0 {
				return n
			}
			return strings.Compare(a.version, b.version)
		})
	}
	return c
}

func (c *closure) take(p *Package, why Selected) {
	if _, ok := c.in[p.Name]; ok {
		// Asked for twice, by name and by what it provides: the first stays.
		return
	}
	why.Package = p
	c.in[p.Name] = why
	c.queue = append(c.queue, p)
}

// fits tells whether the package itself satisfies the relation.
func (c *closure) fits(p *Package, r Relation) bool {
	return p.Name == r.Name && r.Holds(p.Version) && c.archFits(p, r)
}

// archFits judges the qualifier: any needs a package that allows it, an
// architecture must be the package's own; packages for all count as native.
func (c *closure) archFits(p *Package, r Relation) bool {
	switch r.Architecture {
	case "", "native", c.arch:
		return true
	case "any":
		return p.MultiArch == "allowed"
	}
	return false
}

func (v provider) fits(r Relation) bool {
	if r.Operator == "" {
		return true
	}
	return v.version != "" && r.Holds(v.version)
}

func (c *closure) has(alts Alternatives) bool {
	for _, r := range alts {
		if s, ok := c.in[r.Name]; ok && c.fits(s.Package, r) {
			return true
		}
		for _, v := range c.providers[r.Name] {
			if _, ok := c.in[v.pkg.Name]; ok && v.fits(r) && c.archFits(v.pkg, r) {
				return true
			}
		}
	}
	return false
}

func (c *closure) satisfy(alts Alternatives) *Package {
	for _, r := range alts {
		if p, ok := c.byName[r.Name]; ok && c.fits(p, r) {
			return p
		}
		for _, v := range c.providers[r.Name] {
			if v.fits(r) && c.archFits(v.pkg, r) {
				return v.pkg
			}
		}
	}
	return nil
}

func (c *closure) missing(alts Alternatives, by string) error {
	who := "asked for"
	if by != "" {
		who = "package " + by + " needs"
	}
	for _, r := range alts {
		if p, ok := c.byName[r.Name]; ok {
			return fault.New(fault.Usage, "the archives have "+p.Name+" "+p.Version+"; ask for that, or name a suite that has the version",
				"%s %s, which no package of the archives satisfies", who, alts)
		}
	}
	hint := "check the name, and that the component it is in is among the archive's components"
	if near := Nearest(alts[0].Name, c.names()); len(near) > 0 {
		hint = "names that are near: " + strings.Join(near, ", ")
	}
	return fault.New(fault.Usage, hint, "%s %s, which no package of the archives satisfies", who, alts)
}

// names are those of all packages and of what they provide.
func (c *closure) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range c.byName {
			if !yield(name) {
				return
			}
		}
		for name := range c.providers {
			if _, ok := c.byName[name]; !ok && !yield(name) {
				return
			}
		}
	}
}
