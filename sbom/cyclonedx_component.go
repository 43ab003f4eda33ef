package sbom

import (
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func (inv *inventory) cdxComponent(c *component) *cdx.Component {
	k := &cdx.Component{
		BOMRef: c.ref, Type: cdx.ComponentType(c.kind.cdx), Name: c.name, Version: c.version, Description: c.description,
		Supplier: c.creator.cyclonedx(), Manufacturer: c.creator.cyclonedx(),
		Hashes: c.hashes.cyclonedx(), CPE: c.cpe, PackageURL: c.purl, Licenses: c.licence.cyclonedx(),
		Evidence: c.cdxEvidence(), ExternalReferences: some(c.cdxReferences()), Pedigree: inv.cdxPedigree(c),
	}
	if c.class == classSource {
		k.Scope = cdx.ScopeExcluded // of the image when it runs
	}
	if c.class == classBase {
		var layers []cdx.Component
		for _, l := range inv.of(classLayer) {
			layers = append(layers, *inv.cdxComponent(l))
		}
		k.Components = some(layers)
	}
	var kinds []fact
	for _, e := range c.depends {
		if e.kind != Depends {
			kinds = append(kinds, fact{ours + string(e.kind), e.to.ref})
		}
	}
	var props []cdx.Property
	for _, f := range c.described(kinds...) {
		props = append(props, cdx.Property{Name: f.name, Value: f.value})
	}
	k.Properties = some(props)
	return k
}

// cyclonedx is one expression, as CycloneDX 1.6 has it: what is concluded where
// anything is, else what is declared.
func (l Licensing) cyclonedx() *cdx.Licenses {
	s, concluded, ok := l.expression()
	if !ok {
		return nil
	}
	how := cdx.LicenseAcknowledgementDeclared
	if concluded {
		how = cdx.LicenseAcknowledgementConcluded
	}
	return &cdx.Licenses{{Expression: s, Acknowledgement: &how}}
}

// cdxEvidence says where a component was seen, and what it declares of its
// licence where something else is concluded.
func (c *component) cdxEvidence() *cdx.Evidence {
	var e cdx.Evidence
	if said(c.licence.Concluded) && said(c.licence.Declared) {
		e.Licenses = &cdx.Licenses{{Expression: c.licence.Declared}}
	}
	var seen []cdx.EvidenceOccurrence
	for _, p := range c.places {
		seen = append(seen, cdx.EvidenceOccurrence{Location: p})
	}
	if e.Occurrences = some(seen); e.Occurrences == nil && e.Licenses == nil {
		return nil
	}
	return &e
}

func (c *component) cdxReferences() []cdx.ExternalReference {
	var all []cdx.ExternalReference
	if u := webURL(c.homepage); u != "" {
		all = append(all, cdx.ExternalReference{Type: cdx.ERTypeWebsite, URL: u})
	}
	if c.location != "" {
		all = append(all, cdx.ExternalReference{Type: cdx.ERTypeDistribution, URL: c.location, Comment: c.origin, Hashes: c.hashes.cyclonedx()})
	}
	sources := []*component{c}
	for _, s := range c.sources {
		if s.how == bySource {
			sources = append(sources, s.to)
		}
	}
	for _, s := range sources {
		if s.source == nil {
			continue
		}
		for _, f := range s.source.sortedFiles() {
			// A package points at the .dsc, which has the digests of the rest.
			if s == c || strings.HasSuffix(f.Name, ".dsc") {
				all = append(all, cdx.ExternalReference{Type: cdx.ERTypeSourceDistribution, URL: Path(s.source.path(f)).uri(),
					Comment: "below the mirror's base", Hashes: f.Hashes.cyclonedx()})
			}
		}
	}
	return all
}

// cdxPedigree names what a component was made of: a package's sources, the
// product's base image. The purl leads to the component itself.
func (inv *inventory) cdxPedigree(c *component) *cdx.Pedigree {
	var ancestors []cdx.Component
	ancestor := func(k *component, how string) {
		ancestors = append(ancestors, cdx.Component{Type: cdx.ComponentType(k.kind.cdx), Name: k.name, Version: k.version, PackageURL: k.purl,
			Properties: &[]cdx.Property{{Name: ours + "ancestor", Value: how}}})
	}
	for _, s := range c.sources {
		ancestor(s.to, s.how)
	}
	if c.class == classProduct {
		for _, b := range inv.of(classBase) {
			ancestor(b, "base")
		}
	}
	if len(ancestors) == 0 {
		return nil
	}
	return &cdx.Pedigree{Ancestors: &ancestors}
}
