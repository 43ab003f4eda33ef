package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
)

// TestFromImage builds examples/from-image on an OCI layout: the minimal system
// of the other example, with apt sources and the archive's keys added. From its archive
// it is built once more, elsewhere.
func TestFromImage(t *testing.T) {
	t.Parallel()
	base := baseLayer(t, rescue(t))
	p, err := newProject(filepath.Join(t.TempDir(), "from-image"), "from-image")
	if err != nil {
		t.Fatal(err)
	}
	// The suites that the image's packages are of: what a security update replaced
	// is no longer in the others.
	suites := map[string]string{"debian": "trixie trixie-updates", "debian-security": "trixie-security"}
	var list strings.Builder
	for _, flag := range mirrorsOfHost(t) {
		repository, uri, _ := strings.Cut(flag, "=")
		if suites[repository] == "" {
			continue // "--mirror" itself, and further mirrors
		}
		fmt.Fprintf(&list, "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive.asc\n\n", uri, suites[repository])
		delete(suites, repository)
	}
	if len(suites) > 0 {
		t.Fatalf("no mirror of %v: set ISOTRACE_MIRROR", slices.Sorted(maps.Keys(suites)))
	}
	sources := filepath.Join(t.TempDir(), "debian.sources")
	if err := os.WriteFile(sources, []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	keys, err := filepath.Abs("../../testdata/keys/debian-archive.asc")
	if err != nil {
		t.Fatal(err)
	}
	// A script of the project's own for the initrd, which is made after everything.
	greet := filepath.Join(p.dir, "files", "etc", "initramfs-tools", "scripts", "init-bottom", "greet")
	if err := os.MkdirAll(filepath.Dir(greet), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(greet, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	victim := newVictim(t)
	hook, script := filepath.Join(t.TempDir(), "hook"), filepath.Join(p.dir, "scripts", "20-hostile.sh")
	text := readAll(t, filepath.Join(p.dir, config.FileName))
	err = errors.Join(
		os.WriteFile(hook, hostile(t, "image", victim), 0o644),
		os.WriteFile(script, hostile(t, "script", victim), 0o755),
		os.WriteFile(filepath.Join(p.dir, config.FileName), bytes.Replace(text, []byte("10-motd.sh]"), []byte("10-motd.sh, scripts/20-hostile.sh]"), 1), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	c := namespaced("oci", base, filepath.Join(p.dir, "base.oci"), sources, keys, hook)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	signBase(t, p)
	if out, code := p.run("build"); code != 0 {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	checkHostile(t, p, victim, map[string]string{"image": "install", "script": "customise"})
	b, err := os.ReadFile(filepath.Join(p.dir, lockfile.FileName))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lockfile.Decode(lockfile.FileName, b)
	if err != nil {
		t.Fatal(err)
	}
	if l.Image == nil || len(l.Image.Layers) != 2 || len(l.Image.Packages) < 50 {
		t.Errorf("the lock's image: %+v", l.Image)
	}
	for _, a := range l.Archives {
		if a.Keyring.Path != "base:/usr/share/keyrings/debian-archive.asc" {
			t.Errorf("%s is judged by %s, not by the image's keys", a.ID, a.Keyring.Path)
		}
	}
	for _, pkg := range l.Target {
		if pkg.Name == "dpkg" && !pkg.Is(lockfile.UseProof) || pkg.Is(lockfile.UseBase) {
			t.Errorf("%s is for %v: the base has it", pkg.Name, pkg.For)
		}
	}
	for _, q := range []struct {
		path string
		says []string
	}{
		{"/usr/bin/dpkg", []string{"origin: archive", "why: in the base image", "signed by"}},
		{"/etc/apt/sources.list.d/debian.sources", []string{"origin: base", "by layer "}},
		{"/etc/motd", []string{"origin: overlay", "put there by script project/scripts/10-motd.sh"}},
		{"/etc/issue.d/50-from-image.issue", []string{"origin: overlay", "put there by overlay project/files/etc/issue.d/50-from-image.issue"}},
		{"/home/operator", []string{"origin: stage", "in stage customise"}},
		{"/home/operator/.bashrc", []string{"origin: generated", "written by program useradd", "package passwd"}},
		{"/etc/hostname", []string{"made by setting hostname"}},
		{"initrd:/scripts/init-bottom/greet", []string{"is the file root:/etc/initramfs-tools/scripts/init-bottom/greet", "origin: overlay"}},
		{"efi:/x86_64-efi/linux.mod", []string{"package grub-efi-amd64-bin", "origin: archive"}},
		{"medium:/casper/initrd", []string{"origin: generated", "written by program update-initramfs, in stage kernel", "package initramfs-tools"}},
	} {
		out, code := p.run("trace", p.out(), q.path)
		for _, s := range q.says {
			if code != 0 || !strings.Contains(out, s) {
				t.Errorf("%s: exit status %d, does not say %q:\n%s", q.path, code, s, out)
			}
		}
	}
	if out, code := p.run("verify", p.out(), "--key", filepath.Join(p.dir, "keys", "builder.pub")); code != 0 || !strings.Contains(out, "ok    disks      from-image.vhd: ") || !strings.Contains(out, "ok    base       image sha256:"+string(l.Image.Manifest.Digest)+", 2 layers, signed by ") {
		t.Errorf("verify: exit status %d\n%s", code, out)
	}
	kept, images := filepath.Join(p.dir, "kept.tar"), []string{"from-image.iso", "from-image.vhd"}
	for _, args := range [][]string{{"archive", p.out(), "-o", kept}, {"keys", "new", "--role", "rebuilder"}} {
		if out, code := p.run(args...); code != 0 {
			t.Fatalf("%v: exit status %d\n%s", args, code, out)
		}
	}
	rebuildElsewhere(t, p, kept, filepath.Join(t.TempDir(), "again"), images)
	bootVerity(t, p)
	attackAll(t, attackOptions(t, p, "builder"), "from-image", 12)
	if l.Image.Index == nil || len(l.Image.Provenance) != 1 || l.Image.Signature == nil {
		t.Errorf("the lock has not all that proves the image: %+v", l.Image)
	}
	if out, code := p.run("policy", "check", p.out(), "--json"); strings.Contains(out, "build stages, from") || !strings.Contains(out, `"one-from"`) {
		t.Errorf("policy check: exit status %d\n%s", code, out)
	}
	imageInSBOM(t, p, l)
	tree, err := os.Open(p.out("evidence", "manifest", "sanitise", "root.mtree"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := roottree.Parse(tree)
	if err := errors.Join(err, tree.Close()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"etc/motd":      string(artifact.HashBytes([]byte("Welcome to from-image.\n"))),
		"etc/hostname":  string(artifact.HashBytes([]byte("from-image\n"))),
		"home/operator": "", "etc/issue.d/50-from-image.issue": string(artifact.HashBytes([]byte("Serve yourself.\n"))),
	} {
		if e, ok := m.Lookup(path); !ok || string(e.SHA256) != want {
			t.Errorf("%s: %+v", path, e)
		}
	}
	for _, path := range []string{"usr/sbin/policy-rc.d", "usr/sbin/update-initramfs.isotrace", "usr/sbin/initctl", "etc/resolv.conf"} {
		if _, ok := m.Lookup(path); ok {
			t.Errorf("%s was left behind", path)
		}
	}
	// Another image under the same lock is refused.
	if err := os.RemoveAll(filepath.Join(p.dir, "base.oci", "blobs")); err != nil {
		t.Fatal(err)
	}
	fresh := p.command("--store", filepath.Join(e2e.dir, "fresh-store"), "build", "-o", "out2")
	emptyStore(t, filepath.Join(e2e.dir, "fresh-store"))
	if out, err := fresh.CombinedOutput(); err == nil || !strings.Contains(string(out), "isotrace: error: ") {
		t.Errorf("built without its base image: %v\n%s", err, out)
	}
}

// bootVerity boots the image, whose squashfs dm-verity guards, and one in which a byte
// of the squashfs was changed.
func bootVerity(t *testing.T, p *project) {
	t.Helper()
	if out, code := p.run("verify", p.out()); code != 0 || !strings.Contains(out, "ok    verity     the root hash of the squashfs is the one on the kernel's command line: ") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	bad := copyOfOut(t, p)
	corruptSquashfs(t, filepath.Join(bad, "from-image.iso"))
	bootAll(t, p, []bootCase{
		{"uefi", "usb", "try", "", 0, "from-image login:", `device-mapper: verity: sha256 using`},
		{"bios", "cd", "try", bad, 1, "dm-verity device corrupted", ""},
		{"uefi", "vhd", "try", "", 0, "from-image login:", ""},
	})
}

// baseLayer is the store's folder of the tree that the stage base of a project gave.
func baseLayer(t *testing.T, p *project) string {
	t.Helper()
	const product = "base/root.mtree"
	manifest := digestOf(t, p.out("evidence", "manifest", filepath.FromSlash(product)))
	results, err := filepath.Glob(filepath.Join(e2e.store, "results", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range results {
		var r struct {
			Record struct {
				Products map[string]artifact.Digest
			}
			Outputs struct {
				Root struct{ Tree struct{ Layers []string } }
			}
		}
		if json.Unmarshal(readAll(t, file), &r) == nil && r.Record.Products[product] == manifest {
			return filepath.Join(e2e.store, "layers", r.Outputs.Root.Tree.Layers[0])
		}
	}
	t.Fatal("the store has not the tree of the stage base")
	return ""
}

// writeImage makes an OCI layout of a tree and a second layer.
//
// The image's dpkg calls a hook of the image's before it does anything.
func writeImage(tree, to, sources, keys, hook string) error {
	calls := to + ".dpkg"
	if err := os.WriteFile(calls, []byte("pre-invoke=sh /usr/local/share/hook\n"), 0o644); err != nil {
		return err
	}
	bottom := to + ".bottom.tar"
	if err := tarTree(tree, bottom); err != nil {
		return err
	}
	top := to + ".top.tar"
	if err := tarFiles(top, map[string]string{"etc/apt/sources.list.d/debian.sources": sources, "usr/share/keyrings/debian-archive.asc": keys, "usr/local/share/hook": hook, "etc/dpkg/dpkg.cfg.d/hook": calls}); err != nil {
		return err
	}
	var layers []v1.Layer
	for _, f := range []string{bottom, top} {
		l, err := tarball.LayerFromFile(f)
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return err
	}
	cfg.OS, cfg.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return err
	}
	l, err := layout.Write(to, empty.Index)
	if err != nil {
		return err
	}
	return errors.Join(l.AppendImage(img), os.Remove(bottom), os.Remove(top), os.Remove(calls))
}

func tarFiles(to string, files map[string]string) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	for name, from := range files {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return w.Close()
}

// tarTree writes a tree with its owners; xattrs are left out.
func tarTree(dir, to string) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		link := ""
		if d.Type()&os.ModeSymlink != 0 {
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name = strings.TrimPrefix(p, dir+"/")
		if d.IsDir() {
			h.Name += "/"
		}
		h.Uid, h.Gid, h.Uname, h.Gname = int(st.Uid), int(st.Gid), "", ""
		if err := w.WriteHeader(h); err != nil || !d.Type().IsRegular() {
			return err
		}
		in, err := os.Open(p)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, in)
		return errors.Join(err, in.Close())
	})
	return errors.Join(err, w.Close())
}
