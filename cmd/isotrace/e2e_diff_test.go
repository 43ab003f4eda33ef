package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/provenance/diff"
)

// newer are packages that the test's own archive has in a newer version than Debian: one
// of the image, and one of the tools.
var newer = map[string]string{"laptop-detect": "usr/share/doc/laptop-detect/changelog.gz", "dosfstools": ""}

// newerSuffix is what the test's archive adds to their versions.
const newerSuffix = "+isotrace1"

// renewed is a package as it was, but for its version and what its changelog says.
func renewed(t *testing.T, content []byte) (control string, again []byte) {
	t.Helper()
	d, err := deb.Open(bytes.NewReader(content), int64(len(content)), deb.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Control()
	if err != nil {
		t.Fatal(err)
	}
	name, version := c.Get("Package"), c.Get("Version")+newerSuffix
	c.Fields["Version"] = version
	log := newer[name]
	var files []archivetest.File
	err = d.Walk(func(path string, h *tar.Header, r io.Reader) error {
		text, err := io.ReadAll(r)
		f := archivetest.File{Path: path, Content: string(text), Mode: h.Mode, Symlink: h.Linkname, UID: h.Uid, GID: h.Gid}
		switch {
		case path == ".":
			return err
		case h.Typeflag == tar.TypeDir:
			f.Path += "/"
		case path == log:
			f.Content = string(archivetest.Compress(t, "gz", []byte(name+" ("+version+") unstable; urgency=low\n\n  * Made for a test.\n\n -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n")))
		}
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, archivetest.File{Path: "usr/share/doc/" + name + "/made-for-a-test", Content: "yes\n"})
	control = controlText(c)
	return control, archivetest.BuildDeb(t, control, "gz", files...)
}

// compared runs isotrace diff --json.
func compared(t *testing.T, p *project, code int, args ...string) *diff.Result {
	t.Helper()
	c := p.command(append([]string{"diff", "--json", "--files"}, args...)...)
	out, err := c.Output()
	if c.ProcessState.ExitCode() != code {
		t.Fatalf("%v: exit status %d, want %d: %v\n%s", args, c.ProcessState.ExitCode(), code, err, out)
	}
	r := &diff.Result{}
	if err := json.Unmarshal(out, r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// explained wants a file's change to be explained so.
func explained(t *testing.T, r *diff.Result, part, path, class, says string) {
	t.Helper()
	i := slices.IndexFunc(r.Files, func(f diff.FileChange) bool { return f.Part == part && f.Path == path })
	if i < 0 {
		t.Errorf("%s:/%s does not differ", part, path)
		return
	}
	f := r.Files[i]
	text := f.Stage + f.Why
	for _, c := range f.Causes {
		text += " " + c.Text
	}
	if f.Class != class || !strings.Contains(text, says) {
		t.Errorf("%s:/%s: %s by %q, want %s by %q", part, path, f.Class, text, class, says)
	}
}

// TestDiff compares a release with itself, and with one whose ISO somebody patched.
func TestDiff(t *testing.T) {
	p := released(t)
	if r := compared(t, p, 0, append([]string{p.out(), p.out()}, p.trust()...)...); !r.Same || len(r.Files)+len(r.Packages)+len(r.Unexplained)+len(r.Weaker) > 0 || !r.Candidate.Released {
		t.Errorf("with itself: %+v", r)
	}
	bad := copyOfOut(t, p)
	iso := filepath.Join(bad, "rescue.iso")
	b := readAll(t, iso)
	b[len(b)/2] ^= 1
	if err := os.WriteFile(iso, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code := p.run(append([]string{"diff", p.out(), bad}, p.trust()...)...); code != 3 || !strings.Contains(out, bad+": verification failed: ") || !strings.Contains(out, "image") {
		t.Errorf("patched: exit status %d\n%s", code, out)
	}
	if out, code := p.run("diff", p.out(), p.out(), "--format", "pdf"); code != 2 {
		t.Errorf("another format: exit status %d\n%s", code, out)
	}
}

// diffOverlay compares the reference with a build that has a file and a boot parameter
// more.
func diffOverlay(t *testing.T, reference, p *project, file string) {
	t.Helper()
	r := compared(t, p, 0, reference.out(), p.out())
	explained(t, r, "root", file, diff.Direct, "project/files/"+file+" is added")
	explained(t, r, "medium", "boot/grub/grub.cfg", diff.Indirect, "livetree")
	if len(r.Packages) > 0 || len(r.Project) != 1 || r.Config.Lines == "" || !slices.ContainsFunc(r.Requirements, func(c diff.RequirementChange) bool { return c.ID == "RSC-4" }) {
		t.Errorf("packages %+v, project %+v, requirements %+v", r.Packages, r.Project, r.Requirements)
	}
	for _, f := range r.Files {
		if f.Part == "root" && f.Class != diff.Direct {
			t.Errorf("%+v", f)
		}
	}
}

// diffTools compares the reference with a build that has more tools, for more outputs.
func diffTools(t *testing.T, reference, p *project) {
	t.Helper()
	r := compared(t, p, 0, reference.out(), p.out())
	tools := 0
	for _, c := range r.Packages {
		if c.Set != diff.SetTools {
			t.Errorf("%+v", c)
		}
		tools++
	}
	state := map[string]string{}
	for _, s := range r.Stages {
		state[s.Stage] = s.State
	}
	if tools == 0 || state["toolbox"] != diff.StageExplained || state["squashfs"] != diff.StageUnaffected || state["install"] != diff.StageSame {
		t.Errorf("%d tools, stages %v", tools, state)
	}
	for _, f := range r.Files {
		if f.Part != "disk" {
			t.Errorf("%+v", f)
		}
	}
}

// diffArchive compares the reference with the build from the test's own archive, which has
// newer packages, others, and lacks some.
func diffArchive(t *testing.T, reference, p *project) {
	t.Helper()
	key := filepath.Join(reference.dir, "keys", "builder.pub")
	r := compared(t, p, 0, reference.out(), p.out(), "--baseline-key", key, "--key", filepath.Join(p.dir, "keys", "builder.pub"))
	change := map[string]string{}
	for _, c := range r.Packages {
		change[c.Set+" "+c.Name] = c.Change
	}
	for name, want := range map[string]string{
		"target laptop-detect": diff.Up, "tools dosfstools": diff.Up, "target casper": diff.New, "target live-boot": diff.Gone, "target ca-certificates": diff.Moved, "target bash": "",
	} {
		if change[name] != want {
			t.Errorf("%s: is %q, want %q", name, change[name], want)
		}
	}
	explained(t, r, "root", "usr/share/doc/laptop-detect/made-for-a-test", diff.Direct, "package laptop-detect ")
	explained(t, r, "root", "var/lib/dpkg/info/laptop-detect.list", diff.Direct, "package laptop-detect ")
	explained(t, r, "root", "var/lib/dpkg/status", diff.Indirect, "install")
	i := slices.IndexFunc(r.Changelogs, func(c diff.Changelog) bool { return c.Source == "laptop-detect" })
	if i < 0 || len(r.Changelogs[i].Entries) != 1 || r.Changelogs[i].Entries[0].Text != "  * Made for a test." {
		t.Errorf("changelogs: %+v", r.Changelogs)
	}
}

// TestBaselines enters a release, asks for what it holds, and changes the register.
func TestBaselines(t *testing.T) {
	p := released(t)
	register := filepath.Join(p.dir, "baselines")
	t.Cleanup(func() {
		if err := os.RemoveAll(register); err != nil {
			t.Error(err)
		}
	})
	expect := func(code int, says string, args ...string) string {
		t.Helper()
		out, have := p.run(args...)
		if have != code || !strings.Contains(out, says) {
			t.Errorf("%v: exit status %d, want %d, and %q:\n%s", args, have, code, says, out)
		}
		return out
	}
	expect(0, "0 baselines", "baseline", "check")
	expect(3, "the release is signed by ", "baseline", "add", p.out(), "--key", filepath.Join(p.dir, "keys", "builder.key"))
	expect(0, "baseline 1, rescue-1.0.0, of ", append([]string{"baseline", "add", p.out(), "--problem", "PR-2", "--problem", "PR-1"}, p.trust()...)...)
	first := digests(t, register)
	expect(0, "problems PR-1, PR-2", "baseline", "list")
	expect(0, "affected      RSC-1, RSC-2, RSC-3, RSC-4", "baseline", "show", "rescue-1.0.0")
	expect(2, "is not in the register", "baseline", "show", "other")
	expect(0, "package  target bash:amd64=", "baseline", "which", "bash")
	expect(0, "image  rescue.iso", "baseline", "which", string(digestOf(t, p.iso())))
	expect(0, "none of 1 baselines holds", "baseline", "which", "bash=0")
	issue := digestOf(t, filepath.Join(p.dir, "files", "etc", "issue"))
	expect(0, "file  root:/etc/issue", "baseline", "which", string(issue))
	expect(2, "is there already", "baseline", "add", p.out())
	expect(0, "requirements affected: none", "baseline", "add", p.out(), "--name", "again", "--date", "2026-05-06")
	if !strings.Contains(digests(t, register), strings.Split(first, "\n")[0]) {
		t.Error("a second baseline changed the first")
	}
	out := expect(0, "ok    2 baselines", "baseline", "check")
	_, head, _ := strings.Cut(strings.TrimSpace(out), "head  ")
	expect(0, "ok    2 baselines", "baseline", "check", "--head", head)
	last, err := filepath.Glob(filepath.Join(register, "0002-*"))
	if err != nil || len(last) != 3 {
		t.Fatalf("%v, %v", last, err)
	}
	for _, f := range last {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	expect(0, "ok    1 baselines", "baseline", "check") // that cannot be seen
	expect(3, "the last entry has sha256 ", "baseline", "check", "--head", head)
	entry := filepath.Join(register, "0001-rescue-1.0.0.json")
	text := bytes.Replace(readAll(t, entry), []byte("PR-2"), []byte("PR-3"), 1)
	if err := os.WriteFile(entry, text, 0o644); err != nil {
		t.Fatal(err)
	}
	expect(3, "FAIL  0001-rescue-1.0.0.json: is not signed by key ", "baseline", "check")
	expect(3, "0001-rescue-1.0.0.json: is not signed by key ", "baseline", "which", "bash")
}
