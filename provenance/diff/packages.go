package diff

import (
	"cmp"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/trace"
)

// The sets of packages.
const (
	SetTarget = "target"
	SetBoot   = "boot"
	SetTools  = "tools"
)

// The ways in which packages change.
const (
	Up      = "up"
	Down    = "down"
	New     = "new"
	Gone    = "gone"
	Rebuilt = "rebuilt" // the same version, and other bytes
	Moved   = "moved"   // the same .deb, removed from the image or not
)

// changes are the ways in the order in which people are shown them.
var changes = []string{Down, Gone, Rebuilt, New, Up, Moved}

// Package is a package of one of two builds.
type Package struct {
	Version       string          `json:"version"`
	Source        string          `json:"source,omitempty"`
	SourceVersion string          `json:"source-version,omitempty"`
	Archive       string          `json:"archive,omitempty"`
	SHA256        artifact.Digest `json:"sha256,omitempty"`
	// Gone says why the image does not have it though the lock has.
	Gone string `json:"gone,omitempty"`
	// For is what a tool is for: to build, to choose packages, to boot the image.
	For  []lockfile.Use `json:"for,omitempty"`
	path string
}

// PackageChange is a package that differs.
type PackageChange struct {
	Set          string   `json:"set"`
	Change       string   `json:"change"`
	Name         string   `json:"name"`
	Architecture string   `json:"architecture"`
	From         *Package `json:"from,omitempty"`
	To           *Package `json:"to,omitempty"`
}

// Versions is both versions in words.
func (p PackageChange) Versions() string {
	switch {
	case p.From == nil:
		return p.To.Version
	case p.To == nil:
		return p.From.Version
	case p.From.Version == p.To.Version:
		return p.To.Version
	}
	return p.From.Version + " → " + p.To.Version
}

// sorts are the words for packages of a set.
var sorts = map[string]string{SetTarget: "package", SetBoot: "boot package", SetTools: "tool"}

// cause names the change as a reason for others.
func (p PackageChange) cause() Cause {
	text := sorts[p.Set] + " " + p.Name + " " + p.Versions()
	switch p.Change {
	case New, Gone, Rebuilt:
		text += " is " + p.Change
	case Moved:
		text += " is removed in one of both"
	}
	return Cause{CausePackage, text}
}

// entry is a package with the name that two versions of it share.
type entry struct {
	set, slot, name, arch string
	Package
}

func slotOf(arch, native string) string {
	if arch == "all" {
		return native
	}
	return arch
}

// entries are all packages of a build, by set and name.
func (m *Model) entries() []entry {
	var all []entry
	for i := range m.Head.Packages {
		p := &m.Head.Packages[i]
		all = append(all, entry{p.Set, p.Name + ":" + slotOf(p.Architecture, m.Lock.Architecture), p.Name, p.Architecture,
			Package{p.Version, p.Source, p.SourceVersion, p.Archive, p.SHA256, p.Gone, nil, p.Path}})
	}
	for _, p := range m.Lock.Tools {
		all = append(all, entry{SetTools, p.Name + ":" + slotOf(p.Architecture, m.Lock.Architecture), p.Name, p.Architecture,
			Package{p.Version, p.Source, p.SourceVersion, p.Archive, p.SHA256, "", p.For, p.Path}})
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.key(), b.key()), archive.CompareVersions(a.Version, b.Version), strings.Compare(string(a.SHA256), string(b.SHA256)))
	})
	return all
}

func (e *entry) key() string { return e.set + "/" + e.slot }

// packages compares the packages of all sets. A base image may bring one version of a
// package and the lock another: what both builds have is left out, the rest is paired.
func packages(a, b *Model) []PackageChange {
	list := []PackageChange{}
	was, is := a.entries(), b.entries()
	same := func(x, y entry) bool {
		return x.key() == y.key() && x.Version == y.Version && x.SHA256 == y.SHA256 && (x.Gone == "") == (y.Gone == "")
	}
	left := func(from, of []entry) []entry {
		return slices.DeleteFunc(slices.Clone(from), func(x entry) bool {
			return slices.ContainsFunc(of, func(y entry) bool { return same(x, y) })
		})
	}
	union(left(was, is), left(is, was), (*entry).key, func(x, y *entry) {
		c := PackageChange{Change: Moved}
		for _, e := range []*entry{x, y} {
			if e != nil {
				c.Set, c.Name, c.Architecture = e.set, e.name, e.arch
			}
		}
		if x != nil {
			c.From = &x.Package
		}
		if y != nil {
			c.To = &y.Package
		}
		switch {
		case x == nil:
			c.Change = New
		case y == nil:
			c.Change = Gone
		case x.Version == y.Version && x.SHA256 != y.SHA256:
			c.Change = Rebuilt
		case x.Version != y.Version && archive.CompareVersions(x.Version, y.Version) < 0:
			c.Change = Up
		case x.Version != y.Version:
			c.Change = Down
		}
		list = append(list, c)
	})
	slices.SortStableFunc(list, func(x, y PackageChange) int {
		return cmp.Or(slices.Index(sets, x.Set)-slices.Index(sets, y.Set), slices.Index(changes, x.Change)-slices.Index(changes, y.Change), strings.Compare(x.Name, y.Name))
	})
	return list
}

var sets = []string{SetTarget, SetBoot, SetTools}

// LicenceChange is a package whose licence differs, or a new one.
type LicenceChange struct {
	Set     string `json:"set"`
	Package string `json:"package"`
	From    string `json:"from,omitempty"`
	To      string `json:"to"`
	// First tells that nothing of the baseline had this expression.
	First bool `json:"first,omitempty"`
}

func licences(a, b *Model) []LicenceChange {
	list := []LicenceChange{}
	type seen struct{ licence string }
	had := map[string]*seen{}
	known := map[string]bool{}
	name := func(m *Model, p *trace.Package) string {
		return p.Set + "/" + p.Name + ":" + slotOf(p.Architecture, m.Lock.Architecture)
	}
	for i := range a.Head.Packages {
		p := &a.Head.Packages[i]
		had[name(a, p)] = &seen{p.Licence}
		known[p.Licence] = true
	}
	for i := range b.Head.Packages {
		p := &b.Head.Packages[i]
		c := LicenceChange{Set: p.Set, Package: p.Name, To: p.Licence, First: !known[p.Licence]}
		if before := had[name(b, p)]; before != nil {
			if c.From = before.licence; c.From == c.To {
				continue
			}
		} else if p.Licence == "" {
			continue
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(x, y LicenceChange) int {
		return cmp.Or(boolOrder(y.First, x.First), strings.Compare(x.Package, y.Package), strings.Compare(x.Set, y.Set))
	})
	return list
}

// boolOrder puts false before true.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
