package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/grubimage"
	"github.com/isotrace/isotrace/internal/initrd"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
)

func file(path, content string) roottree.Entry {
	return roottree.Entry{Path: path, Type: roottree.File, Mode: 0o644, Size: int64(len(content)), SHA256: artifact.HashBytes([]byte(content))}
}

func dir(path string) roottree.Entry {
	return roottree.Entry{Path: path, Type: roottree.Dir, Mode: 0o755}
}

func link(path, target string) roottree.Entry {
	return roottree.Entry{Path: path, Type: roottree.Link, Mode: 0o777, Target: target}
}

func with(e roottree.Entry, change func(*roottree.Entry)) roottree.Entry {
	change(&e)
	return e
}

// of is a file of these owners; by is one of a .deb that names one.
func of(path string, uid, gid uint32) roottree.Entry {
	return with(file(path, "x"), func(e *roottree.Entry) { e.UID, e.GID = uid, gid })
}

func by(path string, uid uint32, name string) roottree.Entry {
	return with(of(path, uid, 0), func(e *roottree.Entry) { e.Uname = name })
}

func tree(entries ...roottree.Entry) *roottree.Manifest {
	m := &roottree.Manifest{Entries: entries}
	var text bytes.Buffer
	if err := m.Write(&text); err != nil {
		panic(err)
	}
	if _, err := roottree.Parse(&text); err != nil {
		panic(fmt.Sprint("the test's tree: ", err))
	}
	return m
}

var (
	byDpkg     = stage.Actor{Kind: stage.ByProgram, Name: "dpkg"}
	byPostinst = stage.Actor{Kind: stage.ByPackage, Name: "one", Script: "postinst", Action: "configure"}
	byScript   = stage.Actor{Kind: stage.ByScript, Name: "project/scripts/a.sh"}
	byOverlay  = stage.Actor{Kind: stage.ByOverlay, Name: "project/files/x"}
	bySetting  = stage.Actor{Kind: stage.BySetting, Name: "hostname"}
	byPass     = stage.Actor{Kind: stage.ByPass, Name: "machine-id"}
	byLayer    = stage.Actor{Kind: stage.ByLayer, Name: "abc"}
	byStage    = stage.Actor{Kind: stage.ByStage, Name: "base"}
	byInitrd   = stage.Actor{Kind: stage.ByProgram, Name: "update-initramfs"}
)

// known are two packages with a .deb each and one of a base image.
func known() ([]Package, *dpkgdb.DB) {
	packages := []Package{
		{Name: "one", Architecture: "amd64", Version: "1", Set: "target", Origin: Archive},
		{Name: "two", Architecture: "all", Version: "2", Set: "target", Origin: Archive},
		{Name: "old", Architecture: "amd64", Version: "3", Set: "target", Origin: Base},
	}
	db := &dpkgdb.DB{Diversions: map[string]dpkgdb.Diversion{}, Overrides: map[string]bool{}}
	for _, p := range packages {
		db.Packages = append(db.Packages, dpkgdb.Package{Name: p.Name, Architecture: p.Architecture, Version: p.Version})
	}
	return packages, db
}

func owner(packages []Package) func(string) (int, bool) {
	return func(id string) (int, bool) {
		for i := range packages {
			if packages[i].ID() == id {
				return i, true
			}
		}
		return 0, false
	}
}

// TestRoot: one path of the tree, what the .debs have for it, and who changed it.
func TestRoot(t *testing.T) {
	base := []roottree.Entry{dir("."), link("bin", "usr/bin"), dir("etc"), dir("usr"), dir("usr/bin")}
	setid := with(file("usr/bin/su", "su"), func(e *roottree.Entry) { e.Mode = 0o4755 })
	cases := []struct {
		name     string
		entry    roottree.Entry
		one, two []roottree.Entry // of the two packages
		change   func(*Root)
		by       map[string]stage.Actor // by stage
		want     Kind
		who      string
		was      string // part of its JSON
		others   int
		own      bool // the second .deb is a file of the project
	}{
		{name: "as in the .deb", entry: file("usr/bin/x", "x"), one: []roottree.Entry{file("usr/bin/x", "x")}, by: map[string]stage.Actor{"base": byDpkg}, want: Archive},
		{name: "as in the .deb, which nobody is known to have unpacked", entry: file("usr/bin/x", "x"), one: []roottree.Entry{file("usr/bin/x", "x")}, want: Archive},
		{name: "through a merged /usr", entry: file("usr/bin/x", "x"), one: []roottree.Entry{file("bin/x", "x")}, want: Archive},
		{name: "in two .debs alike", entry: file("etc/c", "c"), one: []roottree.Entry{file("etc/c", "c")}, two: []roottree.Entry{file("etc/c", "c")}, want: Archive, others: 1},
		{name: "taken over by the second", entry: file("etc/c", "2"), one: []roottree.Entry{file("etc/c", "1")}, two: []roottree.Entry{file("etc/c", "2")}, want: Archive},
		{name: "set-id bit", entry: setid, one: []roottree.Entry{setid}, want: Archive},
		{name: "planted", entry: file("usr/bin/evil", "evil"), want: Unexplained},
		{name: "flipped byte", entry: file("usr/bin/x", "y"), one: []roottree.Entry{file("usr/bin/x", "x")}, want: Unexplained, was: `"sha256":"2d71`},
		{name: "flipped byte of what dpkg unpacked", entry: file("usr/bin/x", "y"), one: []roottree.Entry{file("usr/bin/x", "x")}, by: map[string]stage.Actor{"base": byDpkg}, want: Unexplained},
		{name: "changed mode", entry: setid, one: []roottree.Entry{file("usr/bin/su", "su")}, want: Unexplained, was: `"mode":"0644"`},
		{name: "changed mode, by a script", entry: setid, one: []roottree.Entry{file("usr/bin/su", "su")}, by: map[string]stage.Actor{"install": byPostinst}, want: Modified, who: "one's postinst configure", was: `"mode":"0644"`},
		{name: "mode by dpkg-statoverride", entry: setid, one: []roottree.Entry{file("usr/bin/su", "su")}, by: map[string]stage.Actor{"install": byDpkg},
			change: func(r *Root) { r.DB.Overrides["usr/bin/su"] = true }, want: Modified, who: "program dpkg"},
		{name: "xattr too many", entry: with(file("usr/bin/x", "x"), func(e *roottree.Entry) { e.Xattrs = []roottree.Xattr{{Name: "user.a", Value: []byte("1")}} }),
			one: []roottree.Entry{file("usr/bin/x", "x")}, want: Unexplained},
		{name: "conffile changed by a script", entry: file("etc/c", "new"), one: []roottree.Entry{file("etc/c", "old")}, by: map[string]stage.Actor{"base": byDpkg, "install": byPostinst}, want: Modified, who: "one's postinst configure"},
		{name: "package's file replaced by an overlay", entry: file("etc/c", "own"), one: []roottree.Entry{file("etc/c", "old")}, by: map[string]stage.Actor{"base": byDpkg, "customise": byOverlay}, want: Overlay, who: "overlay project/files/x", was: `"sha256"`},
		{name: "package's file changed by the project's script", entry: file("etc/c", "own"), one: []roottree.Entry{file("etc/c", "old")}, by: map[string]stage.Actor{"customise": byScript}, want: Modified, who: "script project/scripts/a.sh"},
		{name: "file of the project's script", entry: file("etc/n", "n"), by: map[string]stage.Actor{"customise": byScript}, want: Overlay, who: "script project/scripts/a.sh"},
		{name: "generated", entry: file("etc/g", "g"), by: map[string]stage.Actor{"install": byPostinst}, want: Generated, who: "one's postinst configure"},
		{name: "generated, then by a later stage's setting", entry: file("etc/g", "g"), by: map[string]stage.Actor{"install": byPostinst, "customise": bySetting}, want: Stage, who: "setting hostname"},
		{name: "generated, then a pass", entry: file("etc/machine-id", ""), by: map[string]stage.Actor{"install": byPostinst, "sanitise": byPass}, want: Modified, who: "pass machine-id", was: `"by":`},
		{name: "made by a pass alone", entry: file("etc/machine-id", ""), by: map[string]stage.Actor{"sanitise": byPass}, want: Stage, who: "pass machine-id"},
		{name: "dpkg's database", entry: file("var/lib/dpkg/status", "s"), by: map[string]stage.Actor{"base": byDpkg}, want: Generated, who: "program dpkg"},
		{name: "dpkg writes elsewhere", entry: file("etc/d", "d"), by: map[string]stage.Actor{"base": byDpkg}, want: Unexplained},
		{name: "a conffile's other version", entry: file("etc/c.dpkg-dist", "d"), by: map[string]stage.Actor{"install": byDpkg}, want: Generated},
		{name: "the stage's own folder", entry: dir("etc/s"), by: map[string]stage.Actor{"base": byStage}, want: Stage, who: "stage base"},
		{name: "of a base image, no .deb", entry: file("usr/bin/o", "o"), by: map[string]stage.Actor{"base": byLayer}, want: Base, who: "layer abc"},
		{name: "of a base image's layer, not as its .deb has it", entry: file("usr/bin/x", "y"), one: []roottree.Entry{file("usr/bin/x", "x")}, by: map[string]stage.Actor{"base": byLayer}, want: Base, who: "layer abc", was: `"sha256"`},
		{name: "diverted", entry: file("usr/bin/x.real", "x"), one: []roottree.Entry{file("usr/bin/x", "x")},
			change: func(r *Root) {
				r.DB.Diversions["usr/bin/x"] = dpkgdb.Diversion{To: "usr/bin/x.real", Package: "two"}
			}, want: Archive},
		{name: "the diverter's own", entry: file("usr/bin/x", "2"), one: []roottree.Entry{file("usr/bin/x", "1")}, two: []roottree.Entry{file("usr/bin/x", "2")},
			change: func(r *Root) {
				r.DB.Diversions["usr/bin/x"] = dpkgdb.Diversion{To: "usr/bin/x.real", Package: "two"}
			}, want: Archive},
		{name: "link to another place", entry: link("etc/l", "b"), one: []roottree.Entry{link("etc/l", "a")}, want: Unexplained, was: `"target":"a"`},
		{name: "of the project's .deb", entry: file("usr/bin/y", "y"), two: []roottree.Entry{file("usr/bin/y", "y")}, by: map[string]stage.Actor{"install": byDpkg}, own: true, want: Overlay, who: "overlay project/debs/two.deb"},
		{name: "of the project's .deb, and of an archive's", entry: dir("opt/a"), one: []roottree.Entry{dir("opt/a")}, two: []roottree.Entry{dir("opt/a")}, own: true, want: Archive, others: 1},
		{name: "a folder that was there before the project's .deb", entry: dir("opt"), two: []roottree.Entry{dir("opt")}, by: map[string]stage.Actor{"base": byPostinst}, own: true, want: Generated, who: "one's postinst configure"},
		{name: "flipped byte of the project's .deb", entry: file("usr/bin/y", "z"), two: []roottree.Entry{file("usr/bin/y", "y")}, by: map[string]stage.Actor{"install": byDpkg}, own: true, want: Unexplained},
		{name: "accepted", entry: file("var/lib/known", "k"), want: Unexplained},
		{name: "an owner by name", entry: of("usr/bin/x", 5, 0), one: []roottree.Entry{by("usr/bin/x", 0, "games")}, want: Archive},
		{name: "an owner by name, as its number says", entry: of("usr/bin/x", 0, 0), one: []roottree.Entry{by("usr/bin/x", 0, "games")}, want: Unexplained},
		{name: "an owner by a name of another number", entry: of("usr/bin/x", 6, 0), one: []roottree.Entry{by("usr/bin/x", 1000, "man")}, want: Archive},
		{name: "an owner by a name that nobody has", entry: of("usr/bin/x", 7, 0), one: []roottree.Entry{by("usr/bin/x", 7, "nobody-has")}, want: Archive},
		{name: "an owner who may have come later", entry: of("usr/bin/x", 0, 0), one: []roottree.Entry{by("usr/bin/x", 0, "service")}, want: Archive},
		{name: "an owner who was there before", entry: of("usr/bin/x", 998, 0), one: []roottree.Entry{by("usr/bin/x", 0, "service")}, want: Archive},
		{name: "an owner who is neither", entry: of("usr/bin/x", 997, 0), one: []roottree.Entry{by("usr/bin/x", 0, "service")}, want: Unexplained},
		{name: "a group by name", entry: of("usr/bin/x", 0, 60), one: []roottree.Entry{with(file("usr/bin/x", "x"), func(e *roottree.Entry) { e.Gname = "games" })}, want: Archive},
		{name: "diverted by another name of its place", entry: file("usr/bin/x", "x"), one: []roottree.Entry{file("usr/bin/x", "x")},
			change: func(r *Root) {
				r.DB.Diversions["bin/x"] = dpkgdb.Diversion{To: "bin/x.real", Package: "two"}
			}, want: Archive},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			packages, db := known()
			if c.own {
				packages[1].Origin, packages[1].Archive, packages[1].Path = Overlay, "project", "debs/two.deb"
			}
			entries := append([]roottree.Entry{}, base...)
			entries = append(entries, c.entry)
			tracer := NewTracer("x", "1", nil, packages)
			r := &Root{
				Tree: sortedTree(entries), DB: db, Owner: owner(packages), Installer: "install",
				Owners: ParseOwners([]byte("root:x:0:0::/:\ngames:x:5:60::/:\nman:x:6:12::/:\nman:x:66:12::/:\nodd\nservice:x:998:998::/:\n"), []byte("root:x:0:\ngames:x:60:\n")),
				Debs:   []Deb{{0, tree(append([]roottree.Entry{dir(".")}, c.one...)...)}, {1, tree(append([]roottree.Entry{dir(".")}, c.two...)...)}},
				Allow:  func(p string) string { return map[string]string{"var/lib/known": "it is known"}[p] },
			}
			for _, s := range []string{"sanitise", "customise", "install", "base"} {
				turn := Turn{Stage: s, Changes: &stage.Changes{Changed: map[string]stage.Actor{}}}
				if a, ok := c.by[s]; ok {
					turn.Changed[c.entry.Path] = a
				}
				r.Turns = append(r.Turns, turn)
			}
			if c.change != nil {
				c.change(r)
			}
			origins, err := tracer.Root(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range origins {
				if o.Path != c.entry.Path {
					continue
				}
				who := ""
				if o.By != nil {
					who = tracer.Head.Actors[*o.By].String()
				}
				was, err := json.Marshal(o.Was)
				if err != nil {
					t.Fatal(err)
				}
				if o.Kind != c.want || c.who != "" && who != c.who || c.was != "" && !strings.Contains(string(was), c.was) || len(o.Others) != c.others {
					t.Errorf("origin %s by %q, was %s, %d others; want %s by %q, was %s, %d others", o.Kind, who, was, len(o.Others), c.want, c.who, c.was, c.others)
				}
				if c.name == "accepted" && o.Allowed != "it is known" {
					t.Errorf("accepted for %q", o.Allowed)
				}
			}
		})
	}
}

// TestPrograms: whose a program is, by its .deb or by dpkg's list.
func TestPrograms(t *testing.T) {
	packages, db := known()
	db.Packages[2].Files = []string{"usr/sbin", "usr/sbin/useradd", "bin/both", "usr/bin/taken"}
	tracer := NewTracer("x", "1", nil, packages)
	_, err := tracer.Root(&Root{
		Tree: tree(dir("."), link("bin", "usr/bin"), dir("usr"), dir("usr/bin"), dir("usr/sbin")), DB: db, Owner: owner(packages), Installer: "install",
		Debs: []Deb{
			{0, tree(dir("."), file("usr/bin/taken", "1"), file("usr/bin/tool", "1"))},
			{1, tree(dir("."), file("usr/bin/tool.real", "2"), file("usr/libexec/hidden", "2"), file("usr/sbin/both", "2"))},
		},
		Allow: func(string) string { return "" },
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"tool": "one", "taken": "one", "both": "two", "useradd": "old", "hidden": "", "sbin": ""} {
		have := ""
		if a := tracer.Head.Actors[*tracer.Program("customise", name)]; a.Package != nil {
			have = packages[*a.Package].Name
		}
		if have != want {
			t.Errorf("%s is of package %q, want %q", name, have, want)
		}
	}
}

// sortedTree sorts entries and drops the folders that stand there twice.
func sortedTree(entries []roottree.Entry) *roottree.Manifest {
	byPath := map[string]roottree.Entry{}
	for _, e := range entries {
		byPath[e.Path] = e
	}
	m := &roottree.Manifest{}
	for _, p := range sortedPaths(byPath) {
		m.Entries = append(m.Entries, byPath[p])
	}
	return m
}

func TestInitrdAndAround(t *testing.T) {
	packages, db := known()
	tracer := NewTracer("x", "1", nil, packages)
	image := file("boot/initrd.img-6", "image")
	root := sortedTree([]roottree.Entry{dir("."), link("bin", "usr/bin"), dir("usr"), dir("usr/bin"), file("usr/bin/busybox", "bb"), image, file("usr/share/init", "init")})
	origins, err := tracer.Root(&Root{
		Tree: root, DB: db, Owner: owner(packages), Allow: func(string) string { return "" },
		Debs:  []Deb{{0, sortedTree([]roottree.Entry{dir("."), dir("usr"), dir("usr/bin"), file("bin/busybox", "bb"), file("usr/share/init", "init")})}},
		Turns: []Turn{{Stage: "install", Changes: &stage.Changes{Changed: map[string]stage.Actor{image.Path: byInitrd}}}},
	})
	if err != nil || len(origins) != len(root.Entries) {
		t.Fatal(err)
	}
	segments := []initrd.Segment{
		{Tree: tree(dir("."), file("init", "old"))},
		{Tree: tree(dir("."), link("bin", "usr/bin"), file("conf", "made"), file("init", "init"), file("sh", "bb"), dir("usr"), dir("usr/bin"))},
	}
	maker, err := tracer.Maker(image.Path)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, o := range tracer.Initrd(segments, root, maker) {
		have[o.Path] = string(o.Kind) + " " + o.Of
	}
	for path, want := range map[string]string{"init": "archive root:usr/share/init", "sh": "archive root:usr/bin/busybox", "conf": "generated ", "usr/bin": "archive root:usr/bin"} {
		if have[path] != want {
			t.Errorf("initrd %s: %q, want %q", path, have[path], want)
		}
	}
	if _, err := tracer.Maker("boot/other"); err == nil {
		t.Error("an image that nobody made has a maker")
	}
	tracer.Boot([]Deb{{1, tree(dir("."), file("boot/memtest", "mt"), file("usr/lib/grub/i386-pc/ls.mod", "ls"))}})
	around := tracer.Around([]Placed{
		{Path: "casper/initrd", Ref: artifact.Ref{Digest: image.SHA256}, Root: image.Path, Stage: "livetree"},
		{Path: "casper/initrd", Ref: artifact.Ref{Digest: artifact.HashBytes([]byte("another"))}, Root: image.Path, By: tracer.Program("kernel", "update-initramfs"), Stage: "livetree"},
		{Path: "boot/memtest.bin", Ref: artifact.Ref{Digest: artifact.HashBytes([]byte("mt"))}, Stage: "livetree"},
		{Path: "grub.cfg", Ref: artifact.Ref{Digest: artifact.HashBytes([]byte("cfg"))}, Stage: "livetree"},
		{Path: "boot/memory/v.efi", Ref: artifact.Ref{Digest: artifact.HashBytes([]byte("vendor"))}, Project: "project/v.efi", Stage: "livetree"},
		{Path: "stray", Ref: artifact.Ref{Digest: artifact.HashBytes([]byte("stray"))}},
	})
	for i, want := range []Kind{Generated, Generated, Archive, Stage, Overlay, Unexplained} {
		if around[i].Kind != want {
			t.Errorf("%s: %s, want %s", around[i].Path, around[i].Kind, want)
		}
	}
	grub := tracer.GRUB(&grubimage.Image{Platform: "i386-pc", Modules: []grubimage.Module{
		{Kind: "module", Name: "ls", SHA256: artifact.HashBytes([]byte("ls"))}, {Kind: "module", Name: "cat", SHA256: artifact.HashBytes([]byte("cat"))},
		{Kind: "module", Name: "other", SHA256: artifact.HashBytes([]byte("ls"))}, {Kind: "memdisk", SHA256: artifact.HashBytes([]byte("m"))},
	}}, "bootparts")
	for i, want := range []Kind{Archive, Unexplained, Unexplained, Stage} {
		if grub[i].Kind != want {
			t.Errorf("%s: %s, want %s", grub[i].Path, grub[i].Kind, want)
		}
	}
}

func TestNeeds(t *testing.T) {
	packages, db := known()
	db.Packages[0].Depends = "two (>= 1), virtual | absent"
	db.Packages[1].Depends = "one" // a circle
	db.Packages[2].Provides = "virtual (= 1)"
	tracer := NewTracer("x", "1", nil, packages)
	tracer.Needs(db, owner(packages), []Asked{{Name: "one", Place: "packages[0]", Requirements: []string{"R-2", "R-1"}}})
	if have := fmt.Sprint(packages[0].Needs, packages[1].Needs, packages[2].Needs); have != "[1 2] [0] []" {
		t.Errorf("needs: %s", have)
	}
	if have := fmt.Sprint(packages[2].Requirements); have != "[{R-1 [0 2]} {R-2 [0 2]}]" {
		t.Errorf("requirements: %s", have)
	}
	if len(packages[0].Asked) != 1 || packages[0].Asked[0] != "packages[0]: one" {
		t.Errorf("asked: %v", packages[0].Asked)
	}
}

// memory is a trace's files.
type memory map[string][]byte

func (m memory) open(name string) (File, error) {
	b, ok := m[name]
	if !ok {
		return nil, fmt.Errorf("%s: is not there", name)
	}
	return struct {
		io.ReaderAt
		io.Closer
	}{bytes.NewReader(b), io.NopCloser(nil)}, nil
}

// TestNoUTF8: a path, a target and what it is a copy of come back byte by byte, and
// the order of frames is that of the bytes.
func TestNoUTF8(t *testing.T) {
	origins := []Origin{{Path: "caf\xe9", Type: roottree.Link, Target: "na\xefve", Of: "root:\xff", Kind: Archive}}
	for i := range linesInFrame * 2 {
		origins = append(origins, Origin{Path: fmt.Sprintf("caf\xea%04d", i), Type: roottree.File, Kind: Stage})
	}
	files := memory{}
	var part bytes.Buffer
	p, err := WritePart(&part, PartRoot, origins)
	if err != nil {
		t.Fatal(err)
	}
	files[PartRoot+Suffix] = part.Bytes()
	head := Head{Format: Format, Parts: []Part{p}, Removed: []Removed{{Path: "caf\xe8", RawPath: raw("caf\xe8")}}, Packages: []Package{{Name: "x"}}}
	if files[HeadFile], err = head.Encode(); err != nil {
		t.Fatal(err)
	}
	trace, err := Open(files.open)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok, err := trace.Lookup(PartRoot, "caf\xe9"); err != nil || !ok || o.Target != "na\xefve" || o.Of != "root:\xff" || o.Raw != nil {
		t.Errorf("%+v, %t, %v", o, ok, err)
	}
	if o, ok, err := trace.Lookup(PartRoot, "caf\xea1000"); err != nil || !ok || o.Kind != Stage {
		t.Errorf("%+v, %t, %v", o, ok, err)
	}
	if _, ok, err := trace.Lookup(PartRoot, "caf\ufffd"); err != nil || ok {
		t.Errorf("the text without its bytes was found: %v", err)
	}
	if trace.Removed[0].Path != "caf\xe8" {
		t.Errorf("removed: %q", trace.Removed[0].Path)
	}
	files[HeadFile] = bytes.Replace(files[HeadFile], []byte(`"caf\ufffd","raw-path"`), []byte(`"other","raw-path"`), 1)
	if _, err := Open(files.open); err == nil || !strings.Contains(err.Error(), "another text") {
		t.Errorf("bytes of another text: %v", err)
	}
}

func TestStore(t *testing.T) {
	var origins []Origin
	for i := range 5000 {
		origins = append(origins, Origin{Path: fmt.Sprintf("usr/share/<%05d>\"\x01", 5000-i), Type: roottree.File, Kind: Archive, Size: 2, SHA256: artifact.HashBytes([]byte{byte(i)})})
	}
	origins[7].Kind = Generated
	files := memory{}
	var part bytes.Buffer
	p, err := WritePart(&part, PartRoot, origins)
	if err != nil {
		t.Fatal(err)
	}
	head := &Head{Format: Format, Parts: []Part{p}}
	files[PartRoot+Suffix] = part.Bytes()
	if files[HeadFile], err = head.Encode(); err != nil {
		t.Fatal(err)
	}
	tr, err := Open(files.open)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Frames) != 10 || p.Files != 5000 || p.Counts[0].Files != 4999 || p.Counts[1].Files != 1 {
		t.Errorf("part: %+v", p)
	}
	for _, o := range []Origin{origins[0], origins[511], origins[512], origins[4999]} {
		have, ok, err := tr.Lookup(PartRoot, o.Path)
		if err != nil || !ok || have.SHA256 != o.SHA256 {
			t.Errorf("%q: %+v, %v, %v", o.Path, have, ok, err)
		}
	}
	for _, missing := range []string{"a", "usr/share/<00000>x", "zzz", ""} {
		if _, ok, err := tr.Lookup(PartRoot, missing); ok || err != nil {
			t.Errorf("%q: found, %v", missing, err)
		}
	}
	n := 0
	if err := tr.Each(PartRoot, []byte(`"generated"`), func(Origin) bool { n++; return true }); err != nil || n != 1 {
		t.Errorf("%d generated, %v", n, err)
	}
	for name, spoil := range map[string]func(memory){
		"cut off":       func(m memory) { m[PartRoot+Suffix] = m[PartRoot+Suffix][:100] },
		"flipped":       func(m memory) { m[PartRoot+Suffix] = append([]byte{0}, m[PartRoot+Suffix][1:]...) },
		"other content": func(m memory) { m[PartRoot+Suffix] = m[PartRoot+Suffix][p.Frames[1].Offset:] },
		"missing":       func(m memory) { delete(m, PartRoot+Suffix) },
	} {
		spoilt := memory{HeadFile: files[HeadFile], PartRoot + Suffix: bytes.Clone(files[PartRoot+Suffix])}
		spoil(spoilt)
		tr, err := Open(spoilt.open)
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Each(PartRoot, nil, func(Origin) bool { return true }); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
}

func TestHeadRefused(t *testing.T) {
	for name, text := range map[string]string{
		"format":  `{"format":9}`,
		"unknown": `{"format":1,"more":1}`,
		"package": `{"format":1,"packages":[{"name":"a","needs":[5]}]}`,
		"actor":   `{"format":1,"actors":[{"stage":"x","name":"y","package":0}]}`,
		"removed": `{"format":1,"packages":[{"name":"a"}],"removed":[{"path":"x","package":0,"by":3}]}`,
		"part":    `{"format":1,"parts":[{"name":"../root"}]}`,
		"frames":  `{"format":1,"parts":[{"name":"root","frames":[{"first":"a","offset":7,"size":1,"plain":1}]}]}`,
		"bomb":    `{"format":1,"parts":[{"name":"root","frames":[{"first":"a","offset":0,"size":1,"plain":99999999999}]}]}`,
		"text":    `x`,
	} {
		if _, err := Open(memory{HeadFile: []byte(text)}.open); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
}

func FuzzOpen(f *testing.F) {
	var part bytes.Buffer
	p, err := WritePart(&part, PartRoot, []Origin{{Path: "a", Kind: Archive}, {Path: "b", Kind: Stage}})
	if err != nil {
		f.Fatal(err)
	}
	head := &Head{Format: Format, Parts: []Part{p}, Packages: []Package{{Name: "a"}}}
	text, err := head.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, part.Bytes())
	f.Add([]byte(`{"format":1}`), []byte(nil))
	f.Fuzz(func(t *testing.T, head, part []byte) {
		tr, err := Open(memory{HeadFile: head, PartRoot + Suffix: part}.open)
		if err != nil {
			return
		}
		_ = tr.Each(PartRoot, nil, func(o Origin) bool {
			if o.Package != nil {
				_ = tr.Packages[*o.Package].ID()
			}
			if o.By != nil {
				_ = tr.Actors[*o.By].String()
			}
			return true
		})
	})
}

func sortedPaths(m map[string]roottree.Entry) []string {
	return slices.Sorted(maps.Keys(m))
}
