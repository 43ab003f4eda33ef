package stages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// TestProjectDebs: package files are taken as the config pins them, or not at all.
func TestProjectDebs(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{
		"a.deb":     archivetest.BuildDeb(t, "Package: a\nVersion: 1:2-3\nArchitecture: all\nDepends: b (>= 1),\n c\n", "xz"),
		"again.deb": archivetest.BuildDeb(t, "Package: a\nVersion: 2\nArchitecture: all\n", "gz"),
		"arm.deb":   archivetest.BuildDeb(t, "Package: arm\nVersion: 1\nArchitecture: arm64\n", "gz"),
		"no.deb":    []byte("no package"),
	}
	sums := map[string]artifact.Digest{"gone.deb": artifact.HashBytes(nil), "out.deb": artifact.HashBytes(nil)}
	for name, b := range files {
		sums[name] = artifact.HashBytes(b)
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out.deb")); err != nil {
		t.Fatal(err)
	}
	lock := func(debs ...config.Deb) (*locking, string, error) {
		k := &locking{
			Session: &Session{Project: &Project{Dir: dir}, Store: openStore(t)}, config: &config.Config{Debs: debs},
			lock: &lockfile.Lock{Architecture: "amd64"},
		}
		archives, err := k.projectDebs(filepath.Join(t.TempDir(), "index"))
		if err != nil || len(archives) == 0 {
			return k, "", err
		}
		index, err := os.ReadFile(archives[0].Packages[0])
		return k, string(index), err
	}
	deb := func(name string) config.Deb { return config.Deb{File: "./" + name, SHA256: sums[name]} }

	k, index, err := lock(deb("a.deb"))
	if err != nil {
		t.Fatal(err)
	}
	if p := k.debs[0]; p.Name != "a" || p.Version != "1:2-3" || p.Filename != "a.deb" || p.SHA256 != sums["a.deb"] || p.Size != int64(len(files["a.deb"])) ||
		!strings.Contains(index, "Depends: b (>= 1), c\n") || !strings.Contains(index, "Filename: ./a.deb\n") {
		t.Errorf("%+v\n%s", p, index)
	}
	if err := k.checkDebs([]*archive.Package{&k.debs[0]}); err != nil {
		t.Error(err)
	}
	other := k.debs[0]
	other.SHA256 = artifact.HashBytes(nil)
	if err := k.checkDebs([]*archive.Package{&other}); err == nil || !strings.Contains(err.Error(), "isotrace.yaml: debs[0]: a.deb: apt does not choose it") {
		t.Errorf("another package of the same version: %v", err)
	}
	if _, _, err := lock(); err != nil {
		t.Errorf("none: %v", err)
	}
	for want, debs := range map[string][]config.Deb{
		"debs[0]: a.deb: its SHA-256 is " + string(sums["a.deb"]): {{File: "a.deb", SHA256: sums["no.deb"]}},
		"debs[1]: a.deb and ./again.deb are both of package a":    {deb("a.deb"), deb("again.deb")},
		"debs[0]: ./arm.deb: is of architecture arm64":            {deb("arm.deb")},
		"debs[0]: ./no.deb: malformed package":                    {deb("no.deb")},
		"debs[0]: gone.deb: no such file or directory":            {deb("gone.deb")},
		"debs[0]: out.deb: path escapes from parent":              {deb("out.deb")},
	} {
		if _, _, err := lock(debs...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
