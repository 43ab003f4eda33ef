package provenance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// What the evidence holds of a base image.
const (
	BaseDir        = "base"
	BaseDockerfile = "base/Dockerfile"
	baseStage      = "base"
	baseManifest   = "base/manifest.json"
	baseConfig     = "base/config.json"
	baseIndex      = "base/index.json"
	basePayload    = "base/signature.json"
	baseKey        = "base/signer.pub"
	// maxBasePart bounds such a file, in bytes.
	maxBasePart = 16 << 20
)

// BaseFiles are the evidence's files about a lock's base image, by path. The Dockerfile is
// not among them: it is the project's.
func BaseFiles(l *lockfile.Lock) map[string]artifact.Digest {
	i := l.Image
	if i == nil {
		return nil
	}
	files := map[string]artifact.Digest{baseManifest: i.Manifest.Digest, baseConfig: i.Config.Digest}
	if i.Index != nil {
		files[baseIndex] = i.Index.Digest
	}
	for n, b := range i.Provenance {
		files[baseProvenance(n)] = b.Digest
	}
	if s := i.Signature; s != nil {
		files[basePayload], files[baseKey] = s.Payload.Digest, s.Key.Digest
	}
	return files
}

func baseProvenance(n int) string { return fmt.Sprintf("base/provenance-%d.json", n+1) }

// CheckImageSignature holds a signature of cosign's, over a payload that names what was
// signed, against a key. It has to be of one of the digests.
func CheckImageSignature(key *PublicKey, text []byte, value string, of ...artifact.Digest) error {
	sig, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return fmt.Errorf("the signature is not base64: %w", err)
	}
	if !key.verifyFile(text, sig) {
		return fmt.Errorf("is not signed by key %.8s", key.KeyID())
	}
	if err := strictjson.UnmarshalOpen(text, &payload.SimpleContainerImage{}); err != nil {
		return err
	}
	var p payload.Cosign
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	digest, ok := strings.CutPrefix(p.Image.DigestStr(), "sha256:")
	if !ok || !slices.Contains(of, artifact.Digest(digest)) {
		return fmt.Errorf("is about %s", p.Image.DigestStr())
	}
	return nil
}

// SignedDigests are what a signature of the image may be of: itself, or the index that
// names it.
func SignedDigests(i *lockfile.Image) []artifact.Digest {
	of := []artifact.Digest{i.Manifest.Digest}
	if i.Index != nil {
		of = append(of, i.Index.Digest)
	}
	return of
}

// checkBase holds what the evidence has of the base image to the lock, and its parts to
// each other.
func (v *verification) checkBase(context.Context) (string, []Problem, error) {
	want := BaseFiles(v.Lock)
	if name := v.Config.Base.Dockerfile; name != "" {
		want = mergeFile(want, BaseDockerfile, v.links[baseStage].Materials[recordProject+config.Clean(name)])
	}
	var problems []Problem
	for _, file := range sortedKeys(want) {
		if v.files[file] != want[file] {
			problems = append(problems, Problem{file, fmt.Sprintf("its SHA-256 is %q, want %q", v.files[file], want[file])})
		}
	}
	for _, file := range sortedKeys(v.files) {
		if _, ok := want[file]; !ok && path.Dir(file) == BaseDir {
			problems = append(problems, Problem{file, "is not of the base image"})
		}
	}
	i := v.Lock.Image
	if v.opts.BaseKey != nil && (i == nil || i.Signature == nil) {
		problems = append(problems, Problem{baseKey, "is missing, and the key of a base image's signer was named"})
	}
	if i == nil {
		return "the base is a bootstrap, from the archives alone", problems, nil
	}
	if len(problems) > 0 {
		return "", problems, nil
	}
	for _, c := range []struct {
		file  string
		check func(file string) error
	}{{baseManifest, v.manifestNames}, {baseIndex, v.indexNames}, {basePayload, v.payloadSigned}} {
		if _, ok := want[c.file]; !ok {
			continue
		}
		if err := c.check(c.file); err != nil {
			problems = append(problems, problemOf(c.file, err))
		}
	}
	for n := range i.Provenance {
		if err := v.statementNames(baseProvenance(n)); err != nil {
			problems = append(problems, problemOf(baseProvenance(n), err))
		}
	}
	what := fmt.Sprintf("image sha256:%s, %d layers", i.Manifest.Digest, len(i.Layers))
	if i.Signature == nil {
		return what + "; nobody's signature was asked for: name a key with base.signed-by", problems, nil
	}
	key, err := v.baseSigner()
	if err != nil {
		return "", append(problems, problemOf(baseKey, err)), nil
	}
	if v.opts.BaseKey != nil && !v.opts.BaseKey.Same(key) {
		problems = append(problems, Problem{baseKey, fmt.Sprintf("is key %.8s, and %.8s was named", key.KeyID(), v.opts.BaseKey.KeyID())})
	}
	return fmt.Sprintf("%s, signed by %.8s", what, key.KeyID()), problems, nil
}

func mergeFile(files map[string]artifact.Digest, name string, d artifact.Digest) map[string]artifact.Digest {
	if files == nil {
		files = map[string]artifact.Digest{}
	}
	files[name] = d
	return files
}

// baseState: an image that nobody signed is one that somebody may have put there.
func (v *verification) baseState() State {
	if i := v.Lock.Image; i != nil && i.Signature == nil {
		return CannotTell
	}
	return Valid
}

// manifestNames makes sure that the manifest is of the locked config and layers.
func (v *verification) manifestNames(file string) error {
	text, err := v.read(file, maxBasePart)
	if err != nil {
		return err
	}
	if err := strictjson.UnmarshalOpen(text, &v1.Manifest{}); err != nil {
		return err
	}
	m, err := v1.ParseManifest(bytes.NewReader(text))
	if err != nil {
		return err
	}
	i := v.Lock.Image
	if m.Config.Digest.String() != "sha256:"+string(i.Config.Digest) || len(m.Layers) != len(i.Layers) {
		return errors.New("is not of the locked config and layers")
	}
	for n, l := range m.Layers {
		if l.Digest.String() != "sha256:"+string(i.Layers[n].Digest) {
			return fmt.Errorf("layer %d is %s, the lock has %s", n+1, l.Digest, i.Layers[n].Digest)
		}
	}
	return nil
}

func (v *verification) indexNames(file string) error {
	text, err := v.read(file, maxBasePart)
	if err != nil {
		return err
	}
	if err := strictjson.UnmarshalOpen(text, &v1.IndexManifest{}); err != nil {
		return err
	}
	m, err := v1.ParseIndexManifest(bytes.NewReader(text))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(m.Manifests, func(d v1.Descriptor) bool {
		return d.Digest.String() == "sha256:"+string(v.Lock.Image.Manifest.Digest)
	}) {
		return errors.New("does not name the image")
	}
	return nil
}

func (v *verification) baseSigner() (*PublicKey, error) {
	text, err := v.read(baseKey, 1<<16)
	if err != nil {
		return nil, err
	}
	return ParsePublicKey(baseKey, text)
}

func (v *verification) payloadSigned(file string) error {
	text, err := v.read(file, maxBasePart)
	if err != nil {
		return err
	}
	key, err := v.baseSigner()
	if err != nil {
		return err
	}
	i := v.Lock.Image
	return CheckImageSignature(key, text, i.Signature.Value, SignedDigests(i)...)
}

// statementNames makes sure that a statement is about the image.
func (v *verification) statementNames(file string) error {
	s, err := v.baseStatement(file)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(s.Subject, func(r Resource) bool { return r.Digest["sha256"] == string(v.Lock.Image.Manifest.Digest) }) {
		return errors.New("is not about the image")
	}
	return nil
}

// statement of the base image's builder, as far as it is of interest.
type baseStatement struct {
	Subject       []Resource      `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

func (v *verification) baseStatement(file string) (s baseStatement, err error) {
	text, err := v.read(file, maxBasePart)
	if err != nil {
		return s, err
	}
	return s, strictjson.UnmarshalOpen(text, &s)
}
