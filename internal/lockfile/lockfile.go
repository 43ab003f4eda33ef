// Package lockfile reads and writes isotrace.lock: the exact content that a
// config comes to, and who signed for it.
package lockfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
)

// FileName is the name of the lock in a project's folder.
const FileName = "isotrace.lock"

// Format is the version of the lock's format.
const Format = 1

// MaxSize bounds a lock, in bytes: some 100,000 packages.
const MaxSize = 64 << 20

// Lock is the whole of isotrace.lock. Every list is sorted; Encode writes one
// text for one lock.
type Lock struct {
	Format int `yaml:"format"`
	// Intent is the digest of what the config says of content; see config.Intent.
	Intent       artifact.Digest `yaml:"config"`
	Epoch        epoch.Epoch     `yaml:"epoch"`
	Architecture string          `yaml:"architecture"`
	// Image is the base image, where there is one.
	Image    *Image    `yaml:"image,omitempty"`
	Archives []Archive `yaml:"archives"`
	// The three sets.
	Target []Package `yaml:"target"`
	Boot   []Package `yaml:"boot"`
	Tools  []Package `yaml:"tools"`
}

// Image is a base image.
type Image struct {
	// Manifest is the image's own for the architecture; its digest is the image's.
	Manifest Blob `yaml:"manifest"`
	// Config and Layers, as the manifest names them.
	Config Blob   `yaml:"config"`
	Layers []Blob `yaml:"layers"`
	// Packages that dpkg has in the image, as NAME:ARCH=VERSION.
	Packages []string `yaml:"packages"`
}

// Blob is a part of an image.
type Blob struct {
	MediaType string          `yaml:"media-type"`
	Digest    artifact.Digest `yaml:"sha256"`
	Size      int64           `yaml:"size"`
}

// Archive is a suite as it was when the lock was made.
type Archive struct {
	ID         string `yaml:"id"` // REPOSITORY/SUITE
	Repository string `yaml:"repository"`
	Suite      string `yaml:"suite"`
	Codename   string `yaml:"codename"`
	Date       string `yaml:"date"` // RFC 3339, of the Release file
	// ValidUntil is empty where the archive states none.
	ValidUntil string `yaml:"valid-until,omitempty"`
	// ExpiredAccepted tells that the Release file had expired and the config let it pass.
	ExpiredAccepted bool `yaml:"expired-accepted,omitempty"`
	// Keyring are the keys that may sign; its path is the project's.
	Keyring artifact.Ref `yaml:"keyring"`
	// Signers are the keys that did.
	Signers []Signer `yaml:"signers"`
	// Release is InRelease, or Release beside Signature.
	Release   artifact.Ref  `yaml:"release"`
	Signature *artifact.Ref `yaml:"signature,omitempty"`
	Indexes   []Index       `yaml:"indexes"`
}

// Signer is a key that signed a Release file.
type Signer struct {
	Primary string `yaml:"primary"` // fingerprint
	Key     string `yaml:"key"`     // fingerprint of the key or subkey that signed
}

// Index is a Packages index.
type Index struct {
	artifact.Ref `yaml:",inline"`
	Component    string `yaml:"component"`
}

// Use is what a package is for, within its set.
type Use string

// The uses.
const (
	UseBase     Use = "base"     // target: the minimal system
	UseInstall  Use = "install"  // target: added by the install stage
	UseProof    Use = "proof"    // target: the .deb of a package that came with the base image; never installed
	UseBoot     Use = "boot"     // boot: boots the image
	UseBuild    Use = "build"    // tools: builds the image
	UseEmulator Use = "emulator" // tools: runs it, for isotrace boot
)

// Package is a .deb.
type Package struct {
	Name          string          `yaml:"name"`
	Version       string          `yaml:"version"`
	Architecture  string          `yaml:"architecture"`
	Source        string          `yaml:"source"`
	SourceVersion string          `yaml:"source-version"`
	Archive       string          `yaml:"archive"` // ID
	Path          string          `yaml:"path"`    // below the mirror's base
	Size          int64           `yaml:"size"`
	SHA256        artifact.Digest `yaml:"sha256"`
	For           []Use           `yaml:"for,flow"`
	// Why it is there: the config's entry, or the package that needs it.
	Why string `yaml:"why"`
}

// ID names a package's name, architecture and version as dpkg does.
func (p Package) ID() string { return p.Name + ":" + p.Architecture + "=" + p.Version }

const header = "# Made by isotrace lock from isotrace.yaml. Keep it under version control; do not edit it.\n"

// Encode writes the lock in its one form.
func (l *Lock) Encode() ([]byte, error) {
	slices.SortFunc(l.Archives, func(a, b Archive) int { return strings.Compare(a.ID, b.ID) })
	for _, set := range [][]Package{l.Target, l.Boot, l.Tools} {
		slices.SortFunc(set, func(a, b Package) int { return strings.Compare(a.ID(), b.ID()) })
	}
	var b bytes.Buffer
	b.WriteString(header)
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("write %s: %w", FileName, err)
	}
	return b.Bytes(), errors.Join(enc.Close())
}

const relock = "run isotrace lock"

// Decode reads a lock and refuses every text that Encode would not have written.
func Decode(name string, b []byte) (*Lock, error) {
	if len(b) > MaxSize {
		return nil, fault.New(fault.Usage, relock, "%s: longer than %d bytes", name, MaxSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	l := &Lock{}
	if err := dec.Decode(l); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("is empty")
		}
		return nil, fault.New(fault.Usage, relock, "%s: %s", name, strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n ", ""))
	}
	if l.Format != Format {
		return nil, fault.New(fault.Usage, relock, "%s: format %d, this isotrace reads %d", name, l.Format, Format)
	}
	if err := l.validate(); err != nil {
		return nil, fault.New(fault.Usage, relock, "%s: %w", name, err)
	}
	again, err := l.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, fault.New(fault.Usage, relock, "%s:%d: was changed by hand: not in the form that isotrace lock writes", name, firstDifferentLine(again, b))
	}
	return l, nil
}

func firstDifferentLine(a, b []byte) int {
	line := 1
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return line
		}
		if a[i] == '\n' {
			line++
		}
	}
	return line
}

func (l *Lock) validate() error {
	if err := l.Epoch.Validate(); err != nil {
		return err
	}
	if err := l.Intent.Validate(); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	archives := map[string]bool{}
	for _, a := range l.Archives {
		if archives[a.ID] || a.ID != a.Repository+"/"+a.Suite {
			return fmt.Errorf("archive %q: listed twice or misnamed", a.ID)
		}
		archives[a.ID] = true
		refs := []artifact.Ref{a.Release}
		if a.Signature != nil {
			refs = append(refs, *a.Signature)
		}
		for _, i := range a.Indexes {
			refs = append(refs, i.Ref)
		}
		for _, r := range refs {
			if err := archive.ValidatePath(r.Path); err != nil {
				return fmt.Errorf("archive %s: %w", a.ID, err)
			}
			if err := r.Digest.Validate(); err != nil {
				return fmt.Errorf("archive %s: %s: %w", a.ID, r.Path, err)
			}
		}
		if err := a.Keyring.Digest.Validate(); err != nil {
			return fmt.Errorf("archive %s: keyring: %w", a.ID, err)
		}
	}
	uses := map[string][]Use{"target": {UseBase, UseInstall, UseProof}, "boot": {UseBoot}, "tools": {UseBuild, UseEmulator}}
	for _, set := range []struct {
		name string
		list []Package
	}{{"target", l.Target}, {"boot", l.Boot}, {"tools", l.Tools}} {
		for i, p := range set.list {
			if err := p.validate(archives, uses[set.name]); err != nil {
				return fmt.Errorf("%s: package %s: %w", set.name, p.Name, err)
			}
			if i > 0 && l.slot(set.list[i-1].Name, set.list[i-1].Architecture) == l.slot(p.Name, p.Architecture) {
				return fmt.Errorf("%s: package %s: listed twice", set.name, p.Name)
			}
		}
	}
	if l.Image != nil {
		for _, d := range l.Image.Blobs() {
			if err := d.Digest.Validate(); err != nil {
				return fmt.Errorf("image: %w", err)
			}
		}
	}
	return l.validateProofs()
}

// validateProofs: what proves a package of the base image is that package, and
// nothing else. That the target set does not replace it is so because no package
// stands in a set twice.
func (l *Lock) validateProofs() error {
	inBase := map[string]bool{}
	if l.Image != nil {
		for _, id := range l.Image.Packages {
			inBase[id] = true
		}
	}
	for _, p := range l.Target {
		switch {
		case !p.Is(UseProof):
		case len(p.For) > 1:
			return fmt.Errorf("target: package %s: is for proof, and for something else too", p.Name)
		case !inBase[p.ID()]:
			return fmt.Errorf("target: package %s: is for proof, but the base image does not have %s", p.Name, p.ID())
		}
	}
	return nil
}

func (p Package) validate(archives map[string]bool, uses []Use) error {
	if err := archive.ValidatePackageName(p.Name); err != nil {
		return err
	}
	if err := archive.ValidateVersion(p.Version); err != nil {
		return err
	}
	if err := archive.ValidatePath(p.Path); err != nil {
		return err
	}
	if err := p.SHA256.Validate(); err != nil {
		return err
	}
	if p.Size <= 0 {
		return fmt.Errorf("size %d", p.Size)
	}
	if !archives[p.Archive] {
		return fmt.Errorf("archive %q is not in the lock", p.Archive)
	}
	if len(p.For) == 0 {
		return errors.New("does not say what it is for")
	}
	for _, u := range p.For {
		if !slices.Contains(uses, u) {
			return fmt.Errorf("is for %q, which its set is not", u)
		}
	}
	return nil
}

// CheckConfig refuses a lock that does not belong to the config.
func (l *Lock) CheckConfig(c *config.Config) error {
	intent, err := c.Intent()
	if err != nil {
		return err
	}
	if l.Intent != intent {
		return fault.New(fault.Usage, "run isotrace lock, look at what changes, and keep both",
			"%s does not belong to %s: the config's base, archives or packages have changed since", FileName, config.FileName)
	}
	return nil
}

// ArchiveOf returns the archive of an ID. The lock was validated, so there is one.
func (l *Lock) ArchiveOf(id string) Archive {
	for _, a := range l.Archives {
		if a.ID == id {
			return a
		}
	}
	return Archive{}
}

// Is tells whether the package has the use.
func (p Package) Is(u Use) bool { return slices.Contains(p.For, u) }

// Blobs are the parts of the image: its manifest, its config and its layers.
func (i *Image) Blobs() []Blob {
	return append([]Blob{i.Manifest, i.Config}, i.Layers...)
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
