package scan

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/sbom"
)

const metadata = "Metadata-Version: 2.1\nName: %s\nVersion: %s\nLicense: %s\n\nText\n"

// tree makes a root tree of files; a content that begins with -> is a link.
func tree(t testing.TB, files map[string]string) Tree {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, at)
		} else {
			err = os.WriteFile(at, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return open(t, dir)
}

func open(t testing.TB, dir string) Tree {
	t.Helper()
	m, err := roottree.Walk(context.Background(), dir, roottree.WalkOptions{NoXattrs: true})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return Tree{Root: root, Manifest: m}
}

func jarFile(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const status = `Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2-1
Maintainer: A <a@example.org>
Source: bash-src (5.2-0)

Package: half
Status: install ok half-configured
Architecture: amd64
Version: 1
Maintainer: A <a@example.org>

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
Maintainer: A <a@example.org>
`

func self(t testing.TB) string {
	t.Helper()
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRun finds one of several kinds, and each once, with the package that brought it.
func TestRun(t *testing.T) {
	nested := jarFile(t, "META-INF/maven/org.example/inner/pom.properties", "groupId=org.example\nartifactId=inner\nversion=0.9\n")
	x := tree(t, map[string]string{
		"etc/os-release": "ID=debian\nVERSION_ID=13\nVERSION_CODENAME=trixie\n", "var/lib/dpkg/status": status,
		"usr/lib/python3/dist-packages/owned-1.0.dist-info/METADATA": fmt.Sprintf(metadata, "owned", "1.0", "MIT"),
		"opt/a/site-packages/requests-2.32.3.dist-info/METADATA":     fmt.Sprintf(metadata, "requests", "2.32.3", "Apache-2.0"),
		"opt/a/site-packages/requests-2.32.3.dist-info/LICENSE":      "all of it\n",
		"opt/b/site-packages/requests-2.32.3.dist-info/METADATA":     fmt.Sprintf(metadata, "requests", "2.32.3", "Apache-2.0"),
		"opt/b/site-packages/odd-1.dist-info/METADATA":               fmt.Sprintf(metadata, "odd", "1", "The licence that is none"),
		"usr/local/lib/node_modules/left-pad/package.json":           `{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}`,
		"var/lib/gems/3.3.0/specifications/rake-13.2.1.gemspec":      "Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.2.1\"\n  s.licenses = [\"MIT\".freeze]\nend\n",
		"usr/local/bin/program":                                      self(t),
		"usr/local/bin/link":                                         "->program",
		"usr/local/bin/script":                                       "#!/bin/sh\n",
		"opt/app/big.war":                                            jarFile(t, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\n", "WEB-INF/lib/inner-0.9.jar", nested),
		"opt/app/plain-1.2.jar":                                      jarFile(t, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nImplementation-Version: 9\r\n"),
		"opt/app/named.jar":                                          jarFile(t, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nBundle-Version: 3.1\r\n"),
		"opt/app/none.jar":                                           "no zip at all",
		"usr/share/python3/broken.egg-info/PKG-INFO":                 "Name\n",
		"home/x/project/package-lock.json":                           `{"name": "wish", "lockfileVersion": 3, "packages": {"node_modules/x": {"version": "1.0.0"}}}`,
	})
	x.Owner = func(p string) string {
		if strings.HasPrefix(p, "usr/lib/python3/") {
			return "python3-owned:all=1.0-1"
		}
		return ""
	}
	r, err := Run(context.Background(), x)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range r.Found {
		if f.Type == "go-module" {
			continue
		}
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s %d %s", f.Type, f.Name, f.Version, f.PURL, f.Licence.Declared, len(f.Paths), f.In)))
	}
	want := []string{
		"gem rake 13.2.1 pkg:gem/rake@13.2.1 MIT 1",
		"java-archive big    1", "java-archive inner 0.9 pkg:maven/org.example/inner@0.9  1", "java-archive named 3.1   1", "java-archive plain 1.2   1",
		"npm left-pad 1.3.0 pkg:npm/left-pad@1.3.0 WTFPL 1",
		"python odd 1 pkg:pypi/odd@1  1",
		"python owned 1.0 pkg:pypi/owned@1.0 MIT 1 python3-owned:all=1.0-1",
		"python requests 2.32.3 pkg:pypi/requests@2.32.3 Apache-2.0 2",
	}
	if !slices.Equal(all, want) {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(all, "\n"), strings.Join(want, "\n"))
	}
	// A test's binary names no other modules.
	module := slices.IndexFunc(r.Found, func(f sbom.Found) bool { return f.Type == "go-module" && len(f.Dependencies) == 1 })
	if std := "found/go-module/stdlib=" + runtime.Version() + "@usr/local/bin/program"; module < 0 || r.Found[module].Dependencies[0].On != std || r.Found[module].Name != "github.com/isotrace/isotrace" {
		t.Errorf("the modules of a Go program are not told: %+v", r.Found)
	}
	for _, f := range r.Found {
		if whole := f.Name == "plain" || f.Name == "named" || f.Name == "big"; f.Type == "java-archive" && (whole != (f.Hashes.SHA512 != "") || whole != (f.Nature.Archive == sbom.Yes)) {
			t.Errorf("%s: %+v %+v", f.Name, f.Hashes, f.Nature)
		}
	}
	if !r.Programs["usr/local/bin/program"] || len(r.Programs) != 1 {
		t.Errorf("programs %v", r.Programs)
	}
	// FACTS of syft: it lists a package that is half configured.
	if len(r.Packages) != 2 || r.Packages[0] != (sbom.Seen{Name: "bash", Architecture: "amd64", Version: "5.2-1", Source: "bash-src", SourceVersion: "5.2-0"}) || r.Packages[1].Name != "half" {
		t.Errorf("dpkg's packages %+v", r.Packages)
	}
	again, err := Run(context.Background(), x)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(r) {
		t.Errorf("a second look sees something else: %v", err)
	}
	d := &sbom.Document{Format: sbom.Format, Version: "1", Epoch: 1757318400, Product: sbom.Product{Name: "x", Version: "1"}, Found: r.Found, Findings: r.Findings}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	var b strings.Builder
	if err := sbom.WriteCycloneDX(&b, d); err != nil {
		t.Error(err)
	}
}

// TestHostile plants links to the host, devices, absurd names and broken files.
func TestHostile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "METADATA")
	if err := os.WriteFile(secret, []byte(fmt.Sprintf(metadata, "secret", "1", "MIT")), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 40)
	x := tree(t, map[string]string{
		"etc/os-release":                         "->" + "/../../../../../../../../etc/os-release",
		"var/lib/dpkg/status":                    "->" + up + "var/lib/dpkg/status",
		"a/site-packages/x-1.dist-info/METADATA": "->" + secret,
		"b/site-packages/x-1.dist-info/METADATA": "->" + up + secret[1:],
		"c/site-packages/x-1.dist-info":          "->" + filepath.Dir(secret),
		"d/site-packages/x-1.dist-info/METADATA": "->METADATA",
		"e/site-packages/x-1.dist-info/METADATA": fmt.Sprintf(metadata, "\x1b[2Jbad\u202e", "1\x07", "MIT"),
		"f/package.json":                         strings.Repeat("[", 100_000),
		"g/node_modules/y/package.json":          `{"name": ["y"], "version": {}}`,
		"h/x.jar":                                jarFile(t, "META-INF/MANIFEST.MF", strings.Repeat("x", 1<<21))[:400],
		"i/METADATA":                             "\x7fELF",
		"j/elf":                                  "\x7fELF\x02\x01\x01" + strings.Repeat("\xff", 600),
		"k/.dist-info/METADATA":                  "Name: \nVersion: \n",
		"l/specifications/a-1.gemspec":           strings.Repeat("Gem::Specification.new do |s|\n", 1000),
		"m/installed.json":                       `{"packages": [{"name": null}]}`,
		"n/DESCRIPTION":                          "Package: \nVersion",
	})
	for name, mode := range map[string]uint32{"o/site-packages/x-1.dist-info": unix.S_IFIFO | 0o666} {
		at := filepath.Join(x.Root.Name(), name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mknod(at, mode, 0); err != nil {
			t.Fatal(err)
		}
	}
	x = open(t, x.Root.Name())
	r, err := Run(context.Background(), x)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Found {
		if f.Name == "secret" {
			t.Errorf("a file of the host was read: %+v", f)
		}
	}
	if len(r.Packages) > 0 {
		t.Errorf("the host's packages: %+v", r.Packages)
	}
	if err := (&sbom.Document{Format: sbom.Format, Version: "1", Epoch: 1757318400, Product: sbom.Product{Name: "x", Version: "1"}, Found: r.Found, Findings: r.Findings}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, tree(t, map[string]string{"etc/os-release": "ID=debian\n"})); err == nil {
		t.Error("it went on")
	}
}

// TestDocs holds the document's list of cataloguers to the code.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/formats/sbom.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## Cataloguers")
	table, _, _ = strings.Cut(table, "##")
	words := strings.FieldsFunc(table, func(r rune) bool { return strings.ContainsRune(" |,:\n", r) })
	for _, l := range cataloguers(&resolver{}) {
		if name := strings.TrimSuffix(l.Name(), "-cataloger"); !slices.Contains(words, name) {
			t.Errorf("docs/formats/sbom.md does not name %s", name)
		}
	}
}
