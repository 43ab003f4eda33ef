// Package trace says where each file of an image came from: one origin each,
// and on what it rests. docs/formats/trace.md describes its files.
package trace

import (
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
)

// Kind is what sort of origin a file has.
type Kind string

// The kinds of origins, from the strongest to none.
const (
	Archive     Kind = "archive"     // the bytes stand in a .deb
	Base        Kind = "base"        // came with the base image, and its .deb is not at hand
	Generated   Kind = "generated"   // written by a package's maintainer script, or a program it brings
	Overlay     Kind = "overlay"     // the project's own file or script put it there
	Stage       Kind = "stage"       // isotrace made it
	Modified    Kind = "modified"    // of an archive or the base image, and changed later
	Unexplained Kind = "unexplained" // nobody is known to have made it
)

// Kinds are all kinds, in the order in which people are shown them.
var Kinds = []Kind{Archive, Base, Generated, Overlay, Stage, Modified, Unexplained}

// The parts of an image whose files are traced.
const (
	PartRoot   = "root"   // the tree in the squashfs
	PartInitrd = "initrd" // the initial RAM file system
	PartMedium = "medium" // the tree of the ISO
	PartESP    = "esp"    // the EFI system partition
	PartBIOS   = "bios"   // what is built into GRUB for BIOS
	PartEFI    = "efi"    // what is built into GRUB for UEFI
	PartDisk   = "disk"   // what a disk has besides the root tree; nothing where none is made
)

// Parts are all parts, from the inside of an image outwards.
var Parts = []string{PartRoot, PartInitrd, PartBIOS, PartEFI, PartESP, PartMedium, PartDisk}

// Origin is where one file came from.
type Origin struct {
	Path string        `json:"path"`
	Type roottree.Type `json:"type"`
	Raw  *Raw          `json:"raw,omitempty"` // in a file alone
	// SHA256 and Size are those of a regular file, Target is that of a link.
	SHA256 artifact.Digest `json:"sha256,omitempty"`
	Size   int64           `json:"size,omitempty"`
	Target string          `json:"target,omitempty"`
	Kind   Kind            `json:"origin"`
	// Package is the .deb that holds it or held it, by index into the head's
	// packages; Others have the same entry.
	Package *int  `json:"package,omitempty"`
	Others  []int `json:"others,omitempty"`
	// By is who wrote or changed it, by index into the head's actors.
	By *int `json:"by,omitempty"`
	// Was is what a modified file was, and what a project's file replaced.
	Was *Was `json:"was,omitempty"`
	// Of is the file of another part whose content this one is, as PART:PATH.
	Of string `json:"of,omitempty"`
	// Allowed is the config's reason for a file that nothing explains.
	Allowed string `json:"allowed,omitempty"`
}

// Raw are the texts of an origin that are no UTF-8, which JSON cannot hold.
type Raw struct {
	Path   []byte `json:"path,omitempty"`
	Target []byte `json:"target,omitempty"`
	Of     []byte `json:"of,omitempty"`
}

// Was is a file as its package or the base image has it, where that differs.
type Was struct {
	Type   roottree.Type   `json:"type,omitempty"`
	Mode   string          `json:"mode,omitempty"` // octal
	UID    *uint32         `json:"uid,omitempty"`
	GID    *uint32         `json:"gid,omitempty"`
	SHA256 artifact.Digest `json:"sha256,omitempty"`
	Target string          `json:"target,omitempty"`
	// By is who made a file that no package had, before it was changed.
	By *int `json:"by,omitempty"`
}

// Actor is who did something, and in which stage.
type Actor struct {
	Stage string `json:"stage"`
	stage.Actor
	// Package is the one that a program belongs to, by index.
	Package *int `json:"package,omitempty"`
}

// Package is a package that files come from.
type Package struct {
	Name          string `json:"name"`
	Architecture  string `json:"architecture"`
	Version       string `json:"version"`
	Source        string `json:"source"`
	SourceVersion string `json:"source-version"`
	// Set is target or boot; Origin is archive, overlay where the .deb is a file of the
	// project, or base for a package of the base image whose .deb is not at hand.
	Set    string `json:"set"`
	Origin Kind   `json:"from"`
	// Archive, Path, Size and SHA256 are those of the .deb; a file of the project has
	// its path below the project's folder, and project in the archive's place.
	Archive string          `json:"archive,omitempty"`
	Path    string          `json:"path,omitempty"`
	Size    int64           `json:"size,omitempty"`
	SHA256  artifact.Digest `json:"sha256,omitempty"`
	// Licence is the SPDX expression of its copyright file, or NOASSERTION.
	Licence string `json:"licence,omitempty"`
	// Why it is there, as in the lock.
	Why string `json:"why,omitempty"`
	// Gone says why the image does not have the package, though the lock has; "" of one
	// that it has.
	Gone string `json:"gone,omitempty"`
	// Needs are the packages that it really depends on, by index.
	Needs []int `json:"needs,omitempty"`
	// Asked are the config's entries that name it.
	Asked []string `json:"asked,omitempty"`
	// Requirements are those that it serves, itself or for another package.
	Requirements []Serves `json:"requirements,omitempty"`
	// SourceFiles are the .dsc and what it names, where sources are locked.
	SourceFiles []artifact.Ref `json:"source-files,omitempty"`
	// SourceArchive is the suite that has them; SourceMissing says that none has.
	SourceArchive string `json:"source-archive,omitempty"`
	SourceMissing bool   `json:"source-missing,omitempty"`
}

// ID is NAME:ARCH=VERSION.
func (p *Package) ID() string { return p.Name + ":" + p.Architecture + "=" + p.Version }

// Suite is a suite of an archive, and what is signed of it.
type Suite struct {
	ID      string       `json:"id"` // REPOSITORY/SUITE
	Date    string       `json:"date"`
	Release artifact.Ref `json:"release"`
	// Signers are the fingerprints of the keys that signed the Release file.
	Signers []string       `json:"signers"`
	Indexes []artifact.Ref `json:"indexes"`
	// SourceIndexes are there where sources are locked.
	SourceIndexes []artifact.Ref `json:"source-indexes,omitempty"`
}

// Serves is a requirement that a package is there for.
type Serves struct {
	ID string `json:"id"`
	// Path leads from the package that the config names to this one, by index.
	Path []int `json:"path"`
}

// Finding is something that an auditor should know of.
type Finding struct {
	Rule string `json:"rule"`
	Path string `json:"path,omitempty"`
	Text string `json:"text"`
}

// Head is all but the files themselves.
type Head struct {
	Format  int    `json:"format"`
	Name    string `json:"name"`
	Release string `json:"release"`
	// Archives are the suites that packages come from.
	Archives []Suite   `json:"archives"`
	Packages []Package `json:"packages"`
	Actors   []Actor   `json:"actors"`
	Parts    []Part    `json:"parts"`
	Findings []Finding `json:"findings"`
	// Requirements are those that the config or its requirements file names.
	Requirements []Requirement `json:"requirements"`
	// Removed are files of packages that are not in the image.
	Removed []Removed `json:"removed"`
}

// Requirement is an identifier of the project's own.
type Requirement struct {
	ID     string `json:"id"`
	Title  string `json:"title,omitempty"`
	Text   string `json:"text,omitempty"`
	Parent string `json:"parent,omitempty"`
	Source string `json:"source,omitempty"`
	// Places of the config that name it.
	Places []string `json:"places"`
	// Files of the project that serve it, by the record path that actors have.
	Files []string `json:"files,omitempty"`
}

// Removed is a file that a package has and the image has not.
type Removed struct {
	Path    string `json:"path"`
	RawPath []byte `json:"raw-path,omitempty"`
	Package int    `json:"package"`
	By      *int   `json:"by,omitempty"`
}

// Part is one tree of the image.
type Part struct {
	Name  string `json:"name"`
	Files int    `json:"files"`
	// Counts are by kind, in the order of Kinds, without the zeros.
	Counts []Count `json:"counts"`
	// Frames are the pieces of NAME.jsonl.zst, in order of the files' paths.
	Frames []Frame `json:"frames"`
}

// Count is how many files have an origin, and the bytes of the regular ones.
type Count struct {
	Kind  Kind  `json:"origin"`
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Frame is one zstd frame of a part's file.
type Frame struct {
	First    string `json:"first"` // path of its first line
	RawFirst []byte `json:"raw-first,omitempty"`
	Offset   int64  `json:"offset"`
	Size     int64  `json:"size"`  // compressed
	Plain    int64  `json:"plain"` // uncompressed
}
