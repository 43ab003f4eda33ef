package catalogue

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/debfacts"
	"github.com/isotrace/isotrace/sbom/scan"
)

// target adds the packages of the root tree, as dpkg has them there. Of their
// .debs, where there is one, digests and size are taken.
func (r *run) target(of []debfacts.Deb) error {
	byID := map[string]*debfacts.Deb{}
	for i := range of {
		byID[id(&of[i].Package)] = &of[i]
	}
	for i := range r.db.Packages {
		p := &r.db.Packages[i]
		pkg := sbom.Package{
			Set: sbom.Target, Name: p.Name, Version: p.Version, Architecture: p.Architecture, Source: p.Source, SourceVersion: p.SourceVersion,
			Section: p.Section, Priority: p.Priority, Essential: p.Essential, Mark: sbom.Manual, Maintainer: p.Maintainer, Homepage: p.Homepage,
			Summary: p.Summary, InstalledSize: p.InstalledSize, From: sbom.FromBase, Distro: r.out.Distro, Executable: r.executable(p),
		}
		if p.Auto {
			pkg.Mark = sbom.Auto
		}
		if a := byID[p.ID()]; a != nil {
			pkg.From, pkg.Deb = sbom.FromArchive, a.Package.Deb
			if a.Package.Source != p.Source || a.Package.SourceVersion != p.SourceVersion {
				return fault.New(fault.Refused, "find out who changed dpkg's database", "%s: dpkg has it built from %s %s, its .deb from %s %s",
					p.ID(), p.Source, p.SourceVersion, a.Package.Source, a.Package.SourceVersion)
			}
		}
		r.using(&pkg, p.BuiltUsing, p.StaticBuilt)
		at := debfacts.DocDir + "/" + p.Name + "/copyright"
		real, text, err := r.copyright(at)
		if err != nil {
			r.licences.none(&pkg, err.Error())
		} else {
			r.licences.add(&pkg, real, text)
		}
		r.out.Packages = append(r.out.Packages, pkg)
		r.needs = append(r.needs, sbom.Needs{PreDepends: p.PreDepends, Depends: p.Depends, Recommends: p.Recommends, Provides: p.Provides})
	}
	return nil
}

// absent are the packages whose .debs are locked and that dpkg does not have.
func absent(of []debfacts.Deb, db *dpkgdb.DB) []sbom.Absent {
	have := map[string]bool{}
	for i := range db.Packages {
		have[db.Packages[i].ID()] = true
	}
	var list []sbom.Absent
	for i := range of {
		if p := &of[i].Package; !have[id(p)] {
			list = append(list, sbom.Absent{Name: p.Name, Version: p.Version, ID: id(p), Needs: of[i].Needs})
		}
	}
	slices.SortFunc(list, func(a, b sbom.Absent) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func id(p *sbom.Package) string { return p.Name + ":" + p.Architecture + "=" + p.Version }

// executable tells whether a package has a file in the tree that can be run or
// holds machine code.
func (r *run) executable(p *dpkgdb.Package) sbom.Answer {
	for _, f := range p.Files {
		at, err := r.tree.Resolve(f)
		if err != nil {
			continue
		}
		if e, ok := r.tree.Lookup(at); ok && e.Type == roottree.File && (e.Mode&0o111 != 0 || r.seen.Programs[at]) {
			return sbom.Yes
		}
	}
	return sbom.No
}

// copyright reads a package's copyright file in the root tree, wherever links
// lead within it.
func (r *run) copyright(name string) (real string, text []byte, err error) {
	real, e, ok := scan.Follow(r.tree, name)
	switch {
	case !ok:
		return "", nil, errors.New("the image has no copyright file of it")
	case e.Type != roottree.File:
		return "", nil, errors.New("its copyright file is not a regular file")
	case e.Size > debfacts.MaxCopyright:
		return "", nil, fmt.Errorf("its copyright file has more than %d bytes", debfacts.MaxCopyright)
	}
	text, err = regular.Read(r.root, real, debfacts.MaxCopyright)
	return real, text, err
}

// unpacked adds the packages of a set that is unpacked and never installed, as
// their .debs have them.
func (r *run) unpacked(set sbom.Set, of []debfacts.Deb) {
	slices.SortFunc(of, func(a, b debfacts.Deb) int { return strings.Compare(id(&a.Package), id(&b.Package)) })
	for i := range of {
		a := &of[i]
		pkg := a.Package
		pkg.Set, pkg.Distro, pkg.Executable = set, r.out.Distro, sbom.No
		if a.Data.Executable {
			pkg.Executable = sbom.Yes
		}
		r.using(&pkg, a.BuiltUsing, a.StaticBuiltUsing)
		at, text, err := r.copyrightOf(a)
		if err != nil {
			r.licences.none(&pkg, err.Error())
		} else {
			r.licences.add(&pkg, at, text)
		}
		r.out.Packages = append(r.out.Packages, pkg)
		r.needs = append(r.needs, a.Needs)
	}
}

// copyrightOf follows links from one package's folder of documents to another's,
// of the same source package: a boot loader's may lead to one that its set has
// no use for.
func (r *run) copyrightOf(of *debfacts.Deb) (at string, text []byte, err error) {
	const most = 40
	at = debfacts.DocDir + "/" + of.Package.Name + "/copyright"
	for range most {
		name := path.Base(path.Dir(at))
		a := of
		if name != of.Package.Name {
			a = r.sibling(of, name)
		}
		switch {
		case a == nil && at == debfacts.DocDir+"/"+name+"/copyright" && r.installedSibling(of, name):
			return r.copyright(at)
		case a == nil || at != debfacts.DocDir+"/"+name+"/copyright":
			return "", nil, errors.New("its copyright file is a link to " + sbom.Path(at).String() + ", which no package of its source has")
		case a.Data.Problem != "":
			return "", nil, errors.New(a.Data.Problem)
		case a.Data.Link == "":
			return at, a.Data.Copyright, nil
		}
		at = a.Data.Link
	}
	return "", nil, errors.New("its copyright file is a link that leads in a circle")
}

// sibling is the .deb of that name that was built with another.
func (r *run) sibling(of *debfacts.Deb, name string) *debfacts.Deb {
	for _, set := range [][]debfacts.Deb{r.debs.Boot, r.debs.Tools} {
		for i := range set {
			if p := &set[i].Package; p.Name == name && p.Source == of.Package.Source && p.SourceVersion == of.Package.SourceVersion {
				return &set[i]
			}
		}
	}
	return nil
}

func (r *run) installedSibling(of *debfacts.Deb, name string) bool {
	return slices.ContainsFunc(r.db.Packages, func(p dpkgdb.Package) bool {
		return p.Name == name && p.Source == of.Package.Source && p.SourceVersion == of.Package.SourceVersion
	})
}

// using fills in the source packages whose parts a package has.
func (r *run) using(p *sbom.Package, built, static string) {
	for _, f := range []struct {
		name, field string
		to          *[]sbom.SourceID
	}{{"Built-Using", built, &p.BuiltUsing}, {"Static-Built-Using", static, &p.StaticBuiltUsing}} {
		var err error
		if *f.to, err = sbom.ParseSources(f.field); err != nil {
			r.out.Findings = append(r.out.Findings, sbom.Finding{
				ID:   fmt.Sprintf("%s:%s/%s:%s:%s", sbom.RuleDependency, p.Set, p.Name, p.Architecture, strings.ToLower(f.name)),
				Text: fmt.Sprintf("%s %s: %s: %v", p.Name, p.Version, f.name, err), Components: []string{p.ID()},
			})
		}
	}
}
