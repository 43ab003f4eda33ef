package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// TestDisks makes disks beside the ISO of the example, in all formats, has stock tools
// look at them, boots them, and finds what was changed in one.
func TestDisks(t *testing.T) {
	t.Parallel()
	p := withDisks(t, rescue(t))
	diffTools(t, rescue(t), p)
	if out, err := namespaced("hard-cases-of-disks", p.dir, e2e.store).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	vhd, raw := readAll(t, p.out("rescue.vhd")), readAll(t, p.out("rescue.img"))
	if len(vhd)%diskimage.MiB != diskimage.FooterSize || !bytes.Equal(vhd[:len(vhd)-diskimage.FooterSize], raw) {
		t.Errorf("the VHD of %d bytes is not the disk of %d and a footer", len(vhd), len(raw))
	}
	stockTools(t, p, raw)
	sameAgain(t, p)
	bootAll(t, p, []bootCase{
		{"secureboot", "vhd", "try", "", 0, "rescue login:", "Secure boot enabled"},
		{"bios", "vhd", "try", "", 0, "rescue login:", ""},
	})
	for path, says := range map[string][]string{
		"disk:/boot/grub/grub.cfg":                         {"rescue.", "origin: stage", "in stage diskboot"},
		"disk:[EFI system partition]/EFI/BOOT/GRUBX64.EFI": {"origin: archive", "package grub-efi-amd64-signed"},
		"disk:[BIOS boot partition]/i386-pc/ext2.mod":      {"origin: archive", "package grub-pc-bin"},
	} {
		out, code := p.run("trace", p.out(), path)
		for _, s := range says {
			if code != 0 || !strings.Contains(out, s) {
				t.Errorf("%s: exit status %d, does not say %q:\n%s", path, code, s, out)
			}
		}
	}
	lockOnDisk(t, p)
	tamperWithDisks(t, p, raw)
}

// lockOnDisk takes the VHD as the base of another project: its packages are those that
// were locked for the disk, and the archives have the .deb of each.
func lockOnDisk(t *testing.T, p *project) {
	t.Helper()
	on := &project{dir: filepath.Join(t.TempDir(), "on-disk")}
	if err := os.CopyFS(filepath.Join(on.dir, "keys"), os.DirFS(filepath.Join(p.dir, "keys"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(p.out("rescue.vhd"), filepath.Join(on.dir, "rescue.vhd")); err != nil {
		t.Fatal(err)
	}
	text := string(readAll(t, filepath.Join(p.dir, config.FileName)))
	_, archives, _ := strings.Cut(text, "\narchives:\n")
	archives, _, _ = strings.Cut(archives, "\n\n")
	text = "name: on-disk\nrelease: \"1\"\nbase: {disk: rescue.vhd}\npackages: [less]\narchives:\n" + archives + "\n"
	if err := os.WriteFile(filepath.Join(on.dir, config.FileName), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code := on.run("lock"); code != 0 {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	l, before := readLock(t, on), readLock(t, p)
	proofs := lockfile.Count(l.Target, lockfile.UseProof)
	if l.Image == nil || len(l.Image.Packages) != len(before.Target) || proofs != len(before.Target) || len(l.Target) != proofs+1 {
		t.Errorf("%d packages on the disk, %d proofs, %d in all; the disk's lock has %d", len(l.Image.Packages), proofs, len(l.Target), len(before.Target))
	}
}

// withDisks is the project with disks among its outputs. It has the same keys, so that
// only these are built.
func withDisks(t *testing.T, reference *project) *project {
	t.Helper()
	p := &project{dir: filepath.Join(t.TempDir(), "disks")}
	if err := p.copyOf(reference); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(p.dir, config.FileName)
	text := append(readAll(t, at), "\noutputs: [iso, vhd, raw, qcow2]\n"...)
	if err := os.WriteFile(at, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"lock"}, {"build"}} {
		if out, code := p.run(args...); code != 0 {
			t.Fatalf("%v: exit status %d\n%s", args, code, out)
		}
	}
	return p
}

// stockTools have Debian's tools say what the disks are.
func stockTools(t *testing.T, p *project, raw []byte) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for _, d := range []string{"proc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	unpackDebian(t, root, "trixie", "base-files", "libc-bin", "e2fsprogs", "fdisk", "qemu-utils")
	layout := layoutOf(t, raw)
	files := filepath.Join(t.TempDir(), "root.ext4")
	if err := os.WriteFile(files, raw[layout.Root.Offset:layout.Root.Offset+layout.Root.Size], 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		argv []string
		says []string
		not  string
	}{
		{[]string{"/usr/bin/qemu-img", "info", "-f", "vpc", p.out("rescue.vhd")}, []string{"file format: vpc", fmt.Sprintf("(%d bytes)", len(raw))}, ""},
		{[]string{"/usr/bin/qemu-img", "compare", "-f", "raw", "-F", "vpc", p.out("rescue.img"), p.out("rescue.vhd")}, []string{"Images are identical."}, ""},
		{[]string{"/usr/bin/qemu-img", "compare", "-f", "raw", "-F", "qcow2", p.out("rescue.img"), p.out("rescue.qcow2")}, []string{"Images are identical."}, ""},
		{[]string{"/usr/bin/qemu-img", "check", p.out("rescue.qcow2")}, []string{"No errors were found"}, ""},
		{[]string{"/usr/sbin/e2fsck", "-fn", files}, []string{"Pass 5"}, "Fix?"},
		{[]string{"/usr/sbin/sfdisk", "--verify", p.out("rescue.img")}, []string{"No errors detected."}, ""},
	} {
		run := namespaced(append([]string{"root", root, "0"}, c.argv...)...)
		run.Env = []string{bindVariable + "=" + strings.Join([]string{p.out(), filepath.Dir(files)}, string(filepath.ListSeparator)), "PATH=/usr/sbin:/usr/bin"}
		out, err := run.CombinedOutput()
		for _, s := range c.says {
			if err != nil || !strings.Contains(string(out), s) || c.not != "" && strings.Contains(string(out), c.not) {
				t.Errorf("%v: %v, want %q:\n%s", c.argv, err, s, out)
			}
		}
	}
}

func layoutOf(t *testing.T, raw []byte) diskimage.Layout {
	t.Helper()
	const entry, first, last = 1024 + 2*128, 32, 40 // of the third partition
	at := func(off int) int64 {
		return int64(raw[entry+off]) | int64(raw[entry+off+1])<<8 | int64(raw[entry+off+2])<<16 | int64(raw[entry+off+3])<<24
	}
	return diskimage.Layout{Root: diskimage.Extent{Offset: at(first) * diskimage.Sector, Size: (at(last) + 1 - at(first)) * diskimage.Sector}}
}

// sameAgain makes the disks once more: the store forgets those that it has.
func sameAgain(t *testing.T, p *project) {
	t.Helper()
	before := map[string]string{}
	names := []string{"rescue.vhd", "rescue.img", "rescue.qcow2"}
	for _, name := range names {
		before[name] = string(digestOf(t, p.out(name)))
	}
	forgotten := 0
	results, err := filepath.Glob(filepath.Join(e2e.store, "results", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range results {
		if b := readAll(t, file); bytes.Contains(b, []byte(`"disk/rescue.vhd"`)) || bytes.Contains(b, []byte(`"diskboot/core.img"`)) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			forgotten++
		}
	}
	if out, code := p.run("build"); code != 0 || forgotten < 2 || !strings.Contains(out, "disk       done") {
		t.Fatalf("exit status %d, %d results forgotten\n%s", code, forgotten, out)
	}
	for _, name := range names {
		if have := string(digestOf(t, p.out(name))); have != before[name] {
			t.Errorf("%s: its SHA-256 is %s, the first time %s", name, have, before[name])
		}
	}
}

// tamperWithDisks changes bytes of a disk and says so in its name in the sums: that is
// all that a check by digest sees.
func tamperWithDisks(t *testing.T, p *project, raw []byte) {
	t.Helper()
	root := layoutOf(t, raw).Root
	text, qcow2 := readAll(t, filepath.Join(p.dir, "files", "etc", "issue")), readAll(t, p.out("rescue.qcow2"))
	issue, packed := bytes.Index(raw[root.Offset:], text), bytes.Index(qcow2, text)
	if issue < 0 || packed < 0 {
		t.Fatal("the disk does not hold /etc/issue")
	}
	const features = 79 // the last byte of those that change how an image is read
	for _, c := range []struct {
		what, file string
		of         []byte
		at         int64
		says       string
	}{
		{"a file", "rescue.img", raw, root.Offset + int64(issue), "rescue.img: /etc/issue: sha256 is "},
		{"a free block", "rescue.img", raw, root.Offset + root.Size - 4096, "that belong to no file"},
		{"GRUB", "rescue.img", raw, diskimage.MiB + 5000, "the SHA-256 of its BIOS boot partition is "},
		{"the second partition table", "rescue.img", raw, int64(len(raw)) - 600, "the partition table is not the one of this disk"},
		{"a file", "rescue.qcow2", qcow2, int64(packed), "rescue.qcow2: /etc/issue: sha256 is "},
		{"how it is read", "rescue.qcow2", qcow2, features, "rescue.qcow2: qcow2: has features that change how it is read"},
	} {
		f := p.out(c.file)
		bad := bytes.Clone(c.of)
		bad[c.at] ^= 1
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		out, code := p.run("verify", p.out(), "--key", filepath.Join(p.dir, "keys", "builder.pub"))
		if code != 3 || !strings.Contains(out, c.says) || !strings.Contains(out, "FAIL  image ") {
			t.Errorf("%s, %s: exit status %d, want %q:\n%s", c.file, c.what, code, c.says, out)
		}
	}
}
