package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountOf(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/usr", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	mounts := []shownMount{{point: "/"}, {point: dir}, {point: filepath.Join(dir, "in")}, {point: filepath.Join(dir, "inner")}}
	for name, want := range map[string]string{
		"/": "/", "/nowhere/at/all": "/", dir: dir, filepath.Join(dir, "missing/x"): dir, filepath.Join(dir, "in"): filepath.Join(dir, "in"),
		filepath.Join(dir, "in/x/y"): filepath.Join(dir, "in"), filepath.Join(dir, "link"): "/",
	} {
		if have := mountOf(mounts, name); have.point != want {
			t.Errorf("%s lies on %s, want %s", name, have.point, want)
		}
	}
	t.Chdir(filepath.Join(dir, "in"))
	if have := mountOf(mounts, "new"); have.point != filepath.Join(dir, "in") {
		t.Errorf("a relative name lies on %s", have.point)
	}
}

func TestUnescapeMount(t *testing.T) {
	if have := unescapeMount(`/a\040b\134c\011\012`); have != "/a b\\c\t\n" {
		t.Errorf("%q", have)
	}
}

// TestShownMounts: what another mount covers is left out, and names with spaces are read.
func TestShownMounts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space")
	below := filepath.Join(dir, "below")
	for _, at := range []string{dir, below, dir} { // the last covers both
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	mounts, err := shownMounts()
	if err := errors.Join(err, Unmount(dir), Unmount(below), Unmount(dir)); err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, m := range mounts {
		if strings.HasPrefix(m.point, dir) {
			have = append(have, m.point)
		}
	}
	if len(have) != 1 || have[0] != dir || mounts[0].point != "/" {
		t.Errorf("%q of %d", have, len(mounts))
	}
}
