package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/medium"
)

// noSource is the source package that the test's archive lacks.
const noSource = "net-tools"

// TestOwnArchive builds examples/rescue with its source packages, from a signed
// archive of the test's own, and for casper: the packages are Debian's, but for casper
// and its installer; the source packages, one for each but one, only have the names.
func TestOwnArchive(t *testing.T) {
	t.Parallel()
	reference := rescue(t)
	p, err := newProject(filepath.Join(t.TempDir(), "own"), "rescue")
	if err != nil {
		t.Fatal(err)
	}
	repo := archivetest.New(t)
	addPackages(t, repo, readLock(t, reference))
	addCasper(repo)
	key := repo.Publish("trixie", "main", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}, archivetest.Options{})
	config := readAll(t, filepath.Join(p.dir, "isotrace.yaml"))
	from := bytes.Index(config, []byte("archives:\n"))
	// Something that is recommended, and that nobody asks for, may be removed again.
	config = bytes.Replace(config, []byte("  - {name: ca-certificates, requirements: [RSC-3]}\n"), nil, 1)
	to := bytes.Index(config, []byte("\nlive:"))
	own := "archives:\n  - {suite: trixie, components: [main], signed-by: keys/own.asc}\nsources: true\nrecommends: true\nremove: [ca-certificates]\n"
	config = forCasper(slices.Concat(config[:from], []byte(own), config[to:]))
	victim := newVictim(t)
	files := pinnedFiles(t, reference, victim)
	config = pinFiles(config, files)
	files["isotrace.yaml"], files["keys/own.asc"] = config, key
	for name, text := range files {
		at := filepath.Join(p.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, text, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if out, code := p.run("build", "--mirror", "debian="+repo.URI()); code != 0 || !strings.Contains(out, noSource) {
		t.Fatalf("exit status %d, or no word of what has no source\n%s", code, out)
	}
	l := readLock(t, p)
	if len(l.Sources) < 100 || len(l.SourcesMissing) != 2 || l.SourcesMissing[0].Name != noSource || l.SourcesMissing[1].Name != "rescue-agent" {
		t.Errorf("the lock has %d source packages and misses %v", len(l.Sources), l.SourcesMissing)
	}
	sameSources(t, l, p.out("rescue-sources.iso"))
	if out, code := p.run("verify", p.out(), "--key", filepath.Join(p.dir, "keys", "builder.pub")); code != 0 {
		t.Errorf("verify: exit status %d\n%s", code, out)
	}
	bootCasper(t, p, reference)
	checkPinned(t, p)
	checkHostile(t, p, victim, map[string]string{"package": "install"})
	diffArchive(t, reference, p)
	signer := fmt.Sprintf("signed by %X", repo.Key().Fingerprint())
	for path, says := range map[string][]string{
		"/usr/bin/ls": {"source coreutils ", ".tar.xz  sha256:", "named by dists/trixie/main/source/Sources.xz of debian/trixie", signer},
		"/sbin/route": {"source net-tools ", "no archive of the lock has it"},
		"--removed":   {"package, removed: remove[0]: ca-certificates", "package, removed: nothing that is left needs it"},
	} {
		out, code := p.run("trace", p.out(), path)
		for _, s := range says {
			if code != 0 || !strings.Contains(out, s) {
				t.Errorf("%s: exit status %d, does not say %q:\n%s", path, code, s, out)
			}
		}
	}
}

func readLock(t *testing.T, p *project) *lockfile.Lock {
	t.Helper()
	l, err := lockfile.Decode(lockfile.FileName, readAll(t, filepath.Join(p.dir, lockfile.FileName)))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// addPackages puts the packages of a lock into an archive, from the shared store,
// and a source package for each. Some of them are newer.
func addPackages(t *testing.T, repo *archivetest.Repo, l *lockfile.Lock) {
	t.Helper()
	store := sharedStore(t)
	packages := map[artifact.Digest]bool{}
	sources := map[string]bool{}
	for _, p := range slices.Concat(l.Target, l.Boot, l.Tools) {
		if packages[p.SHA256] {
			continue
		}
		packages[p.SHA256] = true
		if !store.Has(p.SHA256) { // of the tools that boot an image, which the lock names too
			repo.AddPackage(fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\n", p.Name, p.Version, p.Architecture))
			continue
		}
		content := readAll(t, store.Path(p.SHA256))
		d, err := deb.Open(bytes.NewReader(content), int64(len(content)), deb.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", p.ID(), err)
		}
		control, err := d.Control()
		if err != nil {
			t.Fatalf("%s: %v", p.ID(), err)
		}
		if _, ok := newer[p.Name]; ok {
			text, content := renewed(t, content)
			repo.AddDeb(text, content)
			sources[p.Source+" "+p.SourceVersion+newerSuffix] = true
			continue
		}
		repo.AddDeb(controlText(control), content)
		sources[p.Source+" "+p.SourceVersion] = true
		using, err := archive.ParseDependency(control.Get("Built-Using"))
		if err != nil {
			t.Fatalf("%s: %v", p.ID(), err)
		}
		for _, r := range using {
			sources[r[0].Name+" "+r[0].Version] = true
		}
	}
	for _, s := range slices.Sorted(maps.Keys(sources)) {
		name, version, _ := strings.Cut(s, " ")
		if name == noSource {
			continue
		}
		_, file, ok := strings.Cut(version, ":")
		if !ok {
			file = version
		}
		repo.AddSource(name, version, map[string]string{name + "_" + file + ".tar.xz": "the source of " + s})
	}
}

// controlText is a control file with the fields of another.
func controlText(c *deb.Control) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
		fmt.Fprintf(&b, "%s: %s\n", name, c.Fields[name])
	}
	return b.String()
}

// sameSources wants the lock's source packages on the medium, and nothing else but
// their sums.
func sameSources(t *testing.T, l *lockfile.Lock, iso string) {
	t.Helper()
	want := map[string]artifact.Digest{}
	for _, s := range l.Sources {
		for _, f := range s.Files {
			want[path.Join(l.ArchiveOf(s.Archive).Repository, f.Path)] = f.Digest
		}
	}
	image, err := medium.OpenISO(iso)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := image.Close(); err != nil {
			t.Error(err)
		}
	}()
	for f := range image.Files {
		if f == "SHA256SUMS" {
			continue
		}
		have, _, err := image.Sums(f)
		if err != nil || have != want[f] {
			t.Errorf("%s: SHA-256 %s, %v, want %q", f, have, err, want[f])
		}
		delete(want, f)
	}
	for _, f := range slices.Sorted(maps.Keys(want)) {
		t.Errorf("%s is not on the medium", f)
	}
}
