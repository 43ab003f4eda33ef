package sbom

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
)

// Needs are a package's dependency fields.
type Needs struct{ PreDepends, Depends, Recommends, Provides string }

// provider meets relations on a name: itself, in its version, or what it
// provides, in the version that it provides, if it says one.
type provider struct {
	of      *Package
	itself  bool
	version string
}

// Depend fills in which packages of their set each of the packages really needs:
// of alternatives all that are there, as each of them would do. It is complete
// where every relation but Recommends is met. needs are the packages', by index.
func Depend(packages []Package, needs []Needs) []Finding {
	findings := findings{}
	providers := map[string][]provider{} // by set and name
	for i := range packages {
		p := &packages[i]
		at := string(p.Set) + "/"
		providers[at+p.Name] = append(providers[at+p.Name], provider{p, true, p.Version})
		provided, err := archive.ParseDependency(needs[i].Provides)
		if err != nil {
			findings.tell(RuleDependency, p, "Provides: %v", err)
		}
		for _, v := range provided {
			if r := v[0]; r.Name != p.Name {
				providers[at+r.Name] = append(providers[at+r.Name], provider{p, false, r.Version})
			}
		}
	}
	for i := range packages {
		p := &packages[i]
		p.Dependencies, p.Completeness = nil, Complete
		for _, f := range []struct {
			kind  Kind
			field string
		}{{PreDepends, needs[i].PreDepends}, {Depends, needs[i].Depends}, {Recommends, needs[i].Recommends}} {
			relations, err := archive.ParseDependency(f.field)
			if err != nil {
				findings.tell(RuleDependency, p, "%s: %v", f.kind, err)
				p.Completeness = Incomplete
				continue
			}
			for _, alternatives := range relations {
				if !p.need(f.kind, alternatives, providers) && f.kind != Recommends {
					p.Completeness = Incomplete
				}
			}
		}
		p.Dependencies = dependencies(p.Dependencies)
	}
	return findings.sorted()
}

// need adds what meets a relation and tells whether anything does.
func (p *Package) need(kind Kind, alternatives archive.Alternatives, providers map[string][]provider) bool {
	met := false
	for _, r := range alternatives {
		for _, q := range providers[string(p.Set)+"/"+r.Name] {
			switch {
			case q.itself && !r.Holds(q.version):
			case !q.itself && r.Operator != "" && (q.version == "" || !r.Holds(q.version)):
			case q.of == p:
				met = true
			default:
				met = true
				p.Dependencies = append(p.Dependencies, Dependency{On: q.of.ID(), Kind: kind})
			}
		}
	}
	return met
}

// ParseSources reads a Built-Using field: source packages in the exact versions
// that were used.
func ParseSources(field string) ([]SourceID, error) {
	relations, err := archive.ParseDependency(field)
	if err != nil {
		return nil, err
	}
	var all []SourceID
	for _, a := range relations {
		if len(a) != 1 || a[0].Operator != archive.Equal {
			return nil, fmt.Errorf("%q names no exact version", clip(a.String(), 80))
		}
		all = append(all, SourceID{a[0].Name, a[0].Version})
	}
	return sources(all), nil
}

// findings gathers what is odd about packages.
type findings struct{ all []Finding }

func (f *findings) tell(rule string, p *Package, format string, args ...any) {
	if len(f.all) == maxFindings {
		return
	}
	text := fmt.Sprintf(format, args...)
	id := fmt.Sprintf("%s:%s/%s:%s", rule, p.Set, p.Name, p.Architecture)
	for n := 2; slices.ContainsFunc(f.all, func(have Finding) bool { return have.ID == id }); n++ {
		id = fmt.Sprintf("%s:%s/%s:%s:%d", rule, p.Set, p.Name, p.Architecture, n)
	}
	f.all = append(f.all, Finding{ID: id, Text: p.Name + " " + p.Version + ": " + text, Components: []string{p.ID()}})
}

func (f *findings) sorted() []Finding {
	slices.SortFunc(f.all, func(a, b Finding) int { return strings.Compare(a.ID, b.ID) })
	return f.all
}
