package provenance

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/isotrace/isotrace/internal/strictjson"
)

// maxBundle bounds a sigstore bundle, in bytes.
const maxBundle = 256 << 20

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// keypair lets sigstore-go sign with a Signer. Where it is asked to sign nothing it
// signs the content, which need not be in memory.
type keypair struct {
	*Signer
	content Content
}

func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	d, err := signature.GetDefaultPublicKeyDetails(k.public.key)
	if err != nil {
		return protocommon.PublicKeyDetails_PUBLIC_KEY_DETAILS_UNSPECIFIED
	}
	return d
}

func (k keypair) GetHint() []byte { return []byte(k.public.hint()) }

func (k keypair) GetKeyAlgorithm() string {
	switch k.public.key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA"
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "ED25519"
	}
	return ""
}

func (k keypair) GetPublicKey() crypto.PublicKey { return k.public.key }

func (k keypair) GetPublicKeyPem() (string, error) { return string(k.public.PEM), nil }

func (k keypair) SignData(_ context.Context, data []byte) (sig, digest []byte, err error) {
	if data == nil {
		if digest, err = hex.DecodeString(string(k.content.Digest)); err != nil {
			return nil, nil, err
		}
		sig, err = k.signContent(k.content)
		return sig, digest, err
	}
	sum := sha256.Sum256(data)
	sig, err = k.signFile(data)
	return sig, sum[:], err
}

// streamed is content of which only the digest is at hand.
type streamed struct{}

func (streamed) PreAuthEncoding() []byte { return nil }

func (streamed) Bundle(b *protobundle.Bundle, sig, digest []byte, algorithm protocommon.HashAlgorithm) {
	(&sign.PlainData{}).Bundle(b, sig, digest, algorithm)
}

// hint names a key in bundles, as cosign does: the SHA-256 of its DER, in base64.
func (p *PublicKey) hint() string {
	block, _ := pem.Decode(p.PEM)
	sum := sha256.Sum256(block.Bytes)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// trusted is the key as what a bundle's verification trusts.
func (p *PublicKey) trusted() (root.TrustedMaterial, error) {
	v, err := signature.LoadVerifier(p.key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	always := root.NewExpiringKey(v, time.Time{}, time.Time{})
	return root.NewTrustedPublicKeyMaterial(func(hint string) (root.TimeConstrainedVerifier, error) {
		if hint != p.hint() {
			return nil, fmt.Errorf("it names key %q, not %q", hint, p.hint())
		}
		return always, nil
	}), nil
}

// marshalBundle writes a bundle as JSON, always the same.
func marshalBundle(b *protobundle.Bundle) ([]byte, error) {
	text, err := protojson.Marshal(b)
	if err != nil {
		return nil, err
	}
	return compactJSON(text)
}

// parseBundle reads a bundle, whoever wrote it.
func parseBundle(text []byte) (*bundle.Bundle, error) {
	if len(text) > maxBundle {
		return nil, fmt.Errorf("longer than %d bytes", maxBundle)
	}
	if err := strictjson.Check(text); err != nil {
		return nil, fmt.Errorf("is not a sigstore bundle: %w", err)
	}
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("is not a sigstore bundle: %w", err)
	}
	return b, nil
}

// openBundle reads a bundle, and refuses what marshalBundle would not have written:
// nothing in it goes unread.
func openBundle(text []byte) (*bundle.Bundle, error) {
	b, err := parseBundle(text)
	if err != nil {
		return nil, err
	}
	again, err := marshalBundle(b.Bundle)
	if err != nil {
		return nil, err
	}
	m := b.GetMessageSignature()
	if !bytes.Equal(again, text) || b.MediaType != bundleType || m != nil && m.GetMessageDigest().GetAlgorithm() != protocommon.HashAlgorithm_SHA2_256 {
		return nil, fmt.Errorf("is not written as isotrace writes a bundle")
	}
	return b, nil
}
