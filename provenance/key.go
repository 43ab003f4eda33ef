package provenance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/isotrace/isotrace/internal/fault"
)

// PublicKey is the public key of a functionary, an owner or a release manager: ECDSA
// P-256, Ed25519 or RSA of at least 2048 bits.
type PublicKey struct {
	// PEM is the key as PKIX.
	PEM []byte
	// InToto is the key as layouts have it; its KeyID names it everywhere.
	InToto in_toto.Key
	key    crypto.PublicKey
}

const keyHint = "name a PEM file such as builder.pub"

// ParsePublicKey reads a public key as PEM, PKIX.
func ParsePublicKey(name string, text []byte) (*PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fault.New(fault.Usage, keyHint, "key %s: not a public key", name)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Usage, keyHint, "key %s: %w", name, err)
	}
	return newPublicKey(name, key)
}

// Bounds of an RSA key, in bits.
const (
	minRSA = 2048
	maxRSA = 8192
)

func newPublicKey(name string, key crypto.PublicKey) (*PublicKey, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, fault.New(fault.Usage, "take one on P-256", "key %s: its curve is %s", name, k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fault.New(fault.Usage, "take one of 3072 bits", "key %s: an RSA key of %d bits", name, n)
		}
	case ed25519.PublicKey:
	default:
		return nil, fault.New(fault.Usage, "isotrace keys new makes one", "key %s: is neither ECDSA nor Ed25519 nor RSA", name)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fault.New(fault.Usage, keyHint, "key %s: %w", name, err)
	}
	p := &PublicKey{PEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), key: key}
	if err := p.InToto.LoadKeyReaderDefaults(bytes.NewReader(p.PEM)); err != nil {
		return nil, fault.New(fault.Usage, keyHint, "key %s: %w", name, err)
	}
	return p, nil
}

// publicKeyOf reads a key as a layout has it.
func publicKeyOf(k in_toto.Key) (*PublicKey, error) {
	if k.KeyType != "ed25519" {
		return ParsePublicKey(k.KeyID, []byte(k.KeyVal.Public))
	}
	raw, err := hex.DecodeString(k.KeyVal.Public)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fault.New(fault.Usage, keyHint, "key %s: not a public key", k.KeyID)
	}
	return newPublicKey(k.KeyID, ed25519.PublicKey(raw))
}

// KeyID names the key: the SHA-256 of its description, as in-toto defines it.
func (p *PublicKey) KeyID() string { return p.InToto.KeyID }

// Same tells whether it is the same key, under whatever name.
func (p *PublicKey) Same(other *PublicKey) bool {
	return other != nil && bytes.Equal(p.PEM, other.PEM)
}

// InTotoJSON is a public key as Python's in-toto reads it: RSA as PEM, the others as
// JSON.
func (p *PublicKey) InTotoJSON() ([]byte, error) {
	if _, ok := p.key.(*rsa.PublicKey); ok {
		return p.PEM, nil
	}
	k := p.InToto
	b, err := json.MarshalIndent(map[string]any{
		"keytype": k.KeyType, "scheme": k.Scheme, "keyid_hash_algorithms": k.KeyIDHashAlgorithms,
		"keyval": map[string]string{"public": k.KeyVal.Public},
	}, "", "  ")
	return append(b, '\n'), err
}

// verifyMetadata checks a signature over in-toto metadata: as verifyFile does, but RSA
// with PSS, as in-toto's scheme rsassa-pss-sha256 has it.
func (p *PublicKey) verifyMetadata(b, signature []byte) bool {
	if k, ok := p.key.(*rsa.PublicKey); ok {
		digest := sha256.Sum256(b)
		return rsa.VerifyPSS(k, crypto.SHA256, digest[:], signature, nil) == nil
	}
	return p.verifyFile(b, signature)
}

// verifyFile checks a signature as cosign makes it over a file: ECDSA in ASN.1 or RSA
// PKCS #1 v1.5, both of the SHA-256, or Ed25519 of the content.
func (p *PublicKey) verifyFile(b, signature []byte) bool {
	if k, ok := p.key.(ed25519.PublicKey); ok {
		return ed25519.Verify(k, b, signature)
	}
	digest := sha256.Sum256(b)
	return p.verifyDigest(digest[:], signature)
}

// verifyDigest is verifyFile for content of which only the SHA-256 is known. There is
// none for Ed25519, which signs the content itself.
func (p *PublicKey) verifyDigest(sha256, signature []byte) bool {
	switch k := p.key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, sha256, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sha256, signature) == nil
	}
	return false
}

// VerifyDetached checks what Signer.SignDetached made.
func (p *PublicKey) VerifyDetached(b, signature []byte) error {
	sig, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(signature)))
	if err != nil {
		return fmt.Errorf("the signature is not base64: %w", err)
	}
	if !p.verifyFile(b, sig) {
		return errors.New("the signature does not verify with the key")
	}
	return nil
}
