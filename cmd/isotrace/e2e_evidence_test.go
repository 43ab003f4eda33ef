package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/medium"
)

// TestInTotoVerify lets the Python in-toto of Debian hold a build to its owner's
// layout, inspection included, and then isotrace.
func TestInTotoVerify(t *testing.T) {
	p := released(t)
	work, verify := inTotoVerify(t, p)
	if out, err := verify("owner"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := verify("builder"); err == nil {
		t.Errorf("another owner's key was accepted:\n%s", out)
	}
	if out, code := p.run("verify", p.out(), "--owner-key", filepath.Join(p.dir, "keys", "owner.pub")); code != 0 ||
		!strings.Contains(out, "steps, each as the layout of ") || strings.Contains(out, "note ") {
		t.Errorf("verify: exit status %d\n%s", code, out)
	}
	if out, code := p.run("verify", p.out(), "--key", filepath.Join(p.dir, "keys", "builder.pub")); code != 0 ||
		!strings.Contains(out, "?     layout ") || !strings.Contains(out, "name it with --owner-key") {
		t.Errorf("verify without the owner's key: exit status %d\n%s", code, out)
	}
	if out, code := p.run("verify", p.out(), "--owner-key", filepath.Join(p.dir, "keys", "builder.pub")); code != 3 ||
		!strings.Contains(out, "FAIL  layout     layout.json: layout: is not signed by the owner's key") {
		t.Errorf("verify with another owner's key: exit status %d\n%s", code, out)
	}
	if out, code := p.run("verify", rescue(t).out(), "--owner-key", filepath.Join(p.dir, "keys", "owner.pub")); code != 3 ||
		!strings.Contains(out, "layout.json: is missing, and an owner's key was named") {
		t.Errorf("verify without a layout: exit status %d\n%s", code, out)
	}
	// One changed product of a link, and then one byte of the image.
	links, err := filepath.Glob(filepath.Join(work, "evidence", "links", "squashfs.*.link"))
	if err != nil || len(links) != 1 {
		t.Fatalf("%d links of squashfs, %v", len(links), err)
	}
	good := readAll(t, links[0])
	changed := bytes.Replace(good, []byte(`"squashfs/filesystem.squashfs": {`), []byte(`"squashfs/filesystem.squashfs2": {`), 1)
	if err := os.WriteFile(links[0], changed, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := verify("owner"); err == nil {
		t.Errorf("a changed link was accepted:\n%s", out)
	}
	if err := os.WriteFile(links[0], good, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := verify("owner"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	image, err := os.OpenFile(filepath.Join(work, "rescue.iso"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = image.WriteAt([]byte("changed"), 32768*10)
	if err := errors.Join(err, image.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := verify("owner"); err == nil {
		t.Errorf("a changed image was accepted:\n%s", out)
	}
}

// inTotoVerify is Debian's in-toto-verify with a copy of the output folder of a project
// in its folder work; verify is told whose key, by role, signed the layout.
func inTotoVerify(t *testing.T, p *project) (work string, verify func(owner string) (string, error)) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unpackDebian(t, root, "bookworm", "in-toto", "python3-minimal", "base-files", "libc-bin", "coreutils", "dash")
	work = filepath.Join(root, "work")
	if err := os.CopyFS(work, os.DirFS(p.out())); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"owner", "builder"} {
		out, err := exec.Command(e2e.binary, "keys", "show", "--in-toto", filepath.Join(p.dir, "keys", role+".pub")).Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, role+".json"), out, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return work, func(owner string) (string, error) {
		c := namespaced("root", root, "0", "/bin/sh", "-c", "cd /work && exec /usr/bin/python3 /usr/bin/in-toto-verify --verbose"+
			" --layout evidence/layout.json --layout-keys /"+owner+".json --key-types ecdsa --link-dir evidence/links")
		c.Env = []string{"PATH=/usr/bin:/bin", "HOME=/root", "PYTHONDONTWRITEBYTECODE=1"}
		out, err := c.CombinedOutput()
		return string(out), err
	}
}

// withLayout is examples/rescue built once more, from the store, with a layout.
func withLayout(t *testing.T, dir string) *project {
	t.Helper()
	return withOwner(t, dir, "layout", "--expires", "2099-12-31")
}

// withOwner has an owner of its own, and the layout that a command writes.
func withOwner(t *testing.T, dir string, layout ...string) *project {
	t.Helper()
	reference := rescue(t)
	p := &project{dir: dir}
	if err := p.copyOf(reference); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"keys", "new", "--role", "owner"}, {"keys", "new", "--role", "rebuilder"}, layout, {"build"}} {
		if out, code := p.run(args...); code != 0 {
			t.Fatalf("%v: exit status %d\n%s", args, code, out)
		}
	}
	return p
}

func copyFileTo(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTampered changes one thing at a time in a finished output and asks what
// verify says of it.
func TestTampered(t *testing.T) {
	p := rescue(t)
	pub := filepath.Join(p.dir, "keys", "builder.pub")
	other, err := newProject(filepath.Join(t.TempDir(), "other"), "rescue")
	if err != nil {
		t.Fatal(err)
	}
	evidence := func(elem ...string) string { return p.out(append([]string{"evidence"}, elem...)...) }
	link := func(stage string) string {
		found, err := filepath.Glob(evidence("links", stage+".*.link"))
		if err != nil || len(found) != 1 {
			t.Fatalf("link of %s: %v, %v", stage, found, err)
		}
		return found[0]
	}
	edit := func(file, old, with string) func(*testing.T) {
		return func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(b, []byte(old)) {
				t.Fatalf("%s does not hold %q", file, old)
			}
			replace(t, file, bytes.Replace(b, []byte(old), []byte(with), 1))
		}
	}
	cases := []struct {
		name   string
		change func(*testing.T)
		key    string
		rule   string // of the first FAIL line
		says   []string
	}{
		{"key of somebody else", func(*testing.T) {}, filepath.Join(other.dir, "keys", "builder.pub"), "evidence", []string{"SHA256SUMS: the signature does not verify"}},
		{"byte of the squashfs", flip(p.iso(), "casper/filesystem.squashfs"), pub, "image", []string{"rescue.iso: its SHA-256", "casper/filesystem.squashfs: its SHA-256"}},
		{"byte of the kernel", flip(p.iso(), "casper/vmlinuz"), pub, "image", []string{"medium     casper/vmlinuz", "checksums  casper/vmlinuz: its MD5"}},
		{"byte of the BIOS image", flip(p.iso(), "boot/grub/bios.img"), pub, "image", []string{"boot/grub/bios.img"}},
		{"byte of the EFI system partition", flip(p.iso(), ""), pub, "image", []string{"rescue.iso: the SHA-256 of its EFI system partition"}},
		{"image cut short", func(t *testing.T) { replace(t, p.iso(), readAll(t, p.iso())[:100<<20]) }, pub, "image", []string{"rescue.iso"}},
		{"image gone", func(t *testing.T) { remove(t, p.iso()) }, pub, "image", []string{"rescue.iso: is missing"}},
		{"product of a link", edit(link("iso"), `"iso/rescue.iso"`, `"iso/other.iso"`), pub, "evidence", []string{"links/iso.", "is not signed by key"}},
		{"link gone", func(t *testing.T) { remove(t, link("customise")) }, pub, "evidence", []string{"is missing", "there is no link of stage customise"}},
		{"lock", edit(evidence("isotrace.lock"), "name: apt\n    version: ", "name: apt\n    version: 9:"), pub, "evidence", []string{"isotrace.lock: its SHA-256", "is another package in the index"}},
		{"config", edit(evidence("isotrace.yaml"), "sudo", "doas"), pub, "evidence", []string{"isotrace.yaml: its SHA-256", "does not belong to isotrace.yaml"}},
		{"index", func(t *testing.T) {
			f := evidence("archives", "debian", "dists", "trixie-updates", "main", "binary-amd64", "Packages.xz")
			replace(t, f, append(readAll(t, f), 0))
		}, pub, "evidence", []string{"trixie-updates/main/binary-amd64/Packages.xz: its SHA-256"}},
		{"manifest of the root tree", edit(evidence("manifest", "sanitise", "root.mtree"), "mode=0640", "mode=0644"), pub, "evidence", []string{"manifest/sanitise/root.mtree: its SHA-256"}},
		{"file too many", func(t *testing.T) { replace(t, evidence("note.txt"), []byte("hello")) }, pub, "evidence", []string{"note.txt: is not in SHA256SUMS"}},
		{"link to the host", func(t *testing.T) {
			remove(t, evidence("builder.pub"))
			if err := os.Symlink("/etc/passwd", evidence("builder.pub")); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(evidence("builder.pub")) })
		}, pub, "evidence", []string{"builder.pub: is not a regular file"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.change(t)
			out, code := p.run("verify", p.out(), "--key", c.key)
			if code != 3 {
				t.Fatalf("exit status %d, want 3:\n%s", code, out)
			}
			_, first, _ := strings.Cut(out, "FAIL  ")
			if rule, _, _ := strings.Cut(first, " "); rule != c.rule {
				t.Errorf("the first rule that fails is %q, want %q:\n%s", rule, c.rule, out)
			}
			for _, want := range c.says {
				if !strings.Contains(out, want) {
					t.Errorf("does not say %q:\n%s", want, out)
				}
			}
			if strings.Count(out, "isotrace: error:") != 1 {
				t.Errorf("want one error line:\n%s", out)
			}
		})
	}
	if out, code := p.run("verify", p.out(), "--key", pub); code != 0 {
		t.Fatalf("after all was put back: exit status %d\n%s", code, out)
	}
}

func readAll(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// replace puts another file in a file's place until the test ends.
func replace(t *testing.T, file string, b []byte) {
	t.Helper()
	aside := file + ".aside"
	if err := os.Rename(file, filepath.Join(e2e.dir, filepath.Base(aside))); err == nil {
		t.Cleanup(func() {
			if err := os.Rename(filepath.Join(e2e.dir, filepath.Base(aside)), file); err != nil {
				t.Error(err)
			}
		})
	} else {
		t.Cleanup(func() {
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		})
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	replace(t, file, nil)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte in the middle of a file of the image, or, without a
// name, of its EFI system partition. The image is replaced by a changed copy: its bytes may be the store's, too.
func flip(iso, name string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		image, err := medium.OpenISO(iso)
		if err != nil {
			t.Fatal(err)
		}
		extent := image.Files[name]
		if name == "" {
			extent, _, err = image.SystemPartition()
		}
		if err := errors.Join(err, image.Close()); err != nil {
			t.Fatal(err)
		}
		if extent.Size == 0 {
			t.Fatalf("the image has no %s", name)
		}
		b := readAll(t, iso)
		b[extent.Offset+extent.Size/2] ^= 0x10
		replace(t, iso, b)
	}
}
