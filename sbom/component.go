package sbom

import (
	"github.com/isotrace/isotrace/internal/artifact"
)

// Set is what a package is for.
type Set string

// The sets of a lock.
const (
	Target Set = "target" // in the image's root tree
	Boot   Set = "boot"   // boots it
	Tools  Set = "tools"  // builds it
)

// Origin is where an installed package came from.
type Origin string

// The origins of packages.
const (
	FromArchive Origin = "archive"
	FromBase    Origin = "base"    // came with the base image
	FromProject Origin = "project" // a file of the project, which no archive has
)

// Mark is apt's: whether a package was asked for, or came as a dependency.
type Mark string

// The marks.
const (
	Auto   Mark = "auto"
	Manual Mark = "manual"
)

// Package is a binary package of Debian's kind.
type Package struct {
	Set          Set    `json:"set"`
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	// Source and SourceVersion are as in Name and Version where the package's
	// Source field leaves them out.
	Source        string `json:"source"`
	SourceVersion string `json:"source-version"`
	Section       string `json:"section,omitempty"`
	Priority      string `json:"priority,omitempty"`
	Essential     bool   `json:"essential,omitempty"`
	Mark          Mark   `json:"mark,omitempty"`       // target only
	Maintainer    string `json:"maintainer,omitempty"` // Name <address>
	Homepage      string `json:"homepage,omitempty"`
	Summary       string `json:"summary,omitempty"`
	InstalledSize int64  `json:"installed-size,omitempty"` // KiB, the packager's estimate
	From          Origin `json:"from"`
	// Layer of the base image that brought the package.
	Layer artifact.Digest `json:"layer,omitempty"`
	// Deb is nil for a package of the base image whose .deb is not known.
	Deb              *Deb         `json:"deb,omitempty"`
	Distro           Distro       `json:"distro"`
	Licence          Licensing    `json:"licence"`
	BuiltUsing       []SourceID   `json:"built-using,omitempty"`
	StaticBuiltUsing []SourceID   `json:"static-built-using,omitempty"`
	Dependencies     []Dependency `json:"dependencies,omitempty"`
	Completeness     Completeness `json:"completeness,omitempty"` // of Dependencies
	Requirements     []string     `json:"requirements,omitempty"`
	// Executable tells whether the package holds anything that can be run.
	Executable Answer  `json:"executable,omitempty"`
	Unknown    Unknown `json:"unknown,omitempty"`
}

// ID names the package within a document: SET/NAME:ARCH=VERSION.
func (p *Package) ID() string {
	return string(p.Set) + "/" + p.Name + ":" + p.Architecture + "=" + p.Version
}

// Deb is a .deb in a signed archive.
type Deb struct {
	Path     string          `json:"path"` // below the mirror's base
	Size     int64           `json:"size"` // bytes
	Hashes   Hashes          `json:"hashes"`
	Archive  string          `json:"archive"` // REPOSITORY/SUITE
	Suite    string          `json:"suite,omitempty"`
	Codename string          `json:"codename,omitempty"`
	Release  artifact.Digest `json:"release,omitempty"` // of the signed Release file
}

// Distro is a distribution as its os-release file has it.
type Distro struct {
	ID       string `json:"id"`                 // such as debian: the purl's namespace
	Version  string `json:"version,omitempty"`  // such as 13
	Codename string `json:"codename,omitempty"` // such as trixie
}

// SourceID is a source package.
type SourceID struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// ID names the source package within a document: source/NAME=VERSION.
func (s SourceID) ID() string { return "source/" + s.Name + "=" + s.Version }

// Kind is that of a dependency.
type Kind string

// The kinds of dependency, of those that an installed package can have.
const (
	PreDepends Kind = "pre-depends"
	Depends    Kind = "depends"
	Recommends Kind = "recommends"
)

// Dependency is one that is met: On is the ID of the component that meets it.
type Dependency struct {
	On   string `json:"on"`
	Kind Kind   `json:"kind"`
}

// Source is what is known of a source package. One that packages name and that
// is not listed is in the documents all the same.
type Source struct {
	SourceID
	Distro     Distro       `json:"distro"`
	Maintainer string       `json:"maintainer,omitempty"`
	Homepage   string       `json:"homepage,omitempty"`
	Directory  string       `json:"directory,omitempty"` // of its files, below the mirror's base
	Files      []SourceFile `json:"files,omitempty"`     // the .dsc and what it lists
	Unknown    Unknown      `json:"unknown,omitempty"`
}

// SourceFile is a file of a source package.
type SourceFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // bytes
	Hashes Hashes `json:"hashes"`
}

// BaseImage is the container image that the root tree began as.
type BaseImage struct {
	Reference string          `json:"reference"`
	Manifest  artifact.Digest `json:"manifest"`
	Config    artifact.Digest `json:"config,omitempty"`
	Layers    []Layer         `json:"layers,omitempty"` // the lowest first
	Unknown   Unknown         `json:"unknown,omitempty"`
}

// Layer of a container image.
type Layer struct {
	Digest    artifact.Digest `json:"sha256"`
	Size      int64           `json:"size,omitempty"` // bytes
	MediaType string          `json:"media-type,omitempty"`
}

// Found is a component in the tree that belongs to no .deb.
type Found struct {
	Type    string    `json:"type"` // python, go-module, rust-crate, java-archive, firmware, …
	Name    string    `json:"name"`
	Version string    `json:"version,omitempty"`
	PURL    string    `json:"purl,omitempty"`
	Licence Licensing `json:"licence"`
	Paths   []Path    `json:"paths"` // where it was seen; the smallest is part of its ID
	FoundBy string    `json:"found-by"`
	// In is the package that brought the file in which it was seen, as
	// NAME:ARCH=VERSION; empty where none did.
	In           string       `json:"in,omitempty"`
	Creator      Party        `json:"creator"`
	Hashes       Hashes       `json:"hashes"`
	Dependencies []Dependency `json:"dependencies,omitempty"`
	Completeness Completeness `json:"completeness,omitempty"`
	Nature       Nature       `json:"nature"`
	Unknown      Unknown      `json:"unknown,omitempty"`
}

// ID names the component within a document: found/TYPE/NAME=VERSION@PATH.
func (f *Found) ID() string {
	return "found/" + f.Type + "/" + f.Name + "=" + f.Version + "@" + f.place().String()
}

func (f *Found) place() Path {
	if len(f.Paths) == 0 {
		return ""
	}
	least := f.Paths[0]
	for _, p := range f.Paths {
		least = min(least, p)
	}
	return least
}

// File is a regular file that no package owns.
type File struct {
	// Tree is the part of the product that holds the file: root for the root
	// tree, iso, initrd, efi.
	Tree   string `json:"tree"`
	Path   Path   `json:"path"` // relative to the tree's root
	Size   int64  `json:"size"` // bytes
	Hashes Hashes `json:"hashes"`
	// Origin is the trace's word: generated, overlay, stage, modified, base.
	Origin string `json:"origin"`
	// Reason is one line on who made the file and why.
	Reason string `json:"reason,omitempty"`
	// By is the ID of the package whose script wrote a generated file.
	By           string    `json:"by,omitempty"`
	Licence      Licensing `json:"licence"`
	Requirements []string  `json:"requirements,omitempty"`
	Nature       Nature    `json:"nature"`
	Unknown      Unknown   `json:"unknown,omitempty"`
}

// ID names the file within a document: file/TREE/PATH.
func (f *File) ID() string { return "file/" + f.Tree + "/" + f.Path.String() }
