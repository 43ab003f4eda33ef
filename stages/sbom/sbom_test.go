package sbom

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/sbom"
)

func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func zst(s string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return string(w.EncodeAll([]byte(s), nil))
}

func at(n int, s string) string { return strings.Repeat("\x00", n) + s + strings.Repeat("\x00", 600) }

func TestNature(t *testing.T) {
	cpio := "070701" + strings.Repeat("0", 104) + "TRAILER!!!\x00"
	for _, c := range []struct {
		name, head string
		mode       uint32
		want       sbom.Nature
	}{
		{"empty", "", 0o644, sbom.Nature{Executable: sbom.No, Archive: sbom.No, Structured: sbom.No}},
		{"text", "root:x:0:0\n", 0o644, sbom.Nature{Executable: sbom.No, Archive: sbom.No, Structured: sbom.No}},
		{"a script", "#!/bin/sh\n", 0o755, sbom.Nature{Executable: sbom.Yes, Archive: sbom.No, Structured: sbom.No}},
		{"a library", "\x7fELF\x02\x01\x01" + at(9, "\x03\x00>\x00"), 0o644, sbom.Nature{Executable: sbom.Yes, Archive: sbom.No, Structured: sbom.No}},
		{"squashfs", at(0, "hsqs"), 0o444, sbom.Nature{Executable: sbom.Yes, Archive: sbom.Yes, Structured: sbom.Yes}},
		{"initrd", cpio, 0o644, sbom.Nature{Executable: sbom.Yes, Archive: sbom.Yes, Structured: sbom.Yes}},
		{"a compressed initrd", zst(cpio), 0o644, sbom.Nature{Executable: sbom.Yes, Archive: sbom.Yes, Structured: sbom.Yes}},
		{"an EFI partition", at(54, "FAT16   "), 0o444, sbom.Nature{Executable: sbom.Yes, Archive: sbom.Yes, Structured: sbom.Yes}},
		{"a tarball", gz(at(257, "ustar\x0000")), 0o644, sbom.Nature{Executable: sbom.No, Archive: sbom.Yes, Structured: sbom.Yes}},
		{"zip", "PK\x03\x04" + strings.Repeat("\x00", 60), 0o644, sbom.Nature{Executable: sbom.No, Archive: sbom.Yes, Structured: sbom.Yes}},
		{"a .deb", string(archivetest.BuildDeb(t, "Package: x\nVersion: 1\nArchitecture: all\n", "gz")), 0o644, sbom.Nature{Executable: sbom.No, Archive: sbom.Yes, Structured: sbom.Yes}},
		{"compressed text", gz("a manual page\n"), 0o644, sbom.Nature{Executable: sbom.No, Archive: sbom.No, Structured: sbom.No}},
		{"compressed twice", gz(gz("text")), 0o644, sbom.Nature{Executable: sbom.No, Archive: sbom.No, Structured: sbom.No}},
		{"cut off", "\x1f\x8b\x08", 0o644, sbom.Nature{Executable: sbom.No, Archive: sbom.No, Structured: sbom.No}},
	} {
		if got := nature([]byte(c.head), c.mode); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestIsComponent(t *testing.T) {
	one := 1
	for _, c := range []struct {
		o    trace.Origin
		want bool
	}{
		{trace.Origin{Type: roottree.File, Kind: trace.Generated}, true}, {trace.Origin{Type: roottree.File, Kind: trace.Overlay, Package: &one, Was: &trace.Was{}}, true},
		{trace.Origin{Type: roottree.File, Kind: trace.Overlay}, true}, {trace.Origin{Type: roottree.File, Kind: trace.Overlay, Package: &one}, false},
		{trace.Origin{Type: roottree.File, Kind: trace.Modified, Package: &one}, true}, {trace.Origin{Type: roottree.File, Kind: trace.Base}, true},
		{trace.Origin{Type: roottree.File, Kind: trace.Unexplained}, true}, {trace.Origin{Type: roottree.File, Kind: trace.Stage}, true},
		{trace.Origin{Type: roottree.File, Kind: trace.Base, Package: &one}, false}, {trace.Origin{Type: roottree.File, Kind: trace.Archive, Package: &one}, false},
		{trace.Origin{Type: roottree.Dir, Kind: trace.Generated}, false}, {trace.Origin{Type: roottree.Link, Kind: trace.Overlay}, false},
		{trace.Origin{Type: roottree.File, Kind: trace.Generated, Of: "root:boot/initrd.img"}, false},
	} {
		if got := isComponent(&c.o); got != c.want {
			t.Errorf("%+v: %v", c.o, got)
		}
	}
}

// filled is a run with one of each set.
func filled() *run {
	pkg := func(set sbom.Set, name string, deb bool) sbom.Package {
		p := sbom.Package{Set: set, Name: name, Version: "1", Architecture: "all", Maintainer: "A <a@example.org>", From: sbom.FromArchive, Distro: sbom.Distro{ID: "debian", Codename: "trixie"}}
		if deb {
			p.Deb = &sbom.Deb{Path: "debian/pool/" + name, Size: 1, Hashes: sbom.Hashes{SHA256: string(artifact.HashBytes([]byte(name))), SHA512: strings.Repeat("a", 128)}}
		}
		return p
	}
	locked := func(set sbom.Set, name, archive string, base bool) Locked {
		return Locked{Set: set, ID: name + ":all=1", Archive: archive, Path: "pool/" + name, SHA256: artifact.HashBytes([]byte(name)), Base: base}
	}
	by, tool := 0, 1
	return &run{
		params: Params{
			Archives: []Archive{{ID: "debian/trixie", Repository: "debian", Suite: "stable", Codename: "trixie", Release: artifact.HashBytes(nil)}, {ID: "ubuntu-ports/noble-security", Repository: "ubuntu-ports", Suite: "noble-security", Codename: "noble-security", Foreign: true}},
			Packages: []Locked{locked(sbom.Target, "a", "debian/trixie", false), locked(sbom.Target, "proof", "debian/trixie", true), locked(sbom.Tools, "a", "ubuntu-ports/noble-security", false), locked(sbom.Target, "purged", "debian/trixie", false)},
		},
		catalogue: &sbom.Catalogue{Packages: []sbom.Package{pkg(sbom.Target, "a", true), pkg(sbom.Target, "proof", true), pkg(sbom.Target, "old", false), pkg(sbom.Tools, "a", true)}},
		trace: &trace.Trace{Head: trace.Head{
			Packages: []trace.Package{{Name: "a", Architecture: "all", Version: "1", Set: "target", Requirements: []trace.Serves{{ID: "R-1"}, {ID: "R-2"}}}, {Name: "purged", Architecture: "all", Version: "1", Set: "target"}},
			Actors: []trace.Actor{
				{Stage: "install", Actor: stage.Actor{Kind: stage.ByPackage, Name: "a", Script: "postinst", Action: "configure"}, Package: &by},
				{Stage: "install", Actor: stage.Actor{Kind: stage.ByProgram, Name: "purge"}, Package: &tool},
				{Stage: "customise", Actor: stage.Actor{Kind: stage.ByOverlay, Name: "project/files/etc/motd"}}, {Stage: "livetree", Actor: stage.Actor{Kind: stage.ByStage, Name: "livetree"}},
			},
			Requirements: []trace.Requirement{{ID: "R-3", Files: []string{"project/files"}}, {ID: "R-4", Files: []string{"project/file"}}},
		}},
		doc: &sbom.Document{},
	}
}

func TestPackages(t *testing.T) {
	r := filled()
	r.catalogue.Packages[2].Maintainer = ""
	if err := r.packages(context.Background()); err != nil {
		t.Fatal(err)
	}
	p := r.doc.Packages
	if d := p[0].Deb; d.Path != "pool/a" || d.Archive != "debian/trixie" || d.Suite != "stable" || d.Release == "" || strings.Join(p[0].Requirements, " ") != "R-1 R-2" || p[0].From != sbom.FromArchive {
		t.Errorf("%+v %+v", p[0], d)
	}
	if p[1].From != sbom.FromBase || p[1].Deb == nil || p[2].From != sbom.FromBase || p[2].Deb != nil || p[2].Unknown[sbom.FieldSupplier] == "" {
		t.Errorf("of the base image: %+v %+v", p[1], p[2])
	}
	if p[3].Distro != (sbom.Distro{ID: "ubuntu", Codename: "noble"}) || p[0].Distro.Codename != "trixie" || p[3].Requirements != nil {
		t.Errorf("of another archive: %+v", p[3])
	}
	for name, change := range map[string]func(*run){
		"another .deb":          func(r *run) { r.params.Packages[0].SHA256 = artifact.HashBytes(nil) },
		"not locked":            func(r *run) { r.params.Packages = r.params.Packages[1:] },
		"of an unknown archive": func(r *run) { r.params.Archives = r.params.Archives[1:] },
		"in another set":        func(r *run) { r.params.Packages[0].Set = sbom.Boot },
	} {
		r := filled()
		change(r)
		if err := r.packages(context.Background()); err == nil || fault.ClassOf(err) != fault.Refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFile(t *testing.T) {
	r := filled()
	r.doc.Packages, r.ids = r.catalogue.Packages, map[string]bool{"target/a:all=1": true}
	look := func(string) (seen, error) { return look(io.NopCloser(strings.NewReader("content")), 7, 0o644) }
	for by, want := range []struct{ reason, by, requirements string }{
		{"a's postinst configure, in stage install", "target/a:all=1", ""}, {"program purge, in stage install", "", ""},
		{"overlay project/files/etc/motd, in stage customise", "", "R-3"}, {"stage livetree", "", ""},
	} {
		o := trace.Origin{Path: "etc/x", Size: 7, SHA256: artifact.HashBytes([]byte("content")), Kind: trace.Generated, By: &by}
		f, err := r.file(treeRoot, &o, look)
		if err != nil || f.Reason != want.reason || f.By != want.by || strings.Join(f.Requirements, " ") != want.requirements ||
			f.Hashes.SHA1 != "040f06fd774092478d450774f5ba30c5da78acc8" || len(f.Hashes.SHA512) != 128 || f.Nature.Executable != sbom.No {
			t.Errorf("%d: %+v, %v", by, f, err)
		}
	}
	for _, o := range []trace.Origin{{Path: "x", Size: 7, SHA256: artifact.HashBytes(nil)}, {Path: "x", Size: 8, SHA256: artifact.HashBytes([]byte("content"))}} {
		if _, err := r.file(treeRoot, &o, look); err == nil || fault.ClassOf(err) != fault.Refused {
			t.Errorf("%+v: %v", o, err)
		}
	}
	r.params.BIOSImage = "boot/bios.img"
	o := trace.Origin{Path: "boot/bios.img", Size: 7, SHA256: artifact.HashBytes([]byte("content"))}
	if f, err := r.file(treeISO, &o, look); err != nil || f.Nature.Executable != sbom.Yes {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestControlFiles(t *testing.T) {
	r := filled()
	r.doc.Packages = r.catalogue.Packages
	control := r.controlFiles()
	for name, want := range map[string]bool{
		"var/lib/dpkg/info/a.list": true, "var/lib/dpkg/info/a:all.md5sums": true, "var/lib/dpkg/info/a:amd64.list": false, "var/lib/dpkg/info/gone.postinst": false,
		"var/lib/dpkg/info/format": false, "var/lib/dpkg/info/a": false, "etc/a.list": false, "var/lib/dpkg/info/x/a.list": false,
	} {
		if got := control(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestJudge demands that a field which nobody explains ends the build, and that
// it is named.
func TestJudge(t *testing.T) {
	var log bytes.Buffer
	r := filled()
	r.work = &stage.Work{Log: &log}
	if err := r.packages(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.doc.Format, r.doc.Version, r.doc.Epoch = sbom.Format, "1", 1757318400
	r.doc.Product = sbom.Product{Name: "x", Version: "1"}
	for i := range r.doc.Packages {
		p := &r.doc.Packages[i]
		p.Source, p.SourceVersion = p.Name, p.Version
	}
	err := r.judge()
	if err == nil || fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), "lacks ") || !strings.Contains(log.String(), "missing: executable of target/a:all=1") {
		t.Errorf("%v\n%s", err, log.String())
	}
	if !strings.Contains(log.String(), "NTIA name: ") {
		t.Errorf("the journal does not count: %s", log.String())
	}
}
