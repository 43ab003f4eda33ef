package catalogue

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/scan"
)

const machine = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: somebody
License: ISC or Expat

License: ISC
 Permission to use, copy, modify

License: Expat
 Permission is hereby granted, free of charge
`

const control = `Package: hello
Version: 1:2.10-3+b1
Architecture: amd64
Source: hello-src (1:2.10-3)
Maintainer: A Team <team@example.org>
Installed-Size: 280
Section: utils
Priority: optional
Essential: yes
Homepage: https://example.org/
Pre-Depends: libc6 (>= 2.36),
 libhello
Depends: a | b
Recommends: c
Provides: greeter (= 1)
Built-Using: glibc (= 2.41-12)
Static-Built-Using: busybox (= 1:1.37-1), rustc (= 1.85-1)
Description: a greeting
 and more
`

// debFile writes a .deb.
func debFile(t *testing.T, control, format string, files ...archivetest.File) (string, artifact.Ref) {
	t.Helper()
	b := archivetest.BuildDeb(t, control, format, files...)
	file := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file, artifact.Ref{Path: "debian/pool/x.deb", Digest: artifact.HashBytes(b), Size: int64(len(b))}
}

func TestReadControl(t *testing.T) {
	file, ref := debFile(t, control, "xz", archivetest.File{Path: "usr/bin/hello", Content: "x", Mode: 0o755})
	a, err := readControl(file, ref)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	strong := sha512.Sum512(b)
	want := sbom.Package{
		Name: "hello", Version: "1:2.10-3+b1", Architecture: "amd64", Source: "hello-src", SourceVersion: "1:2.10-3", Section: "utils", Priority: "optional",
		Essential: true, Maintainer: "A Team <team@example.org>", Homepage: "https://example.org/", Summary: "a greeting", InstalledSize: 280, From: sbom.FromArchive,
		Deb: &sbom.Deb{Path: ref.Path, Size: ref.Size, Hashes: sbom.Hashes{SHA256: string(ref.Digest), SHA512: hex.EncodeToString(strong[:])}},
	}
	if !reflect.DeepEqual(a.pkg, want) {
		t.Errorf("have %+v\nwant %+v", a.pkg, want)
	}
	if a.needs != (sbom.Needs{PreDepends: "libc6 (>= 2.36), libhello", Depends: "a | b", Recommends: "c", Provides: "greeter (= 1)"}) {
		t.Errorf("needs %+v", a.needs)
	}
	if a.builtUsing != "glibc (= 2.41-12)" || a.staticUsing != "busybox (= 1:1.37-1), rustc (= 1.85-1)" {
		t.Errorf("built using %q, %q", a.builtUsing, a.staticUsing)
	}
	for _, bad := range []string{
		"Package: ../x\nVersion: 1\nArchitecture: all\n", "Package: x\nVersion: 1 2\nArchitecture: all\n", "Package: x\nVersion: 1\nArchitecture: ../y\n",
		"Package: x\nVersion: 1\nArchitecture: all\nSource: y (\x1b)\n", "Version: 1\nArchitecture: all\n",
	} {
		file, ref := debFile(t, bad, "gz")
		if _, err := readControl(file, ref); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestWriteData(t *testing.T) {
	const name = "Package: hello\nVersion: 1\nArchitecture: all\n"
	doc := "usr/share/doc/hello/copyright"
	for _, c := range []struct {
		what  string
		files []archivetest.File
		want  data
	}{
		{"a file", []archivetest.File{{Path: doc, Content: machine}}, data{Copyright: []byte(machine)}},
		{"a program", []archivetest.File{{Path: doc, Content: "x"}, {Path: "usr/bin/x", Content: "x", Mode: 0o755}}, data{Copyright: []byte("x"), Executable: true}},
		{"a library", []archivetest.File{{Path: "usr/lib/x.so", Content: "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00>\x00"}, {Path: doc, Content: "x"}},
			data{Copyright: []byte("x"), Executable: true}},
		{"no library", []archivetest.File{{Path: "usr/lib/x.so", Content: "ELF"}, {Path: "usr/lib/empty"}, {Path: doc, Content: "x"}}, data{Copyright: []byte("x")}},
		{"nothing", nil, data{Problem: "the .deb has no copyright file"}},
		{"another's", []archivetest.File{{Path: "usr/share/doc/hello2/copyright", Content: "x"}}, data{Problem: "the .deb has no copyright file"}},
		{"a linked folder", []archivetest.File{{Path: "usr/share/doc/hello", Symlink: "libhello"}}, data{Link: "usr/share/doc/libhello/copyright"}},
		{"an absolute link", []archivetest.File{{Path: "usr/share/doc/hello", Symlink: "/usr/share/doc/libhello/"}}, data{Link: "usr/share/doc/libhello/copyright"}},
		{"a linked file", []archivetest.File{{Path: doc, Symlink: "../libhello/copyright"}}, data{Link: "usr/share/doc/libhello/copyright"}},
		{"out of the tree", []archivetest.File{{Path: doc, Symlink: strings.Repeat("../", 30) + "etc/shadow"}}, data{Link: "etc/shadow"}},
		{"a hard link", []archivetest.File{{Path: "usr/share/doc/hello/a", Content: "x"}, {Path: doc, Hardlink: "usr/share/doc/hello/a"}}, data{Link: "usr/share/doc/hello/a"}},
		{"too long", []archivetest.File{{Path: doc, Content: strings.Repeat("x", maxCopyright+1)}}, data{Problem: "the copyright file has more than 4194304 bytes"}},
	} {
		file, ref := debFile(t, name, "zst", c.files...)
		to := filepath.Join(t.TempDir(), "data")
		if err := writeData(file, ref.Size, to); err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		got, err := readData(to)
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.what, got, err, c.want)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad")
	for _, text := range []string{"", "{", `{"more":1}`, strings.Repeat(" ", maxData+1) + "{}"} {
		if err := os.WriteFile(bad, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readData(bad); err == nil {
			t.Errorf("%.20q was read", text)
		}
	}
}

// inTree is a run on a tree of files; a content that begins with -> is a link.
func inTree(t *testing.T, files map[string]string) *run {
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
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := roottree.Walk(context.Background(), dir, roottree.WalkOptions{NoXattrs: true})
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return &run{root: root, tree: m, db: &dpkgdb.DB{}, seen: &scan.Result{}, licences: newLicences(), out: sbom.Catalogue{Format: sbom.Format, Distro: sbom.Distro{ID: "debian"}}}
}

// TestCopyright follows links within the tree, and no further.
func TestCopyright(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "copyright")
	if err := os.WriteFile(secret, []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := inTree(t, map[string]string{
		"usr/share/doc/a/copyright": "a", "usr/share/doc/b": "->a", "usr/share/doc/c/copyright": "->/usr/share/doc/b/copyright", "usr/share/doc/d": "->d",
		"usr/share/doc/e/copyright": "->" + secret, "usr/share/doc/f": "->" + strings.Repeat("../", 40) + filepath.Dir(secret)[1:],
		"usr/share/doc/g/copyright/x": "", "usr/share/doc/h/copyright": strings.Repeat("x", maxCopyright+1),
	})
	for name, want := range map[string]string{
		"a": "usr/share/doc/a/copyright: a", "b": "usr/share/doc/a/copyright: a", "c": "usr/share/doc/a/copyright: a",
		"d": "the image has no copyright file of it", "e": "the image has no copyright file of it", "f": "the image has no copyright file of it",
		"g": "its copyright file is not a regular file", "h": "its copyright file has more than 4194304 bytes", "i": "the image has no copyright file of it",
	} {
		at, text, err := r.copyright("usr/share/doc/" + name + "/copyright")
		have := at + ": " + string(text)
		if err != nil {
			have = err.Error()
		}
		if have != want {
			t.Errorf("%s: %s, want %s", name, have, want)
		}
	}
}

func TestCopyrightOf(t *testing.T) {
	pkg := func(name, version string, d data) archived {
		return archived{pkg: sbom.Package{Name: name, Source: "grub2", SourceVersion: version}, data: d}
	}
	r := inTree(t, map[string]string{"usr/share/doc/grub-installed/copyright": "in the tree"})
	r.db.Packages = []dpkgdb.Package{{Name: "grub-installed", Source: "grub2", SourceVersion: "2"}}
	r.archived = [2][]archived{
		{
			pkg("own", "2", data{Copyright: []byte("own")}), pkg("linked", "2", data{Link: "usr/share/doc/tool/copyright"}), pkg("installed", "2", data{Link: "usr/share/doc/grub-installed/copyright"}),
			pkg("other", "1", data{Link: "usr/share/doc/tool/copyright"}), pkg("circle", "2", data{Link: "usr/share/doc/circle/copyright"}),
			pkg("out", "2", data{Link: "etc/shadow"}), pkg("none", "2", data{Problem: "there is none"}), pkg("deep", "2", data{Link: "usr/share/doc/linked/copyright"}),
			pkg("nested", "2", data{Link: "usr/share/doc/own/sub/copyright"}),
		},
		{pkg("tool", "2", data{Copyright: []byte("tool")})},
	}
	for i, want := range []string{
		"own", "tool", "in the tree", "its copyright file is a link to usr/share/doc/tool/copyright, which no package of its source has",
		"its copyright file is a link that leads in a circle", "its copyright file is a link to etc/shadow, which no package of its source has", "there is none", "tool",
		"its copyright file is a link to usr/share/doc/own/sub/copyright, which no package of its source has",
	} {
		_, text, err := r.copyrightOf(&r.archived[0][i])
		have := string(text)
		if err != nil {
			have = err.Error()
		}
		if have != want {
			t.Errorf("%s: %s, want %s", r.archived[0][i].pkg.Name, have, want)
		}
	}
}

// TestLicences tells what is concluded and what is not, and why.
func TestLicences(t *testing.T) {
	add := func(order ...int) (*licences, [5]sbom.Package) {
		l := newLicences()
		var all [5]sbom.Package
		for _, i := range order {
			p := sbom.Package{Set: sbom.Target, Name: fmt.Sprintf("p%d", i), Version: "1", Architecture: "all"}
			l.add(&p, "usr/share/doc/p/copyright", []byte([]string{machine, "This is free software.\n", " \n", "\x00\x01\x02", machine}[i]))
			all[i] = p
		}
		return l, all
	}
	l, p := add(0, 1, 2, 3, 4)
	if want := "ISC OR MIT"; p[0].Licence.Declared != want && p[0].Licence.Declared != "MIT OR ISC" || p[0].Licence.Concluded != p[0].Licence.Declared || p[0].Unknown != nil {
		t.Errorf("machine-readable: %+v", p[0])
	}
	if p[1].Licence.Concluded != "" || !strings.HasPrefix(p[1].Licence.Declared, "LicenseRef-") || !strings.Contains(p[1].Unknown[sbom.FieldLicence], "prose") {
		t.Errorf("prose: %+v", p[1])
	}
	if p[2].Licence.Declared != "NOASSERTION" || p[2].Unknown[sbom.FieldLicence] == "" || p[3].Licence.Declared != "NOASSERTION" || !strings.Contains(p[3].Unknown[sbom.FieldLicence], "not text") {
		t.Errorf("nothing: %+v %+v", p[2], p[3])
	}
	if len(l.findings) != 1 || l.findings[0].ID != "copyright:target/p3:all" {
		t.Errorf("findings %+v", l.findings)
	}
	files, texts := l.finish()
	other, q := add(4, 3, 2, 1, 0)
	files2, texts2 := other.finish()
	if fmt.Sprint(files, texts, p) != fmt.Sprint(files2, texts2, q) {
		t.Error("another order gives others")
	}
	if len(files) != 3 || len(texts) != 3 {
		t.Errorf("%d files, %d texts", len(files), len(texts))
	}
}

// TestSets gathers packages of all sets, in the order of the sets.
func TestSets(t *testing.T) {
	r := inTree(t, map[string]string{"usr/share/doc/hello/copyright": machine, "usr/bin/hello": "x", "etc/os-release": "->/usr/lib/os-release", "usr/lib/os-release": "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n"})
	r.db.Packages = []dpkgdb.Package{{
		Name: "hello", Version: "1:2.10-3+b1", Architecture: "amd64", Source: "hello-src", SourceVersion: "1:2.10-3", Files: []string{"usr", "usr/bin", "usr/bin/hello"}, Auto: true,
		BuiltUsing: "odd",
	}}
	if err := os.Chmod(filepath.Join(r.root.Name(), "usr/bin/hello"), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.tree, err = roottree.Walk(context.Background(), r.root.Name(), roottree.WalkOptions{NoXattrs: true}); err != nil {
		t.Fatal(err)
	}
	if r.out.Distro, err = distro(r.root, r.tree); err != nil || r.out.Distro != (sbom.Distro{ID: "debian", Version: "13", Codename: "trixie"}) {
		t.Errorf("%+v, %v", r.out.Distro, err)
	}
	file, ref := debFile(t, control, "gz")
	a, err := readControl(file, ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.target([]archived{a}); err != nil {
		t.Fatal(err)
	}
	r.unpacked(sbom.Tools, []archived{a})
	p := r.out.Packages
	if len(p) != 2 || p[0].ID() != "target/hello:amd64=1:2.10-3+b1" || p[1].ID() != "tools/hello:amd64=1:2.10-3+b1" || p[0].Mark != sbom.Auto || p[0].Executable != sbom.Yes ||
		p[1].Executable != sbom.No || p[0].Deb == nil || p[0].From != sbom.FromArchive || len(p[1].StaticBuiltUsing) != 2 || p[0].Licence.Concluded == "" {
		t.Errorf("%+v", p)
	}
	if len(r.out.Findings) != 1 || r.out.Findings[0].ID != "dependency:target/hello:amd64:built-using" {
		t.Errorf("findings %+v", r.out.Findings)
	}
	a.pkg.SourceVersion = "1:2.10-4"
	if err := r.target([]archived{a}); err == nil || !strings.Contains(err.Error(), "hello-src 1:2.10-4") {
		t.Errorf("another source: %v", err)
	}
	if err := r.target(nil); err != nil || r.out.Packages[len(r.out.Packages)-1].From != sbom.FromBase {
		t.Errorf("without a .deb: %v", err)
	}
}

// TestCompare ends the build for a package that the lock does not have, and for
// nothing else.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		expect []string
		seen   []sbom.Seen
		want   string
		refuse bool
	}{
		{[]string{"a:all=1"}, []sbom.Seen{{Name: "a", Architecture: "all", Version: "1", Source: "a", SourceVersion: "1"}}, "dpkg-database:1", false},
		{[]string{"a:all=1", "b:all=1"}, nil, "cataloguer-missing:a:all dpkg-database:1 lock-missing:b:all", false},
		{nil, nil, "cataloguer-missing:a:all dpkg-database:1 lock-extra:a:all", true},
		{[]string{"a:all=2"}, nil, "cataloguer-missing:a:all dpkg-database:1 lock-version:a:all", true},
	} {
		r := &run{work: &stage.Work{Log: io.Discard}, params: Params{Expect: c.expect}, seen: &scan.Result{Packages: c.seen}, db: &dpkgdb.DB{
			Packages: []dpkgdb.Package{{Name: "a", Architecture: "all", Version: "1", Source: "a", SourceVersion: "1"}}, Problems: []dpkgdb.Problem{{Path: "var/lib/x", Text: "odd"}},
		}}
		err := r.compare()
		var ids []string
		for _, f := range r.out.Findings {
			ids = append(ids, f.ID)
		}
		if have := strings.Join(ids, " "); have != c.want || (err != nil) != c.refuse || err != nil && fault.ClassOf(err) != fault.Refused {
			t.Errorf("%v: %s, %v", c.expect, have, err)
		}
	}
}
