package archive

import (
	"io"
	"strings"
	"testing"
)

const stanza = `Package: hello
Source: hello-src (1.0)
Version: 2:1.0-1
Architecture: amd64
Essential: yes
Multi-Arch: foreign
Priority: required
Section: utils
Installed-Size: 42
Pre-Depends: libc6
Depends: a,
 b (>= 1)
Recommends: r
Provides: p (= 1)
Built-Using: linux (= 6.12.1-1), gcc-14 (= 14.2.0-19)
Description: greets
Filename: ./pool/main/h/hello/hello_1.0-1_amd64.deb
Size: 1234
SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
`

func TestParsePackages(t *testing.T) {
	pkgs, err := ParsePackages(strings.NewReader("\n\n"+stanza+"\n\n"+strings.Replace(stanza, "Source: hello-src (1.0)\n", "", 1)), "Packages")
	if err != nil {
		t.Fatal(err)
	}
	want := Package{
		Name: "hello", Version: "2:1.0-1", Architecture: "amd64", Source: "hello-src", SourceVersion: "1.0",
		Filename: "pool/main/h/hello/hello_1.0-1_amd64.deb", Size: 1234, InstalledSize: 42,
		SHA256:    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		Essential: true, Priority: "required", Section: "utils", MultiArch: "foreign",
		PreDepends: "libc6", Depends: "a,\n b (>= 1)", Recommends: "r", Provides: "p (= 1)",
		BuiltUsing: "linux (= 6.12.1-1), gcc-14 (= 14.2.0-19)",
	}
	if len(pkgs) != 2 || pkgs[0] != want {
		t.Fatalf("have %+v\nwant %+v", pkgs, want)
	}
	want.Source, want.SourceVersion = "hello", "2:1.0-1"
	if pkgs[1] != want {
		t.Errorf("have %+v\nwant %+v", pkgs[1], want)
	}
	if pkgs, err := ParsePackages(strings.NewReader(""), "Packages"); err != nil || len(pkgs) != 0 {
		t.Errorf("empty index: %v, %v", pkgs, err)
	}
}

func TestParsePackagesRefuses(t *testing.T) {
	cases := map[string]struct{ old, new, text string }{
		"no name":      {"Package: hello\n", "", "line 1: Package: a package name is missing"},
		"name":         {"Package: hello", "Package: ../hello", "line 1: Package"},
		"version":      {"2:1.0-1\n", "x:1\n", "line 3: Version: hello"},
		"architecture": {"amd64\n", "a/b\n", "line 4: Architecture"},
		"absolute":     {"./pool", "/pool", "Filename: hello: path"},
		"out":          {"./pool", "./../pool", "Filename: hello: path"},
		"no path":      {"Filename: ./pool/main/h/hello/hello_1.0-1_amd64.deb\n", "", "the path is missing"},
		"size":         {"Size: 1234", "Size: -1", "Size: hello: size \"-1\""},
		"huge":         {"Size: 1234", "Size: 99999999999999999999", "is no number"},
		"hash":         {"SHA256: e3", "SHA256: E3", "SHA256: hello"},
		"no hash":      {"SHA256:", "SHA1:", "SHA256: hello"},
		"source":       {"(1.0)", "1.0", "want a version in parentheses"},
		"field twice":  {"Priority: required", "version: 3", "stands twice"},
		"no field":     {"Priority: required", "Priority", "line 7: want a field"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(stanza, c.old, c.new, 1)
			if text == stanza {
				t.Fatal("the test changes nothing")
			}
			if _, err := ParsePackages(strings.NewReader(text), "Packages"); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
		})
	}
}

// A stanza of an index costs few allocations: there are tens of thousands.
func TestParsePackagesAllocations(t *testing.T) {
	const n = 1000
	text := strings.Repeat(stanza+"\n", n)
	allocs := testing.AllocsPerRun(3, func() {
		if _, err := ParsePackages(strings.NewReader(text), "Packages"); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 6*n {
		t.Errorf("%.1f allocations for a stanza", allocs/n)
	}
}

func FuzzParsePackages(f *testing.F) {
	f.Add(stanza)
	f.Add(stanza + "\n\n# x\n" + stanza)
	f.Add("Package: a\n b\n\tc\n")
	f.Fuzz(func(t *testing.T, text string) {
		pkgs, err := ParsePackages(strings.NewReader(text), "Packages")
		if err != nil {
			return
		}
		for _, p := range pkgs {
			if err := ValidatePath(p.Filename); err != nil {
				t.Fatal(err)
			}
			if p.Size < 0 || p.SHA256.Validate() != nil || p.Source == "" {
				t.Fatalf("passed: %+v", p)
			}
		}
	})
}

func BenchmarkParsePackages(b *testing.B) {
	text := strings.Repeat(stanza+"\n", 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := ParsePackages(io.LimitReader(strings.NewReader(text), int64(len(text))), "Packages"); err != nil {
			b.Fatal(err)
		}
	}
}
