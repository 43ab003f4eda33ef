package stages

import (
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	traces "github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/stages/contents"
	"github.com/isotrace/isotrace/stages/livetree"
	"github.com/isotrace/isotrace/stages/trace"
)

// traceParams are what config and lock say of packages and requirements.
func traceParams(c *config.Config, l *lockfile.Lock, m *Materials) trace.Params {
	p := trace.Params{Name: c.Name, Release: c.Release, Remove: c.Remove, Installer: "install", Kernel: livetree.Kernel, Initrd: livetree.Initrd, Own: map[string]string{}}
	for _, t := range c.Boot.MemoryTests {
		p.Own[t.OnMedium()] = RecordPath(config.Clean(t.File))
	}
	for _, a := range l.Archives {
		t := traces.Suite{ID: a.ID, Date: a.Date, Release: a.Release, Signers: []string{}, Indexes: []artifact.Ref{}}
		for _, s := range a.Signers {
			t.Signers = append(t.Signers, s.Key)
		}
		for _, i := range a.Indexes {
			t.Indexes = append(t.Indexes, i.Ref)
		}
		for _, i := range a.SourceIndexes {
			t.SourceIndexes = append(t.SourceIndexes, i.Ref)
		}
		p.Archives = append(p.Archives, t)
	}
	known := map[string]bool{}
	for _, set := range []struct {
		name string
		list []lockfile.Package
	}{{"target", l.Target}, {"boot", l.Boot}} {
		for _, pkg := range set.list {
			p.Packages = append(p.Packages, tracePackage(l, set.name, pkg))
			known[pkg.ID()] = known[pkg.ID()] || set.name == "target"
		}
	}
	for _, id := range l.Installed() {
		if !known[id] { // of the base image, and no archive has its .deb
			name, version, _ := strings.Cut(id, "=")
			name, arch, _ := strings.Cut(name, ":")
			p.Packages = append(p.Packages, trace.Package{Package: traces.Package{
				Name: name, Architecture: arch, Version: version, Set: "target", Origin: traces.Base, Why: "in the base image",
			}})
		}
	}
	ofFile := map[string]string{} // names of packages by file of the project
	for _, d := range l.ProjectDebs() {
		ofFile[d.Path] = d.Name
	}
	for _, e := range c.Entries() {
		name, _, _ := strings.Cut(e.Name, "=")
		if strings.HasPrefix(e.Path, "debs[") {
			name = ofFile[config.Clean(e.Name)]
		}
		if strings.HasPrefix(e.Path, "packages[") || strings.HasPrefix(e.Path, "debs[") {
			p.Asked = append(p.Asked, traces.Asked{Name: name, Place: e.Path, Requirements: e.Requirements})
		}
	}
	for _, use := range Requirements(c, m.RequirementList) {
		r := traces.Requirement{ID: use.ID, Title: use.Title, Text: use.Text, Parent: use.Parent, Source: use.Source, Places: use.Entries}
		if r.Places == nil {
			r.Places = []string{}
		}
		for _, e := range c.Entries() {
			if slices.Contains(e.Requirements, r.ID) && isFile(e.Path) {
				r.Files = append(r.Files, RecordPath(e.Name))
			}
		}
		p.Requirements = append(p.Requirements, r)
	}
	for _, u := range c.Unexplained {
		p.Allow = append(p.Allow, trace.Allowed{Path: u.Path, Reason: u.Reason})
	}
	return p
}

// isFile tells whether an entry of the config is about files of the project.
func isFile(entry string) bool {
	return strings.HasPrefix(entry, "overlay[") || strings.HasPrefix(entry, "scripts[") || strings.HasPrefix(entry, "preseed[")
}

func tracePackage(l *lockfile.Lock, set string, p lockfile.Package) trace.Package {
	t := trace.Package{
		Package: traces.Package{
			Name: p.Name, Architecture: p.Architecture, Version: p.Version, Source: p.Source, SourceVersion: p.SourceVersion,
			Set: set, Origin: traces.Archive, Archive: p.Archive, Path: p.Path, Size: p.Size, SHA256: p.SHA256, Why: p.Why,
		},
		List: l.ArchiveOf(p.Archive).Repository + "/" + p.Path + contents.Suffix,
	}
	if p.Archive == lockfile.Project {
		t.Origin = traces.Overlay
	}
	for _, s := range l.Sources {
		if s.Name == p.Source && s.Version == p.SourceVersion && slices.Contains(s.For, p.ID()) {
			t.SourceFiles, t.SourceArchive = s.Files, s.Archive
		}
	}
	for _, s := range l.SourcesMissing {
		t.SourceMissing = t.SourceMissing || s.Name == p.Source && s.Version == p.SourceVersion && slices.Contains(s.For, p.ID())
	}
	return t
}
