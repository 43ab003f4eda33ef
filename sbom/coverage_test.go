package sbom

import (
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// TestCoverage demands that every field of every component is there or says why
// not, by our own count and by what a reader sees.
func TestCoverage(t *testing.T) {
	c, err := Cover(sample())
	if err != nil {
		t.Fatal(err)
	}
	if !c.Whole() || len(c.Gaps) > 0 {
		t.Errorf("gaps: %+v", c.Gaps)
	}
	for _, f := range c.Fields {
		if n := f.Present + f.Explained + f.Missing; n != c.Components && n != 1 {
			t.Errorf("%s %s: %d of %d", f.Standard, f.Field, n, c.Components)
		}
		t.Logf("%-10s %-12s %2d there, %2d explained, %d missing", f.Standard, f.Field, f.Present, f.Explained, f.Missing)
	}
	text, _ := write(t, sample())
	bom := checkCycloneDX(t, text)
	if m := bom.Metadata; m.Timestamp != "2025-09-08T08:00:00Z" || m.Manufacturer == nil || (*m.Manufacturer.Contact)[0].Email == "" {
		t.Errorf("metadata %+v", m)
	}
	complete := map[string]string{}
	for _, c := range *bom.Compositions {
		for _, r := range append(deref(c.Assemblies), deref(c.Dependencies)...) {
			complete[string(r)] = string(c.Aggregate)
		}
	}
	seen := 0
	eachComponent(bom, func(k *cdx.Component) {
		seen++
		for _, f := range fields {
			there := reads(k, f, complete)
			why := property(k, "isotrace:unknown:"+string(f))
			if there == (why != "") {
				t.Errorf("%s: %s: there %v, unknown %q", k.BOMRef, f, there, why)
			}
		}
		if complete[k.BOMRef] == "" {
			t.Errorf("%s: how complete its needs are is not said", k.BOMRef)
		}
	})
	if seen != c.Components {
		t.Errorf("%d components read, %d counted", seen, c.Components)
	}
}

// reads tells whether a reader finds a field, where TR-03183-2's mapping to
// CycloneDX 1.6 puts it.
func reads(k *cdx.Component, f Field, complete map[string]string) bool {
	switch f {
	case FieldSupplier:
		return k.Supplier != nil && k.Supplier.Name != ""
	case FieldCreator:
		return k.Manufacturer != nil && (k.Manufacturer.URL != nil || k.Manufacturer.Contact != nil && (*k.Manufacturer.Contact)[0].Email != "")
	case FieldName:
		return k.Name != ""
	case FieldVersion:
		return k.Version != ""
	case FieldIdentifier:
		return k.PackageURL != "" || k.Hashes != nil
	case FieldDependencies:
		return complete[k.BOMRef] != "unknown"
	case FieldLicence:
		return k.Licenses != nil && *(*k.Licenses)[0].Acknowledgement == cdx.LicenseAcknowledgementConcluded
	case FieldSHA512:
		return slices.ContainsFunc(deref(k.Hashes), func(h cdx.Hash) bool { return h.Algorithm == cdx.HashAlgoSHA512 })
	}
	return property(k, "bsi:component:"+string(f)) != ""
}

func property(k *cdx.Component, name string) string {
	for _, p := range deref(k.Properties) {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// TestGaps demands that what nobody explains is counted as missing.
func TestGaps(t *testing.T) {
	for _, c := range []struct {
		change func(*Document)
		want   Gap
	}{
		{func(d *Document) { d.Packages[0].Deb.Hashes.SHA512 = "" }, Gap{"target/openssh-server:amd64=1:10.0p1-7", FieldSHA512}},
		{func(d *Document) { d.Packages[0].Maintainer = "" }, Gap{"target/openssh-server:amd64=1:10.0p1-7", FieldSupplier}},
		{func(d *Document) { d.Packages[0].Licence = Licensing{} }, Gap{"target/openssh-server:amd64=1:10.0p1-7", FieldLicence}},
		{func(d *Document) { d.Packages[0].Completeness = "" }, Gap{"target/openssh-server:amd64=1:10.0p1-7", FieldDependencies}},
		{func(d *Document) { d.Packages[0].Executable = "" }, Gap{"target/openssh-server:amd64=1:10.0p1-7", FieldExecutable}},
		{func(d *Document) { d.Packages[0].Deb = nil }, Gap{"target/openssh-server:amd64=1:10.0p1-7", FieldFileName}},
		{func(d *Document) { d.Product.Hashes = Hashes{} }, Gap{"product", FieldSHA512}},
		{func(d *Document) { d.Product.Creator = Party{} }, Gap{"product", FieldCreator}},
		{func(d *Document) { d.Files[0].Hashes.SHA512 = "" }, Gap{"file/root/etc/motd", FieldSHA512}},
		{func(d *Document) { d.Files[0].Nature = Nature{} }, Gap{"file/root/etc/motd", FieldArchive}},
	} {
		d := sample()
		c.change(d)
		got, err := Cover(d)
		if err != nil {
			t.Fatal(err)
		}
		if got.Whole() || !slices.Contains(got.Gaps, c.want) {
			t.Errorf("want %+v, have %+v", c.want, got.Gaps)
		}
	}
	d := sample()
	d.Author = Party{Name: "nobody to write to"}
	got, err := Cover(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got.Fields {
		if missing := f.Field == FieldAuthor && f.Standard == bsi; (f.Missing > 0) != missing {
			t.Errorf("%+v", f)
		}
	}
	d.Product.Unknown = Unknown{FieldAuthor: "not known: the config names none"}
	if got, err = Cover(d); err != nil || !got.Whole() {
		t.Errorf("%+v, %v", got.Fields, err)
	}
	d.Author = Party{}
	if c, s := write(t, d); !strings.Contains(c, "isotrace:unknown:author") || !strings.Contains(s, "isotrace:unknown:author=not known") {
		t.Error("the documents do not say why the author is not known")
	}
}
