package stages

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/stages/fetch"
)

func indexed(name, arch, version, path string) archive.Package {
	return archive.Package{
		Name: name, Version: version, Architecture: arch, Source: name, SourceVersion: version,
		Filename: path, Size: 1, SHA256: artifact.HashBytes([]byte(path)),
	}
}

// TestProofs: the base image's packages are locked where the archives have just
// them, and where the target set leaves them.
func TestProofs(t *testing.T) {
	one := &suite{id: "debian/one", packages: []archive.Package{
		indexed("kept", "amd64", "1", "kept-1"), indexed("kept", "amd64", "2", "kept-2"), indexed("docs", "all", "1:1-2", "docs"),
		indexed("upgraded", "amd64", "1", "upgraded-1"), indexed("upgraded", "amd64", "2", "upgraded-2"),
		indexed("was-all", "all", "1", "was-all-1"), indexed("was-all", "amd64", "2", "was-all-2"),
		indexed("older", "amd64", "3", "older-3"), indexed("other-arch", "all", "1", "other-arch"), indexed("not-there", "amd64", "1", "not-there"),
	}}
	two := &suite{id: "debian/two", packages: []archive.Package{indexed("kept", "amd64", "1", "kept-1-again"), indexed("only-two", "amd64", "1", "only-two")}}
	var told lines
	k := &locking{
		Session: &Session{Progress: &told},
		lock: &lockfile.Lock{Architecture: "amd64", Image: &lockfile.Image{Packages: []string{
			"docs:all=1:1-2", "kept:amd64=1", "older:amd64=2", "only-two:amd64=1", "other-arch:amd64=1", "upgraded:amd64=1", "was-all:all=1",
		}}},
	}
	all, origin := packagesOf([]*suite{one, two})
	for i := range all {
		if p := &all[i]; p.Filename == "upgraded-2" || p.Filename == "was-all-2" {
			k.lock.Target = append(k.lock.Target, lockPackage(p, origin[p.SHA256], "needed", lockfile.UseInstall))
		}
	}
	k.proofs(all, origin)
	var have []string
	for _, p := range k.lock.Target {
		have = append(have, fmt.Sprint(p.ID(), " ", p.Archive, " ", p.Path, " ", p.For, " ", p.Why))
	}
	want := []string{
		"upgraded:amd64=2 debian/one upgraded-2 [install] needed", "was-all:amd64=2 debian/one was-all-2 [install] needed",
		"kept:amd64=1 debian/one kept-1 [proof] in the base image", "docs:all=1:1-2 debian/one docs [proof] in the base image",
		"only-two:amd64=1 debian/two only-two [proof] in the base image",
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %q\nwant %q", have, want)
	}
	if want := (lines{"solve: the archives do not have the .debs of 2 of the base image's 7 packages: older:amd64=2, other-arch:amd64=1"}); !reflect.DeepEqual(told, want) {
		t.Errorf("told %q", told)
	}
	// They are fetched, but neither installed nor pinned.
	k.lock.Archives = []lockfile.Archive{{ID: "debian/one", Repository: "debian"}, {ID: "debian/two", Repository: "debian"}}
	sets := map[string]string{}
	for _, it := range Items(k.lock) {
		sets[it.Set] += it.Path + " "
	}
	if sets[fetch.Proof] != "kept-1 docs only-two " || sets[fetch.Target] != "upgraded-2 was-all-2 " {
		t.Errorf("fetched: %v", sets)
	}
	if _, ok := Fetched(k.lock)["fetch/proof/debian/kept-1"]; !ok {
		t.Error("verify does not expect the proofs")
	}
	c := &config.Config{Packages: []config.Package{{Name: "kept"}, {Name: "upgraded"}}}
	p := installParams(c, k.lock, &Materials{})
	if !reflect.DeepEqual(p.Manual, []string{"kept", "upgraded=2"}) {
		t.Errorf("apt is asked for %v", p.Manual)
	}
	installed := []string{"docs:all=1:1-2", "kept:amd64=1", "older:amd64=2", "only-two:amd64=1", "other-arch:amd64=1", "upgraded:amd64=2", "was-all:amd64=2"}
	if !reflect.DeepEqual(p.Expect, installed) {
		t.Errorf("expected: %v", p.Expect)
	}
}

// TestNoProofs: a bootstrap has no packages but those of the target set.
func TestNoProofs(t *testing.T) {
	all, origin := packagesOf([]*suite{{id: "debian/one", packages: []archive.Package{indexed("a2", "amd64", "1", "a")}}})
	k := &locking{Session: &Session{}, lock: &lockfile.Lock{Architecture: "amd64"}}
	if k.proofs(all, origin); len(k.lock.Target) != 0 {
		t.Errorf("%v", k.lock.Target)
	}
}
