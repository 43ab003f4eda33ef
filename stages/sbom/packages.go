package sbom

import (
	"context"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/sbom"
)

// packages adds what the lock and the trace say of each package.
func (r *run) packages(context.Context) error {
	locked := map[string]*Locked{}
	for i := range r.params.Packages {
		l := &r.params.Packages[i]
		locked[string(l.Set)+"/"+l.ID] = l
	}
	archives := map[string]*Archive{}
	for i := range r.params.Archives {
		archives[r.params.Archives[i].ID] = &r.params.Archives[i]
	}
	layers, err := r.layers()
	if err != nil {
		return err
	}
	requirements := r.requirements()
	r.doc.Packages = r.catalogue.Packages
	for i := range r.doc.Packages {
		p := &r.doc.Packages[i]
		p.Requirements = requirements[p.ID()]
		explain(p)
		if p.Deb == nil {
			p.From, p.Layer = sbom.FromBase, layers[p.ID()]
			continue
		}
		l := locked[p.ID()]
		if l == nil || string(l.SHA256) != p.Deb.Hashes.SHA256 || archives[l.Archive] == nil && l.Archive != lockfile.Project {
			return fault.New(fault.Refused, "run isotrace lock", "%s: its .deb %s is not the lock's", p.ID(), p.Deb.Path)
		}
		if l.Base {
			p.From = sbom.FromBase
		}
		if l.Archive == lockfile.Project {
			p.From = sbom.FromProject
			p.Deb.Path, p.Deb.Archive = l.Path, l.Archive
			continue
		}
		a := archives[l.Archive]
		p.Deb.Path, p.Deb.Archive, p.Deb.Suite, p.Deb.Codename, p.Deb.Release = l.Path, a.ID, a.Suite, a.Codename, a.Release
		if a.Foreign {
			p.Distro = a.distro()
		}
	}
	return nil
}

// explain says why a field of the control file is not known.
func explain(p *sbom.Package) {
	if p.Maintainer != "" {
		return
	}
	if p.Unknown == nil {
		p.Unknown = sbom.Unknown{}
	}
	p.Unknown[sbom.FieldSupplier] = "not known: its control file names no maintainer"
	p.Unknown[sbom.FieldCreator] = p.Unknown[sbom.FieldSupplier]
}

// distro is a guess at the distribution of an archive that the root tree's
// packages are not of: no Release file is read here. Its version is not known.
func (a *Archive) distro() sbom.Distro {
	id, _, _ := strings.Cut(a.Repository, "-")
	codename := a.Codename
	for _, pocket := range []string{"-security", "-updates", "-proposed-updates", "-proposed", "-backports", "-backports-sloppy"} {
		codename = strings.TrimSuffix(codename, pocket)
	}
	return sbom.Distro{ID: strings.ToLower(id), Codename: codename}
}

// requirements are those that packages serve, by the packages' IDs.
func (r *run) requirements() map[string][]string {
	all := map[string][]string{}
	for i := range r.trace.Packages {
		p := &r.trace.Packages[i]
		for _, s := range p.Requirements {
			id := p.Set + "/" + p.ID()
			all[id] = append(all[id], s.ID)
		}
	}
	return all
}

// layers are those of the base image that brought packages whose .debs are not
// known: the layer of a package's first file.
func (r *run) layers() (map[string]artifact.Digest, error) {
	layers := map[string]artifact.Digest{}
	if r.params.Base == nil {
		return layers, nil
	}
	err := r.trace.Each(trace.PartRoot, []byte(`"`+string(trace.Base)+`"`), func(o trace.Origin) bool {
		if o.Kind != trace.Base || o.Type != roottree.File || o.Package == nil || o.By == nil {
			return true
		}
		id := string(sbom.Target) + "/" + r.trace.Packages[*o.Package].ID()
		if a := r.trace.Actors[*o.By]; a.Kind == stage.ByLayer && layers[id] == "" && artifact.Digest(a.Name).Validate() == nil {
			layers[id] = artifact.Digest(a.Name)
		}
		return true
	})
	return layers, err
}
