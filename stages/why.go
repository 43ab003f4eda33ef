package stages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
)

// why says of each chosen package, by name, why it is there: by which entry of
// the config, as part of the minimal system, or because which package needs it.
// Of several that need it, it is the one nearest to what was asked for.
func why(c *config.Config, chosen []*archive.Package, basis map[artifact.Digest]bool) map[string]string {
	reasons := map[string]string{}
	var queue []*archive.Package
	reach := func(p *archive.Package, reason string) {
		if _, ok := reasons[p.Name]; !ok {
			reasons[p.Name] = reason
			queue = append(queue, p)
		}
	}
	sorted := slices.Clone(chosen)
	slices.SortFunc(sorted, func(a, b *archive.Package) int { return strings.Compare(a.Name, b.Name) })
	for i, want := range c.Packages {
		name, _, _ := strings.Cut(want.Name, "=")
		for _, p := range sorted {
			if p.Name == name {
				reach(p, fmt.Sprintf("packages[%d]: %s", i, want.Name))
			}
		}
	}
	for i, d := range c.Debs {
		for _, p := range sorted {
			if p.SHA256 == d.SHA256 {
				reach(p, fmt.Sprintf("debs[%d]: %s", i, d.File))
			}
		}
	}
	for _, p := range sorted {
		switch {
		case !basis[p.SHA256]:
		case p.Essential:
			reach(p, "minimal system: essential")
		case p.Priority == "required":
			reach(p, "minimal system: priority required")
		case p.Name == "apt":
			reach(p, "minimal system: apt")
		}
	}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		fields := []struct{ name, value string }{{"Pre-Depends", p.PreDepends}, {"Depends", p.Depends}}
		if c.Recommends {
			fields = append(fields, struct{ name, value string }{"Recommends", p.Recommends})
		}
		for _, f := range fields {
			relations, err := archive.ParseDependency(f.value)
			if err != nil {
				continue // apt read it; the reason is only for people
			}
			for _, alternatives := range relations {
				for _, needed := range satisfying(sorted, alternatives) {
					reach(needed, fmt.Sprintf("needed by %s: %s", p.Name, alternatives))
				}
			}
		}
	}
	for _, p := range sorted {
		reach(p, "apt's choice")
	}
	return reasons
}

// satisfying returns the chosen packages that fulfil one of the alternatives.
func satisfying(chosen []*archive.Package, alternatives archive.Alternatives) []*archive.Package {
	var found []*archive.Package
	for _, r := range alternatives {
		for _, p := range chosen {
			if p.Name == r.Name && r.Holds(p.Version) || p.Name != r.Name && provides(p, r.Name) {
				found = append(found, p)
			}
		}
	}
	return found
}

func provides(p *archive.Package, name string) bool {
	if !strings.Contains(p.Provides, name) {
		return false
	}
	provided, err := archive.ParseDependency(p.Provides)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(provided, func(a archive.Alternatives) bool { return len(a) > 0 && a[0].Name == name })
}
