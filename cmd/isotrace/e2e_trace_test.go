package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

// withPipeline lets do have the graph of a built project and a runner that
// finds its results in the shared store. It is for helpers: it enters namespaces.
func withPipeline(dir, store string, do func(context.Context, *stage.Runner, *stage.Graph, stages.Products) error) (err error) {
	inside, code, err := sandbox.Enter()
	if err != nil {
		return err
	}
	if !inside {
		os.Exit(code)
	}
	ctx := context.Background()
	p, err := stages.OpenProject(dir)
	if err != nil {
		return err
	}
	s, err := artifact.OpenStore(store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	m, err := p.Collect(ctx, s)
	if err != nil {
		return err
	}
	key := filepath.Join(dir, "keys", "builder.key")
	text, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	signer, err := provenance.LoadSigner(key, text, []byte(testPassword))
	if err != nil {
		return err
	}
	g, products := stages.Pipeline(p.Config, p.Lock, m, nil)
	return do(ctx, &stage.Runner{Store: s, Epoch: p.Lock.Epoch, Recorder: provenance.Recorder{Signer: signer}}, g, products)
}

// watcher is the package that the others trigger.
const watcher = "watcher"

// sets is how many sets of packages the attribution is tried on in one run.
const sets = 100

// attribute installs the .debs of a folder into the base tree of a project and
// writes who changed what. The packages are installed as dpkg likes.
func attribute(dir, store, debs, to string) error {
	return withPipeline(dir, store, func(ctx context.Context, r *stage.Runner, g *stage.Graph, p stages.Products) error {
		files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
		if err != nil {
			return err
		}
		s := stage.Stage{
			Name: "attribution", Version: os.Getpid(), // never from the store
			Inputs:  []stage.Input{{Name: "root", From: p.Base}},
			Outputs: []stage.Output{{Name: "root", Kind: stage.KindTree}, {Name: "changes", Kind: stage.KindFile}},
		}
		// Who watches is there before those who are watched.
		first := []string{"dpkg", "--force-unsafe-io", "--install"}
		then := slices.Clone(first)
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			ref, err := r.Store.Add(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				return err
			}
			ref.Path = filepath.Base(f)
			s.Materials = append(s.Materials, stage.Material{Ref: ref})
			at := "/run/isotrace/in/material/" + ref.Path
			if strings.HasPrefix(ref.Path, watcher) {
				first = append(first, at)
			} else {
				then = append(then, at)
			}
		}
		s.Run = func(ctx context.Context, w *stage.Work) error {
			w.Log = os.Stderr
			if _, err := w.CopyTree("root", "root"); err != nil {
				return err
			}
			for _, argv := range [][]string{first, then} {
				if err := w.RunPackages(ctx, "root", tool.New(argv...)); err != nil {
					return err
				}
			}
			return w.WriteChanges(ctx, "root", "changes")
		}
		changes := g.Add(s).File("changes")
		results, err := r.Run(ctx, g, changes)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(r.Store.Path(results["attribution"].Outputs["changes"].File.Digest))
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
}

// TestAttribution installs packages whose scripts write files back to back,
// through children, in the background, by renaming and in triggers, and wants
// each file to be its writer's, in every set, and the record to be the same twice.
func TestAttribution(t *testing.T) {
	t.Parallel()
	p := rescue(t)
	debs := t.TempDir()
	want := map[string]string{}
	add := func(control string, files ...archivetest.File) {
		name, _, _ := strings.Cut(strings.TrimPrefix(control, "Package: "), "\n")
		if err := os.WriteFile(filepath.Join(debs, name+".deb"), archivetest.BuildDeb(t, control, "", files...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := func(name, text string) archivetest.File {
		return archivetest.File{Path: "DEBIAN/" + name, Content: "#!/bin/sh\nset -e\n" + text}
	}
	add("Package: "+watcher+"\nVersion: 1\nArchitecture: all\n",
		archivetest.File{Path: "DEBIAN/triggers", Content: "interest-noawait /srv/watched\n", Mode: 0o644},
		archivetest.File{Path: "srv/watched/"}, archivetest.File{Path: "srv/own", Content: "keeps dpkg from taking it for replaced\n"},
		script("postinst", `if [ "$1" = triggered ]; then for f in /srv/watched/*; do cp $f /srv/seen-${f##*/}; done; fi`))
	for i := range sets {
		n := fmt.Sprintf("%03d", i)
		a, b := "set"+n+"-a", "set"+n+"-b"
		add("Package: "+a+"\nVersion: 1\nArchitecture: all\n", archivetest.File{Path: "srv/watched/" + n, Content: n},
			archivetest.File{Path: "etc/conf-" + n, Content: "shipped\n"}, archivetest.File{Path: "DEBIAN/conffiles", Content: "/etc/conf-" + n + "\n", Mode: 0o644},
			script("preinst", "echo pre > /srv/pre-"+n),
			script("postinst", fmt.Sprintf(`
echo a > /srv/a-%[1]s; echo a > /srv/shared-%[1]s; echo a > /srv/move-%[1]s; echo a > /srv/kept-%[1]s
sh -c 'sh -c "echo a > /srv/child-%[1]s"'
mkdir -m 750 /srv/dir-%[1]s
(sleep 0.01; echo a > /srv/behind-%[1]s) &
`, n)))
		add("Package: "+b+"\nVersion: 1\nArchitecture: all\nDepends: "+a+"\n",
			script("postinst", fmt.Sprintf(`
echo b > /srv/b-%[1]s; echo b >> /srv/shared-%[1]s; mv /srv/move-%[1]s /srv/moved-%[1]s
echo changed >> /etc/conf-%[1]s
perl -e 'open(F, ">", "/srv/perl-%[1]s") or die; print F "b"'
ln -s b-%[1]s /srv/link-%[1]s; touch /srv/dir-%[1]s/b
chmod 600 /srv/kept-%[1]s
`, n)))
		for file, who := range map[string]string{
			"pre": a + " preinst install", "a": a + " postinst configure", "child": a + " postinst configure", "behind": a + " postinst configure", "dir": a + " postinst configure",
			"b": b + " postinst configure", "shared": b + " postinst configure", "moved": b + " postinst configure", "perl": b + " postinst configure",
			"link": b + " postinst configure", "kept": b + " postinst configure", "seen": watcher + " postinst triggered",
		} {
			want["srv/"+file+"-"+n] = who
		}
		want["etc/conf-"+n] = b + " postinst configure"
		want["srv/watched/"+n] = "program dpkg"
	}
	var texts [2][]byte
	for i := range texts {
		to := filepath.Join(t.TempDir(), "changes.json")
		if out, err := namespaced("attribute", p.dir, e2e.store, debs, to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		changes, err := stage.ReadChanges(to)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for file, who := range want {
			a, ok := changes.Changed[file]
			have := strings.TrimSpace(a.Name + " " + a.Script + " " + a.Action)
			if a.Kind == stage.ByProgram {
				have = "program " + a.Name
			}
			if !ok || have != who {
				wrong++
				t.Errorf("%s: %s wrote it, the record says %q", file, who, have)
			}
		}
		if wrong > 0 {
			t.Fatalf("%d of %d are wrong", wrong, len(want))
		}
		if texts[i], err = os.ReadFile(to); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("two runs leave different records")
	}
}

// plant changes the root tree between two stages and lets the trace judge it.
func plant(dir, store string) error {
	return withPipeline(dir, store, func(ctx context.Context, r *stage.Runner, g *stage.Graph, p stages.Products) error {
		evil := g.Add(stage.Stage{
			Name: "evil", Version: 1, Inputs: []stage.Input{{Name: "root", From: p.Root}}, Outputs: []stage.Output{{Name: "root", Kind: stage.KindTree}},
			Run: func(_ context.Context, w *stage.Work) error {
				tree, err := w.CopyTree("root", "root")
				if err != nil {
					return err
				}
				root, err := os.OpenRoot(tree)
				if err != nil {
					return err
				}
				b, err := root.ReadFile("usr/bin/true")
				if err != nil {
					return err
				}
				b[len(b)/2] ^= 1
				return errors.Join(
					root.WriteFile("usr/bin/planted", []byte("#!/bin/sh\n"), 0o755), root.WriteFile("usr/bin/true", b, 0o755),
					root.Chmod("usr/bin/ls", 0o755|os.ModeSetuid), root.Close())
			},
		}).Tree("root")
		i := slices.IndexFunc(g.Stages(), func(s *stage.Stage) bool { return s.Name == "trace" })
		judge := *g.Stages()[i]
		judge.Name, judge.Inputs = "judge", slices.Clone(judge.Inputs)
		judge.Inputs[slices.IndexFunc(judge.Inputs, func(in stage.Input) bool { return in.Name == "root" })].From = evil
		_, err := r.Run(ctx, g, g.Add(judge).Set("trace"))
		return err
	})
}

func TestPlanted(t *testing.T) {
	p := rescue(t)
	out, err := namespaced("plant", p.dir, e2e.store).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "3 files are of unknown origin: root:/usr/bin/ls, root:/usr/bin/planted, root:/usr/bin/true") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestTraceOfRescue: nothing is unexplained, and the questions have answers.
func TestTraceOfRescue(t *testing.T) {
	p := rescue(t)
	tr, err := provenance.OpenTracing(p.out(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, part := range tr.Head.Parts {
		t.Logf("%s: %d files, %v", part.Name, part.Files, part.Counts)
		for _, c := range part.Counts {
			if c.Kind == trace.Unexplained {
				t.Errorf("%s: %d files are unexplained", part.Name, c.Files)
			}
		}
	}
	if len(tr.Head.Parts) != len(trace.Parts) || len(tr.Findings) > 0 {
		t.Errorf("parts %v, findings %v", tr.Head.Parts, tr.Findings)
	}
	for _, q := range []struct {
		args []string
		says []string
	}{
		{[]string{"/usr/bin/ls"}, []string{"origin: archive", "package coreutils:amd64=", "licence: ", "GPL-3.0-or-later", "dists/trixie/main/binary-amd64/Packages.xz of debian/trixie", "signed by "}},
		{[]string{"/bin/sh"}, []string{"/usr/bin/sh  link to dash  origin: archive"}},
		{[]string{"/etc/issue"}, []string{"origin: overlay", "put there by overlay project/files/etc/issue", "requirement RSC-4", "before: sha256:"}},
		{[]string{"/etc/machine-id"}, []string{"origin: modified", "changed by pass machine-id", "written before by"}},
		{[]string{"/etc/hostname"}, []string{"origin: stage", "made by setting hostname, in stage customise"}},
		{[]string{"/var/lib/dpkg/status"}, []string{"origin: generated"}},
		{[]string{"initrd:/init"}, []string{"is the file root:/usr/share/initramfs-tools/init", "made by stage kernel"}},
		{[]string{"medium:/casper/vmlinuz"}, []string{"is the file root:/boot/vmlinuz-", "origin: archive"}},
		{[]string{"bios:/i386-pc/linux.mod"}, []string{"package grub-pc-bin", "origin: archive"}},
		{[]string{"esp:/EFI/BOOT/BOOTX64.EFI"}, []string{"package shim-signed", "origin: archive"}},
		{[]string{"esp:/EFI/BOOT/GRUBX64.EFI"}, []string{"package grub-efi-amd64-signed", "origin: archive"}},
		{[]string{"--package", "sudo"}, []string{"/usr/bin/sudo", "archive sudo", "/etc/sudoers"}},
		{[]string{"--source", "systemd"}, []string{"package libsystemd0", "package systemd"}},
		{[]string{"--requirement", "RSC-2"}, []string{"named at:  packages[3]: sudo", "through sudo → libc6"}},
		{[]string{"--why", "libnm0"}, []string{"network-manager → libnm0"}},
		{[]string{"--origin", "modified"}, []string{"/etc/shadow", "by pass password-age"}},
		{[]string{"--unexplained"}, []string{"none"}},
		{[]string{"--coverage"}, []string{"initrd", "requirements: 4, of which nothing serves 0"}},
		{[]string{"--sha256", string(digestOf(t, filepath.Join(p.dir, "files/etc/issue")))}, []string{"/etc/issue"}},
	} {
		out, code := p.run(append([]string{"trace", p.out()}, q.args...)...)
		if code != 0 {
			t.Errorf("%v: exit status %d\n%s", q.args, code, out)
		}
		for _, s := range q.says {
			if !strings.Contains(out, s) {
				t.Errorf("%v: does not say %q:\n%s", q.args, s, out)
			}
		}
		if out, code := p.run(append([]string{"trace", p.out(), "--json"}, q.args...)...); code != 0 || !json.Valid([]byte(out)) {
			t.Errorf("%v --json: exit status %d\n%s", q.args, code, out)
		}
	}
	for _, q := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"/no/such"}, 2, "root:/no/such: is not in the image"},
		{[]string{"--package", "nosuch"}, 2, "package nosuch: is not in the image"},
		{[]string{"--origin", "odd"}, 2, "--origin odd: is not known"},
		{[]string{"--requirement", "X-1"}, 2, "requirement X-1"},
		{[]string{"--sha256", "12"}, 2, "--sha256"},
	} {
		if out, code := p.run(append([]string{"trace", p.out()}, q.args...)...); code != q.code || !strings.Contains(out, q.says) || strings.Count(out, "isotrace: error:") != 1 {
			t.Errorf("%v: exit status %d\n%s", q.args, code, out)
		}
	}
	replace(t, p.out("evidence", "trace", "root.jsonl.zst"), append(readAll(t, p.out("evidence", "trace", "root.jsonl.zst")), 0))
	if out, code := p.run("trace", p.out(), "/usr/bin/ls"); code != 3 || !strings.Contains(out, "trace/root.jsonl.zst: its SHA-256") {
		t.Errorf("a changed trace: exit status %d\n%s", code, out)
	}
}

// TestArchiveClaims unpacks every .deb with dpkg-deb, from Debian itself, and
// compares what it holds with each file of the image that is said to be in it.
func TestArchiveClaims(t *testing.T) {
	p := rescue(t)
	tr, err := provenance.OpenTracing(p.out(), nil)
	if err != nil {
		t.Fatal(err)
	}
	claims := map[int]map[string]trace.Origin{}
	err = tr.Each(trace.PartRoot, []byte(`"archive"`), func(o trace.Origin) bool {
		if o.Kind == trace.Archive {
			if claims[*o.Package] == nil {
				claims[*o.Package] = map[string]trace.Origin{}
			}
			claims[*o.Package][o.Path] = o
		}
		return true
	})
	if err := errors.Join(err, tr.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(p.out("evidence", "manifest", "sanitise", "root.mtree"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := roottree.Parse(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unpackDebian(t, root, "trixie", "dpkg", "base-files", "libc-bin")
	proved := 0
	for i, files := range claims {
		d := string(tr.Packages[i].SHA256)
		copyFileTo(t, filepath.Join(e2e.store, "files", d[:2], d), filepath.Join(root, "package.deb"))
		if have := digestOf(t, filepath.Join(root, "package.deb")); string(have) != d {
			t.Fatalf("%s: the store's .deb is %s", tr.Packages[i].ID(), have)
		}
		c := namespaced("root", root, "0", "/usr/bin/dpkg-deb", "--fsys-tarfile", "/package.deb")
		c.Env, c.Stderr = []string{"PATH=/usr/bin:/bin"}, os.Stderr
		proved += prove(t, c, tr.Packages[i].ID(), tree, files)
	}
	want := 0
	for _, part := range tr.Head.Parts {
		if part.Name == trace.PartRoot {
			want = part.Counts[0].Files
		}
	}
	if proved != want || want < 10_000 {
		t.Errorf("%d of %d files proved", proved, want)
	}
}

// prove reads the archive that a command prints and returns how many of the
// claimed files it holds just as the image's manifest has them.
func prove(t *testing.T, c *exec.Cmd, name string, tree *roottree.Manifest, claims map[string]trace.Origin) int {
	t.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	proved := map[string]bool{}
	sums := map[string]artifact.Digest{}
	for r := tar.NewReader(out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		at := path.Clean(h.Name)
		sum, _, err := artifact.HashReader(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.Typeflag == tar.TypeLink {
			sum = sums[path.Clean(h.Linkname)]
		}
		sums[at] = sum
		if at, err = tree.Resolve(at); err != nil {
			t.Fatal(err)
		}
		claim, ok := claims[at]
		e, there := tree.Lookup(at)
		if !ok || !there {
			continue
		}
		same := claim.Type == e.Type && e.UID == uint32(h.Uid) && e.GID == uint32(h.Gid)
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeLink:
			same = same && e.Type == roottree.File && e.SHA256 == sum && claim.SHA256 == sum && e.Mode == uint32(h.Mode&0o7777)
		case tar.TypeDir:
			same = same && e.Type == roottree.Dir && e.Mode == uint32(h.Mode&0o7777)
		case tar.TypeSymlink:
			same = same && e.Type == roottree.Link && e.Target == h.Linkname && claim.Target == h.Linkname
		}
		if same {
			proved[at] = true
		}
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for at := range claims {
		if !proved[at] {
			t.Errorf("/%s: is said to be in %s, dpkg-deb does not find it so", at, name)
		}
	}
	return len(proved)
}
