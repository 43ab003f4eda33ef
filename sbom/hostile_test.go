package sbom

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const nasty = "a\x00b\x1b[31m\u202e\xff\xfe</script>\u2028\"\\\r\n\t${x} <y@z> \U000e0041"

// TestHostile writes a document whose every text is nasty, and demands that it is
// bounded, escaped, and what the schemas want.
func TestHostile(t *testing.T) {
	huge := strings.Repeat("ü\x07", 1<<20)
	d := sample()
	p := &d.Packages[0]
	p.Maintainer, p.Homepage, p.Summary, p.Section, p.Priority = nasty, "javascript:alert(1)//"+nasty, nasty+huge, nasty, huge
	p.Deb.Archive, p.Deb.Suite, p.Deb.Codename = nasty, nasty, huge
	p.Requirements = append(p.Requirements, nasty, huge)
	p.Licence.File = Path(nasty)
	p.Unknown = Unknown{FieldLicence: nasty + huge, Field(nasty): nasty}
	d.Packages[1].Maintainer, d.Packages[1].Homepage = huge+" <"+huge+"@example.org>", "https://user:secret@example.org/"
	d.Packages[2].Maintainer = `Evil "quoted" \n <evil@example.org>`
	d.Author, d.Product.Creator = Party{nasty, "no address", "ftp://x y", true}, Party{huge, nasty, nasty, false}
	d.Product.FileName = nasty + "/x\xff.iso"
	d.Product.References[0].Comment = nasty + huge
	d.Found[0].Creator, d.Found[0].PURL = Party{nasty, nasty, huge, true}, "pkg:"+nasty
	d.Found[1].PURL = "pkg:pypi/" + huge
	d.Found[1].Paths = append(d.Found[1].Paths, Path("z"+strings.ReplaceAll(nasty, "\x00", "")))
	d.Files[0].Reason, d.Files[0].By = nasty+huge, nasty
	d.Licences[0].Name, d.Licences[0].Text = nasty, nasty+huge
	d.Findings[0].Text = nasty + huge
	d.Base.Layers[0].MediaType = nasty + huge
	d.Sources[0].Maintainer, d.Sources[0].Homepage = nasty, "http://"+nasty
	valid(t, d)

	c, s := write(t, d)
	for name, text := range map[string]string{"CycloneDX": c, "SPDX": s} {
		if !utf8.ValidString(text) {
			t.Errorf("%s: not UTF-8", name)
		}
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		eachString(v, func(s string) {
			if len(s) > maxLicenceText+100 {
				t.Errorf("%s: a text of %d bytes", name, len(s))
			}
			for _, r := range s {
				if r != '\n' && r != '\t' && r != utf8.RuneError && !unicode.IsPrint(r) {
					t.Fatalf("%s: %U in %.100q", name, r, s)
				}
			}
		})
	}
	eachComponent(checkCycloneDX(t, c), func(k *cdx.Component) {
		for _, r := range deref(k.ExternalReferences) {
			if strings.HasPrefix(r.URL, "javascript") || strings.Contains(r.URL, "secret") {
				t.Errorf("%s: leads to %s", k.BOMRef, r.URL)
			}
		}
	})
	if len(c) > 2<<20 || len(s) > 4<<20 {
		t.Errorf("%d and %d bytes", len(c), len(s))
	}
}

func eachString(v any, f func(string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case []any:
		for _, x := range v {
			eachString(x, f)
		}
	case map[string]any:
		for k, x := range v {
			f(k)
			eachString(x, f)
		}
	}
}

func TestLicenceTextsAreBounded(t *testing.T) {
	d := sample()
	var all []string
	d.Licences = nil
	for i := range 100 {
		id := licenceRef + "x" + strings.Repeat("y", i)
		all = append(all, id)
		d.Licences = append(d.Licences, Licence{ID: id, SHA256: sum(id), Text: strings.Repeat("z", 1<<20)})
	}
	d.Packages[0].Licence.Declared = strings.Join(all, " AND ")
	_, s := write(t, d)
	if len(s) > maxTexts+(1<<20) {
		t.Errorf("%d bytes", len(s))
	}
	if n := strings.Count(s, "is not in this document"); n != 100-maxTexts>>20 {
		t.Errorf("%d texts left out", n)
	}
}

func TestReadWrite(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Write(&b); err != nil {
		t.Fatal(err)
	}
	d, err := Read(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	c, s := write(t, sample())
	if rc, rs := write(t, d); rc != c || rs != s {
		t.Error("a model that was written and read gives other documents")
	}
	var again bytes.Buffer
	if err := d.Write(&again); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
		t.Errorf("a model that was written and read is written otherwise (%v)", err)
	}
	for _, c := range []struct{ text, want string }{
		{"", "EOF"},
		{"{}", "format 0"},
		{b.String() + "{}", "something follows"},
		{strings.Replace(b.String(), `"epoch"`, `"epocs"`, 1), `unknown field "epocs"`},
		{strings.Replace(b.String(), `F\u0151`, "", 1) + "x", "something follows"},
		{strings.Repeat("[", 1<<20), "exceeded max depth"},
		{strings.Replace(b.String(), `\\377`, `\\999`, 1), "bad escape"},
	} {
		if _, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	long := strings.Repeat("x", maxWord+1)
	for _, c := range []struct {
		change func(*Document)
		want   string
	}{
		{func(d *Document) { d.Format = 2 }, "format 2"},
		{func(d *Document) { d.Epoch = 0 }, "epoch 0"},
		{func(d *Document) { d.Version = "" }, "isotrace: version is missing"},
		{func(d *Document) { d.Product.Name = "" }, "product: name is missing"},
		{func(d *Document) { d.Product.Name = "a\nb" }, "product: name"},
		{func(d *Document) { d.Product.References[0].Type = "mirror" }, `reference type "mirror"`},
		{func(d *Document) { d.Product.References[0].URL = "a b" }, "is no URI"},
		{func(d *Document) { d.Product.Hashes.SHA512 = "AB" }, "SHA512"},
		{func(d *Document) { d.Packages[0].Name = "Bad Name" }, "target/Bad Name"},
		{func(d *Document) { d.Packages[0].Version = "" }, "target/openssh-server:amd64="},
		{func(d *Document) { d.Packages[0].Set = "other" }, `set "other" is not known`},
		{func(d *Document) { d.Packages[0].Source = "" }, "target/openssh-server"},
		{func(d *Document) { d.Packages[0].Deb.Path = "../x" }, "not a clean relative one"},
		{func(d *Document) { d.Packages[0].Deb.Size = -1 }, "negative"},
		{func(d *Document) { d.Packages[0].Licence.Declared = "GPL-2.0-only AND" }, "ends too early"},
		{func(d *Document) { d.Packages[0].Dependencies[0].On = "target/none:amd64=1" }, `depends on "target/none:amd64=1", which is not`},
		{func(d *Document) { d.Packages[0].Dependencies[0].Kind = "suggests" }, `dependency "suggests"`},
		{func(d *Document) { d.Packages = append(d.Packages, d.Packages[0]) }, "listed twice"},
		{func(d *Document) { d.Found = append(d.Found, d.Found[0]) }, "listed twice"},
		{func(d *Document) { d.Found[0].Paths = nil }, "seen at 0 paths"},
		{func(d *Document) { d.Found[0].Name = long }, "at most 1024 bytes"},
		{func(d *Document) { d.Files[0].Path = "/etc/motd" }, "no path relative"},
		{func(d *Document) { d.Files[0].Path = "a\x00" }, "no path relative"},
		{func(d *Document) { d.Files[0].Hashes.SHA256 = "" }, "no SHA-256"},
		{func(d *Document) { d.Files[1].By = "target/none:amd64=1" }, "made by"},
		{func(d *Document) { d.Licences = append(d.Licences, d.Licences[0]) }, "listed twice"},
		{func(d *Document) { d.Licences[0].ID = "a b" }, "no id"},
		{func(d *Document) { d.Findings[0].Components[0] = "none" }, `"none" is not in the document`},
		{func(d *Document) { d.Base.Manifest = "" }, "base image"},
		{func(d *Document) { d.System.ID = "" }, "system: distro"},
		{func(d *Document) { d.System.Codename = long }, "system: codename"},
	} {
		d := sample()
		c.change(d)
		err := WriteSPDX(new(bytes.Buffer), d)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
