package provenance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/stage"
)

// AttestationsDir are the evidence's attestations: in-toto Statements in DSSE
// envelopes, each in a sigstore bundle.
const AttestationsDir = "attestations"

const (
	statementType = "https://in-toto.io/Statement/v1"
	payloadType   = "application/vnd.in-toto+json"
)

// The kinds of predicates; PolicyPredicate and BuildType are defined in docs/formats.
const (
	PredicateSLSA      = "https://slsa.dev/provenance/v1"
	PredicateLink      = "https://in-toto.io/attestation/link/v0.3"
	PredicateSPDX      = "https://spdx.dev/Document/v2.3"
	PredicateCycloneDX = "https://cyclonedx.org/bom"
	PredicateReference = "https://in-toto.io/attestation/reference/v0.1"
	PredicatePolicy    = "https://github.com/isotrace/isotrace/docs/formats/policy/v1"
)

// Statement is an in-toto Statement, version 1.
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     any        `json:"predicate"`
}

// Resource is an in-toto ResourceDescriptor.
type Resource struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"` // lower-case hexadecimal, by algorithm
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (r Resource) String() string { return r.Name + " sha256:" + r.Digest["sha256"] }

func sha256Of(d artifact.Digest) map[string]string { return map[string]string{"sha256": string(d)} }

// resources are what a link names, in order.
func resources(m map[string]artifact.Digest) []Resource {
	list := []Resource{}
	for _, name := range sortedKeys(m) {
		list = append(list, Resource{Name: name, Digest: sha256Of(m[name])})
	}
	return list
}

// linkPredicate is in-toto's link predicate, version 0.3.
type linkPredicate struct {
	Name        string         `json:"name"`
	Command     []string       `json:"command"`
	Materials   []Resource     `json:"materials"`
	Byproducts  map[string]any `json:"byproducts"`
	Environment map[string]any `json:"environment"`
}

// attested is what the attestations of a build speak of.
type attested struct {
	*Bundle
	// image is the ISO, by sha256 and sha512.
	image Resource
	links map[string]stage.Record
}

// statement is one attestation: its file below AttestationsDir, and what it says.
type statement struct {
	file string
	say  func() (Statement, error)
}

// statements are the attestations of a build, in order. They are made anew to be
// checked: what each says follows from the rest of the evidence.
func (a attested) statements() []statement {
	images := append([]Resource{a.image}, a.diskResources()...)
	list := []statement{{"slsa-provenance.json", func() (Statement, error) {
		p, err := a.slsa()
		return Statement{statementType, images, PredicateSLSA, p}, err
	}}}
	for _, bill := range []struct{ file, predicate string }{{"cdx.json", PredicateCycloneDX}, {"spdx.json", PredicateSPDX}} {
		list = append(list, statement{bill.file, func() (Statement, error) {
			kind, said, err := a.bill(path.Join(SbomDir, a.Config.Name+"."+bill.file), bill.predicate)
			return Statement{statementType, images, kind, said}, err
		}})
	}
	for _, name := range sortedKeys(a.links) {
		rec := a.links[name]
		list = append(list, statement{path.Join(LinksDir, name+".json"), func() (Statement, error) {
			return Statement{statementType, resources(rec.Products), PredicateLink, linkPredicate{
				Name: rec.Name, Command: stageCommand(rec.Name), Materials: resources(rec.Materials),
				Byproducts: map[string]any{"commands": commandsOf(rec)}, Environment: environmentOf(rec),
			}}, nil
		}})
	}
	return list
}

// diskResources are the disks, as the stage that made them recorded them.
func (a attested) diskResources() []Resource {
	var list []Resource
	for _, name := range a.disks() {
		list = append(list, Resource{Name: name, Digest: sha256Of(a.links[diskStage].Products[diskStage+"/"+name])})
	}
	return list
}

// maxEmbedded bounds a bill of materials that is a predicate itself, in bytes: a larger one
// would be in memory several times, and cosign reads no statement over 128 MiB.
const maxEmbedded = 32 << 20

// bill is a bill of materials as a predicate, or a reference to one that is too large.
func (a attested) bill(name, kind string) (_ string, predicate any, err error) {
	err = a.stream(name, func(r io.Reader, size int64) error {
		if size > maxEmbedded {
			d, _, err := artifact.HashReader(r)
			kind, predicate = PredicateReference, referencePredicate{
				Attester:   map[string]string{"id": builderID},
				References: []referenced{{path.Base(name), sha256Of(d), mediaTypes[kind]}},
			}
			return err
		}
		text, err := io.ReadAll(io.LimitReader(r, maxEmbedded))
		if err == nil && !json.Valid(text) {
			err = fmt.Errorf("%s: is not JSON", name)
		}
		predicate = json.RawMessage(text)
		return err
	})
	return kind, predicate, err
}

// referencePredicate is in-toto's reference predicate, version 0.1.
type referencePredicate struct {
	Attester   map[string]string `json:"attester"`
	References []referenced      `json:"references"`
}

// referenced is a ResourceDescriptor with what a reference has to have.
type referenced struct {
	Name      string            `json:"name"`
	Digest    map[string]string `json:"digest"`
	MediaType string            `json:"mediaType"`
}

var mediaTypes = map[string]string{PredicateCycloneDX: "application/vnd.cyclonedx+json", PredicateSPDX: "application/spdx+json"}

// payload is a statement as it is signed.
func (s Statement) payload() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// SignStatement writes a statement as a DSSE envelope in a sigstore bundle, which
// cosign verify-blob-attestation reads.
func (s *Signer) SignStatement(st Statement) ([]byte, error) {
	text, err := st.payload()
	if err != nil {
		return nil, err
	}
	b, err := sign.Bundle(&sign.DSSEData{Data: text, PayloadType: payloadType}, keypair{Signer: s}, sign.BundleOptions{})
	if err != nil {
		return nil, err
	}
	return marshalBundle(b)
}

// openStatement returns what a key signed as a statement.
func openStatement(text []byte, key *PublicKey) ([]byte, error) {
	b, err := openBundle(text)
	if err != nil {
		return nil, err
	}
	tm, err := key.trusted()
	if err != nil {
		return nil, err
	}
	v, err := verify.NewVerifier(tm, verify.WithNoObserverTimestamps())
	if err != nil {
		return nil, err
	}
	// The caller compares the whole statement, so no subject has to be named.
	if _, err := v.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithKey())); err != nil {
		return nil, fmt.Errorf("is not signed by key %.8s: %w", key.KeyID(), err)
	}
	env := b.GetDsseEnvelope()
	if env == nil || env.PayloadType != payloadType {
		return nil, fmt.Errorf("is not an in-toto statement")
	}
	return env.Payload, nil
}

// Attest writes the attestations of the build in dir, signed by its builder. They
// are part of the evidence: it comes before WriteSums.
func Attest(dir string, s *Signer, image artifact.Ref, sha512 string) error {
	b, err := OpenBundle(dir)
	if err != nil {
		return err
	}
	a := attested{b, imageResource(b, image.Digest, sha512), map[string]stage.Record{}}
	files, err := os.ReadDir(filepath.Join(b.dir, LinksDir))
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := b.read(path.Join(LinksDir, f.Name()), maxLink)
		if err != nil {
			return err
		}
		rec, err := OpenLink(text, s.public)
		if err != nil {
			return err
		}
		a.links[rec.Name] = rec
	}
	for _, st := range a.statements() {
		said, err := st.say()
		if err != nil {
			return fmt.Errorf("attest %s: %w", st.file, err)
		}
		text, err := s.SignStatement(said)
		if err != nil {
			return fmt.Errorf("attest %s: %w", st.file, err)
		}
		to := filepath.Join(b.dir, AttestationsDir, filepath.FromSlash(st.file))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := artifact.WriteBytes(to, 0o644, text); err != nil {
			return err
		}
	}
	return nil
}

func imageResource(b *Bundle, d artifact.Digest, sha512 string) Resource {
	return Resource{Name: b.ImageName(), Digest: map[string]string{"sha256": string(d), "sha512": sha512}}
}
