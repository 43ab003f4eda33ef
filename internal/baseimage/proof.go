package baseimage

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// Signature is one that cosign made.
type Signature struct {
	Payload []byte // what was signed
	Value   string // base64
}

// How images carry proofs: cosign's specification of signatures (a manifest under the tag
// sha256-DIGEST.sig, or marked in a layout), and BuildKit's of attestations (a manifest in
// the image's index).
const (
	signatureTag        = ".sig"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	signatureKind       = "dev.cosignproject.cosign/sigs" // of the annotation kind
	attestationType     = "attestation-manifest"          // of the annotation vnd.docker.reference.type
	statementMediaType  = "application/vnd.in-toto+json"
	slsaPrefix          = "https://slsa.dev/provenance/"
)

// Bounds of proofs.
const (
	maxProofs    = 16
	maxStatement = 16 << 20 // bytes
	maxPayload   = 1 << 20  // bytes
)

// isProof tells what stands in an index beside images but is none.
func isProof(d v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == attestationType || d.Annotations["kind"] == signatureKind
}

// addProof notes the index, where it is content of its own, and the provenance in it.
func (i *Image) addProof(index v1.ImageIndex, nested bool) error {
	if nested {
		text, err := index.RawManifest()
		if err != nil {
			return err
		}
		mediaType, err := index.MediaType()
		if err != nil {
			return err
		}
		b := i.bytes(string(mediaType), text)
		i.Locked.Index = &b
	}
	m, err := checkedIndex(index)
	if err != nil {
		return err
	}
	for _, d := range m.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != attestationType || d.Annotations["vnd.docker.reference.digest"] != "sha256:"+string(i.Locked.Manifest.Digest) {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		if err := i.addStatements(img); err != nil {
			return fmt.Errorf("attestations %s: %w", d.Digest, err)
		}
	}
	return nil
}

// checkedIndex is an index that every reader takes for the same.
func checkedIndex(index v1.ImageIndex) (*v1.IndexManifest, error) {
	text, err := index.RawManifest()
	if err != nil {
		return nil, err
	}
	if err := strictjson.UnmarshalOpen(text, &v1.IndexManifest{}); err != nil {
		return nil, fault.New(fault.Refused, "", "index: %w", err)
	}
	return index.IndexManifest()
}

// checkedManifest is a manifest that every reader takes for the same.
func checkedManifest(img v1.Image) (*v1.Manifest, error) {
	text, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	if err := strictjson.UnmarshalOpen(text, &v1.Manifest{}); err != nil {
		return nil, err
	}
	return img.Manifest()
}

// addStatements takes what an attestation manifest holds of SLSA provenance.
func (i *Image) addStatements(img v1.Image) error {
	m, err := checkedManifest(img)
	if err != nil {
		return err
	}
	for _, d := range m.Layers {
		if d.MediaType != statementMediaType || !strings.HasPrefix(d.Annotations["in-toto.io/predicate-type"], slsaPrefix) {
			continue
		}
		if len(i.Locked.Provenance) >= maxProofs || d.Size > maxStatement {
			return errors.New("too many or too large statements")
		}
		layer, err := img.LayerByDigest(d.Digest)
		if err != nil {
			return err
		}
		b, err := blobOf(d)
		if err != nil {
			return err
		}
		i.Locked.Provenance = append(i.Locked.Provenance, b)
		i.parts[b.Digest] = layer.Compressed // as it is: it is a statement and not a tar
	}
	return nil
}

// addLayoutSignatures takes the signatures that cosign save put into a layout.
func (i *Image) addLayoutSignatures(index v1.ImageIndex) error {
	m, err := checkedIndex(index)
	if err != nil {
		return err
	}
	for _, d := range m.Manifests {
		if d.Annotations["kind"] != signatureKind {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		if err := i.addSignatures(img); err != nil {
			return fmt.Errorf("signatures %s: %w", d.Digest, err)
		}
	}
	return nil
}

func (i *Image) addSignatures(img v1.Image) error {
	m, err := checkedManifest(img)
	if err != nil {
		return err
	}
	for _, d := range m.Layers {
		value := d.Annotations[signatureAnnotation]
		if value == "" {
			continue
		}
		if len(i.Signatures) >= maxProofs || d.Size > maxPayload {
			return errors.New("too many or too large signatures")
		}
		layer, err := img.LayerByDigest(d.Digest)
		if err != nil {
			return err
		}
		r, err := layer.Compressed()
		if err != nil {
			return err
		}
		payload, err := io.ReadAll(io.LimitReader(r, maxPayload))
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
		i.Signatures = append(i.Signatures, Signature{payload, value})
	}
	return nil
}

// TakeSignature makes a signature a part of the image, as the one that counts.
func (i *Image) TakeSignature(s Signature) {
	i.Locked.Signature = &lockfile.ImageSignature{Payload: i.bytes("application/vnd.dev.cosign.simplesigning.v1+json", s.Payload), Value: s.Value}
}

// registry is a repository of one.
type registry struct {
	repository name.Repository
	options    []remote.Option
}

// image finds an image, or the one that is locked.
func (r *registry) image(ref name.Reference, platform v1.Platform, locked *lockfile.Image) (*Image, error) {
	if locked != nil {
		return r.locked(locked, platform)
	}
	d, err := remote.Get(ref, r.options...)
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsIndex() {
		img, err := d.Image()
		if err != nil {
			return nil, err
		}
		described, err := describe(img, platform)
		if err != nil {
			return nil, err
		}
		return described, r.addSignatures(described)
	}
	index, err := d.ImageIndex()
	if err != nil {
		return nil, err
	}
	f, err := pick(index, platform, true)
	if err != nil {
		return nil, err
	}
	img, err := describe(f.image, platform)
	if err != nil {
		return nil, err
	}
	if err := img.addProof(f.index, true); err != nil {
		return nil, err
	}
	return img, r.addSignatures(img)
}

// locked opens the parts of a locked image by their digests.
func (r *registry) locked(l *lockfile.Image, platform v1.Platform) (*Image, error) {
	digest := func(b lockfile.Blob) name.Digest { return r.repository.Digest("sha256:" + string(b.Digest)) }
	img, err := remote.Image(digest(l.Manifest), r.options...)
	if err != nil {
		return nil, err
	}
	i, err := describe(img, platform)
	if err != nil {
		return nil, err
	}
	if l.Index != nil {
		d, err := remote.Get(digest(*l.Index), r.options...)
		if err != nil {
			return nil, err
		}
		i.bytes(l.Index.MediaType, d.Manifest)
	}
	more := slices.Clone(l.Provenance)
	if l.Signature != nil {
		more = append(more, l.Signature.Payload)
	}
	for _, b := range more {
		layer, err := remote.Layer(digest(b), r.options...)
		if err != nil {
			return nil, err
		}
		i.parts[b.Digest] = layer.Compressed
	}
	return i, nil
}

// addSignatures takes those of the image and of the index that names it.
func (r *registry) addSignatures(i *Image) error {
	of := []lockfile.Blob{i.Locked.Manifest}
	if i.Locked.Index != nil {
		of = append(of, *i.Locked.Index)
	}
	for _, b := range of {
		img, err := remote.Image(r.repository.Tag("sha256-"+string(b.Digest)+signatureTag), r.options...)
		var refused *transport.Error
		if errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if err := i.addSignatures(img); err != nil {
			return fmt.Errorf("signatures: %w", err)
		}
	}
	return nil
}
