package lockfile

import (
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
)

// ArchiveOf returns the archive of an ID. The lock was validated, so there is one. That of
// Project has nothing but a name.
func (l *Lock) ArchiveOf(id string) Archive {
	if id == Project {
		return Archive{ID: Project, Repository: Project}
	}
	for _, a := range l.Archives {
		if a.ID == id {
			return a
		}
	}
	return Archive{}
}

// Files are all files of the archive but its packages and sources: what signs
// and what is signed.
func (a Archive) Files() []artifact.Ref {
	refs := []artifact.Ref{a.Release}
	if a.Signature != nil {
		refs = append(refs, *a.Signature)
	}
	for _, i := range slices.Concat(a.Indexes, a.SourceIndexes) {
		refs = append(refs, i.Ref)
	}
	return refs
}

// ProjectDebs are the packages that are files of the project.
func (l *Lock) ProjectDebs() []Package {
	var list []Package
	for _, p := range l.Target {
		if p.Archive == Project {
			list = append(list, p)
		}
	}
	return list
}

// Is tells whether the package has the use.
func (p Package) Is(u Use) bool { return slices.Contains(p.For, u) }

// Blobs are the parts of the image: its manifest, its config and its layers, and what
// there is to prove where it came from.
func (i *Image) Blobs() []Blob {
	blobs := append([]Blob{i.Manifest, i.Config}, i.Layers...)
	if i.Index != nil {
		blobs = append(blobs, *i.Index)
	}
	blobs = append(blobs, i.Provenance...)
	if i.Signature != nil {
		blobs = append(blobs, i.Signature.Payload)
	}
	return blobs
}

// Installed are the packages of the finished root tree, as NAME:ARCH=VERSION,
// sorted: those of the target set, and those of the base image that they leave.
func (l *Lock) Installed() []string {
	var ids []string
	replaced := map[string]bool{}
	for _, p := range l.Target {
		if !p.Is(UseProof) {
			ids = append(ids, p.ID())
			replaced[l.slot(p.Name, p.Architecture)] = true
		}
	}
	if l.Image != nil {
		for _, id := range l.Image.Packages {
			if name, arch, _ := SplitID(id); !replaced[l.slot(name, arch)] {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// slot is what one package alone can have in a system: dpkg takes one for all
// architectures as one for its own.
func (l *Lock) slot(name, arch string) string {
	if arch == "all" {
		arch = l.Architecture
	}
	return name + ":" + arch
}

// SplitID takes NAME:ARCH=VERSION apart.
func SplitID(id string) (name, arch, version string) {
	name, version, _ = strings.Cut(id, "=")
	name, arch, _ = strings.Cut(name, ":")
	return name, arch, version
}

// Count is the number of packages of a set that are for one of the uses.
func Count(set []Package, uses ...Use) int {
	n := 0
	for _, p := range set {
		if slices.ContainsFunc(uses, p.Is) {
			n++
		}
	}
	return n
}

// Pin gives a package that the config asks for its locked version. What the
// base image has, or what is no package's own name, stays as it is.
func (l *Lock) Pin(name string) string {
	name, _, _ = strings.Cut(name, "=")
	for _, p := range l.Target {
		if p.Name == name && !p.Is(UseProof) {
			return name + "=" + p.Version
		}
	}
	return name
}
