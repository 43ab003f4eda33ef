package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/provenance"
)

// TestInTotoVerify lets the Python in-toto of Debian check the links under a
// layout that is written out here by hand.
func TestInTotoVerify(t *testing.T) {
	p := rescue(t)
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unpackDebian(t, root, "bookworm", "in-toto", "python3-minimal", "base-files", "libc-bin")
	work := filepath.Join(root, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob(p.out("evidence", "links", "*.link"))
	if err != nil || len(links) == 0 {
		t.Fatalf("no links: %v", err)
	}
	for _, l := range links {
		copyFileTo(t, l, filepath.Join(work, filepath.Base(l)))
	}
	owner := writeLayout(t, p, work)
	run := func() (string, error) {
		c := namespaced("root", root, "0", "/usr/bin/python3", "/usr/bin/in-toto-verify", "--verbose",
			"--layout", "/work/root.layout", "--layout-keys", "/work/"+owner, "--key-types", "ecdsa", "--link-dir", "/work")
		c.Env = []string{"PATH=/usr/bin:/bin", "HOME=/work", "PYTHONDONTWRITEBYTECODE=1"}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The layout must be able to fail: one changed product of a link.
	for _, l := range links {
		if !strings.HasPrefix(filepath.Base(l), "squashfs.") {
			continue
		}
		b, err := os.ReadFile(l)
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.Replace(b, []byte(`"squashfs/filesystem.squashfs": {`), []byte(`"squashfs/filesystem.squashfs2": {`), 1)
		if err := os.WriteFile(filepath.Join(work, filepath.Base(l)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run(); err == nil {
		t.Fatalf("a changed link was accepted:\n%s", out)
	}
}

// writeLayout writes a layout in which each stage may take only what the stages
// before it gave, or the project's files, and returns the owner's key file.
func writeLayout(t *testing.T, p *project, dir string) (ownerKey string) {
	t.Helper()
	text, err := os.ReadFile(p.out("evidence", "builder.pub"))
	if err != nil {
		t.Fatal(err)
	}
	builder, err := provenance.ParsePublicKey("builder.pub", text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(e2e.binary, "stages", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var stages []struct {
		Name, Only string
		From       []string
	}
	if err := json.Unmarshal(out, &stages); err != nil {
		t.Fatal(err)
	}
	layout := in_toto.Layout{
		Type: "layout", Expires: "2126-01-01T00:00:00Z", Readme: "", Keys: map[string]in_toto.Key{builder.KeyID(): builder.InToto},
		Inspect: []in_toto.Inspection{},
	}
	for _, s := range stages {
		if s.Only != "" {
			continue
		}
		rules := [][]string{}
		for _, from := range s.From {
			rules = append(rules, []string{"MATCH", from + "/*", "WITH", "PRODUCTS", "FROM", from})
		}
		rules = append(rules, []string{"ALLOW", "project/*"}, []string{"DISALLOW", "*"})
		layout.Steps = append(layout.Steps, in_toto.Step{
			Type: "step", PubKeys: []string{builder.KeyID()}, Threshold: 1, ExpectedCommand: []string{"isotrace", "stage", s.Name},
			SupplyChainItem: in_toto.SupplyChainItem{
				Name: s.Name, ExpectedMaterials: rules, ExpectedProducts: [][]string{{"ALLOW", s.Name + "/*"}, {"DISALLOW", "*"}},
			},
		})
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	var owner in_toto.Key
	if err := owner.LoadKeyReaderDefaults(bytes.NewReader(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))); err != nil {
		t.Fatal(err)
	}
	mb := in_toto.Metablock{Signed: layout}
	if err := mb.Sign(owner); err != nil {
		t.Fatal(err)
	}
	if err := mb.Dump(filepath.Join(dir, "root.layout")); err != nil {
		t.Fatal(err)
	}
	public, err := json.Marshal(map[string]any{
		"keytype": owner.KeyType, "scheme": owner.Scheme, "keyid_hash_algorithms": owner.KeyIDHashAlgorithms,
		"keyval": map[string]string{"public": owner.KeyVal.Public},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "owner.json"), public, 0o644); err != nil {
		t.Fatal(err)
	}
	return "owner.json"
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
		{"product of a link", edit(link("iso"), `"iso/iso"`, `"iso/iso2"`), pub, "evidence", []string{"links/iso.", "is not signed by key"}},
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
