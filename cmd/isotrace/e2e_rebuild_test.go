package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/provenance"
)

// TestTwoBuilders lets a layout want two builders of the same image, and a second one
// build it.
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
	expect(0, "links added to ", "rebuild", p.out(), "--sign", "--builder-key", key("builder.pub"))
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
