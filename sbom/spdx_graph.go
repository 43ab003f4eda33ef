package sbom

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// relations builds the relationships of a document.
type relations struct{ list []*v2_3.Relationship }

func (r *relations) add(a *component, how string, b *component, comment string) {
	r.list = append(r.list, &v2_3.Relationship{RefA: element(a), Relationship: how, RefB: element(b), RelationshipComment: comment})
}

func element(c *component) common.DocElementID {
	return common.DocElementID{ElementRefID: common.ElementID(c.spdx)}
}

// special relates a component to NONE or NOASSERTION.
func (r *relations) special(a *component, how, b string) {
	r.list = append(r.list, &v2_3.Relationship{RefA: element(a), Relationship: how, RefB: common.DocElementID{SpecialID: b}})
}

func (inv *inventory) spdxRelationships() []*v2_3.Relationship {
	r := &relations{}
	product := inv.product()
	r.list = append(r.list, &v2_3.Relationship{RefA: common.DocElementID{ElementRefID: "DOCUMENT"}, Relationship: common.TypeRelationshipDescribe, RefB: element(product)})
	for _, c := range inv.components {
		r.place(product, c)
		r.made(c)
		r.needs(c)
	}
	if b := inv.of(classBase); len(b) == 1 {
		for _, l := range inv.of(classLayer) {
			r.add(b[0], common.TypeRelationshipContains, l, "")
		}
	}
	inv.spdxFromBase(r)
	slices.SortStableFunc(r.list, func(a, b *v2_3.Relationship) int {
		return cmp.Or(strings.Compare(string(a.RefA.ElementRefID), string(b.RefA.ElementRefID)), strings.Compare(a.Relationship, b.Relationship),
			strings.Compare(string(a.RefB.ElementRefID)+a.RefB.SpecialID, string(b.RefB.ElementRefID)+b.RefB.SpecialID),
			strings.Compare(a.RelationshipComment, b.RelationshipComment))
	})
	return r.list
}

// place says what a component is to the product.
func (r *relations) place(product, c *component) {
	switch c.class {
	case classSystem, classPackage, classBoot, classFound, classFile:
		r.add(product, common.TypeRelationshipContains, c, "")
	case classTool:
		r.add(c, common.TypeRelationshipBuildToolOf, product, "")
	case classBase:
		r.add(product, common.TypeRelationshipDescendantOf, c, "")
	}
}

// made says what a component was made of. Built-Using names sources whose
// content is in the package for its licence's sake, Static-Built-Using those
// whose code is linked into it: deb-control(5).
func (r *relations) made(c *component) {
	for _, s := range c.sources {
		switch s.how {
		case bySource:
			r.add(c, common.TypeRelationshipGeneratedFrom, s.to, "")
		case byBuiltUsing:
			r.add(c, common.TypeRelationshipGeneratedFrom, s.to, "Built-Using")
		case byStaticBuiltUsing:
			r.add(c, common.TypeRelationshipStaticLink, s.to, "Static-Built-Using")
		}
	}
	if c.by != nil {
		r.add(c.by, common.TypeRelationshipGenerates, c, "by a maintainer script or trigger")
	}
}

// needs are the dependencies. NONE says that there are no others, NOASSERTION
// that there may be.
func (r *relations) needs(c *component) {
	if c.class == classBase || c.class == classProduct {
		return
	}
	n := 0
	for _, e := range c.depends {
		switch e.kind {
		case Recommends:
			r.add(e.to, common.TypeRelationshipOptionalDependencyOf, c, "Recommends")
		case PreDepends:
			r.add(c, common.TypeRelationshipDependsOn, e.to, "Pre-Depends")
			n++
		default:
			r.add(c, common.TypeRelationshipDependsOn, e.to, "")
			n++
		}
	}
	switch {
	case c.completeness != Complete:
		r.special(c, common.TypeRelationshipDependsOn, noAssertion)
	case n == 0:
		r.special(c, common.TypeRelationshipDependsOn, "NONE")
	}
}

// spdxFromBase says what came with the base image, by layer where it is known.
func (inv *inventory) spdxFromBase(r *relations) {
	for i := range inv.doc.Packages {
		p := &inv.doc.Packages[i]
		if p.From != FromBase {
			continue
		}
		from := inv.byID["layer/"+string(p.Layer)]
		if from == nil {
			from = inv.byID["base"]
		}
		if from != nil {
			r.add(from, common.TypeRelationshipContains, inv.byID[p.ID()], "")
		}
	}
}
