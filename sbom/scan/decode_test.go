package scan

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/anchore/syft/syft/format/spdxjson"
	"github.com/anchore/syft/syft/linux"
)

// TestDecoders: syft's decoders, from which grype and others learn what they scan, know
// the distribution from either document, and every package of it says the same.
func TestDecoders(t *testing.T) {
	for file, decode := range map[string]func(*testing.T, *os.File) (*linux.Release, []string){
		"../testdata/sample.spdx.json": decodeSPDX, "../testdata/sample.cdx.json": decodeCycloneDX,
	} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d, purls := decode(t, f)
		if d == nil || d.ID != "debian" || d.VersionID != "13" {
			t.Errorf("%s: the distribution is %+v", file, d)
			continue
		}
		// grype looks for flaws by an ID that it knows and a version that is a number.
		if !regexp.MustCompile(`^[0-9]+(\.[0-9]+)*$`).MatchString(d.VersionID) {
			t.Errorf("%s: grype reads no version in %q", file, d.VersionID)
		}
		debs := 0
		for _, p := range purls {
			if !strings.HasPrefix(p, "pkg:deb/") {
				continue
			}
			if debs++; !strings.HasPrefix(p, "pkg:deb/debian/") || !strings.Contains(p, "distro=debian-13") {
				t.Errorf("%s: %s", file, p)
			}
		}
		if debs < 5 {
			t.Errorf("%s: %d packages", file, debs)
		}
	}
}

func decodeSPDX(t *testing.T, f *os.File) (*linux.Release, []string) {
	t.Helper()
	s, _, _, err := spdxjson.NewFormatDecoder().Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	var purls []string
	for p := range s.Artifacts.Packages.Enumerate() {
		purls = append(purls, p.PURL)
	}
	return s.Artifacts.LinuxDistribution, purls
}

// decodeCycloneDX does as syft's decoder, which cannot be linked without clients for
// three clouds: the first component of type operating-system names the distribution.
// Trivy wants that there is no second one, the product of the metadata included.
func decodeCycloneDX(t *testing.T, f *os.File) (d *linux.Release, purls []string) {
	t.Helper()
	var bom cdx.BOM
	if err := json.NewDecoder(f).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.Metadata.Component.Type == cdx.ComponentTypeOS {
		t.Error("the product is an operating system, too")
	}
	for _, c := range *bom.Components {
		purls = append(purls, c.PackageURL)
		if c.Type != cdx.ComponentTypeOS {
			continue
		}
		if d != nil {
			t.Errorf("two operating systems, %s and %s", d.ID, c.Name)
		}
		d = &linux.Release{ID: c.Name, VersionID: c.Version}
	}
	return d, purls
}
