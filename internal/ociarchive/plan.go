// Package ociarchive writes and reads archives of files for the long term: one OCI image
// layout in a tar file, of which there is exactly one for given files, so that a change of
// any byte is found. docs/formats/archive.md describes it.
package ociarchive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// Bounds of an archive.
const (
	maxManifest = 128 << 20 // bytes
	maxFiles    = 500_000
	maxTitle    = 4096      // bytes
	maxTotal    = 16 << 40  // bytes
	maxIndex    = 1 << 20   // bytes
	block       = 512       // bytes, of tar
	trailer     = 2 * block // zeros at the end of a tar file
	sumsTitle   = "SHA256SUMS"
	layoutName  = "oci-layout"
	indexName   = "index.json"
	blobsDir    = "blobs/sha256/"
	createdKey  = "org.opencontainers.image.created"
	titleKey    = "org.opencontainers.image.title"
	runnableKey = "org.isotrace.executable"
	linkKey     = "org.isotrace.link"
	fileType    = "application/octet-stream"
	// ConfigType is the media type of the manifest's config, an empty JSON object: it
	// says what sort of archive this is.
	ConfigType = "application/vnd.isotrace.archive.v1+json"
)

var (
	layoutText = []byte(`{"imageLayoutVersion":"1.0.0"}`)
	configText = []byte("{}")
)

// File is a file of an archive.
type File struct {
	// Title is its path, when the archive is taken apart.
	Title      string
	Digest     artifact.Digest
	Size       int64
	Executable bool
	// Link is the target of a symbolic link; it has no content.
	Link string
}

// Contents are what an archive holds.
type Contents struct {
	// Epoch is the time of everything in it.
	Epoch time.Time
	// About are the annotations of the whole.
	About map[string]string
	// Files are sorted by title, the list of the others' digests among them.
	Files []File
	// Digest is that of the manifest, which names all the rest.
	Digest artifact.Digest
}

// member is a member of the tar file.
type member struct {
	name string
	size int64
	// text is its content where that is fixed, or it has the digest.
	text   []byte
	digest artifact.Digest
	titles []string
}

// plan is an archive as it has to be.
type plan struct {
	Contents
	members []member
}

// size is that of the tar file.
func (p *plan) size() int64 {
	n := int64(trailer)
	for _, m := range p.members {
		n += block + padded(m.size)
	}
	return n
}

func padded(n int64) int64 { return (n + block - 1) / block * block }

// header is that of a member.
func header(m member, epoch time.Time) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: m.size, Mode: 0o644, ModTime: epoch, Format: tar.FormatGNU})
	if err == nil && b.Len() != block {
		err = fmt.Errorf("%s: its header has %d bytes", m.name, b.Len())
	}
	return b.Bytes(), err
}

// manifestOf writes the manifest of files that are sorted by title.
func manifestOf(c Contents) ([]byte, error) {
	about := map[string]string{createdKey: c.Epoch.UTC().Format(time.RFC3339)}
	for k, v := range c.About {
		about[k] = v
	}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: about, Layers: []v1.Descriptor{},
		Config: v1.Descriptor{MediaType: ConfigType, Digest: hashOf(artifact.HashBytes(configText)), Size: int64(len(configText))},
	}
	for _, f := range c.Files {
		d := v1.Descriptor{MediaType: fileType, Digest: hashOf(f.Digest), Size: f.Size, Annotations: map[string]string{titleKey: f.Title}}
		if f.Executable {
			d.Annotations[runnableKey] = "true"
		}
		if f.Link != "" {
			d.Annotations[linkKey] = f.Link
		}
		m.Layers = append(m.Layers, d)
	}
	return json.Marshal(m)
}

func hashOf(d artifact.Digest) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: string(d)} }

// indexOf writes the index that names a manifest.
func indexOf(manifest []byte) ([]byte, error) {
	return json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{MediaType: types.OCIManifestSchema1, Digest: hashOf(artifact.HashBytes(manifest)), Size: int64(len(manifest))}},
	})
}

// planOf reads a manifest, and refuses one that manifestOf would not have written.
func planOf(manifest []byte) (*plan, error) {
	if len(manifest) > maxManifest {
		return nil, fmt.Errorf("the manifest is longer than %d bytes", maxManifest)
	}
	var m v1.Manifest
	if err := strictjson.UnmarshalOpen(manifest, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	c := Contents{About: m.Annotations, Digest: artifact.HashBytes(manifest)}
	var err error
	if c.Epoch, err = time.Parse(time.RFC3339, m.Annotations[createdKey]); err != nil || c.Epoch.Unix() < 0 {
		return nil, fmt.Errorf("manifest: %s: %q is no time", createdKey, m.Annotations[createdKey])
	}
	delete(c.About, createdKey)
	for _, l := range m.Layers {
		c.Files = append(c.Files, File{
			Title: l.Annotations[titleKey], Digest: artifact.Digest(l.Digest.Hex), Size: l.Size,
			Executable: l.Annotations[runnableKey] != "", Link: l.Annotations[linkKey],
		})
	}
	if err := check(c.Files); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	others := slices.DeleteFunc(slices.Clone(c.Files), func(f File) bool { return f.Title == sumsTitle })
	i := slices.IndexFunc(c.Files, func(f File) bool { return f.Title == sumsTitle })
	if i < 0 || c.Files[i].Digest != artifact.HashBytes(sumsOf(others)) {
		return nil, fmt.Errorf("manifest: %s is not the list of the files", sumsTitle)
	}
	again, err := manifestOf(c)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, manifest) {
		return nil, errors.New("the manifest is not written as isotrace writes one")
	}
	index, err := indexOf(manifest)
	if err != nil {
		return nil, err
	}
	p := &plan{Contents: c, members: []member{
		{name: layoutName, size: int64(len(layoutText)), text: layoutText},
		{name: indexName, size: int64(len(index)), text: index},
		{name: blobsDir + string(c.Digest), size: int64(len(manifest)), text: manifest},
	}}
	return p, p.blobs()
}

// check refuses files that an archive cannot have.
func check(files []File) error {
	if len(files) > maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	var total int64
	for i, f := range files {
		switch {
		case !fs.ValidPath(f.Title) || f.Title == "." || len(f.Title) > maxTitle || strings.ContainsAny(f.Title, "\n\r\x00"):
			return fmt.Errorf("%q: is no path of a file", f.Title)
		case i > 0 && files[i-1].Title >= f.Title:
			return fmt.Errorf("%q and %q: are not in order", files[i-1].Title, f.Title)
		case f.Size < 0 || f.Size > maxTotal-total:
			return fmt.Errorf("%s: more than %d bytes in all", f.Title, int64(maxTotal))
		case f.Link != "" && (f.Size != 0 || f.Executable || len(f.Link) > maxTitle || strings.ContainsRune(f.Link, 0)):
			return fmt.Errorf("%s: is no link that can be", f.Title)
		}
		if err := f.Digest.Validate(); err != nil {
			return fmt.Errorf("%s: %w", f.Title, err)
		}
		total += f.Size
	}
	return nil
}

// blobs adds each content once, in the order of the digests.
func (p *plan) blobs() error {
	sizes := map[artifact.Digest]int64{artifact.HashBytes(configText): int64(len(configText))}
	titles := map[artifact.Digest][]string{artifact.HashBytes(configText): {"config of the archive"}}
	for _, f := range p.Files {
		if size, twice := sizes[f.Digest]; twice && size != f.Size {
			return fmt.Errorf("manifest: %s: has %d bytes, another file of the same digest %d", f.Title, f.Size, size)
		}
		sizes[f.Digest] = f.Size
		titles[f.Digest] = append(titles[f.Digest], f.Title)
	}
	delete(sizes, p.Digest) // that of the manifest stands before them
	var digests []artifact.Digest
	for d := range sizes {
		digests = append(digests, d)
	}
	slices.Sort(digests)
	for _, d := range digests {
		p.members = append(p.members, member{name: blobsDir + string(d), size: sizes[d], digest: d, titles: titles[d]})
	}
	return nil
}
