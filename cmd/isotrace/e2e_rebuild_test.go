package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/provenance"
)

// TestTwoBuilders lets a layout want two builders of the same image, and a second one
// build it: from an archive, with a store of his own and without a network.
func TestTwoBuilders(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "two")
	key := func(role string) string { return filepath.Join(dir, "keys", role) }
	p := withOwner(t, dir, "layout", "--expires", "2099-12-31", "--threshold", "2", "--functionary", key("builder.pub"), "--functionary", key("rebuilder.pub"))
	expect := func(code int, says string, args ...string) {
		t.Helper()
		if out, have := p.run(args...); have != code || !strings.Contains(out, says) {
			t.Errorf("%v: exit status %d, want %d, and %q:\n%s", args, have, code, says, out)
		}
	}
	owned := []string{"verify", p.out(), "--owner-key", key("owner.pub")}
	const lonely = "step iso: 1 functionaries left a link that holds, 2 have to"
	expect(3, lonely, owned...)
	expect(0, "", "keys", "new", "--role", "release")
	expect(3, lonely, "release", p.out())
	expect(2, "would be built over what it is compared with", "rebuild", p.out(), "-o", "out")
	expect(0, "the manifest that names them", "archive", p.out(), "-o", filepath.Join(dir, "kept.tar"))
	links := fromArchive(t, p, key("builder.pub"))
	if err := os.CopyFS(p.out("evidence", "links"), os.DirFS(links)); err != nil {
		t.Fatal(err)
	}
	expect(0, "links are of other functionaries", owned...)
	_, verify := inTotoVerify(t, p)
	if out, err := verify("owner"); err != nil {
		t.Errorf("in-toto-verify: %v\n%s", err, out)
	}
	expect(0, "released by ", "release", p.out())
	expect(0, "verified: ", "build")
	expect(0, "ok    release ", append(owned, "--release-key", key("release.pub"))...)
	expect(3, "the image is released, and its sums are over all links", "rebuild", p.out(), "--sign")

	// One of the second builder's links, changed or gone.
	rebuilder, err := loadPublic(key("rebuilder.pub"))
	if err != nil {
		t.Fatal(err)
	}
	second := p.out("evidence", "links", provenance.LinkName("iso", rebuilder.KeyID()))
	good := readAll(t, second)
	replace(t, second, []byte(strings.Replace(string(good), `"iso/rescue.iso": {`, `"iso/other.iso": {`, 1)))
	expect(3, "FAIL  links      links/"+filepath.Base(second)+": ", owned...)
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	expect(3, lonely, owned...)
}

// fromArchive rebuilds from the archive kept.tar, and returns the folder with the links
// that the second builder left, without those of the first.
func fromArchive(t *testing.T, p *project, builder string) (links string) {
	t.Helper()
	kept, again := filepath.Join(p.dir, "kept.tar"), filepath.Join(p.dir, "again")
	b := readAll(t, kept)
	if bytes.Contains(b, []byte("PRIVATE KEY-----\n")) {
		t.Error("the archive holds a private key")
	}
	at := bytes.Index(b, []byte("!<arch>\n")) // the beginning of a .deb
	b[at+100] ^= 1
	bad := filepath.Join(p.dir, "bad.tar")
	if err := os.WriteFile(bad, b, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"archive", "check", bad}, {"rebuild", bad, "-o", again}} {
		if out, code := p.run(args...); code != 3 || !strings.Contains(out, ".deb: its SHA-256 is ") {
			t.Errorf("%v: exit status %d\n%s", args, code, out)
		}
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	if out := rebuildElsewhere(t, p, kept, again, []string{"rescue.iso"}, "--sign", "--builder-key", builder); !strings.Contains(out, "links added to ") {
		t.Fatal(out)
	}
	links = filepath.Join(again, "out", "evidence", "links")
	mine, err := filepath.Glob(p.out("evidence", "links", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range mine {
		err = errors.Join(err, os.Remove(filepath.Join(links, filepath.Base(f))))
	}
	if err != nil {
		t.Fatal(err)
	}
	return links
}

// rebuildElsewhere rebuilds from an archive without a network and with a store of its
// own, into the folder again, and compares the images.
func rebuildElsewhere(t *testing.T, p *project, kept, again string, images []string, flags ...string) string {
	t.Helper()
	store := again + "-store"
	emptyStore(t, store)
	args := append([]string{"offline", e2e.binary, "-C", p.dir, "--store", store, "--progress", "plain", "rebuild", kept, "-o", again}, flags...)
	c := namespaced(args...)
	c.Env = append(os.Environ(), "COSIGN_PASSWORD="+testPassword)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range images {
		if have, want := digestOf(t, filepath.Join(again, "rebuilt", name)), digestOf(t, p.out(name)); have != want {
			t.Errorf("%s from the archive is %s, want %s", name, have, want)
		}
	}
	return string(out)
}
