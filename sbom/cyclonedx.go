package sbom

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// schema16 is the identifier of CycloneDX 1.6's JSON Schema.
const schema16 = "http://cyclonedx.org/schema/bom-1.6.schema.json"

// WriteCycloneDX writes the document as CycloneDX 1.6 JSON. Its serial number
// comes from its content.
func WriteCycloneDX(w io.Writer, d *Document) error {
	inv, err := d.inventory()
	if err != nil {
		return err
	}
	bom, components := inv.cyclonedx(), inv.shipped()
	err = render(w, func(w io.Writer, name string) error {
		bom.SerialNumber = name
		return encode(w, bom, lists{"components": func(yield func(any) bool) {
			for _, c := range components {
				if !yield(inv.cdxComponent(c)) {
					return
				}
			}
		}})
	})
	if err != nil {
		return fmt.Errorf("CycloneDX: %w", err)
	}
	return nil
}

// cyclonedx is the document without its name and its components.
func (inv *inventory) cyclonedx() *cdx.BOM {
	bom := cdx.NewBOM()
	bom.JSONSchema, bom.SpecVersion = schema16, cdx.SpecVersion1_6
	bom.Metadata = inv.cdxMetadata()
	bom.ExternalReferences = inv.cdxReferences()
	bom.Dependencies = some(inv.cdxDependencies(classTool, false))
	bom.Compositions = some(inv.cdxCompositions())
	bom.Properties = some(inv.cdxLicenceTexts())
	bom.Annotations = some(inv.cdxFindings())
	bom.Formulation = inv.cdxFormulation()
	return bom
}

// shipped are the components of the list: all but the product, which stands in
// the metadata, the layers, which stand in their image, the tools, and the
// sources of tools alone, which stand in the formulation.
func (inv *inventory) shipped() []*component {
	formed := map[*component]bool{}
	for _, c := range inv.formed() {
		formed[c] = true
	}
	return slices.DeleteFunc(slices.Clone(inv.components), func(c *component) bool {
		return c.class == classProduct || c.class == classLayer || formed[c]
	})
}

// formed are the tools and the sources that tools alone were made of.
func (inv *inventory) formed() []*component {
	shared, all := map[*component]bool{}, inv.of(classTool)
	for _, c := range inv.of(classPackage, classBoot) {
		for _, s := range c.sources {
			shared[s.to] = true
		}
	}
	seen := map[*component]bool{}
	var sources []*component
	for _, c := range all {
		for _, s := range c.sources {
			if !shared[s.to] && !seen[s.to] {
				seen[s.to] = true
				sources = append(sources, s.to)
			}
		}
	}
	slices.SortFunc(sources, func(a, b *component) int { return strings.Compare(a.id, b.id) })
	return append(all, sources...)
}

func (inv *inventory) cdxMetadata() *cdx.Metadata {
	d := inv.doc
	m := &cdx.Metadata{
		Timestamp:    d.Epoch.Time().Format(time.RFC3339),
		Lifecycles:   &[]cdx.Lifecycle{{Phase: cdx.LifecyclePhaseBuild}},
		Tools:        &cdx.ToolsChoice{Components: &[]cdx.Component{isotrace(d)}},
		Component:    inv.cdxComponent(inv.product()),
		Manufacturer: d.Author.clean().cyclonedx(),
		Supplier:     inv.product().creator.cyclonedx(),
	}
	if why := line(d.Product.Unknown[FieldAuthor], maxLine); why != "" && m.Manufacturer == nil {
		m.Properties = &[]cdx.Property{{Name: ours + "unknown:" + string(FieldAuthor), Value: why}}
	}
	return m
}

// isotrace is the program that made the document; nothing of the host it ran on.
func isotrace(d *Document) cdx.Component {
	return cdx.Component{BOMRef: "isotrace", Type: cdx.ComponentTypeApplication, Name: "isotrace", Version: d.Version}
}

func (p Party) cyclonedx() *cdx.OrganizationalEntity {
	if !p.known() {
		return nil
	}
	e := &cdx.OrganizationalEntity{Name: p.label()}
	if p.URL != "" {
		e.URL = &[]string{p.URL}
	}
	if p.Email != "" {
		e.Contact = &[]cdx.OrganizationalContact{{Name: p.Name, Email: p.Email}}
	}
	return e
}

func (inv *inventory) cdxReferences() *[]cdx.ExternalReference {
	var all []cdx.ExternalReference
	for _, r := range inv.doc.Product.References {
		all = append(all, cdx.ExternalReference{Type: cdx.ExternalReferenceType(r.Type), URL: r.URL, Comment: line(r.Comment, maxLine), Hashes: r.Hashes.cyclonedx()})
	}
	slices.SortFunc(all, func(a, b cdx.ExternalReference) int {
		return strings.Compare(string(a.Type)+" "+a.URL+" "+a.Comment, string(b.Type)+" "+b.URL+" "+b.Comment)
	})
	return some(all)
}

// cdxLicenceTexts says which text each LicenseRef stands for: an expression of
// CycloneDX 1.6 cannot hold texts.
func (inv *inventory) cdxLicenceTexts() []cdx.Property {
	var all []cdx.Property
	for _, id := range inv.licenceRefs() {
		value := id + " not known"
		if sum := inv.licences[id].SHA256; sum != "" {
			value = id + " sha256:" + string(sum)
		}
		all = append(all, cdx.Property{Name: ours + "licence:text", Value: value})
	}
	return all
}

// licenceRefs are the LicenseRefs in all expressions, sorted and each once.
func (inv *inventory) licenceRefs() []string {
	seen := map[string]bool{}
	for _, c := range inv.components {
		for _, e := range []string{c.licence.Declared, c.licence.Concluded} {
			_ = checkExpression(e, func(ref string) { seen[ref] = true }) // checked by Validate
		}
	}
	var all []string
	for ref := range seen {
		all = append(all, ref)
	}
	slices.Sort(all)
	return all
}

func (inv *inventory) cdxFindings() []cdx.Annotation {
	var all []cdx.Annotation
	tool := isotrace(inv.doc)
	tool.BOMRef = "" // one of that name is enough
	for _, f := range inv.doc.Findings {
		var subjects []cdx.BOMReference
		for _, c := range inv.subjects(f) {
			subjects = append(subjects, cdx.BOMReference(c.ref))
		}
		all = append(all, cdx.Annotation{
			BOMRef: ours + "finding/" + Path(f.ID).uri(), Subjects: &subjects, Annotator: &cdx.Annotator{Component: &tool},
			Timestamp: inv.doc.Epoch.Time().Format(time.RFC3339), Text: f.ID + ": " + prose(f.Text, maxDescription),
		})
	}
	slices.SortFunc(all, func(a, b cdx.Annotation) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	return all
}

// subjects are what a finding is about, each once and in order.
func (inv *inventory) subjects(f Finding) []*component {
	if len(f.Components) == 0 {
		return []*component{inv.product()}
	}
	ids := slices.Clone(f.Components)
	slices.Sort(ids)
	var all []*component
	for _, id := range slices.Compact(ids) {
		all = append(all, inv.byID[id])
	}
	return all
}
