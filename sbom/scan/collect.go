package scan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anchore/syft/syft/artifact"
	"github.com/anchore/syft/syft/pkg"

	"github.com/isotrace/isotrace/sbom"
)

// Bounds of what is told of a tree.
const (
	maxFound    = 200_000
	maxFindings = 1000
	maxPaths    = 10_000 // of one component
	maxLicence  = 1 << 12
)

// collector makes components of what was seen. Those of one type, name, version,
// package URL and digest that lie in the same .deb, or in none, are one.
type collector struct {
	owner    func(path string) string
	byKey    map[string]*sbom.Found
	byID     map[artifact.ID]*sbom.Found
	needs    map[*sbom.Found]map[*sbom.Found]bool
	findings []sbom.Finding
}

func newCollector(owner func(path string) string) *collector {
	return &collector{owner: owner, byKey: map[string]*sbom.Found{}, byID: map[artifact.ID]*sbom.Found{}, needs: map[*sbom.Found]map[*sbom.Found]bool{}}
}

// seenAt is a component as a cataloguer saw it.
type seenAt struct {
	kind, name, version, purl, licence, by string
	paths                                  []sbom.Path
	// hashes and nature are those of the file that it is; outer tells that it is
	// one, and not a part of one.
	hashes sbom.Hashes
	nature sbom.Nature
	outer  bool
}

// addPackage adds what syft saw.
func (c *collector) addPackage(p pkg.Package, by string) {
	s := seenAt{kind: string(p.Type), name: p.Name, version: p.Version, purl: p.PURL, licence: licence(p), by: "syft " + by}
	for _, l := range p.Locations.ToSlice() {
		s.paths = append(s.paths, sbom.Path(strings.TrimPrefix(l.RealPath, "/")))
	}
	if f := c.add(s); f != nil {
		c.byID[p.ID()] = f
	}
}

func (c *collector) add(s seenAt) *sbom.Found {
	slices.Sort(s.paths)
	s.paths = slices.Compact(s.paths)
	s.kind, s.name, s.version = sbom.Printable(s.kind), sbom.Printable(s.name), sbom.Printable(s.version)
	if len(s.paths) == 0 || s.kind == "" || s.name == "" || len(c.byKey) >= maxFound {
		c.refuse(s)
		return nil
	}
	in := c.owner(string(s.paths[0]))
	key := strings.Join([]string{s.kind, s.name, s.version, s.purl, in, s.hashes.SHA256}, "\x00")
	f, ok := c.byKey[key]
	if !ok {
		f = &sbom.Found{Type: s.kind, Name: s.name, Version: s.version, PURL: s.purl, FoundBy: s.by, In: in, Hashes: s.hashes, Nature: s.nature}
		c.byKey[key] = f
	}
	f.Paths = append(f.Paths, s.paths...)
	slices.Sort(f.Paths)
	f.Paths = slices.Compact(f.Paths)
	f.Paths = f.Paths[:min(len(f.Paths), maxPaths)]
	f.Licence.Declared = both(f.Licence.Declared, s.licence)
	return f
}

// refuse tells of something that no component can be made of.
func (c *collector) refuse(s seenAt) {
	at := ""
	if len(s.paths) > 0 {
		at = " at /" + s.paths[0].String()
	}
	c.tell("%s saw something%s that has no name, or is beyond what is counted", s.by, at)
}

// problem tells of what a cataloguer could not read.
func (c *collector) problem(by string, err error) {
	if err == nil {
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n") // syft joins the errors of its parsers
	c.tell("syft %s could not read everything: %s", by, sbom.Printable(text))
}

func (c *collector) tell(format string, args ...any) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, sbom.Finding{ID: fmt.Sprintf("%s:%d", sbom.RuleUnreadable, len(c.findings)+1), Text: fmt.Sprintf(format, args...)})
	}
}

// depend takes over what syft knows of the components' needs.
func (c *collector) depend(relations []artifact.Relationship) {
	for _, r := range relations {
		if r.Type != artifact.DependencyOfRelationship {
			continue
		}
		need, who := c.byID[r.From.ID()], c.byID[r.To.ID()]
		if need == nil || who == nil || need == who {
			continue
		}
		if c.needs[who] == nil {
			c.needs[who] = map[*sbom.Found]bool{}
		}
		c.needs[who][need] = true
	}
}

func (c *collector) finish() ([]sbom.Found, []sbom.Finding) {
	ids := map[string]*sbom.Found{}
	for _, f := range c.byKey {
		// Two of one ID differ in the package URL alone: the first stays.
		if other, ok := ids[f.ID()]; !ok || f.PURL < other.PURL {
			ids[f.ID()] = f
		}
	}
	for who, needs := range c.needs {
		for need := range needs {
			who.Dependencies = append(who.Dependencies, sbom.Dependency{On: need.ID(), Kind: sbom.Depends})
		}
		slices.SortFunc(who.Dependencies, func(a, b sbom.Dependency) int { return strings.Compare(a.On, b.On) })
		who.Dependencies = slices.Compact(who.Dependencies)
		who.Completeness = sbom.Incomplete
	}
	all := make([]sbom.Found, 0, len(ids))
	for _, f := range ids {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b sbom.Found) int { return strings.Compare(a.ID(), b.ID()) })
	return all, c.findings
}

// licence joins the expressions that syft made of what a package states. One
// that it could not make an expression of leaves the whole unsaid.
func licence(p pkg.Package) string {
	var all []string
	for _, l := range p.Licenses.ToSlice() {
		if l.SPDXExpression == "" {
			return ""
		}
		all = append(all, l.SPDXExpression)
	}
	slices.Sort(all)
	expression := ""
	for _, e := range slices.Compact(all) {
		expression = both(expression, e)
	}
	if len(expression) > maxLicence || sbom.CheckExpression(expression) != nil {
		return ""
	}
	return expression
}

// both is the expression of two that hold together.
func both(a, b string) string {
	switch {
	case a == "" || a == b:
		return b
	case b == "":
		return a
	}
	return closed(a) + " AND " + closed(b)
}

// closed puts an expression with a choice into parentheses.
func closed(e string) string {
	if strings.Contains(e, " OR ") {
		return "(" + e + ")"
	}
	return e
}
