package catalogue

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/debfacts"
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
		"usr/share/doc/g/copyright/x": "", "usr/share/doc/h/copyright": strings.Repeat("x", debfacts.MaxCopyright+1),
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
	pkg := func(name, version string, d debfacts.Data) debfacts.Deb {
		return debfacts.Deb{Package: sbom.Package{Name: name, Source: "grub2", SourceVersion: version}, Data: d}
	}
	r := inTree(t, map[string]string{"usr/share/doc/grub-installed/copyright": "in the tree"})
	r.db.Packages = []dpkgdb.Package{{Name: "grub-installed", Source: "grub2", SourceVersion: "2"}}
	r.debs = debfacts.Facts{
		Boot: []debfacts.Deb{
			pkg("own", "2", debfacts.Data{Copyright: []byte("own")}), pkg("linked", "2", debfacts.Data{Link: "usr/share/doc/tool/copyright"}), pkg("installed", "2", debfacts.Data{Link: "usr/share/doc/grub-installed/copyright"}),
			pkg("other", "1", debfacts.Data{Link: "usr/share/doc/tool/copyright"}), pkg("circle", "2", debfacts.Data{Link: "usr/share/doc/circle/copyright"}),
			pkg("out", "2", debfacts.Data{Link: "etc/shadow"}), pkg("none", "2", debfacts.Data{Problem: "there is none"}), pkg("deep", "2", debfacts.Data{Link: "usr/share/doc/linked/copyright"}),
			pkg("nested", "2", debfacts.Data{Link: "usr/share/doc/own/sub/copyright"}),
		},
		Tools: []debfacts.Deb{pkg("tool", "2", debfacts.Data{Copyright: []byte("tool")})},
	}
	for i, want := range []string{
		"own", "tool", "in the tree", "its copyright file is a link to usr/share/doc/tool/copyright, which no package of its source has",
		"its copyright file is a link that leads in a circle", "its copyright file is a link to etc/shadow, which no package of its source has", "there is none", "tool",
		"its copyright file is a link to usr/share/doc/own/sub/copyright, which no package of its source has",
	} {
		_, text, err := r.copyrightOf(&r.debs.Boot[i])
		have := string(text)
		if err != nil {
			have = err.Error()
		}
		if have != want {
			t.Errorf("%s: %s, want %s", r.debs.Boot[i].Package.Name, have, want)
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
	a := debfacts.Deb{
		Package: sbom.Package{
			Name: "hello", Version: "1:2.10-3+b1", Architecture: "amd64", Source: "hello-src", SourceVersion: "1:2.10-3", From: sbom.FromArchive, Deb: &sbom.Deb{Path: "pool/x.deb"},
		},
		StaticBuiltUsing: "busybox (= 1:1.37-1), rustc (= 1.85-1)",
	}
	if err := r.target([]debfacts.Deb{a}); err != nil {
		t.Fatal(err)
	}
	r.unpacked(sbom.Tools, []debfacts.Deb{a})
	p := r.out.Packages
	if len(p) != 2 || p[0].ID() != "target/hello:amd64=1:2.10-3+b1" || p[1].ID() != "tools/hello:amd64=1:2.10-3+b1" || p[0].Mark != sbom.Auto || p[0].Executable != sbom.Yes ||
		p[1].Executable != sbom.No || p[0].Deb == nil || p[0].From != sbom.FromArchive || len(p[1].StaticBuiltUsing) != 2 || p[0].Licence.Concluded == "" {
		t.Errorf("%+v", p)
	}
	if len(r.out.Findings) != 1 || r.out.Findings[0].ID != "dependency:target/hello:amd64:built-using" {
		t.Errorf("findings %+v", r.out.Findings)
	}
	a.Package.SourceVersion = "1:2.10-4"
	if err := r.target([]debfacts.Deb{a}); err == nil || !strings.Contains(err.Error(), "hello-src 1:2.10-4") {
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
