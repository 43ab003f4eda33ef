package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"

	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/sbom"
)

// bills are the two documents of a built project.
func bills(t *testing.T, p *project) (*cdx.BOM, map[string][]byte) {
	t.Helper()
	texts := map[string][]byte{}
	for _, name := range []string{"rescue.cdx.json", "rescue.spdx.json", sbom.LicencesFile} {
		texts[name] = readAll(t, p.out("evidence", "sbom", name))
	}
	return decodeBOM(t, texts["rescue.cdx.json"]), texts
}

func decodeBOM(t *testing.T, text []byte) *cdx.BOM {
	t.Helper()
	bom := new(cdx.BOM)
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	return bom
}

// everything is each component of a document, with those that built the image.
func everything(bom *cdx.BOM) []cdx.Component {
	all := []cdx.Component{*bom.Metadata.Component}
	all = append(all, *bom.Components...)
	for _, f := range *bom.Formulation {
		all = append(all, *f.Components...)
	}
	for i := 0; i < len(all); i++ {
		if all[i].Components != nil {
			all = append(all, *all[i].Components...)
		}
	}
	return all
}

func properties(c *cdx.Component) map[string]string {
	all := map[string]string{}
	if c.Properties != nil {
		for _, p := range *c.Properties {
			all[p.Name] = p.Value
		}
	}
	return all
}

// TestSBOMCommand: the table has the packages that the medium's list has, the documents are
// those of the evidence, and one that was changed is not printed.
func TestSBOMCommand(t *testing.T) {
	p := rescue(t)
	table, code := p.run("sbom", p.out())
	var have, want []string
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 1 && f[0] != "PACKAGE" {
			have = append(have, f[0]+" "+f[1])
		}
	}
	for line := range strings.Lines(string(onMedium(t, p, "casper/filesystem.manifest"))) {
		f := strings.Fields(line)
		name, _, _ := strings.Cut(f[0], ":")
		want = append(want, name+" "+f[1])
	}
	slices.Sort(have)
	slices.Sort(want)
	if code != 0 || !slices.Equal(have, want) {
		t.Errorf("exit status %d, %d packages, the medium has %d:\n%s", code, len(have), len(want), table)
	}
	for format, end := range map[string]string{"cyclonedx": "cdx", "spdx": "spdx"} {
		if out, code := p.run("sbom", p.out(), "--format", format); code != 0 || out != string(readAll(t, p.out("evidence", "sbom", "rescue."+end+".json"))) {
			t.Errorf("%s: exit status %d, %d bytes", format, code, len(out))
		}
	}
	bad := &project{dir: t.TempDir()}
	if err := os.CopyFS(bad.out("evidence"), os.DirFS(p.out("evidence"))); err != nil {
		t.Fatal(err)
	}
	file := bad.out("evidence", "sbom", "rescue.cdx.json")
	replace(t, file, bytes.Replace(readAll(t, file), []byte("sudo"), []byte("pseu"), 1))
	if out, code := bad.run("sbom", bad.out(), "--format", "cyclonedx"); code != 3 || !strings.Contains(out, "sbom/rescue.cdx.json: its SHA-256 is") || strings.Contains(out, "bomFormat") {
		t.Errorf("changed: exit status %d\n%.500s", code, out)
	}
}

// TestSBOMPackages compares the documents' packages with the list on the medium,
// with the lock and with the trace.
func TestSBOMPackages(t *testing.T) {
	p := rescue(t)
	bom, texts := bills(t, p)
	have := map[string]*cdx.Component{} // of the target, as the lock names packages
	for _, c := range everything(bom) {
		if f := properties(&c); f["isotrace:set"] == "target" {
			have[c.Name+":"+f["isotrace:architecture"]+"="+c.Version] = &c
		}
	}
	lock, err := lockfile.Decode(lockfile.FileName, readAll(t, filepath.Join(p.dir, lockfile.FileName)))
	if err != nil {
		t.Fatal(err)
	}
	if want := lock.Installed(); !slices.Equal(slices.Sorted(maps.Keys(have)), want) {
		t.Errorf("the SBOM has %d packages, the lock %d", len(have), len(want))
	}
	var lines []string
	for id := range have {
		name, version, _ := strings.Cut(id, "=")
		name, _, _ = strings.Cut(name, ":")
		lines = append(lines, name+"\t"+version)
	}
	slices.Sort(lines)
	var listed []string
	for line := range strings.Lines(string(onMedium(t, p, "casper/filesystem.manifest"))) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), "\t")
		name, _, _ = strings.Cut(name, ":")
		listed = append(listed, name+"\t"+version)
	}
	slices.Sort(listed)
	if !slices.Equal(lines, listed) {
		t.Errorf("the SBOM has %d packages, the manifest on the medium %d", len(lines), len(listed))
	}
	for _, l := range lock.Target {
		c := have[l.ID()]
		if c == nil || c.Hashes == nil || (*c.Hashes)[0].Value != string(l.SHA256) || properties(c)["isotrace:archive:path"] != l.Path {
			t.Errorf("%s: not with the lock's digest and path", l.ID())
		}
	}
	sameNeeds(t, p, bom, have)
	doc, err := spdxjson.Read(bytes.NewReader(texts["rescue.spdx.json"]))
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for _, k := range doc.Packages {
		if strings.HasPrefix(string(k.PackageSPDXIdentifier), "Package-") {
			packages++
		}
	}
	if packages != len(have) {
		t.Errorf("%d packages in SPDX, %d in CycloneDX", packages, len(have))
	}
}

func onMedium(t *testing.T, p *project, name string) []byte {
	t.Helper()
	iso, err := medium.OpenISO(p.iso())
	if err != nil {
		t.Fatal(err)
	}
	at, ok := iso.Files[name]
	if err := iso.Close(); err != nil || !ok {
		t.Fatalf("%s is not on the medium: %v", name, err)
	}
	f, err := os.Open(p.iso())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	b := make([]byte, at.Size)
	if _, err := f.ReadAt(b, at.Offset); err != nil {
		t.Fatal(err)
	}
	return b
}

// sameNeeds demands that the graph of the target is the trace's.
func sameNeeds(t *testing.T, p *project, bom *cdx.BOM, have map[string]*cdx.Component) {
	t.Helper()
	tr, err := provenance.OpenTracing(p.out(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.Close() }() // it was only read
	needs := map[string][]string{}
	for _, d := range *bom.Dependencies {
		if d.Dependencies != nil {
			needs[d.Ref] = *d.Dependencies
		}
	}
	for i := range tr.Packages {
		k := &tr.Packages[i]
		if k.Set != "target" {
			continue
		}
		c := have[k.ID()]
		if c == nil {
			t.Errorf("%s is not in the SBOM", k.ID())
			continue
		}
		var want []string
		for _, n := range k.Needs {
			want = append(want, have[tr.Packages[n].ID()].BOMRef)
		}
		slices.Sort(want)
		if !slices.Equal(needs[c.BOMRef], want) {
			t.Errorf("%s needs %q, the trace says %q", k.ID(), needs[c.BOMRef], want)
		}
		var ids []string
		for _, s := range k.Requirements {
			ids = append(ids, s.ID)
		}
		var served []string
		for _, f := range *c.Properties {
			if f.Name == "isotrace:requirement" {
				served = append(served, f.Value)
			}
		}
		slices.Sort(ids)
		if !slices.Equal(served, ids) {
			t.Errorf("%s serves %q, the trace says %q", k.ID(), served, ids)
		}
	}
}

// TestSBOMSchemas holds both documents to their official schemas.
func TestSBOMSchemas(t *testing.T) {
	_, texts := bills(t, rescue(t))
	for name, files := range map[string]map[string]string{
		"rescue.cdx.json": {
			"http://cyclonedx.org/schema/bom-1.6.schema.json": "bom-1.6.schema.json", "http://cyclonedx.org/schema/spdx.schema.json": "spdx.schema.json",
			"http://cyclonedx.org/schema/jsf-0.82.schema.json": "jsf-0.82.schema.json",
		},
		"rescue.spdx.json": {"http://spdx.org/rdf/terms/2.3": "spdx-schema-2.3.json"},
	} {
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		for url, file := range files {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(readAll(t, filepath.Join("..", "..", "testdata", "schemas", file))))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.AddResource(url, v); err != nil {
				t.Fatal(err)
			}
		}
		main := "http://spdx.org/rdf/terms/2.3"
		if len(files) > 1 {
			main = "http://cyclonedx.org/schema/bom-1.6.schema.json"
		}
		s, err := c.Compile(main)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(texts[name]))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %.4000v", name, err)
		}
	}
}

// TestSBOMFields counts, as a reader sees them, the fields that NTIA and
// TR-03183-2 v2.1 want: each is there, or says why it is not.
func TestSBOMFields(t *testing.T) {
	p := rescue(t)
	bom, texts := bills(t, p)
	complete := map[string]bool{}
	for _, c := range *bom.Compositions {
		for _, list := range []*[]cdx.BOMReference{c.Assemblies, c.Dependencies} {
			if list == nil {
				continue
			}
			for _, r := range *list {
				complete[string(r)] = c.Aggregate != cdx.CompositionAggregateUnknown
			}
		}
	}
	there, explained := map[string]int{}, map[string]int{}
	all := everything(bom)
	for i := range all {
		c, f := &all[i], properties(&all[i])
		known := map[string]bool{
			"supplier": c.Supplier != nil, "creator": c.Manufacturer != nil && (c.Manufacturer.Contact != nil || c.Manufacturer.URL != nil), "name": c.Name != "",
			"version": c.Version != "", "identifier": c.PackageURL != "" || c.Hashes != nil, "dependencies": complete[c.BOMRef],
			"licence":  c.Licenses != nil && (*c.Licenses)[0].Acknowledgement != nil && *(*c.Licenses)[0].Acknowledgement == cdx.LicenseAcknowledgementConcluded,
			"sha512":   c.Hashes != nil && slices.ContainsFunc(*c.Hashes, func(h cdx.Hash) bool { return h.Algorithm == cdx.HashAlgoSHA512 }),
			"filename": f["bsi:component:filename"] != "", "executable": f["bsi:component:executable"] != "", "archive": f["bsi:component:archive"] != "", "structured": f["bsi:component:structured"] != "",
		}
		for field, ok := range known {
			switch why := f["isotrace:unknown:"+field]; {
			case ok:
				there[field]++
			case why != "":
				explained[field]++
			default:
				t.Errorf("%s: %s is neither there nor explained", c.BOMRef, field)
			}
		}
		if f["isotrace:set"] != "" && f["isotrace:from"] == "archive" {
			for _, field := range []string{"supplier", "creator", "filename", "sha512", "executable", "archive", "structured", "identifier"} {
				if !known[field] {
					t.Errorf("%s: a package of the archive without %s", c.BOMRef, field)
				}
			}
		}
	}
	for _, field := range slices.Sorted(maps.Keys(there)) {
		if there[field]+explained[field] != len(all) {
			t.Errorf("%s: %d and %d of %d", field, there[field], explained[field], len(all))
		}
		t.Logf("%-12s %3d there, %3d explained", field, there[field], explained[field])
	}
	if iso := digestOf(t, p.iso()); (*bom.Metadata.Component.Hashes)[0].Value != string(iso) {
		t.Error("the SBOM is of another image")
	}
	for _, r := range *bom.ExternalReferences {
		if have := fmt.Sprint(digestOf(t, p.out("evidence", "sbom", r.URL))); (*r.Hashes)[0].Value != have {
			t.Errorf("%s has the digest %s", r.URL, have)
		}
	}
	copyrights, licences, err := sbom.ReadLicences(bytes.NewReader(texts[sbom.LicencesFile]))
	if err != nil || len(copyrights) == 0 || len(licences) == 0 {
		t.Errorf("%d copyright files, %d texts: %v", len(copyrights), len(licences), err)
	}
	if bom.Annotations != nil {
		t.Errorf("findings: %+v", *bom.Annotations)
	}
}

// imageInSBOM demands that the base image, its layers and the packages that came
// with it are told as such.
func imageInSBOM(t *testing.T, p *project, l *lockfile.Lock) {
	t.Helper()
	bom := decodeBOM(t, readAll(t, p.out("evidence", "sbom", "from-image.cdx.json")))
	came := map[string]bool{}
	for _, id := range l.Image.Packages {
		came[id] = true
	}
	installed, layers := 0, 0
	for _, c := range everything(bom) {
		f := properties(&c)
		switch {
		case c.Type == cdx.ComponentTypeContainer && c.Components != nil:
			layers = len(*c.Components)
		case f["isotrace:set"] == "target":
			installed++
			id := c.Name + ":" + f["isotrace:architecture"] + "=" + c.Version
			if from := map[bool]string{true: "base", false: "archive"}[came[id]]; f["isotrace:from"] != from {
				t.Errorf("%s is from %q, want %q", id, f["isotrace:from"], from)
			}
			if proof := slices.ContainsFunc(l.Target, func(p lockfile.Package) bool { return p.ID() == id }); proof != (c.Hashes != nil) || !proof && f["isotrace:layer"] == "" {
				t.Errorf("%s: hashes %v, layer %q", id, c.Hashes, f["isotrace:layer"])
			}
		}
	}
	if installed != len(l.Installed()) || layers != len(l.Image.Layers) {
		t.Errorf("%d packages and %d layers, want %d and %d", installed, layers, len(l.Installed()), len(l.Image.Layers))
	}
}

// listPackages has the guest write what dpkg knows on its serial console.
const listPackages = `#!/bin/sh
echo > /dev/ttyS0
dpkg-query -W -f 'package ${Package}:${Architecture}=${Version}\n' > /dev/ttyS0
echo list of packages ends > /dev/ttyS0
`

// TestSBOMInGuest compares the SBOM with what dpkg-query says in the booted image.
func TestSBOMInGuest(t *testing.T) {
	t.Parallel()
	p := &project{dir: filepath.Join(t.TempDir(), "rescue")}
	if err := os.CopyFS(p.dir, os.DirFS(rescue(t).dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(p.out()); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(p.dir, "isotrace.yaml")
	const serial = `"console=ttyS0,115200"`
	changed := strings.Replace(string(readAll(t, config)), serial, serial+", quiet, systemd.show_status=false, systemd.run=/usr/local/sbin/list-packages", 1)
	if !strings.Contains(changed, "systemd.run") {
		t.Fatalf("%s does not hold %s", config, serial)
	}
	program := filepath.Join(p.dir, "files", "usr", "local", "sbin", "list-packages")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(config, []byte(changed), 0o644), os.WriteFile(program, []byte(listPackages), 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"lock"}, {"build"}, {"boot", p.out(), "--firmware", "bios", "--medium", "cd", "--expect", "list of packages ends"}} {
		if out, code := p.run(args...); code != 0 {
			t.Fatalf("%v: exit status %d\n%s", args, code, out)
		}
	}
	var booted []string
	for line := range strings.Lines(string(readAll(t, p.out("boot", "bios-cd.console")))) {
		if _, id, ok := strings.Cut(strings.TrimSpace(line), "package "); ok { // behind what the system itself wrote
			booted = append(booted, id)
		}
	}
	slices.Sort(booted)
	bom, _ := bills(t, p)
	var listed []string
	for _, c := range everything(bom) {
		if f := properties(&c); f["isotrace:set"] == "target" {
			listed = append(listed, c.Name+":"+f["isotrace:architecture"]+"="+c.Version)
		}
	}
	slices.Sort(listed)
	diffOverlay(t, rescue(t), p, "usr/local/sbin/list-packages")
	if len(booted) == 0 || !slices.Equal(booted, listed) {
		t.Errorf("dpkg-query has %d packages in the booted image, the SBOM %d\nbooted %q\nSBOM %q", len(booted), len(listed), booted, listed)
	}
}
