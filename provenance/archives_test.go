package provenance

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/artifact/artifacttest"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
)

// evidenceOf makes a lock of all that a small archive has, and the part of the
// evidence that it rests on.
func evidenceOf(t *testing.T) *verification {
	t.Helper()
	date := time.Date(2024, 3, 2, 10, 0, 0, 0, time.UTC)
	repo := archivetest.New(t)
	repo.AddPackage("Package: hello\nVersion: 2.10-3+b1\nArchitecture: amd64\nSource: hello (2.10-3)\n")
	repo.AddPackage("Package: closed\nVersion: 1\nArchitecture: amd64\n")
	repo.AddSource("hello", "2.10-3", map[string]string{"hello_2.10.orig.tar.gz": "upstream"})
	repo.AddSource("other", "1", nil)
	key := repo.Publish("stable", "main", date, time.Time{}, archivetest.Options{})

	store := artifacttest.Open(t, filepath.Join(t.TempDir(), "store"))
	ring, err := archive.ReadKeyring("key.asc", key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := archive.NewClient(archive.Options{Mirrors: map[string][]string{"debian": {repo.URI()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := client.ResolveSuite(t.Context(), archive.SuiteRequest{
		Repository: "debian", Suite: "stable", Components: []string{"main"}, Architecture: "amd64", Keyring: ring, Now: date, Sources: true,
	}, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := lockfile.Archive{
		ID: "debian/stable", Repository: "debian", Suite: "stable", Codename: s.Release.Codename, Date: date.Format(time.RFC3339),
		Keyring: artifact.Ref{Path: "key.asc", Digest: artifact.HashBytes(key)}, Release: s.ReleaseFile,
		Indexes:       []lockfile.Index{{Ref: s.Indexes[0].Ref, Component: "main"}},
		SourceIndexes: []lockfile.Index{{Ref: s.SourceIndexes[0].Ref, Component: "main"}},
	}
	l := &lockfile.Lock{Architecture: "amd64", Archives: []lockfile.Archive{a}}
	packages, err := s.Packages(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		l.Target = append(l.Target, lockfile.Package{
			Name: p.Name, Version: p.Version, Architecture: p.Architecture, Source: p.Source, SourceVersion: p.SourceVersion,
			Archive: a.ID, Path: p.Filename, Size: p.Size, SHA256: p.SHA256, For: []lockfile.Use{lockfile.UseInstall},
		})
	}
	sources, err := s.Sources(store)
	if err != nil {
		t.Fatal(err)
	}
	l.Sources = []lockfile.Source{{Name: "hello", Version: "2.10-3", Archive: a.ID, For: []string{"hello:amd64=2.10-3+b1"}, Files: sources[0].Files}}
	l.SourcesMissing = []lockfile.MissingSource{{Name: "closed", Version: "1", For: []string{"closed:amd64=1"}}}

	v := &verification{Bundle: &Bundle{dir: t.TempDir(), Lock: l, lockText: []byte("a lock"), Config: &config.Config{}}}
	write := func(name string, from string) {
		to := filepath.Join(v.dir, filepath.FromSlash(name))
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range a.Files() {
		write(path.Join(ArchivesDir, a.Repository, r.Path), store.Path(r.Digest))
	}
	keys := filepath.Join(t.TempDir(), "key.asc")
	if err := os.WriteFile(keys, key, 0o644); err != nil {
		t.Fatal(err)
	}
	write(KeyringName(a.Keyring.Digest), keys)
	if v.files, err = listSums(t.Context(), v.dir, nil); err != nil {
		t.Fatal(err)
	}
	return v
}

// ownDeb adds a package file of the project, as lock, config and the link of fetch have it.
func ownDeb(v *verification, locked, pinned, fetched artifact.Digest) {
	v.Lock.Target = append(v.Lock.Target, lockfile.Package{Name: "own", Version: "1", Architecture: "all", Archive: lockfile.Project, Path: "debs/own.deb", SHA256: locked})
	v.Config.Debs = []config.Deb{{File: "./debs/own.deb", SHA256: pinned}}
	v.links = map[string]stage.Record{fetchStage: {Materials: map[string]artifact.Digest{"project/debs/own.deb": fetched}}}
}

func TestArchives(t *testing.T) {
	other := artifact.HashBytes([]byte("other"))
	for name, c := range map[string]struct {
		change func(t *testing.T, v *verification)
		want   string // problems, or what was found
	}{
		"as locked": {func(*testing.T, *verification) {}, "2 packages and 1 source packages in the indexes of 1 suites, signed by their archives' keys; 1 source packages are in none"},
		"without sources": {func(_ *testing.T, v *verification) {
			v.Lock.Sources, v.Lock.SourcesMissing, v.Lock.Archives[0].SourceIndexes = nil, nil, nil
		}, "2 packages in the indexes of 1 suites, signed by their archives' keys"},
		"another package": {func(_ *testing.T, v *verification) { v.Lock.Target[0].SHA256 = other }, "hello:amd64=2.10-3+b1: is in no index of debian/stable"},
		"another version": {func(_ *testing.T, v *verification) { v.Lock.Target[0].Version = "9" }, "hello:amd64=9: is another package in the index of debian/stable"},
		"of another source": {func(_ *testing.T, v *verification) { v.Lock.Target[0].SourceVersion = "2.10-3+b1" },
			"hello:amd64=2.10-3+b1: is another package in the index of debian/stable"},
		"a source that is not there":  {func(_ *testing.T, v *verification) { v.Lock.Sources[0].Version = "2.10-4" }, "hello 2.10-4: is in no Sources index of debian/stable"},
		"another source's files":      {func(_ *testing.T, v *verification) { v.Lock.Sources[0].Name, v.Lock.Sources[0].Version = "other", "1" }, "other 1: has other files in the Sources index of debian/stable"},
		"other content":               {func(_ *testing.T, v *verification) { v.Lock.Sources[0].Files[1].Digest = other }, "hello 2.10-3: has other files in the Sources index of debian/stable"},
		"another size":                {func(_ *testing.T, v *verification) { v.Lock.Sources[0].Files[1].Size++ }, "hello 2.10-3: has other files in the Sources index of debian/stable"},
		"another path":                {func(_ *testing.T, v *verification) { v.Lock.Sources[0].Files[0].Path = "pool/x.dsc" }, "hello 2.10-3: has other files in the Sources index of debian/stable"},
		"a file less":                 {func(_ *testing.T, v *verification) { v.Lock.Sources[0].Files = v.Lock.Sources[0].Files[:1] }, "hello 2.10-3: has other files in the Sources index of debian/stable"},
		"a source that is not listed": {func(_ *testing.T, v *verification) { v.Lock.Archives[0].SourceIndexes = nil }, "hello 2.10-3: is in no Sources index of debian/stable"},
		"missing, but there":          {func(_ *testing.T, v *verification) { v.Lock.SourcesMissing[0].Name = "other" }, "other 1: is missing, the lock says, but is in a Sources index of debian/stable"},
		"an index that is not signed": {func(t *testing.T, v *verification) {
			i := &v.Lock.Archives[0].SourceIndexes[0]
			name := archived(v.Lock.Archives[0], i.Ref)
			if err := os.WriteFile(filepath.Join(v.dir, name), []byte("forged"), 0o644); err != nil {
				t.Fatal(err)
			}
			i.Digest = artifact.HashBytes([]byte("forged"))
			v.files[name] = i.Digest
		}, "debian/stable: dists/stable/main/source/Sources.xz: the Release file does not name it with SHA-256 "},
		"an index that is not the locked one": {func(_ *testing.T, v *verification) {
			v.files[archived(v.Lock.Archives[0], v.Lock.Archives[0].SourceIndexes[0].Ref)] = other
		}, "archives/debian/dists/stable/main/source/Sources.xz: its SHA-256 is"},
		"a package file of the project": {func(_ *testing.T, v *verification) { ownDeb(v, other, other, other) },
			"2 packages and 1 source packages in the indexes of 1 suites, signed by their archives' keys; package files of the project, which the config pins: 1; 1 source packages are in none"},
		"a package file that the config does not pin": {func(_ *testing.T, v *verification) { ownDeb(v, other, "", other) }, "own:all=1: is debs/own.deb of the project with SHA-256 "},
		"a package file that was not fetched":         {func(_ *testing.T, v *verification) { ownDeb(v, other, other, "") }, "own:all=1: is debs/own.deb of the project with SHA-256 "},
		"packages for sources":                        {func(_ *testing.T, v *verification) { v.Lock.Archives[0].SourceIndexes = v.Lock.Archives[0].Indexes }, "debian/stable: dists/stable/main/binary-amd64/Packages.xz: line 1: Directory"},
		"sources for packages":                        {func(_ *testing.T, v *verification) { v.Lock.Archives[0].Indexes = v.Lock.Archives[0].SourceIndexes }, "debian/stable: dists/stable/main/source/Sources.xz: line 1: Architecture"},
	} {
		t.Run(name, func(t *testing.T) {
			v := evidenceOf(t)
			c.change(t, v)
			what, problems, err := v.archives(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				what = p.String()
				if strings.HasPrefix(what, c.want) {
					return
				}
			}
			if len(problems) > 0 || what != c.want {
				t.Errorf("have %s, %s\nwant %s", what, fmt.Sprint(problems), c.want)
			}
			if len(v.held) != 1 {
				t.Error("that it holds is not remembered")
			}
		})
	}
}
