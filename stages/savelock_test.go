package stages

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact/artifacttest"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// TestSaveLock: what is beside the lock is replaced where isotrace made it, and refused
// where it did not; where something fails it is as it was.
func TestSaveLock(t *testing.T) {
	store := artifacttest.Open(t, filepath.Join(t.TempDir(), "store"))
	ref, err := store.Add(strings.NewReader("new"), 3)
	if err != nil {
		t.Fatal(err)
	}
	ref.Path = "dists/trixie/InRelease"
	missing := ref
	missing.Digest = "00" + missing.Digest[2:]
	before := map[string]string{"isotrace.lock": "old", ReleasesDir + "/debian/dists/bookworm/Release": "old", ReleasesDir + "/debian/dists/bookworm/Release.gpg": "old"}
	for name, c := range map[string]struct {
		before  map[string]string
		missing bool
		after   []string
		says    string
	}{
		"first":                {after: []string{"isotrace.lock", ReleasesDir + "/debian/dists/trixie/InRelease"}},
		"again":                {before: before, after: []string{"isotrace.lock", ReleasesDir + "/debian/dists/trixie/InRelease"}},
		"a file of the user's": {before: with(before, map[string]string{ReleasesDir + "/debian/notes": "mine"}), says: "/debian/notes\": is no Release file"},
		"a killed one's": {
			before: map[string]string{"isotrace.lock": "old", ".isotrace-draft-" + ReleasesDir + ".12/old/debian/dists/bookworm/Release": "old"},
			after:  []string{"isotrace.lock", ReleasesDir + "/debian/dists/trixie/InRelease"},
		},
		"what fails": {before: before, missing: true, says: "no such file"},
	} {
		dir := t.TempDir()
		lay(t, dir, c.before)
		of := ref
		if c.missing {
			of = missing
		}
		l := &lockfile.Lock{Archives: []lockfile.Archive{{Repository: "debian", Release: of}}}
		err := (&Session{Store: store, Project: &Project{Dir: dir}}).SaveLock(l)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(c.says, "is no Release file") && fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v", name, err)
		}
		have := have(t, dir)
		if c.says != "" {
			if !maps.Equal(have, c.before) {
				t.Errorf("%s: have %v", name, have)
			}
			continue
		}
		for _, n := range c.after {
			if have[n] == "" || have[n] == "old" {
				t.Errorf("%s: %s: %q", name, n, have[n])
			}
			delete(have, n)
		}
		if len(have) > 0 {
			t.Errorf("%s: left: %v", name, have)
		}
	}
}
