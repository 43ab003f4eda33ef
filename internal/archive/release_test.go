package archive

import (
	"strings"
	"testing"
	"time"
)

const releaseText = `Origin: Debian
Label: Debian
Suite: stable
Version: 12.5
Codename: bookworm
Date: Sat, 10 Feb 2024 11:07:25 UTC
Valid-Until: Sat, 17 Feb 2024 11:07:25 UTC
Acquire-By-Hash: yes
No-Support-for-Architecture-all: Packages
Architectures: all amd64 arm64
Components: main contrib
Description: Debian 12.5 Released 10 February 2024
MD5Sum:
 0ed6d4c8891eb86358b94bb35d9e4da4  1484322 contrib/Contents-all
SHA256:
 d6c9c82f4e61b4662f9ba16b9ebb379c57b4943f8b7813091d1f637325ddfb79  1484322 contrib/Contents-all
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855        0 main/binary-all/Packages
`

func TestParseRelease(t *testing.T) {
	r, err := ParseRelease([]byte(releaseText), "Release")
	if err != nil {
		t.Fatal(err)
	}
	if r.Suite != "stable" || r.Codename != "bookworm" || r.Version != "12.5" || r.Origin != "Debian" || r.Label != "Debian" ||
		!r.AcquireByHash || !r.NoPackagesForAll || len(r.Architectures) != 3 || !r.HasComponent("contrib") || r.HasComponent("non-free") {
		t.Errorf("release %+v", r)
	}
	if want := time.Date(2024, 2, 10, 11, 7, 25, 0, time.UTC); r.Date != want || r.ValidUntil != want.AddDate(0, 0, 7) {
		t.Errorf("dates %v, %v", r.Date, r.ValidUntil)
	}
	if f := r.Files["contrib/Contents-all"]; len(r.Files) != 2 || f.Size != 1484322 || f.SHA256.Short() != "d6c9c82f4e61" {
		t.Errorf("files %v", r.Files)
	}
}

func TestParseReleaseRefuses(t *testing.T) {
	cases := map[string]struct{ old, new, text string }{
		"empty":          {releaseText, "", "is empty"},
		"no suite":       {"Suite: stable\nVersion: 12.5\nCodename: bookworm\n", "", "neither a Suite nor a Codename"},
		"zone":           {"25 UTC\nValid", "25 CET\nValid", "line 6: Date: date \"Sat, 10 Feb 2024 11:07:25 CET\" is not in UTC"},
		"offset":         {"25 UTC\nValid", "25 +0100\nValid", "is not in UTC"},
		"date":           {"Sat, 10 Feb", "2024-02-10", "line 6: Date"},
		"valid-until":    {"Sat, 17 Feb", "Someday", "line 7: Valid-Until"},
		"no SHA256":      {"SHA256:", "SHA512:", "has no field SHA256"},
		"empty SHA256":   {releaseText[strings.Index(releaseText, "SHA256:")+7:], "\n", "has no field SHA256"},
		"short digest":   {" d6c9", " ", "want 64 hexadecimal digits"},
		"words":          {"  1484322 contrib/Contents-all\n e3", " contrib/Contents-all\n e3", "want a digest, a size and a path"},
		"path":           {"main/binary-all/", "main/../../", "not a clean relative one"},
		"listed twice":   {"main/binary-all/Packages", "contrib/Contents-all", "listed twice, with different content"},
		"second stanza":  {"main/binary-all/Packages\n", "main/binary-all/Packages\n\nSuite: evil\n", "more than one stanza"},
		"field twice":    {"Label:", "Suite:", "stands twice"},
		"carriage":       {"Label: Debian\n", "Label: Debian\rSuite: evil\n", "control character"},
		"blank in blank": {"Codename: bookworm\n", "Codename: bookworm\n \t\n", "has no field Date"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(releaseText, c.old, c.new, 1)
			if text == releaseText {
				t.Fatal("the test changes nothing")
			}
			if r, err := ParseRelease([]byte(text), "Release"); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, error %v, want %q", r, err, c.text)
			}
		})
	}
}

func TestReleaseIsOf(t *testing.T) {
	security := []string{"updates/main"}
	for _, c := range []struct {
		asked, suite, codename string
		components             []string
		want                   bool
	}{
		{"bookworm", "stable", "bookworm", nil, true},
		{"stable", "stable", "bookworm", nil, true},
		{"bookworm-security", "stable-security", "bookworm-security", security, true},
		{"focal", "focal", "focal", nil, true},
		{"focal-updates", "focal-updates", "focal", nil, true},
		{"focal", "focal-updates", "focal", nil, false},
		{"focal-security", "focal-updates", "focal", nil, false},
		{"buster/updates", "oldstable", "buster", security, true},
		{"buster/updates", "oldstable", "buster", []string{"main"}, false},
		{"buster", "oldstable", "buster", []string{"main", "contrib"}, true},
		{"buster", "oldstable", "buster", security, false}, // the security archive's, in the archive's place
		{"bookworm", "unstable", "sid", nil, false},
		{"", "", "sid", nil, false},
	} {
		r := &Release{Suite: c.suite, Codename: c.codename, Components: c.components}
		if got := r.is(c.asked); got != c.want {
			t.Errorf("asked for %q, have suite %q, codename %q: %v", c.asked, c.suite, c.codename, got)
		}
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte(releaseText))
	f.Add([]byte("Suite: a\nDate: Sat, 10 Feb 2024 11:07:25 +0000\nSHA256: \n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRelease(text, "Release")
		if err != nil {
			return
		}
		for p, s := range r.Files {
			if ValidatePath(p) != nil || s.SHA256.Validate() != nil || s.Size < 0 {
				t.Fatalf("passed: %s %v", p, s)
			}
		}
		if r.Date.IsZero() && r.Date.Location() != time.UTC {
			t.Fatalf("passed: date %v", r.Date)
		}
	})
}
