package sbom

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func licenceFacts() ([]Copyright, []Text) {
	return []Copyright{
			{SHA256: sum("b"), Size: 3, Packages: []string{"target/b:amd64=1"}, Expression: "LicenseRef-copyright-0123456789abcdef",
				Licences: []Licence{{ID: "LicenseRef-copyright-0123456789abcdef", SHA256: sum("b")}}, Mentions: []string{"GPL-2"}},
			{SHA256: sum("a"), Size: 9, Packages: []string{"target/a:amd64=1", "tools/a:amd64=1"}, MachineReadable: true, Expression: "MIT AND ISC",
				Licences: []Licence{{ID: "ISC", Name: "ISC", SHA256: sum("isc")}, {ID: "MIT", Name: "Expat"}}, Problems: []string{"line 3: <odd>"}},
		}, []Text{
			{SHA256: sum("isc"), Text: "Permission to use, copy\n"}, {SHA256: sum("b"), Text: "Do what you like & more\u2028.\n"},
		}
}

func TestLicences(t *testing.T) {
	copyrights, texts := licenceFacts()
	var first, second bytes.Buffer
	if err := WriteLicences(&first, copyrights, texts); err != nil {
		t.Fatal(err)
	}
	copyrights[0], copyrights[1], texts[0], texts[1] = copyrights[1], copyrights[0], texts[1], texts[0]
	if err := WriteLicences(&second, copyrights, texts); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("another order gives other bytes")
	}
	c, x, err := ReadLicences(&first)
	if err != nil {
		t.Fatal(err)
	}
	if len(c) != 2 || len(x) != 2 || c[0].SHA256 > c[1].SHA256 {
		t.Fatalf("%+v %+v", c, x)
	}
	var again bytes.Buffer
	if err := WriteLicences(&again, c, x); err != nil || !bytes.Equal(again.Bytes(), second.Bytes()) {
		t.Errorf("what was read is written otherwise: %v", err)
	}
}

func packed(lines ...string) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll([]byte(strings.Join(lines, "\n")+"\n"), nil)
}

func TestReadLicencesRefuses(t *testing.T) {
	good := fmt.Sprintf(`{"sha256":%q,"size":1,"packages":[],"machine-readable":true,"expression":"MIT"}`, sum("a"))
	text := fmt.Sprintf(`{"sha256":%q,"text":"x"}`, sum("a"))
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "EOF"},
		{"no zstd", []byte(strings.Repeat("{}\n", 100)), "magic"},
		{"another format", packed(`{"format":2,"copyrights":0,"texts":0}`), "format 2"},
		{"fewer lines", packed(`{"format":1,"copyrights":2,"texts":0}`, good), "EOF"},
		{"more lines", packed(`{"format":1,"copyrights":0,"texts":1}`, text, text), "more lines"},
		{"two in a line", packed(`{"format":1,"copyrights":0,"texts":1}`, text+text), "something follows"},
		{"an unknown key", packed(`{"format":1,"copyrights":0,"texts":1}`, `{"sha256":"","text":"","x":1}`), `unknown field "x"`},
		{"no digest", packed(`{"format":1,"copyrights":0,"texts":1}`, `{"sha256":"zz","text":""}`), "sha256"},
		{"no expression", packed(`{"format":1,"copyrights":1,"texts":0}`, strings.Replace(good, "MIT", "MIT AND", 1)), "too early"},
		{"negative", packed(`{"format":1,"copyrights":-1,"texts":0}`), "format"},
		{"absurd", packed(`{"format":1,"copyrights":99999999999,"texts":0}`), "format"},
		{"a long line", packed(`{"format":1,"copyrights":0,"texts":1}`, `{"text":"`+strings.Repeat("x", maxLicencesLine)), "too long"},
	} {
		if _, _, err := ReadLicences(bytes.NewReader(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, _, err := ReadLicences(bytes.NewReader(packed(`{"format":1,"copyrights":1,"texts":1}`, good, text))); err != nil {
		t.Error(err)
	}
}

func FuzzReadLicences(f *testing.F) {
	var b bytes.Buffer
	copyrights, texts := licenceFacts()
	if err := WriteLicences(&b, copyrights, texts); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(packed(`{"format":1,"copyrights":0,"texts":0}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		c, x, err := ReadLicences(bytes.NewReader(file))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WriteLicences(&again, c, x); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCatalogue(t *testing.T) {
	d := sample()
	copyrights, texts := licenceFacts()
	c := &Catalogue{Format: Format, Distro: trixie, Packages: d.Packages, Found: d.Found, Copyrights: copyrights, Texts: texts, Findings: d.Findings}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	got, err := ReadCatalogue(&b)
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := got.Write(&again); err != nil || again.String() != text {
		t.Errorf("read and written again it differs: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"format":2}`, `{"format":1,"more":1}`, text + "{}", text[:len(text)/2]} {
		if _, err := ReadCatalogue(strings.NewReader(bad)); err == nil {
			t.Errorf("%.40q was read", bad)
		}
	}
}
