package diff

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
	"github.com/isotrace/isotrace/internal/trace"
)

var update = flag.Bool("update", false, "write the goldens")

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

func TestExplained(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		// want are files, as CLASS PART:PATH because of CAUSES or the stage.
		want []string
	}{
		"nothing": {func(*world) {}, nil},
		"a package": {func(w *world) { w.versions["target/foo"] = "1.1-1" }, []string{
			"indirect root:etc/made: customise", "direct root:usr/bin/foo: package foo 1.0-1 → 1.1-1", "indirect root:var/cache/index: install",
			"direct root:var/lib/dpkg/info/foo.list: package foo 1.0-1 → 1.1-1",
			"indirect medium:casper/filesystem.squashfs: squashfs", "indirect medium:md5sum.txt: livetree"}},
		"the package that wrote it": {func(w *world) { w.versions["target/libfoo"] = "0.9-1" }, []string{
			"indirect root:etc/made: customise", "direct root:usr/lib/libfoo.so: package libfoo 1.0-1 → 0.9-1", "direct root:var/cache/index: package libfoo 1.0-1 → 0.9-1",
			"direct root:var/lib/dpkg/info/libfoo:amd64.list: package libfoo 1.0-1 → 0.9-1",
			"indirect medium:casper/filesystem.squashfs: squashfs", "indirect medium:md5sum.txt: livetree"}},
		"an overlay": {func(w *world) { w.files["project/files/etc/issue"] = "other\n" }, []string{
			"direct root:etc/issue: project/files/etc/issue is changed", "indirect medium:casper/filesystem.squashfs: squashfs", "indirect medium:md5sum.txt: livetree"}},
		"a script": {func(w *world) { w.files["project/scripts/run.sh"] = "#!/bin/bash\n" }, []string{
			"direct root:etc/made: project/scripts/run.sh is changed", "indirect medium:casper/filesystem.squashfs: squashfs", "indirect medium:md5sum.txt: livetree"}},
		"a setting": {func(w *world) {
			w.hostname, w.config = "other", strings.Replace(w.config, "hostname: toy", "hostname: other", 1)
		}, []string{
			"direct root:etc/hostname: config hostname", "indirect medium:casper/filesystem.squashfs: squashfs", "indirect medium:md5sum.txt: livetree"}},
		"a tool": {func(w *world) { w.versions["tools/squashfs-tools"] = "4.7-1" }, []string{
			"indirect medium:casper/filesystem.squashfs: squashfs", "indirect medium:md5sum.txt: livetree"}},
		"a boot package": {func(w *world) { w.versions["boot/grub"] = "2.13-1" }, []string{
			"direct medium:boot/grub.mod: boot package grub 2.12-1 → 2.13-1", "indirect medium:md5sum.txt: livetree"}},
		"isotrace itself": {func(w *world) { w.isotrace, w.version = "v2", 2 }, []string{
			"indirect medium:casper/filesystem.squashfs: squashfs", "indirect medium:md5sum.txt: livetree"}},
		"the epoch": {func(w *world) { w.epoch++ }, []string{
			"indirect medium:casper/filesystem.squashfs: squashfs", "indirect medium:md5sum.txt: livetree"}},
		"a comment in the config": {func(w *world) { w.config += "# more\n" }, []string{"indirect medium:md5sum.txt: livetree"}},
	} {
		w := newWorld()
		c.change(w)
		r, err := Compare(newWorld().model(t), w.model(t))
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, f := range r.Files {
			have = append(have, strings.TrimSuffix(fmt.Sprintf("%s %s:%s: %s", f.Class, f.Part, f.Path, f.Stage+causesText(f.Causes)), ": "))
		}
		if len(r.Unexplained) > 0 || r.Refused() != nil || !slices.Equal(have, c.want) {
			t.Errorf("%s: %v\nhave %q\nwant %q", name, r.Unexplained, have, c.want)
		}
		if (c.want == nil) != r.Same {
			t.Errorf("%s: the same: %v", name, r.Same)
		}
	}
}

func causesText(list []Cause) string {
	var words []string
	for _, c := range list {
		words = append(words, c.Text)
	}
	return strings.Join(words, ", ")
}

func TestUnexplained(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		want   []string
	}{
		"a stage gave something else": {func(w *world) {
			w.fault = func(m *Model) { m.Records["squashfs"].Products["squashfs/filesystem.squashfs"] = hash("planted") }
		}, []string{"stage squashfs: it took the same, and gave other squashfs/filesystem.squashfs"}},
		"a stage ran something else": {func(w *world) {
			w.fault = func(m *Model) {
				r := m.Records["iso"]
				r.Commands = append(r.Commands, tool.New("xorriso"))
				m.Records["iso"] = r
			}
		}, []string{"stage iso: it took the same, and gave other the commands that it ran"}},
		"parameters that nothing says": {func(w *world) { w.levels = `{"compression":"zstd","level":19}` },
			[]string{"stage squashfs: it took other parameters level, though neither config nor lock nor the project's files say so", "medium:/casper/filesystem.squashfs", "medium:/md5sum.txt"}},
		"parameters that another key would say": {func(w *world) {
			w.levels, w.config = `{"compression":"zstd","level":19}`, strings.Replace(w.config, "hostname: toy", "hostname: other", 1)
		}, []string{"stage squashfs: it took other parameters level", "medium:/casper/filesystem.squashfs"}},
		"a file of an unchanged package, hidden behind another": {func(w *world) {
			w.versions["target/libfoo"] = "1.1-1"
			w.fault = func(m *Model) { set(m, "usr/bin/foo", "install", "planted") }
		}, []string{"root:/usr/bin/foo: changed in sha256: it is of the same .deb in both builds"}},
		"what dpkg keeps of an unchanged package": {func(w *world) {
			w.versions["target/libfoo"] = "1.1-1"
			w.fault = func(m *Model) { set(m, "var/lib/dpkg/info/foo.list", "install", "planted") }
		}, []string{"root:/var/lib/dpkg/info/foo.list: changed in sha256: dpkg has it from the .deb of foo, which is the same in both builds"}},
		"a setting's file, though that stage took the same": {func(w *world) {
			w.versions["tools/squashfs-tools"] = "4.7-1"
			w.fault = func(m *Model) { set(m, "etc/hostname", "customise", "planted") }
		}, []string{"stage customise: it took the same", "root:/etc/hostname: changed in sha256: stage customise took the same in both builds"}},
		"a file gone from an unchanged package": {func(w *world) {
			w.versions["target/libfoo"] = "1.1-1"
			w.fault = func(m *Model) {
				gone := func(e roottree.Entry) bool { return e.Path == "usr/bin/foo" }
				for _, tree := range m.Trees {
					tree.Entries = slices.DeleteFunc(tree.Entries, gone)
				}
				m.Files["root"] = slices.DeleteFunc(m.Files["root"], func(o trace.Origin) bool { return o.Path == "usr/bin/foo" })
			}
		}, []string{"root:/usr/bin/foo: removed: package foo is the same in both builds, and nobody is known to have removed it"}},
		"another mode of an unchanged package's file": {func(w *world) {
			w.versions["target/libfoo"] = "1.1-1"
			w.fault = func(m *Model) {
				for i := range m.Trees["sanitise"].Entries {
					if e := &m.Trees["sanitise"].Entries[i]; e.Path == "usr/bin/foo" {
						e.Mode = 0o4755
					}
				}
			}
		}, []string{"root:/usr/bin/foo: changed in mode: it is of the same .deb in both builds"}},
	} {
		w := newWorld()
		c.change(w)
		r, err := Compare(newWorld().model(t), w.model(t))
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, u := range r.Unexplained {
			have = append(have, u.What+": "+u.Why)
		}
		if fault.ClassOf(r.Refused()) != fault.Refused || r.Same {
			t.Errorf("%s: is not refused", name)
		}
		for _, want := range c.want {
			if !slices.ContainsFunc(have, func(s string) bool { return strings.HasPrefix(s, want) }) {
				t.Errorf("%s: does not say %q: %q", name, want, have)
			}
		}
	}
}

func TestGolden(t *testing.T) {
	w := newWorld()
	w.versions["target/foo"] = "1.1-1"
	w.versions["target/<b>bar|"] = "1:2-3"
	w.versions["tools/squashfs-tools"] = "4.5-1"
	delete(w.versions, "boot/grub")
	w.versions["boot/grub2"] = "3-1"
	toyFetch["target/<b>bar|"], toyFetch["boot/grub2"] = "target", "boot"
	w.files["project/files/etc/issue"] = "other\n"
	w.files["project/files/etc/new<script>"] = "new\n"
	w.licence = "GPL-2.0-only"
	w.config = strings.Replace(strings.Replace(w.config, "requirements: [R-1]", "requirements: [R-1, R-3]", 1), "hostname: toy\n", "hostname: toy\ntitle: \"<img src=x>\"\n", 1)
	w.fault = func(m *Model) {
		m.Head.Requirements[1].Places = nil
		m.Head.Requirements = append(m.Head.Requirements, trace.Requirement{ID: "R-3", Title: "New *one*"})
		o := &m.Files["root"][len(m.Files["root"])-4]
		o.Kind, o.By, o.Package = trace.Modified, new(5), new(0)
	}
	a, b := newWorld().model(t), w.model(t)
	r, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Lock.Target {
		if b.Lock.Target[i].Name == "foo" {
			b.Lock.Target[i].SHA256 = artifact.HashBytes(fooDeb(t))
		}
	}
	if err := r.AddChangelogs(t.Context(), a, b, debs(t)); err != nil {
		t.Fatal(err)
	}
	for _, format := range append(Formats, "json") {
		var out bytes.Buffer
		if format == "json" {
			enc := json.NewEncoder(&out)
			enc.SetIndent("", "  ")
			err = enc.Encode(r)
		} else {
			err = r.Write(&out, format, Options{Files: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "golden."+format)
		if *update {
			if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s: is not the golden's (%v); -update writes it:\n%s", format, err, out.String())
		}
		if format == "html" && (strings.Contains(out.String(), "<img") || strings.Contains(out.String(), "<b>") || strings.Contains(out.String(), "<script")) {
			t.Error("html: what others wrote is not escaped")
		}
	}
	if err := r.Write(&bytes.Buffer{}, "pdf", Options{}); err == nil {
		t.Error("an unknown format is taken")
	}
}
