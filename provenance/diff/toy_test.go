package diff

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

// world is what a toy of a build is made from: each stage hashes what it takes.
type world struct {
	versions map[string]string // of packages, by SET/NAME
	files    map[string]string // of the project
	config   string
	hostname string
	epoch    epoch.Epoch
	isotrace string
	levels   string // parameters of squashfs
	version  int    // of stage squashfs
	licence  string // of foo
	// fault changes what the build gives behind its back.
	fault func(*Model)
}

func newWorld() *world {
	return &world{
		versions: map[string]string{"target/foo": "1.0-1", "target/libfoo": "1.0-1", "boot/grub": "2.12-1", "tools/squashfs-tools": "4.6-1"},
		files:    map[string]string{"project/files/etc/issue": "hello\n", "project/scripts/run.sh": "#!/bin/sh\n"},
		config:   "name: toy\nrelease: \"1\"\nbase: {bootstrap: trixie}\narchives:\n  - {suite: trixie, components: [main], signed-by: k}\npackages:\n  - {name: foo, requirements: [R-1]}\noverlay:\n  - {from: files, to: /, requirements: [R-2]}\nscripts: [scripts/run.sh]\nhostname: toy\n",
		hostname: "toy", epoch: 1700000000, isotrace: "v1", levels: `{"compression":"zstd","level":3}`, version: 1, licence: "MIT",
	}
}

func hash(parts ...any) artifact.Digest { return artifact.HashBytes([]byte(fmt.Sprint(parts...))) }

// uses are what the packages are for, and set the fetch stage's name for it.
var toyFetch = map[string]string{"target/libfoo": "base", "target/foo": "target", "boot/grub": "boot", "tools/squashfs-tools": "tools"}

func (w *world) model(t *testing.T) *Model {
	t.Helper()
	m := &Model{
		Name: "toy", Release: "1", Key: strings.Repeat("ab", 32), Config: []byte(w.config), Records: map[string]stage.Record{},
		Head: &trace.Head{Packages: []trace.Package{}}, Files: map[string][]trace.Origin{}, Trees: map[string]*roottree.Manifest{}, Root: "sanitise",
		Lock: &lockfile.Lock{Format: 1, Epoch: w.epoch, Architecture: "amd64", Archives: []lockfile.Archive{{ID: "debian/trixie", Repository: "debian", Suite: "trixie", Date: "2026-01-01T00:00:00Z"}}},
	}
	if _, err := config.Parse("isotrace.yaml", m.Config); err != nil {
		t.Fatal(err)
	}
	fetched := map[string]artifact.Digest{}
	index := map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(w.versions)) {
		set, name, _ := strings.Cut(key, "/")
		version := w.versions[key]
		p := lockfile.Package{Name: name, Version: version, Architecture: "amd64", Source: "foo", SourceVersion: version, Archive: "debian/trixie",
			Path: "pool/" + name + "_" + version + "_amd64.deb", Size: 1, SHA256: hash("deb", name, version), For: []lockfile.Use{lockfile.UseBuild}}
		fetched["fetch/"+toyFetch[key]+"/debian/"+p.Path] = p.SHA256
		switch set {
		case SetTarget:
			m.Lock.Target = append(m.Lock.Target, p)
		case SetBoot:
			m.Lock.Boot = append(m.Lock.Boot, p)
		default:
			m.Lock.Tools = append(m.Lock.Tools, p)
			continue
		}
		index[key] = len(m.Head.Packages)
		tp := trace.Package{Name: name, Architecture: "amd64", Version: version, Source: p.Source, SourceVersion: version, Set: set, Origin: trace.Archive, Archive: p.Archive, Path: p.Path, SHA256: p.SHA256}
		if name == "foo" {
			tp.Licence, tp.Requirements = w.licence, []trace.Serves{{ID: "R-1", Path: []int{0}}}
		}
		m.Head.Packages = append(m.Head.Packages, tp)
	}
	var err error
	if m.LockText, err = m.Lock.Encode(); err != nil {
		t.Fatal(err)
	}
	m.Head.Requirements = []trace.Requirement{{ID: "R-1", Title: "Foo", Places: []string{"packages[0]"}}, {ID: "R-2", Places: []string{"overlay[0]"}, Files: []string{"project/files"}}}
	record := func(name, params string, version int, materials map[string]artifact.Digest, products ...string) {
		r := stage.Record{Name: name, Version: version, Params: json.RawMessage(params), Epoch: w.epoch, Materials: materials, Products: map[string]artifact.Digest{}}
		for _, p := range products {
			r.Products[name+"/"+p] = hash(name, p, params, version, w.epoch, materials)
		}
		m.Records[name] = r
	}
	record("fetch", `[]`, 1, map[string]artifact.Digest{"project/isotrace.lock": artifact.HashBytes(m.LockText)})
	fetch := m.Records["fetch"]
	fetch.Products = fetched
	from := func(sets ...string) map[string]artifact.Digest {
		all := map[string]artifact.Digest{}
		for name, d := range fetched {
			if slices.Contains(sets, strings.Split(name, "/")[1]) {
				all[name] = d
			}
		}
		return all
	}
	with := func(of map[string]artifact.Digest, names ...string) map[string]artifact.Digest {
		all := maps.Clone(of)
		for _, n := range names {
			if all == nil {
				all = map[string]artifact.Digest{}
			}
			maker, _, _ := strings.Cut(n, "/")
			all[n] = m.Records[maker].Products[n]
		}
		return all
	}
	project := map[string]artifact.Digest{}
	for name, text := range w.files {
		project[name] = artifact.HashBytes([]byte(text))
	}
	record("base", "null", 1, from("base"), "root.mtree")
	record("install", "null", 1, with(from("target"), "base/root.mtree"), "root.mtree")
	var placed []string
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		if to, ok := strings.CutPrefix(name, "project/files"); ok {
			placed = append(placed, fmt.Sprintf(`{"material":%q,"to":%q,"mode":420,"uid":0,"gid":0}`, name, to))
		}
	}
	record("customise", fmt.Sprintf(`{"files":[%s],"hostname":%q}`, strings.Join(placed, ","), w.hostname), 1, with(project, "install/root.mtree"), "root.mtree")
	record("sanitise", "null", 1, with(nil, "customise/root.mtree"), "root.mtree")
	record("toolbox", "null", 1, from("tools"), "tools.mtree")
	record("bootset", "null", 1, from("boot"), "boot.mtree")
	record("squashfs", w.levels, w.version, with(nil, "sanitise/root.mtree", "toolbox/tools.mtree"), "filesystem.squashfs")
	record("bootparts", "null", 1, with(nil, "bootset/boot.mtree", "toolbox/tools.mtree"), "bios.img")
	record("livetree", "null", 1, with(map[string]artifact.Digest{"project/isotrace.yaml": artifact.HashBytes(m.Config)}, "squashfs/filesystem.squashfs", "bootparts/bios.img"), "tree/md5sum.txt")
	record("iso", `{"file":"toy.iso"}`, 1, with(nil, "livetree/tree/md5sum.txt", "squashfs/filesystem.squashfs"), "toy.iso")
	record("sbom", fmt.Sprintf(`{"isotrace":%q}`, w.isotrace), 1, with(nil, "iso/toy.iso"), "sbom/toy.cdx.json")

	actors := []trace.Actor{
		{Stage: "customise", Actor: stage.Actor{Kind: stage.ByOverlay, Name: "project/files/etc/issue"}},
		{Stage: "customise", Actor: stage.Actor{Kind: stage.BySetting, Name: "hostname"}},
		{Stage: "install", Actor: stage.Actor{Kind: stage.ByPackage, Name: "libfoo", Script: "postinst", Action: "triggered"}, Package: new(index["target/libfoo"])},
		{Stage: "install", Actor: stage.Actor{Kind: stage.ByProgram, Name: "apt-get"}},
		{Stage: "squashfs", Actor: stage.Actor{Kind: stage.ByStage, Name: "squashfs"}},
		{Stage: "customise", Actor: stage.Actor{Kind: stage.ByScript, Name: "project/scripts/run.sh"}},
		{Stage: "livetree", Actor: stage.Actor{Kind: stage.ByStage, Name: "livetree"}},
	}
	m.Head.Actors = actors
	seen := fmt.Sprint(w.versions["target/foo"], w.versions["target/libfoo"])
	tree := func(part, path string, content any, kind trace.Kind, pkg string, by int, since string) {
		o := trace.Origin{Path: path, Type: roottree.File, SHA256: hash(content), Size: int64(len(fmt.Sprint(content))), Kind: kind}
		if pkg != "" {
			o.Package = new(index[pkg])
		}
		if by >= 0 {
			o.By = &by
		}
		m.Files[part] = append(m.Files[part], o)
		on := false
		for _, s := range []string{"base", "install", "customise", "sanitise"} {
			if on = on || s == since; on {
				if m.Trees[s] == nil {
					m.Trees[s] = &roottree.Manifest{}
				}
				m.Trees[s].Entries = append(m.Trees[s].Entries, roottree.Entry{Path: path, Type: o.Type, Mode: 0o644, Size: o.Size, SHA256: o.SHA256})
			}
		}
	}
	tree("root", "etc/hostname", w.hostname, trace.Stage, "", 1, "customise")
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		if to, ok := strings.CutPrefix(name, "project/files/"); ok {
			tree("root", to, w.files[name], trace.Overlay, "", 0, "customise")
		}
	}
	tree("root", "etc/made", w.files["project/scripts/run.sh"]+seen, trace.Overlay, "", 5, "customise")
	tree("root", "usr/bin/foo", "foo "+w.versions["target/foo"], trace.Archive, "target/foo", -1, "install")
	tree("root", "usr/lib/libfoo.so", "lib "+w.versions["target/libfoo"], trace.Archive, "target/libfoo", -1, "base")
	tree("root", "var/cache/index", "index "+seen, trace.Generated, "", 2, "install")
	tree("root", "var/lib/dpkg/info/foo.list", "list "+w.versions["target/foo"], trace.Generated, "", 3, "install")
	tree("root", "var/lib/dpkg/info/libfoo:amd64.list", "list "+w.versions["target/libfoo"], trace.Generated, "", 3, "install")
	tree("medium", "boot/grub.mod", "grub "+w.versions["boot/grub"], trace.Archive, "boot/grub", -1, "")
	tree("medium", "casper/filesystem.squashfs", m.Records["squashfs"].Products["squashfs/filesystem.squashfs"], trace.Stage, "", 4, "")
	tree("medium", "md5sum.txt", m.Records["livetree"].Products["livetree/tree/md5sum.txt"], trace.Stage, "", 6, "")
	slices.SortFunc(m.Files["root"], func(a, b trace.Origin) int { return strings.Compare(a.Path, b.Path) })
	for _, tree := range m.Trees {
		slices.SortFunc(tree.Entries, func(a, b roottree.Entry) int { return strings.Compare(a.Path, b.Path) })
	}
	m.Files["medium"][1].SHA256 = m.Records["squashfs"].Products["squashfs/filesystem.squashfs"]
	if w.fault != nil {
		w.fault(m)
	}
	m.Images = []artifact.Ref{{Path: "toy.iso", Digest: m.Records["iso"].Products["iso/toy.iso"], Size: 1000 + int64(len(w.config))}}
	return m
}

// set changes a file of the root tree, from a stage on, in tree and trace, and the
// product of that stage as such a build would have it.
func set(m *Model, path, since, content string) {
	on := false
	for _, s := range []string{"base", "install", "customise", "sanitise"} {
		if on = on || s == since; on {
			for i := range m.Trees[s].Entries {
				if e := &m.Trees[s].Entries[i]; e.Path == path {
					e.SHA256 = hash(content)
				}
			}
			m.Records[s].Products[s+"/root.mtree"] = hash(s, content)
		}
	}
	for i := range m.Files["root"] {
		if o := &m.Files["root"][i]; o.Path == path {
			o.SHA256 = hash(content)
		}
	}
}
