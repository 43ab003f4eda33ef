// Package lockfile reads and writes isotrace.lock: the exact content that a
// config comes to, and who signed for it.
package lockfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

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
	// Sources are what the packages of target and boot, and those of the base
	// image, were built from, where the config asks for them; SourcesMissing are
	// those that no archive has.
	Sources        []Source        `yaml:"sources,omitempty"`
	SourcesMissing []MissingSource `yaml:"sources-missing,omitempty"`
}

// Image is a base image.
type Image struct {
	// Manifest is the image's own for the architecture; its digest is the image's.
	Manifest Blob `yaml:"manifest"`
	// Config and Layers, as the manifest names them.
	Config Blob   `yaml:"config"`
	Layers []Blob `yaml:"layers"`
	// Index that named the image, where one did, and Provenance what its builder said
	// there of how it was built: in-toto Statements.
	Index      *Blob  `yaml:"index,omitempty"`
	Provenance []Blob `yaml:"provenance,omitempty"`
	// Signature is there where the config names a key.
	Signature *ImageSignature `yaml:"signature,omitempty"`
	// Packages that dpkg has in the image, as NAME:ARCH=VERSION.
	Packages []string `yaml:"packages"`
}

// ImageSignature is cosign's, of an image or of the index that names it.
type ImageSignature struct {
	// Payload is what was signed: a digest and a reference as JSON ("simple signing").
	Payload Blob `yaml:"payload"`
	// Value is the signature of the payload, base64.
	Value string `yaml:"value"`
	// Key is the file of the signer's public key; its path is the project's.
	Key artifact.Ref `yaml:"key"`
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
	// Origin is the Release file's; locks of before have none.
	Origin string `yaml:"origin,omitempty"`
	Date   string `yaml:"date"` // RFC 3339, of the Release file
	// ValidUntil is empty where the archive states none.
	ValidUntil string `yaml:"valid-until,omitempty"`
	// ExpiredAccepted tells that the Release file had expired and the config let it pass.
	ExpiredAccepted bool `yaml:"expired-accepted,omitempty"`
	// OlderAccepted is the date of the Release file that was locked before, where that is newer
	// and somebody asked for the older one by name.
	OlderAccepted string `yaml:"older-accepted,omitempty"`
	// ChangedAccepted is what another codename or origin was locked before under the same name,
	// where somebody asked for the change by name.
	ChangedAccepted string `yaml:"changed-accepted,omitempty"`
	// Keyring are the keys that may sign; its path is the project's.
	Keyring artifact.Ref `yaml:"keyring"`
	// Signers are the keys that did.
	Signers []Signer `yaml:"signers"`
	// Release is InRelease, or Release beside Signature.
	Release   artifact.Ref  `yaml:"release"`
	Signature *artifact.Ref `yaml:"signature,omitempty"`
	Indexes   []Index       `yaml:"indexes"`
	// SourceIndexes are there where the lock has sources.
	SourceIndexes []Index `yaml:"source-indexes,omitempty"`
}

// Signer is a key that signed a Release file.
type Signer struct {
	Primary string `yaml:"primary" json:"primary"` // fingerprint
	Key     string `yaml:"key" json:"key"`         // fingerprint of the key or subkey that signed
}

// Index is a Packages or Sources index.
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
	UseSolve    Use = "solve"    // tools: chooses packages, for isotrace lock
	UseEmulator Use = "emulator" // tools: runs it, for isotrace boot
)

// Project stands for an archive where the package is a file of the project: its path is
// the one below the project's folder. No ID of an archive is like it.
const Project = "project"

// Package is a .deb.
type Package struct {
	Name          string          `yaml:"name"`
	Version       string          `yaml:"version"`
	Architecture  string          `yaml:"architecture"`
	Source        string          `yaml:"source"`
	SourceVersion string          `yaml:"source-version"`
	Archive       string          `yaml:"archive"` // ID, or Project
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
	l.sortSources()
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
	if err := l.checkArchives(c); err != nil {
		return err
	}
	if err := l.checkDebs(c); err != nil {
		return err
	}
	if without := l.WithoutSource(); c.Sources && len(without) > 0 {
		return fault.New(fault.Usage, relock, "%s: does not tell where the source of %s is", FileName, without[0])
	}
	return nil
}

// checkDebs refuses a lock that has other package files of the project than the config.
func (l *Lock) checkDebs(c *config.Config) error {
	pinned := c.PinnedDebs()
	for _, p := range l.ProjectDebs() {
		if pinned[p.Path] != p.SHA256 {
			return fault.New(fault.Usage, relock, "%s: %s with SHA-256 %s is not among the debs of %s", FileName, p.Path, p.SHA256, config.FileName)
		}
		delete(pinned, p.Path)
	}
	if left := slices.Sorted(maps.Keys(pinned)); len(left) > 0 {
		return fault.New(fault.Usage, relock, "%s: does not have %s, which %s lists", FileName, left[0], config.FileName)
	}
	return nil
}
