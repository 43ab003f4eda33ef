package registry

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/strictjson"
	"github.com/isotrace/isotrace/provenance"
)

// Bounds of a release in a registry.
const (
	maxManifest = 4 << 20  // bytes
	maxFiles    = 100      // of a release, beside the evidence
	maxFile     = 64 << 30 // bytes
	maxMembers  = 20_000   // files of the evidence
	maxEvidence = 4 << 30  // bytes of them all
)

// Fetch brings a release into a new folder, whole or not at all. Every digest that the
// registry's manifests name is checked; what they mean is for a verification to judge.
func Fetch(ctx context.Context, reference, dir string) (err error) {
	ref, err := parse(reference)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(dir); err == nil {
		return fault.New(fault.Usage, "name a folder that is not there yet", "%s: is there already", dir)
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	release, digest, err := get(ref, options)
	if err != nil {
		return err
	}
	evidence, err := evidenceOf(ref.Context().Digest(digest.String()), options)
	if err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	draft, err := os.MkdirTemp(parent, provenance.DraftPrefix+"*")
	if err != nil {
		return artifact.ExplainWrite(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	if err := os.Chmod(draft, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(draft)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, l := range release.Layers {
		if err := fetchFile(ref, l, root, options); err != nil {
			return fmt.Errorf("fetch %s: %w", ref, err)
		}
	}
	if err := fetchEvidence(ref, evidence, root, options); err != nil {
		return fmt.Errorf("fetch %s: evidence: %w", ref, err)
	}
	if err := artifact.SyncDir(draft); err != nil {
		return err
	}
	if err := os.Rename(draft, dir); err != nil {
		return err
	}
	return artifact.SyncDir(parent)
}

// get reads the manifest of a release.
func get(ref name.Reference, options []remote.Option) (*manifest, v1.Hash, error) {
	m, digest, err := read(ref, options)
	switch {
	case err != nil:
		return nil, digest, err
	case m.ArtifactType != ReleaseType:
		return nil, digest, refused(ref, "is a %q, not a %s", m.ArtifactType, ReleaseType)
	case len(m.Layers) == 0 || len(m.Layers) > maxFiles:
		return nil, digest, refused(ref, "has %d files", len(m.Layers))
	}
	return m, digest, nil
}

// read reads a manifest; the library checks the digest where the reference has one.
func read(ref name.Reference, options []remote.Option) (*manifest, v1.Hash, error) {
	d, err := remote.Get(ref, options...)
	if err != nil {
		return nil, v1.Hash{}, fault.New(fault.Failed, "is the registry there, and may you read it?", "fetch %s: %w", ref, err)
	}
	m := &manifest{}
	if len(d.Manifest) > maxManifest {
		return nil, d.Digest, refused(ref, "its manifest has %d bytes", len(d.Manifest))
	}
	if err := strictjson.UnmarshalOpen(d.Manifest, m); err != nil {
		return nil, d.Digest, refused(ref, "its manifest: %w", err)
	}
	return m, d.Digest, nil
}

func refused(ref name.Reference, format string, args ...any) error {
	return fault.New(fault.Refused, "it is not as isotrace release --push leaves it", "fetch %s: %w", ref, fmt.Errorf(format, args...))
}

// evidenceOf finds the one artefact with the evidence of a release.
func evidenceOf(release name.Digest, options []remote.Option) (v1.Descriptor, error) {
	var none v1.Descriptor
	index, err := remote.Referrers(release, options...)
	if err != nil {
		return none, fault.New(fault.Failed, "", "fetch %s: what refers to it: %w", release, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return none, refused(release, "what refers to it: %w", err)
	}
	if len(list.Manifests) > maxFiles {
		return none, refused(release, "%d artefacts refer to it", len(list.Manifests))
	}
	// Registries differ in what they say of an artefact's kind here; its manifest has it.
	var found []*manifest
	for _, d := range list.Manifests {
		m, _, err := read(release.Context().Digest(d.Digest.String()), options)
		if err != nil {
			return none, err
		}
		if m.ArtifactType == EvidenceType {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		return none, refused(release, "%d artefacts are its evidence", len(found))
	}
	if m := found[0]; m.Subject == nil || m.Subject.Digest.String() != release.DigestStr() || len(m.Layers) != 1 {
		return none, refused(release, "its evidence is of another release")
	}
	return found[0].Layers[0], nil
}

// open streams a blob; its end is an error where size or digest are not as they should be.
func open(ref name.Reference, d v1.Descriptor, limit int64, options []remote.Option) (io.ReadCloser, error) {
	if d.Size < 0 || d.Size > limit {
		return nil, refused(ref, "a file of %d bytes", d.Size)
	}
	layer, err := remote.Layer(ref.Context().Digest(d.Digest.String()), options...)
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

func fetchFile(ref name.Reference, d v1.Descriptor, root *os.Root, options []remote.Option) (err error) {
	to := d.Annotations[title]
	if !local(to) || strings.HasPrefix(to, provenance.EvidenceDir+"/") || strings.Count(to, "/") > 1 {
		return refused(ref, "a file called %q", to)
	}
	r, err := open(ref, d, maxFile, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return save(root, to, r, d.Size)
}

// save writes a file of exactly that size.
func save(root *os.Root, to string, r io.Reader, size int64) (err error) {
	to = filepath.FromSlash(to)
	if err := root.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n, err := io.Copy(f, io.LimitReader(r, size+1))
	if err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	if n != size {
		return fmt.Errorf("%s: %d bytes, want %d", to, n, size)
	}
	return f.Sync()
}

// fetchEvidence unpacks the evidence: regular files alone.
func fetchEvidence(ref name.Reference, d v1.Descriptor, root *os.Root, options []remote.Option) (err error) {
	r, err := open(ref, d, maxEvidence, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	tr := tar.NewReader(r)
	total := int64(0)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return refused(ref, "%w", err)
		}
		total += h.Size
		switch {
		case h.Typeflag != tar.TypeReg || !local(h.Name):
			return refused(ref, "%q is no file of evidence", h.Name)
		case n >= maxMembers || h.Size < 0 || total > maxEvidence:
			return refused(ref, "too much evidence")
		}
		if err := save(root, provenance.EvidenceDir+"/"+h.Name, tr, h.Size); err != nil {
			return refused(ref, "%w", err)
		}
	}
	_, err = io.Copy(io.Discard, r) // to its end, where the digest is checked
	return err
}
