package sbom

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// class is what kind of thing a component is, in the order of the documents.
type class int

const (
	classProduct class = iota
	classSystem
	classPackage
	classBoot
	classTool
	classSource
	classBase
	classLayer
	classFound
	classFile
)

// classNames begin the components' SPDX ids.
var classNames = [...]string{"Product", "System", "Package", "Boot", "Tool", "Source", "BaseImage", "Layer", "Found", "File"}

// component is what both formats say of one thing.
type component struct {
	class class
	id    string // in the model
	ref   string // in CycloneDX
	spdx  string // in SPDX, without its prefix

	name, version, description string
	purl, cpe, homepage        string
	creator                    Party // and supplier
	kind                       purpose
	hashes                     Hashes
	licence                    Licensing
	nature                     Nature
	// fileName, and location as a relative reference, are those of the
	// component's file; origin says what location is relative to.
	fileName, location, origin string
	places                     []string // where it was seen
	facts                      []fact
	// unknown is the model's, defaults what is so for every component of the
	// kind; the field "" stands for every other.
	unknown  Unknown
	defaults map[Field]string

	completeness Completeness
	depends      []edge
	sources      []sourceEdge
	by           *component // what generated a file

	source *Source // of a source package
}

// edge is a dependency.
type edge struct {
	to   *component
	kind Kind
}

// sourceEdge says in which way a package was made of a source package.
type sourceEdge struct {
	to  *component
	how string
}

// The ways a package is made of a source.
const (
	bySource           = "source"
	byBuiltUsing       = "built-using"
	byStaticBuiltUsing = "static-built-using"
)

// fact is a property of CycloneDX, and a line of an annotation of SPDX.
type fact struct{ name, value string }

// purpose is a component's type in both formats.
type purpose struct{ cdx, spdx string }

// The purposes, of those that the two formats have.
var (
	anApplication = purpose{"application", "APPLICATION"}
	aLibrary      = purpose{"library", "LIBRARY"}
	aFirmware     = purpose{"firmware", "FIRMWARE"}
	aSystem       = purpose{"operating-system", "OPERATING_SYSTEM"}
	aContainer    = purpose{"container", "CONTAINER"}
	aLayer        = purpose{"file", "ARCHIVE"}
	aSource       = purpose{"file", "SOURCE"}
	aFile         = purpose{"file", "FILE"}
)

// inventory is a document as the writers want it: checked, sorted, each source
// package there, each dependency resolved.
type inventory struct {
	doc        *Document
	components []*component // by class and id; the product is the first
	byID       map[string]*component
	licences   map[string]Licence
}

func (inv *inventory) product() *component { return inv.components[0] }

// of returns the components of a class, in order.
func (inv *inventory) of(classes ...class) []*component {
	var all []*component
	for _, c := range inv.components {
		if slices.Contains(classes, c.class) {
			all = append(all, c)
		}
	}
	return all
}

// inventory checks the document and lays it out.
func (d *Document) inventory() (*inventory, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	inv := &inventory{doc: d, byID: map[string]*component{}, licences: map[string]Licence{}}
	for _, l := range d.Licences {
		inv.licences[l.ID] = l
	}
	if err := inv.addAll(); err != nil {
		return nil, err
	}
	slices.SortFunc(inv.components, func(a, b *component) int {
		return cmp.Or(cmp.Compare(a.class, b.class), strings.Compare(a.id, b.id))
	})
	if err := inv.resolve(); err != nil {
		return nil, err
	}
	return inv, inv.name()
}

func (inv *inventory) addAll() error {
	d := inv.doc
	all := []*component{productOf(d)}
	if d.System != nil {
		all = append(all, systemOf(d.System))
	}
	for i := range d.Packages {
		all = append(all, packageOf(&d.Packages[i]))
	}
	for i := range d.Sources {
		all = append(all, sourceOf(&d.Sources[i]))
	}
	if d.Base != nil {
		all = append(all, baseOf(d.Base)...)
	}
	for i := range d.Found {
		all = append(all, foundOf(&d.Found[i]))
	}
	for i := range d.Files {
		all = append(all, fileOf(d, &d.Files[i]))
	}
	for _, c := range all {
		if err := inv.add(c); err != nil {
			return err
		}
	}
	for _, c := range missingSources(d, inv.byID) {
		if err := inv.add(c); err != nil {
			return err
		}
	}
	return nil
}

func (inv *inventory) add(c *component) error {
	if inv.byID[c.id] != nil {
		return fmt.Errorf("sbom: %s is listed twice", show(c.id))
	}
	inv.byID[c.id] = c
	inv.components = append(inv.components, c)
	return nil
}

// missingSources are the source packages that packages name and the document
// does not list. A source package is of the distribution of the first package,
// by ID, that names it.
func missingSources(d *Document, have map[string]*component) []*component {
	distro := map[SourceID]*Package{}
	for i := range d.Packages {
		p := &d.Packages[i]
		for _, s := range p.sources() {
			if have[s.to.ID()] != nil {
				continue
			}
			if q := distro[s.to]; q == nil || p.ID() < q.ID() {
				distro[s.to] = p
			}
		}
	}
	var all []*component
	for _, s := range slices.SortedFunc(maps.Keys(distro), func(a, b SourceID) int { return strings.Compare(a.ID(), b.ID()) }) {
		all = append(all, sourceOf(&Source{SourceID: s, Distro: distro[s].Distro}))
	}
	return all
}

// resolve follows what names a component by its ID.
func (inv *inventory) resolve() error {
	d := inv.doc
	for i := range d.Packages {
		p := &d.Packages[i]
		c := inv.byID[p.ID()]
		for _, s := range p.sources() {
			c.sources = append(c.sources, sourceEdge{inv.byID[s.to.ID()], s.how})
		}
		if err := inv.depend(c, p.Dependencies); err != nil {
			return err
		}
	}
	inv.maintainSources()
	for i := range d.Found {
		if err := inv.depend(inv.byID[d.Found[i].ID()], d.Found[i].Dependencies); err != nil {
			return err
		}
	}
	for i := range d.Files {
		f := &d.Files[i]
		c := inv.byID[f.ID()]
		if f.By == "" || f.Origin != originGenerated {
			continue
		}
		if c.by = inv.byID[f.By]; c.by == nil {
			return fmt.Errorf("sbom: %s: made by %q, which is not in the document", show(c.id), clip(f.By, 200))
		}
		c.creator = c.by.creator
	}
	for _, f := range d.Findings {
		for _, id := range f.Components {
			if inv.byID[id] == nil {
				return fmt.Errorf("sbom: finding %s: %q is not in the document", f.ID, show(id))
			}
		}
	}
	return nil
}

// maintainSources gives a source package the maintainer of what was built from
// it, which dpkg-gencontrol(1) copies from there.
func (inv *inventory) maintainSources() {
	for _, c := range inv.components {
		for _, s := range c.sources {
			if s.how == bySource && !s.to.creator.known() {
				s.to.creator = c.creator
			}
		}
	}
}

// depend resolves a component's dependencies, each once and in order.
func (inv *inventory) depend(c *component, deps []Dependency) error {
	for _, d := range deps {
		to := inv.byID[d.On]
		if to == nil {
			return fmt.Errorf("sbom: %s: depends on %q, which is not in the document", show(c.id), clip(d.On, 200))
		}
		c.depends = append(c.depends, edge{to, d.Kind})
	}
	slices.SortFunc(c.depends, func(a, b edge) int {
		return cmp.Or(strings.Compare(a.to.id, b.to.id), strings.Compare(string(a.kind), string(b.kind)))
	})
	c.depends = slices.Compact(c.depends)
	return nil
}

// name gives every component its name in SPDX, and refuses two that would have
// the same in one of the formats.
func (inv *inventory) name() error {
	refs := make(map[string]bool, 2*len(inv.components))
	for _, c := range inv.components {
		c.spdx = spdxID(classNames[c.class], c.name, c.ref)
		if refs[c.ref] || refs[c.spdx] {
			return fmt.Errorf("sbom: %s: another component has the reference %s", show(c.id), show(c.ref))
		}
		refs[c.ref], refs[c.spdx] = true, true
	}
	return nil
}
