package sbom

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestGolden(t *testing.T) {
	c, s := write(t, sample())
	var m bytes.Buffer
	if err := sample().Write(&m); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"sample.cdx.json": c, "sample.spdx.json": s, "sample.json": m.String()} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs at byte %d; -update writes it", name, differs(got, string(want)))
		}
	}
}

func differs(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestOrder demands the same bytes whatever the order of the lists.
func TestOrder(t *testing.T) {
	cyclonedx, spdx := write(t, sample())
	var model bytes.Buffer
	if err := sample().Write(&model); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		d := sample()
		shuffle(r, reflect.ValueOf(d).Elem())
		if c, s := write(t, d); c != cyclonedx || s != spdx {
			t.Fatalf("another order gives other bytes: CycloneDX at %d of %d, SPDX at %d of %d", differs(c, cyclonedx), len(cyclonedx), differs(s, spdx), len(spdx))
		}
		var m bytes.Buffer
		if err := d.Write(&m); err != nil || m.String() != model.String() {
			t.Fatalf("another order gives another model (%v), at %d", err, differs(m.String(), model.String()))
		}
	}
}

// shuffle shuffles every list of a document but the layers, whose order counts.
func shuffle(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			shuffle(r, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			shuffle(r, v.Field(i))
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[[]Layer]() {
			return
		}
		r.Shuffle(v.Len(), reflect.Swapper(v.Interface()))
		for i := range v.Len() {
			shuffle(r, v.Index(i))
		}
	}
}

// TestContent demands that a document's name follows its content alone.
func TestContent(t *testing.T) {
	name := func(d *Document) (string, string) {
		c, s := write(t, d)
		var bom struct{ SerialNumber string }
		var doc struct{ DocumentNamespace string }
		if err := json.Unmarshal([]byte(c), &bom); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(s), &doc); err != nil {
			t.Fatal(err)
		}
		return bom.SerialNumber, doc.DocumentNamespace
	}
	c, s := name(sample())
	other := sample()
	other.Files[0].Hashes = sums("flipped")
	oc, os := name(other)
	if c == oc || s == os || c == s {
		t.Errorf("another content has the same name: %s %s, %s %s", c, oc, s, os)
	}
	for _, urn := range []string{c, s} {
		u, err := uuid.Parse(strings.TrimPrefix(urn, "urn:uuid:"))
		if err != nil || u.Version() != 5 || strings.Contains(urn, "#") || !strings.HasPrefix(urn, "urn:uuid:") {
			t.Errorf("%s: %v, version %d", urn, err, u.Version())
		}
	}
	if want := uuid.NewSHA1(uuid.Nil, []byte("isotrace sbom")); namespace != want {
		t.Errorf("the namespace is %s, not %s", namespace, want)
	}
}

func TestSchemas(t *testing.T) {
	valid(t, sample())
	valid(t, many(200))
	valid(t, &Document{Format: Format, Version: "0", Epoch: 1757318400, Product: Product{Name: "x", Version: "1"}})
	// The schemas can refuse.
	c, s := write(t, sample())
	for name, text := range map[string]string{
		"cyclonedx": strings.Replace(c, `"type": "operating-system"`, `"type": "system"`, 1),
		"spdx":      strings.Replace(s, `"relationshipType": "BUILD_TOOL_OF"`, `"relationshipType": "TOOL"`, 1),
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if schema(t, name).Validate(v) == nil {
			t.Errorf("%s: the schema takes what it must not", name)
		}
	}
}

// TestReaders demands that two readers see what the model says.
func TestReaders(t *testing.T) {
	d := sample()
	c, s := write(t, d)
	bom, doc := checkCycloneDX(t, c), checkSPDX(t, s)

	find := func(name string) cdx.Component {
		for _, k := range *bom.Components {
			if k.Name == name && k.PackageURL != "" {
				return k
			}
		}
		t.Fatalf("no component %s", name)
		return cdx.Component{}
	}
	ssh := find("openssh-server")
	if want := "pkg:deb/debian/openssh-server@1:10.0p1-7?arch=amd64&distro=debian-13&upstream=openssh"; ssh.PackageURL != want || ssh.BOMRef != want {
		t.Errorf("purl %s, ref %s", ssh.PackageURL, ssh.BOMRef)
	}
	if (*ssh.Supplier.Contact)[0].Email != "debian-ssh@lists.debian.org" || ssh.CPE != `cpe:2.3:a:openssh-server:openssh-server:1\:10.0p1-7:*:*:*:*:*:*:*` {
		t.Errorf("supplier %+v, CPE %s", ssh.Supplier, ssh.CPE)
	}
	if how := (*ssh.Licenses)[0]; how.Expression != "BSD-2-Clause AND ISC" || *how.Acknowledgement != cdx.LicenseAcknowledgementDeclared {
		t.Errorf("licence %+v", how)
	}
	box := find("busybox-static")
	if how := (*box.Licenses)[0]; how.Expression != "GPL-2.0-only" || *how.Acknowledgement != cdx.LicenseAcknowledgementConcluded || (*box.Evidence.Licenses)[0].Expression != d.Packages[3].Licence.Declared {
		t.Errorf("licence %+v", how)
	}
	var ancestors []string
	for _, a := range *box.Pedigree.Ancestors {
		ancestors = append(ancestors, a.Name+" "+(*a.Properties)[0].Value)
	}
	if want := "busybox source, glibc built-using, glibc static-built-using, libxcrypt static-built-using"; strings.Join(ancestors, ", ") != want {
		t.Errorf("ancestors %v", ancestors)
	}
	if len(*bom.Formulation) != 1 || len(*(*bom.Formulation)[0].Components) != 3 {
		t.Errorf("formulation %+v", bom.Formulation) // two tools, and a source of one of them alone
	}

	relations := map[string]int{}
	for _, r := range doc.Relationships {
		relations[r.Relationship]++
	}
	want := map[string]int{"DESCRIBES": 1, "CONTAINS": 1 + 5 + 2 + 4 + 2 + 2, "DESCENDANT_OF": 1, "BUILD_TOOL_OF": 2, "GENERATED_FROM": 7 + 1, "STATIC_LINK": 2, "GENERATES": 1, "OPTIONAL_DEPENDENCY_OF": 1}
	for how, n := range want {
		if relations[how] != n {
			t.Errorf("%d %s, want %d", relations[how], how, n)
		}
	}
	for _, p := range doc.Packages {
		if p.PackageName == "openssh-server" && (p.PackageSupplier.Supplier != "Debian OpenSSH Maintainers (debian-ssh@lists.debian.org)" || p.PackageSupplier.SupplierType != "Organization") {
			t.Errorf("supplier %+v", p.PackageSupplier)
		}
	}
	if len(doc.Files) != 2 || len(doc.OtherLicenses) != 1 || doc.OtherLicenses[0].ExtractedText != d.Licences[0].Text {
		t.Errorf("%d files, licences %+v", len(doc.Files), doc.OtherLicenses)
	}
}

func TestTextsElsewhere(t *testing.T) {
	d := sample()
	d.Licences[0].Text = ""
	_, s := write(t, d)
	if doc := checkSPDX(t, s); !strings.Contains(doc.OtherLicenses[0].ExtractedText, string(sum("text"))) {
		t.Errorf("text %q", doc.OtherLicenses[0].ExtractedText)
	}
	d.Licences = nil
	c, s := write(t, d)
	if doc := checkSPDX(t, s); !strings.Contains(doc.OtherLicenses[0].ExtractedText, "not known") || !strings.Contains(c, "LicenseRef-custom-0123456789abcdef not known") {
		t.Errorf("text %q", doc.OtherLicenses[0].ExtractedText)
	}
}

// TestFast holds both writers to what is usual on a machine that does something
// else at the same time: alone, it takes about a second.
func TestFast(t *testing.T) {
	d := many(5000)
	start := time.Now()
	c, s := write(t, d)
	took := time.Since(start)
	t.Logf("5,000 packages: %v, %d and %d bytes", took, len(c), len(s))
	if took > 10*time.Second {
		t.Errorf("5,000 packages took %v", took)
	}
}

// TestCycle demands an end for 100,000 dependencies in a ring.
func TestCycle(t *testing.T) {
	d := many(20_000)
	for i := range d.Packages {
		p := &d.Packages[i]
		p.Deb, p.Maintainer, p.Licence, p.Dependencies = nil, "", Licensing{}, nil
		for k := range 5 {
			p.Dependencies = append(p.Dependencies, Dependency{On: d.Packages[(i+k+1)%len(d.Packages)].ID(), Kind: Depends})
		}
	}
	c, s := write(t, d)
	if n := strings.Count(c, `"ref": "pkg:deb/`); n < 20_000 {
		t.Errorf("CycloneDX: %d nodes", n)
	}
	if n := strings.Count(s, `"relationshipType": "DEPENDS_ON"`); n < 100_000 {
		t.Errorf("SPDX: %d dependencies", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	d := many(5000)
	for b.Loop() {
		write(b, d)
	}
}
