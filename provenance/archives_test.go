package provenance

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

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
		Keyring: artifact.Ref{Path: "key.asc", Digest: artifact.HashBytes(key)}, Release: s.ReleaseFile, Signers: lockedSigners(s.Signers),
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
	v.opts.ArchiveKeys.Rings = []*archive.Keyring{ring}
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
		"as locked": {func(*testing.T, *verification) {}, "2 packages and 1 source packages in the indexes of 1 suites; 1 source packages are in none, signed by KEY (debian/stable)"},
		"without sources": {func(_ *testing.T, v *verification) {
			v.Lock.Sources, v.Lock.SourcesMissing, v.Lock.Archives[0].SourceIndexes = nil, nil, nil
		}, "2 packages in the indexes of 1 suites, signed by KEY (debian/stable)"},
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
			"2 packages and 1 source packages in the indexes of 1 suites; package files of the project, which the config pins: 1; 1 source packages are in none, signed by KEY (debian/stable)"},
		"a package file that the config does not pin": {func(_ *testing.T, v *verification) { ownDeb(v, other, "", other) }, "own:all=1: is debs/own.deb of the project with SHA-256 "},
		"a package file that was not fetched":         {func(_ *testing.T, v *verification) { ownDeb(v, other, other, "") }, "own:all=1: is debs/own.deb of the project with SHA-256 "},
		"packages for sources":                        {func(_ *testing.T, v *verification) { v.Lock.Archives[0].SourceIndexes = v.Lock.Archives[0].Indexes }, "debian/stable: dists/stable/main/binary-amd64/Packages.xz: line 1: Directory"},
		"sources for packages":                        {func(_ *testing.T, v *verification) { v.Lock.Archives[0].Indexes = v.Lock.Archives[0].SourceIndexes }, "debian/stable: dists/stable/main/source/Sources.xz: line 1: Architecture"},
	} {
		t.Run(name, func(t *testing.T) {
			v := evidenceOf(t)
			c.want = strings.ReplaceAll(c.want, "KEY", v.Lock.Archives[0].Signers[0].Primary)
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

// TestWhoSigned: lock, trace and policy name those whose signatures hold, and an auditor says
// which of them count.
func TestWhoSigned(t *testing.T) {
	date := time.Date(2024, 3, 2, 10, 0, 0, 0, time.UTC)
	stranger := archivetest.NewKey(t, date.AddDate(-1, 0, 0), 0)
	ring := func(text []byte) *archive.Keyring {
		k, err := archive.ReadKeyring("named.asc", text)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	put := func(v *verification, ref *artifact.Ref, name func() string, text []byte) {
		ref.Digest, ref.Size = artifact.HashBytes(text), int64(len(text))
		at := filepath.Join(v.dir, filepath.FromSlash(name()))
		if err := os.WriteFile(at, text, 0o644); err != nil {
			t.Fatal(err)
		}
		v.files[name()] = ref.Digest
	}
	// takeOver has the stranger sign the Release file, with his key beside the archive's or in
	// its place, and the lock follow as far as it is told.
	takeOver := func(beside, locked bool) func(*verification) {
		return func(v *verification) {
			a := &v.Lock.Archives[0]
			keys := stranger.Public()
			if beside {
				old, err := os.ReadFile(filepath.Join(v.dir, filepath.FromSlash(KeyringName(a.Keyring.Digest))))
				if err != nil {
					t.Fatal(err)
				}
				keys = append(old, keys...)
			}
			put(v, &a.Keyring, func() string { return KeyringName(a.Keyring.Digest) }, keys)
			signed, err := os.ReadFile(filepath.Join(v.dir, filepath.FromSlash(archived(*a, a.Release))))
			if err != nil {
				t.Fatal(err)
			}
			block, _ := clearsign.Decode(signed)
			put(v, &a.Release, func() string { return archived(*a, a.Release) }, archivetest.SignInline(t, block.Plaintext, date, stranger))
			if locked {
				id := fmt.Sprintf("%X", stranger.Fingerprint())
				a.Signers = []lockfile.Signer{{Primary: id, Key: id}}
			}
		}
	}
	nobody := func(v *verification) { v.opts.ArchiveKeys = ArchiveKeys{} }
	both := func(a, b func(*verification)) func(*verification) { return func(v *verification) { a(v); b(v) } }
	for name, c := range map[string]struct {
		change func(*verification)
		want   string // a problem, or what was found
		state  State
	}{
		"as it was":                    {func(*verification) {}, "signed by ", Valid},
		"nobody says whom he believes": {nobody, "keys that came with the evidence", CannotTell},
		"by fingerprint": {func(v *verification) {
			v.opts.ArchiveKeys = ArchiveKeys{Fingerprints: []string{v.Lock.Archives[0].Signers[0].Primary}}
		}, "signed by ", Valid},
		"by another's fingerprint": {func(v *verification) {
			v.opts.ArchiveKeys = ArchiveKeys{Fingerprints: []string{fmt.Sprintf("%X", stranger.Fingerprint())}}
		}, "among the archives' keys that you named", Invalid},
		"by another's key": {func(v *verification) {
			v.opts.ArchiveKeys = ArchiveKeys{Rings: []*archive.Keyring{ring(stranger.Public())}}
		}, "among the archives' keys that you named", Invalid},
		"a stranger, and the lock is not": {takeOver(false, false), "the lock says that it is signed by", Invalid},
		"a stranger beside, unlocked":     {takeOver(true, false), "the lock says that it is signed by", Invalid},
		"a stranger, as the lock says":    {takeOver(false, true), "among the archives' keys that you named", Invalid},
		"a stranger beside, locked":       {takeOver(true, true), "among the archives' keys that you named", Invalid},
		"a stranger whom nobody judges":   {both(takeOver(true, true), nobody), fmt.Sprintf("signed by %X", stranger.Fingerprint()), CannotTell},
		"signers that did not sign": {func(v *verification) {
			v.Lock.Archives[0].Signers = append(v.Lock.Archives[0].Signers, lockfile.Signer{Primary: "AA", Key: "AA"})
		}, "the lock says that it is signed by", Invalid},
		"no signers":      {func(v *verification) { v.Lock.Archives[0].Signers = nil }, "the lock says that it is signed by nobody", Invalid},
		"another end":     {func(v *verification) { v.Lock.Archives[0].ValidUntil = "2099-01-01T00:00:00Z" }, "the lock has its end as", Invalid},
		"another origin":  {func(v *verification) { v.Lock.Archives[0].Origin = "Debian" }, "the lock has its origin as", Invalid},
		"from the future": {func(v *verification) { v.opts.Now = date.Add(-48 * time.Hour) }, "from the future", Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			v := evidenceOf(t)
			c.change(v)
			what, problems, err := v.archives(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			state := v.archivesState()
			if len(problems) > 0 {
				what, state = problems[0].String(), Invalid
			}
			if !strings.Contains(what, c.want) || state != c.state {
				t.Errorf("%s: %s\nwant %s: %s", state, what, c.state, c.want)
			}
			// A remembered result says nothing of whom somebody believes.
			v.opts.Known = func(artifact.Digest) bool { return true }
			if again, problems, err := v.archives(t.Context()); err != nil || c.state == Invalid != (len(problems) > 0) || c.state != Invalid && again != what {
				t.Errorf("remembered: %s, %v, %v", again, problems, err)
			}
		})
	}
}
