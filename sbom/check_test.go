package sbom

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

func schema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	add := func(url, file string) {
		f, err := os.Open(filepath.Join("..", "testdata", "schemas", file))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		v, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(url, v); err != nil {
			t.Fatal(err)
		}
	}
	url := "http://spdx.org/rdf/terms/2.3"
	if name == "cyclonedx" {
		url = schema16
		for _, f := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
			add("http://cyclonedx.org/schema/"+f, f)
		}
	} else {
		add(url, "spdx-schema-2.3.json")
	}
	s, err := c.Compile(url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t testing.TB, d *Document) {
	t.Helper()
	c, s := write(t, d)
	for name, text := range map[string]string{"cyclonedx": c, "spdx": s} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema(t, name).Validate(v); err != nil {
			t.Errorf("%s: %.4000v", name, err)
		}
	}
	checkCycloneDX(t, c)
	checkSPDX(t, s)
}

// checkCycloneDX reads a document with the library's own reader and demands that
// it is the same afterwards, and that every reference leads somewhere.
func checkCycloneDX(t testing.TB, text string) *cdx.BOM {
	t.Helper()
	bom := new(cdx.BOM)
	if err := cdx.NewBOMDecoder(strings.NewReader(text), cdx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	var again strings.Builder
	if err := cdx.NewBOMEncoder(&again, cdx.BOMFileFormatJSON).SetEscapeHTML(false).SetPretty(true).Encode(bom); err != nil {
		t.Fatal(err)
	}
	if again.String() != text {
		t.Errorf("CycloneDX read and written again differs at %d", differs(again.String(), text))
	}
	refs := map[string]bool{}
	eachComponent(bom, func(c *cdx.Component) {
		if refs[c.BOMRef] {
			t.Errorf("bom-ref %s twice", c.BOMRef)
		}
		refs[c.BOMRef] = true
	})
	lead := func(ref string) {
		if !refs[ref] {
			t.Errorf("reference %s leads nowhere", ref)
		}
	}
	graph := deref(bom.Dependencies)
	for _, f := range deref(bom.Formulation) {
		for _, w := range *f.Workflows {
			graph = append(graph, deref(w.RuntimeTopology)...)
			for _, r := range *w.ResourceReferences {
				lead(r.Ref)
			}
		}
	}
	for _, n := range graph {
		lead(n.Ref)
		if !slices.IsSorted(deref(n.Dependencies)) {
			t.Errorf("%s: needs out of order", n.Ref)
		}
		for _, r := range deref(n.Dependencies) {
			lead(r)
		}
	}
	for _, c := range deref(bom.Compositions) {
		for _, r := range append(deref(c.Assemblies), deref(c.Dependencies)...) {
			lead(string(r))
		}
	}
	for _, a := range deref(bom.Annotations) {
		for _, r := range *a.Subjects {
			lead(string(r))
		}
	}
	return bom
}

// eachComponent calls f with everything that has a bom-ref of its own.
func eachComponent(bom *cdx.BOM, f func(*cdx.Component)) {
	all := []cdx.Component{*bom.Metadata.Component}
	all = append(all, deref(bom.Components)...)
	for _, m := range deref(bom.Formulation) {
		all = append(all, deref(m.Components)...)
	}
	for i := 0; i < len(all); i++ {
		all = append(all, deref(all[i].Components)...)
		f(&all[i])
	}
}

func deref[T any](p *[]T) []T {
	if p == nil {
		return nil
	}
	return *p
}

func checkSPDX(t testing.TB, text string) *v2_3.Document {
	t.Helper()
	doc, err := spdxjson.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[common.ElementID]bool{"DOCUMENT": true}
	for _, p := range doc.Packages {
		if ids[p.PackageSPDXIdentifier] {
			t.Errorf("SPDX id %s twice", p.PackageSPDXIdentifier)
		}
		ids[p.PackageSPDXIdentifier] = true
	}
	for _, f := range doc.Files {
		if ids[f.FileSPDXIdentifier] {
			t.Errorf("SPDX id %s twice", f.FileSPDXIdentifier)
		}
		ids[f.FileSPDXIdentifier] = true
		if !slices.ContainsFunc(f.Checksums, func(c common.Checksum) bool { return c.Algorithm == common.SHA1 }) {
			t.Errorf("file %s has no SHA-1, which clause 8.4 wants", f.FileName)
		}
	}
	for id := range ids {
		if strings.ContainsFunc(string(id), func(r rune) bool { return !isAlnum(r) && r != '.' && r != '-' }) {
			t.Errorf("SPDX id %s has a character that is not allowed", id)
		}
	}
	for _, r := range doc.Relationships {
		if !ids[r.RefA.ElementRefID] || r.RefB.SpecialID == "" && !ids[r.RefB.ElementRefID] {
			t.Errorf("relationship %v %s %v leads nowhere", r.RefA, r.Relationship, r.RefB)
		}
	}
	extracted := map[string]bool{}
	for _, l := range doc.OtherLicenses {
		extracted[l.LicenseIdentifier] = l.ExtractedText != ""
	}
	for _, p := range doc.Packages {
		for _, e := range []string{p.PackageLicenseConcluded, p.PackageLicenseDeclared} {
			if err := checkExpression(e, func(ref string) {
				if !extracted[ref] {
					t.Errorf("%s has no text", ref)
				}
			}); err != nil {
				t.Error(err)
			}
		}
	}
	return doc
}
