package stages

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/stages/fetch"
)

func sourceOf(name, version, content string) archive.SourcePackage {
	return archive.SourcePackage{Name: name, Version: version, Files: []artifact.Ref{
		{Path: "pool/" + name + "/" + name + ".dsc", Digest: artifact.HashBytes([]byte(content)), Size: 1},
	}}
}

// showSources writes what was found and what is missing, one a line.
func showSources(l *lockfile.Lock) string {
	var b strings.Builder
	for _, s := range l.Sources {
		fmt.Fprintf(&b, "%s in %s for %s\n", s.ID(), s.Archive, strings.Join(s.For, " "))
	}
	for _, m := range l.SourcesMissing {
		fmt.Fprintf(&b, "no %s for %s\n", m.ID(), strings.Join(m.For, " "))
	}
	return b.String()
}

func TestSources(t *testing.T) {
	built := func(p archive.Package, source, version, using string) archive.Package {
		p.Source, p.SourceVersion, p.BuiltUsing = source, version, using
		return p
	}
	stable := &suite{Suite: &archive.Suite{Repository: "debian"}, id: "debian/stable",
		packages: []archive.Package{
			indexed("plain", "amd64", "1-1", "plain"),
			built(indexed("rebuilt", "amd64", "2-1+b3", "rebuilt"), "rebuilt-src", "2-1", ""),
			built(indexed("image", "amd64", "6.1+1", "image"), "signed", "6.1+1", "linux (= 6.1-1), plain (= 1-1)"),
			built(indexed("image-docs", "all", "6.1-1", "image-docs"), "linux", "6.1-1", ""),
			indexed("twice", "amd64", "1", "twice"), indexed("gone", "amd64", "1", "gone"), indexed("gone-docs", "all", "1", "gone-docs"),
			indexed("kept", "amd64", "1", "kept"), indexed("not-locked", "amd64", "1", "not-locked"),
		},
		sources: []archive.SourcePackage{
			sourceOf("plain", "1-1", "plain"), sourceOf("plain", "1-2", "plain 1-2"), sourceOf("rebuilt-src", "2-1", "rebuilt"), sourceOf("signed", "6.1+1", "signed"),
			sourceOf("linux", "6.1-1", "linux"), sourceOf("twice", "1", "twice"), sourceOf("fixed", "1", "fixed"), sourceOf("kept", "1", "kept"),
			sourceOf("base-lib", "3-1", "base-lib"), sourceOf("not-locked", "1", "not-locked"),
		},
	}
	security := &suite{Suite: &archive.Suite{Repository: "debian-security"}, id: "debian-security/stable-security",
		packages: []archive.Package{indexed("fixed", "amd64", "1", "fixed"), indexed("fixed-too", "amd64", "1", "fixed-too"), indexed("twice-other", "amd64", "1", "twice-other")},
		sources:  []archive.SourcePackage{sourceOf("fixed", "1", "fixed"), sourceOf("fixed-too", "1", "fixed-too"), sourceOf("twice", "1", "another")},
	}
	boots := &suite{Suite: &archive.Suite{Repository: "debian"}, id: "debian/boot",
		packages: []archive.Package{indexed("plain", "amd64", "1-1", "plain"), indexed("grub", "amd64", "1", "grub")},
		sources:  []archive.SourcePackage{sourceOf("grub", "1", "grub")},
	}
	security.packages[2] = built(security.packages[2], "twice", "1", "")
	for i := range stable.packages[5:7] {
		stable.packages[5+i].Source = "gone"
	}
	c := &config.Config{
		Sources:  true,
		Archives: []config.Archive{{Suite: "stable"}, {Suite: "stable-security"}}, Boot: config.Boot{Archives: []config.Archive{{Suite: "boot"}, {Suite: "stable"}}},
	}
	var told lines
	k := &locking{
		Session: &Session{Progress: &told}, config: c,
		suites: map[string]*suite{stable.id: stable, security.id: security, boots.id: boots},
		lock: &lockfile.Lock{Architecture: "amd64", Image: &lockfile.Image{Packages: []string{
			"base-lib:amd64=3-1+b1", "kept:amd64=1", "lost:amd64=9", "plain:amd64=0-1",
		}}},
		base: &baseSystem{status: []byte("Package: kept\nArchitecture: amd64\nVersion: 1\nSource: nonsense (0)\n\n" +
			"Package: base-lib\nArchitecture: amd64\nVersion: 3-1+b1\nSource: base-lib (3-1)\nBuilt-Using: twice (= 1), void (= 2)\n\n" +
			"Package: lost\nArchitecture: amd64\nVersion: 9\n\nPackage: plain\nArchitecture: amd64\nVersion: 0-1\n")},
	}
	all, origin := packagesOf([]*suite{stable, security})
	for i := range all {
		if p := &all[i]; p.Name == "kept" {
			k.lock.Target = append(k.lock.Target, lockPackage(p, origin[p.SHA256], "", lockfile.UseProof))
		} else if p.Name != "not-locked" {
			k.lock.Target = append(k.lock.Target, lockPackage(p, origin[p.SHA256], "", lockfile.UseInstall))
		}
	}
	for i := range boots.packages {
		k.lock.Boot = append(k.lock.Boot, lockPackage(&boots.packages[i], boots.id, "", lockfile.UseBoot))
	}
	if err := k.sources(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := k.lock.Encode(); err != nil { // which sorts
		t.Fatal(err)
	}
	want := `base-lib 3-1 in debian/stable for base-lib:amd64=3-1+b1
fixed 1 in debian-security/stable-security for fixed:amd64=1
fixed-too 1 in debian-security/stable-security for fixed-too:amd64=1
grub 1 in debian/boot for grub:amd64=1
kept 1 in debian/stable for kept:amd64=1
linux 6.1-1 in debian/stable for image-docs:all=6.1-1 image:amd64=6.1+1
plain 1-1 in debian/stable for image:amd64=6.1+1 plain:amd64=1-1
rebuilt-src 2-1 in debian/stable for rebuilt:amd64=2-1+b3
signed 6.1+1 in debian/stable for image:amd64=6.1+1
twice 1 in debian-security/stable-security for twice-other:amd64=1
twice 1 in debian/stable for base-lib:amd64=3-1+b1 twice:amd64=1
no gone 1 for gone-docs:all=1 gone:amd64=1
no lost 9 for lost:amd64=9
no void 2 for base-lib:amd64=3-1+b1
`
	if have := showSources(k.lock); have != want {
		t.Errorf("have\n%s\nwant\n%s", have, want)
	}
	if without := k.lock.WithoutSource(); len(without) > 0 {
		t.Errorf("nothing is said of %v", without)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "sources: no archive has the source packages gone 1 of ") || !strings.Contains(told[0], "void 2 of base-lib:amd64=3-1+b1") {
		t.Errorf("told %q", told)
	}
}

func TestSourcesRefuse(t *testing.T) {
	for field, want := range map[string]string{
		"linux":                   "a:amd64=1: Built-Using: linux names no version",
		"linux (>= 1)":            "a:amd64=1: Built-Using: linux (>= 1) names no version",
		"linux (= 1) | bsd (= 2)": "names no version",
		"linux (= ":               "a:amd64=1: Built-Using: ",
	} {
		if _, err := builtUsing(field, "a:amd64=1", "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", field, err, want)
		}
	}
	wanted := map[string]bool{"a2:amd64=1": true}
	for status, want := range map[string]string{
		"Package: a2\nArchitecture: amd64\nVersion: 1\nSource: ../x\n":     "base image: var/lib/dpkg/status: line 4: Source",
		"Package: a2\nArchitecture: amd64\nVersion: 1\nBuilt-Using: x\n":   "base image: a2:amd64=1: Built-Using",
		"Package: a2\nArchitecture: amd64\nVersion: 1\nVersion: 2\n":       "base image: var/lib/dpkg/status",
		"Package: other\nArchitecture: amd64\nVersion: 1\nSource: (((x)))": "",
	} {
		_, err := baseSources([]byte(status), wanted)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", status, err, want)
		}
	}
}

// TestLockSources resolves, locks and fetches the sources of a small archive.
func TestLockSources(t *testing.T) {
	now := time.Date(2024, 3, 4, 0, 0, 0, 0, time.UTC)
	repo := archivetest.New(t)
	repo.AddPackage("Package: hello\nVersion: 2.10-3+b1\nArchitecture: amd64\nSource: hello (2.10-3)\n")
	repo.AddPackage("Package: libhello\nVersion: 2.10-2\nArchitecture: all\nSource: hello\n")
	repo.AddPackage("Package: closed\nVersion: 1\nArchitecture: all\n")
	shared := map[string]string{"hello_2.10.orig.tar.gz": "upstream", "hello_2.10.orig.tar.gz.asc": ""}
	repo.AddSource("hello", "2.10-3", shared)
	repo.AddSource("hello", "2.10-2", shared)
	key := repo.Publish("stable", "main", now.Add(-time.Hour), time.Time{}, archivetest.Options{})

	dir := t.TempDir()
	text := "name: x\nrelease: \"1\"\nbase: {bootstrap: stable}\narchives: [{suite: stable, components: [main], signed-by: key.asc}]\n"
	if err := os.WriteFile(filepath.Join(dir, "key.asc"), key, 0o644); err != nil {
		t.Fatal(err)
	}
	lock := func(text string) (*locking, error) {
		c, err := config.Parse(config.FileName, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		intent, err := c.Intent()
		if err != nil {
			t.Fatal(err)
		}
		k := &locking{
			Session: &Session{Project: &Project{Dir: dir, Config: c}, Store: openStore(t), Mirrors: Mirrors{Given: []string{"debian=" + repo.URI()}}, Now: now},
			config:  c, suites: map[string]*suite{}, lock: &lockfile.Lock{Format: lockfile.Format, Intent: intent, Architecture: c.Architecture},
		}
		if err := k.archives(t.Context()); err != nil {
			return nil, err
		}
		all, origin := packagesOf(k.of(c.Archives))
		for i := range all {
			k.lock.Target = append(k.lock.Target, lockPackage(&all[i], origin[all[i].SHA256], "a test", lockfile.UseInstall))
		}
		if c.Sources {
			return k, k.sources(t.Context())
		}
		return k, nil
	}
	plain, err := lock(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(plain.lock.Archives[0].SourceIndexes) != 0 {
		t.Errorf("sources were fetched unasked: %+v", plain.lock.Archives[0])
	}
	k, err := lock(text + "sources: true\n")
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := k.lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	l, err := lockfile.Decode(lockfile.FileName, encoded)
	if err != nil {
		t.Fatalf("%v\n%s", err, encoded)
	}
	if err := l.CheckConfig(k.config); err != nil {
		t.Error(err)
	}
	want := "hello 2.10-2 in debian/stable for libhello:all=2.10-2\nhello 2.10-3 in debian/stable for hello:amd64=2.10-3+b1\nno closed 1 for closed:all=1\n"
	if have := showSources(l); have != want {
		t.Errorf("have\n%s\nwant\n%s", have, want)
	}
	if a := l.Archives[0]; len(a.SourceIndexes) != 1 || a.SourceIndexes[0].Path != "dists/stable/main/source/Sources.xz" || a.SourceIndexes[0].Component != "main" || len(a.Indexes) != 1 {
		t.Errorf("archive: %+v", a)
	}
	// They are fetched, upstream's files once, and so is the index, by its hash.
	repo.Remove("dists/stable/main/source/Sources.xz")
	items := Items(l)
	store := openStore(t)
	client, err := k.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := Fetcher(client)(t.Context(), store, items, nil); err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, it := range items {
		if !store.Has(it.Digest) {
			t.Errorf("%s was not fetched", it.Path)
		}
		if it.Set == fetch.Sources {
			sources = append(sources, it.Path)
		}
	}
	const pool = "pool/main/h/hello/hello_2.10"
	if want := []string{pool + "-2.dsc", pool + ".orig.tar.gz", pool + ".orig.tar.gz.asc", pool + "-3.dsc"}; !reflect.DeepEqual(sources, want) {
		t.Errorf("fetched %q", sources)
	}
	if _, ok := Fetched(l)["fetch/sources/debian/"+pool+"-3.dsc"]; !ok {
		t.Error("verify does not expect the sources")
	}
	if !slices.ContainsFunc(items, func(it fetch.Item) bool {
		return it.Set == fetch.Archives && it.Path == "dists/stable/main/source/Sources.xz"
	}) {
		t.Error("the evidence would lack the Sources index")
	}
	// A lock that says nothing of a package's source is none for this config.
	k.lock.Sources = k.lock.Sources[:1]
	if err := k.lock.CheckConfig(k.config); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "hello:amd64=2.10-3+b1") {
		t.Errorf("%v", err)
	}
}
