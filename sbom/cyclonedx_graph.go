package sbom

import (
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// cdxDependencies are the nodes of one class, or of all others, each with what
// it needs. An empty node says that there is nothing: a component of whose needs
// nothing is known has none.
func (inv *inventory) cdxDependencies(c class, is bool) []cdx.Dependency {
	var all []cdx.Dependency
	for _, k := range inv.components {
		if (k.class == c) != is || k.class == classLayer {
			continue
		}
		var needs []string
		for _, e := range k.depends {
			if e.kind != Recommends && e.to.class != classLayer {
				needs = append(needs, e.to.ref)
			}
		}
		if k.class == classProduct {
			for _, p := range inv.of(classSystem, classPackage, classBoot, classBase, classFound, classFile) {
				needs = append(needs, p.ref)
			}
		}
		if len(needs) == 0 && or(k.completeness) == Undetermined {
			continue
		}
		slices.Sort(needs)
		needs = slices.Compact(needs)
		all = append(all, cdx.Dependency{Ref: k.ref, Dependencies: some(needs)})
	}
	slices.SortFunc(all, func(a, b cdx.Dependency) int { return strings.Compare(a.Ref, b.Ref) })
	return all
}

// cdxCompositions say how complete the parts of the product and of its base
// image are, and what every other component needs.
func (inv *inventory) cdxCompositions() []cdx.Composition {
	var all []cdx.Composition
	for _, how := range []Completeness{Complete, Incomplete, Undetermined} {
		var parts, needs []cdx.BOMReference
		for _, c := range inv.components {
			switch {
			case or(c.completeness) != how:
			case c.class == classProduct:
				parts, needs = append(parts, cdx.BOMReference(c.ref)), append(needs, cdx.BOMReference(c.ref))
			case c.class == classBase:
				parts = append(parts, cdx.BOMReference(c.ref))
			default:
				needs = append(needs, cdx.BOMReference(c.ref))
			}
		}
		if len(parts) == 0 && len(needs) == 0 {
			continue
		}
		slices.Sort(parts)
		slices.Sort(needs)
		all = append(all, cdx.Composition{BOMRef: ours + "composition/" + string(how), Aggregate: cdx.CompositionAggregate(how),
			Assemblies: some(parts), Dependencies: some(needs)})
	}
	return all
}

// cdxFormulation is how the product was made: with which tools.
func (inv *inventory) cdxFormulation() *[]cdx.Formula {
	var parts []cdx.Component
	var tools []cdx.ResourceReferenceChoice
	for _, c := range inv.formed() {
		parts = append(parts, *inv.cdxComponent(c))
		if c.class == classTool {
			tools = append(tools, cdx.ResourceReferenceChoice{Ref: c.ref})
		}
	}
	if len(tools) == 0 {
		return nil
	}
	const build = ours + "build"
	return &[]cdx.Formula{{
		BOMRef: ours + "formula", Components: &parts,
		Workflows: &[]cdx.Workflow{{
			BOMRef: build, UID: build, Name: "isotrace build", TaskTypes: &[]cdx.TaskType{cdx.TaskTypeBuild},
			Description:        "Makes the image out of the locked packages, with these tools and nothing of the host but its kernel.",
			ResourceReferences: &tools,
			Outputs:            &[]cdx.TaskOutput{{Type: cdx.TaskOutputTypeArtifact, Resource: &cdx.ResourceReferenceChoice{Ref: inv.product().ref}}},
			RuntimeTopology:    some(inv.cdxDependencies(classTool, true)),
		}},
	}}
}
