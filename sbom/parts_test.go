package sbom

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/package-url/packageurl-go"
)

func TestMaintainer(t *testing.T) {
	for _, c := range []struct {
		field string
		want  Party
		spdx  string
	}{
		{"Debian OpenSSH Maintainers <debian-ssh@lists.debian.org>", Party{"Debian OpenSSH Maintainers", "debian-ssh@lists.debian.org", "", true},
			"Organization: Debian OpenSSH Maintainers (debian-ssh@lists.debian.org)"},
		{"GNU Libc <x@lists.example.org>", Party{"GNU Libc", "x@lists.example.org", "", true}, "Organization: GNU Libc (x@lists.example.org)"},
		{"Josué Ortega <josue@debian.org>", Party{"Josué Ortega", "josue@debian.org", "", false}, "Person: Josué Ortega (josue@debian.org)"},
		{`"J. \"Q\" Doe, Jr." <j+q@example.org>`, Party{`J. \"Q\" Doe, Jr.`, "j+q@example.org", "", false}, `Person: J. \"Q\" Doe, Jr. (j+q@example.org)`},
		{"Steve Langasek (force of nature) <vorlon@debian.org>", Party{"Steve Langasek (force of nature)", "vorlon@debian.org", "", true}, ""},
		{"Name without address", Party{"Name without address", "", "", false}, "Person: Name without address"},
		{"alone@example.org", Party{"", "alone@example.org", "", false}, "Person: alone@example.org"},
		{"Bad <not an address>", Party{"Bad <not an address>", "", "", false}, ""},
		{"Two <a@example.org> <b@example.org>", Party{"Two <a@example.org>", "b@example.org", "", false}, ""},
		{"", Party{}, ""},
		{"<>", Party{"<>", "", "", false}, ""},
	} {
		got := Maintainer(c.field)
		if got != c.want {
			t.Errorf("%q: %+v, want %+v", c.field, got, c.want)
		}
		if s := got.spdxType() + ": " + got.spdx(); c.spdx != "" && s != c.spdx {
			t.Errorf("%q: %s, want %s", c.field, s, c.spdx)
		}
	}
}

func TestPURL(t *testing.T) {
	ubuntu := Distro{ID: "Ubuntu", Version: "20.04"}
	testing, noVersion := Distro{ID: "debian", Codename: "forky"}, Distro{ID: "debian"}
	for _, c := range []struct{ got, want string }{
		{debPURL(testing, "x", "1", "all", SourceID{"x", "1"}), "pkg:deb/debian/x@1?arch=all&distro=debian-forky"},
		{debPURL(noVersion, "x", "1", "all", SourceID{"x", "1"}), "pkg:deb/debian/x@1?arch=all&distro=debian"},
		{debPURL(trixie, "curl", "8.14.1-2", "amd64", SourceID{"curl", "8.14.1-2"}), "pkg:deb/debian/curl@8.14.1-2?arch=amd64&distro=debian-13"},
		{debPURL(trixie, "attr", "1:2.5.2-3+b1", "amd64", SourceID{"attr", "1:2.5.2-3"}), "pkg:deb/debian/attr@1:2.5.2-3%2Bb1?arch=amd64&distro=debian-13&upstream=attr%401:2.5.2-3"},
		{debPURL(trixie, "libstdc++6", "14.2.0-19", "amd64", SourceID{"gcc-14", "14.2.0-19"}), "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64&distro=debian-13&upstream=gcc-14"},
		{debPURL(ubuntu, "x", "1~rc1", "all", SourceID{"x", "1~rc1"}), "pkg:deb/ubuntu/x@1~rc1?arch=all&distro=ubuntu-20.04"},
		{debPURL(trixie, "attr", "1:2.5.2-3", "source", SourceID{"attr", "1:2.5.2-3"}), "pkg:deb/debian/attr@1:2.5.2-3?arch=source&distro=debian-13"},
		{genericPURL("rescue disk", "1.0"), "pkg:generic/rescue%20disk@1.0"},
		{ociPURL(&BaseImage{Reference: "ubuntu:20.04@sha256:" + string(sum("m")), Manifest: sum("m")}), "pkg:oci/ubuntu@sha256:" + string(sum("m")) + "?tag=20.04"},
		{ociPURL(&BaseImage{Reference: "localhost:5000/a/B", Manifest: sum("m")}), "pkg:oci/b@sha256:" + string(sum("m")) + "?repository_url=localhost:5000%2Fa%2FB"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
		u, err := packageurl.FromString(c.got)
		if err != nil || u.ToString() != c.got {
			t.Errorf("%s: read as %s: %v", c.got, u.ToString(), err)
		}
	}
}

func TestCPE(t *testing.T) {
	for _, c := range []struct{ name, version, want string }{
		{"openssh-server", "1:10.0p1-7", `cpe:2.3:a:openssh-server:openssh-server:1\:10.0p1-7:*:*:*:*:*:*:*`},
		{"libstdc++6", "14~rc1+b1", `cpe:2.3:a:libstdc\+\+6:libstdc\+\+6:14\~rc1\+b1:*:*:*:*:*:*:*`},
	} {
		if got := debCPE(c.name, c.version); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestExpression(t *testing.T) {
	for _, good := range []string{"", "NOASSERTION", "NONE", "MIT", "GPL-2.0+", "GPL-2.0-or-later WITH Classpath-exception-2.0", "(MIT OR (ISC AND LicenseRef-x-1.2))",
		"A WITH B AND C WITH D", "((MIT))", strings.Repeat("(", maxNesting) + "MIT" + strings.Repeat(")", maxNesting)} {
		if err := checkExpression(good, nil); err != nil {
			t.Errorf("%s: %v", clip(good, 80), err)
		}
	}
	for _, bad := range []string{" ", "()", "MIT ISC", "AND", "MIT AND", "OR MIT", "MIT and ISC", "(MIT", "MIT)", "A WITH B WITH C", "(A OR B) WITH C", "A WITH (B)", "A WITH B+",
		"LicenseRef-", "LicenseRef-x+", "MIT\nAND ISC", "GPL 2", "a/b", "MIT AND NOASSERTION", "DocumentRef-x:LicenseRef-y", strings.Repeat("(", maxNesting+1) + "MIT" + strings.Repeat(")", maxNesting+1),
		strings.Repeat("MIT OR ", maxExpression/7) + "MIT and more"} {
		if checkExpression(bad, nil) == nil {
			t.Errorf("%q is taken", clip(bad, 80))
		}
	}
	var refs []string
	if err := checkExpression("LicenseRef-a AND (LicenseRef-b OR MIT)", func(s string) { refs = append(refs, s) }); err != nil || strings.Join(refs, " ") != "LicenseRef-a LicenseRef-b" {
		t.Errorf("%v, %v", refs, err)
	}
}

func TestPath(t *testing.T) {
	for _, c := range []struct {
		path      Path
		text, uri string
	}{
		{"etc/motd", "etc/motd", "etc/motd"},
		{"usr/share/Főtanúsítvány.crt", "usr/share/Főtanúsítvány.crt", "usr/share/F%C5%91tan%C3%BAs%C3%ADtv%C3%A1ny.crt"},
		{"a\\b\n\xff%\u202e\ufffd", "a\\134b\\012\\377%\\342\\200\\256\ufffd", "a%5Cb%0A%FF%25%E2%80%AE%EF%BF%BD"},
	} {
		if c.path.String() != c.text || c.path.uri() != c.uri {
			t.Errorf("%q: %s, %s", string(c.path), c.path, c.path.uri())
		}
		var back Path
		if err := back.UnmarshalText([]byte(c.text)); err != nil || back != c.path {
			t.Errorf("%q comes back as %q: %v", string(c.path), string(back), err)
		}
	}
}

func TestWebURL(t *testing.T) {
	for _, good := range []string{"https://example.org", "http://example.org/a?b#c", "ftp://example.org/x"} {
		if webURL(good) != good {
			t.Errorf("%s is refused", good)
		}
	}
	for _, bad := range []string{"", "example.org", "javascript:alert(1)", "https://", "https://a b", "https://u:p@example.org", "https://é.example", "file:///etc/passwd", "https://x/\\y"} {
		if webURL(bad) != "" {
			t.Errorf("%s is taken", bad)
		}
	}
}

func FuzzParts(f *testing.F) {
	for _, s := range []string{"Name <a@example.org>", nasty, "(MIT OR ISC) AND LicenseRef-x", "pkg:deb/debian/x@1?arch=all", `a\134b`, strings.Repeat("(", 5000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := Maintainer(s)
		if p.Email != "" && !validEmail(p.Email) || !utf8.ValidString(p.Name) {
			t.Errorf("%+v", p)
		}
		_ = checkExpression(s, func(ref string) {
			if !validLicence(ref, false) {
				t.Errorf("%q is no reference", ref)
			}
		})
		var back Path
		if err := back.UnmarshalText([]byte(Path(s).String())); err != nil || string(back) != s {
			t.Errorf("%q comes back as %q: %v", s, string(back), err)
		}
		if u := validPURL(s); u != "" && u != s {
			t.Errorf("%q", u)
		}
		if l := Printable(s); len(l) > maxWord || optional("name", l) != nil {
			t.Errorf("%q does not print", l)
		}
		for _, l := range []string{line(s, 100), prose(s, 100)} {
			if !utf8.ValidString(l) || len(l) > 140 {
				t.Errorf("%q", l)
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	var b strings.Builder
	if err := sample().Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add(`{"format":1,"version":"1","epoch":1757318400,"author":{},"product":{"name":"x","version":"1","hashes":{},"creator":{},"licence":{}}}`)
	f.Add(`{"format":1,"packages":[{"set":"target"}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Read(strings.NewReader(s))
		if err != nil {
			return
		}
		var c, x strings.Builder
		cerr, serr := WriteCycloneDX(&c, d), WriteSPDX(&x, d)
		if (cerr == nil) != (serr == nil) {
			t.Fatalf("CycloneDX: %v, SPDX: %v", cerr, serr)
		}
		if cerr != nil {
			return
		}
		checkCycloneDX(t, c.String())
		checkSPDX(t, x.String())
		if _, err := Cover(d); err != nil {
			t.Error(err)
		}
	})
}
