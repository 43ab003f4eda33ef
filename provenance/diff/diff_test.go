package diff

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/tool"
	"github.com/isotrace/isotrace/internal/trace"
)

var update = flag.Bool("update", false, "write the goldens")

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
