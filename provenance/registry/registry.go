// Package registry keeps releases in OCI registries: the image and its signatures are
// one artefact, the evidence another that refers to it. docs/formats/release.md has the
// media types.
package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
)

// The kinds of artefacts and of what is in them.
const (
	ReleaseType  = "application/vnd.isotrace.release.v1"
	EvidenceType = "application/vnd.isotrace.evidence.v1"
	BundleType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	fileType     = "application/octet-stream"
	tarType      = "application/vnd.oci.image.layer.v1.tar"
	emptyType    = "application/vnd.oci.empty.v1+json"
	title        = "org.opencontainers.image.title"
)

// manifest is an OCI image manifest as artefacts have it (image-spec 1.1).
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     types.MediaType `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        v1.Descriptor   `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	Subject       *v1.Descriptor  `json:"subject,omitempty"`
}

// artefact is a manifest with the files that it names.
type artefact struct {
	raw    []byte
	layers map[v1.Hash]*fileLayer
}

var emptyConfig = []byte("{}")

func newArtefact(kind string, files []*fileLayer, subject *v1.Descriptor) (*artefact, error) {
	config, _, err := v1.SHA256(bytes.NewReader(emptyConfig))
	if err != nil {
		return nil, err
	}
	m := manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: kind, Subject: subject,
		Config: v1.Descriptor{MediaType: emptyType, Size: int64(len(emptyConfig)), Digest: config}, Layers: []v1.Descriptor{},
	}
	a := &artefact{layers: map[v1.Hash]*fileLayer{}}
	for _, f := range files {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: f.mediaType, Size: f.size, Digest: f.digest, Annotations: map[string]string{title: f.title}})
		a.layers[f.digest] = f
	}
	a.raw, err = json.Marshal(m)
	return a, err
}

func (a *artefact) RawConfigFile() ([]byte, error)      { return emptyConfig, nil }
func (a *artefact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (a *artefact) RawManifest() ([]byte, error)        { return a.raw, nil }
func (a *artefact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	l, ok := a.layers[h]
	if !ok {
		return nil, fmt.Errorf("no layer %s", h)
	}
	return l, nil
}

// descriptor is how others refer to the artefact.
func (a *artefact) descriptor() (*v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(a.raw))
	return &v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: size, Digest: digest}, err
}

// fileLayer is a file as it is, read anew for each use.
type fileLayer struct {
	file, title string
	mediaType   types.MediaType
	digest      v1.Hash
	size        int64
}

func newFileLayer(file, title string, mediaType types.MediaType) (*fileLayer, error) {
	d, size, err := artifact.HashFile(file)
	return &fileLayer{file, title, mediaType, v1.Hash{Algorithm: "sha256", Hex: string(d)}, size}, err
}

func (l *fileLayer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *fileLayer) DiffID() (v1.Hash, error)            { return l.digest, nil }
func (l *fileLayer) Compressed() (io.ReadCloser, error)  { return regular.OpenFile(l.file) }
func (l *fileLayer) Size() (int64, error)                { return l.size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error) { return l.mediaType, nil }

// Push puts the release in dir into a registry and returns its reference by digest. The
// same release has the same digest everywhere.
func Push(ctx context.Context, reference, dir string) (_ string, err error) {
	ref, err := parse(reference)
	if err != nil {
		return "", err
	}
	files, bundle, err := releaseFiles(dir)
	if err != nil {
		return "", err
	}
	work, err := os.MkdirTemp("", "isotrace-push-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	packed := filepath.Join(work, "evidence.tar")
	if err := artifact.WriteFile(packed, 0o600, func(w io.Writer) error { return pack(w, filepath.Join(dir, provenance.EvidenceDir)) }); err != nil {
		return "", err
	}
	evidence, err := newFileLayer(packed, provenance.EvidenceDir+".tar", tarType)
	if err != nil {
		return "", err
	}
	release, err := newArtefact(ReleaseType, files, nil)
	if err != nil {
		return "", err
	}
	subject, err := release.descriptor()
	if err != nil {
		return "", err
	}
	at := ref.Context().Digest(subject.Digest.String())
	signature := *bundle
	signature.mediaType = BundleType
	// The tag comes last: whoever finds it finds everything.
	if err := write(ctx, at, release); err != nil {
		return "", err
	}
	for kind, layer := range map[string]*fileLayer{EvidenceType: evidence, BundleType: &signature} {
		a, err := newArtefact(kind, []*fileLayer{layer}, subject)
		if err != nil {
			return "", err
		}
		d, err := a.descriptor()
		if err != nil {
			return "", err
		}
		if err := write(ctx, ref.Context().Digest(d.Digest.String()), a); err != nil {
			return "", err
		}
	}
	if _, tagged := ref.(name.Tag); tagged {
		if err := write(ctx, ref, release); err != nil {
			return "", err
		}
	}
	return at.String(), nil
}

func write(ctx context.Context, ref name.Reference, a *artefact) error {
	image, err := partial.CompressedToImage(a)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fault.New(fault.Failed, "is the registry there, and may you write to it?", "push %s: %w", ref, err)
	}
	return nil
}

func parse(reference string) (name.Reference, error) {
	ref, err := name.ParseReference(reference, name.StrictValidation)
	if err != nil {
		return nil, fault.New(fault.Usage, "for example registry.example.org/images/rescue:1.0.0", "%w", err)
	}
	return ref, nil
}

// releaseFiles are the files of a release beside its evidence, in order, and its bundle.
func releaseFiles(dir string) (files []*fileLayer, bundle *fileLayer, err error) {
	names, err := provenance.ReleaseFiles(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		l, err := newFileLayer(filepath.Join(dir, filepath.FromSlash(n)), n, fileType)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, l)
		if strings.HasSuffix(n, ".iso"+provenance.BundleSuffix) {
			bundle = l
		}
	}
	if bundle == nil {
		return nil, nil, fault.New(fault.Usage, "isotrace release signs it", "%s: is not released", dir)
	}
	return files, bundle, nil
}

// pack writes a folder as a tar archive that depends on nothing but names and content.
func pack(w io.Writer, dir string) error {
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s: is not a regular file", p)
		}
		rel, err := filepath.Rel(dir, p)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return err
	}
	slices.Sort(names)
	tw := tar.NewWriter(w)
	for _, n := range names {
		if err := packFile(tw, filepath.Join(dir, filepath.FromSlash(n)), n); err != nil {
			return err
		}
	}
	return tw.Close()
}

func packFile(tw *tar.Writer, file, name string) (err error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: st.Size(), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// local tells whether a title is the name of a file below a folder.
func local(title string) bool {
	return title != "" && path.Clean(title) == title && filepath.IsLocal(filepath.FromSlash(title)) && !strings.ContainsAny(title, "\\\x00")
}
