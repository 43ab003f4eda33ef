// Package provenance records what stages did as signed in-toto links, and
// checks such records against an image.
package provenance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/cosign/v2/pkg/cosign"

	"github.com/isotrace/isotrace/internal/fault"
)

// Signer is a functionary's private key.
type Signer struct {
	key    *ecdsa.PrivateKey
	public *PublicKey
}

// PublicKey is a functionary's public key.
type PublicKey struct {
	// PEM is the key as PKIX.
	PEM []byte
	// InToto is the key as layouts have it; its KeyID names it everywhere.
	InToto in_toto.Key
	key    *ecdsa.PublicKey
}

// GenerateKeyPair makes an ECDSA P-256 key pair as cosign does: the private key
// is encrypted with the password.
func GenerateKeyPair(password []byte) (private, public []byte, err error) {
	pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		return nil, nil, fmt.Errorf("make a key pair: %w", err)
	}
	return pair.PrivateBytes, pair.PublicBytes, nil
}

// The PEM types of cosign's encrypted private keys.
var privateTypes = map[string]bool{cosign.SigstorePrivateKeyPemType: true, cosign.CosignPrivateKeyPemType: true}

// LoadSigner decrypts a private key in cosign's format.
func LoadSigner(name string, text, password []byte) (*Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || !privateTypes[block.Type] {
		return nil, fault.New(fault.Usage, "isotrace keys new makes one, as does cosign generate-key-pair", "key %s: not a private key in cosign's format", name)
	}
	der, err := encrypted.Decrypt(block.Bytes, password)
	if err != nil {
		return nil, fault.New(fault.Usage, "set COSIGN_PASSWORD, or type the password of this key", "key %s: the password does not open it", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fault.New(fault.Usage, "", "key %s: %w", name, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fault.New(fault.Usage, "isotrace keys new makes one", "key %s: is not an ECDSA key", name)
	}
	der, err = x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	public, err := ParsePublicKey(name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, public: public}, nil
}

// ParsePublicKey reads a public key as PEM, PKIX.
func ParsePublicKey(name string, text []byte) (*PublicKey, error) {
	const hint = "name a PEM file such as builder.pub"
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fault.New(fault.Usage, hint, "key %s: not a public key", name)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Usage, hint, "key %s: %w", name, err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, fault.New(fault.Usage, hint, "key %s: is not an ECDSA key", name)
	}
	p := &PublicKey{PEM: pem.EncodeToMemory(block), key: key}
	if err := p.InToto.LoadKeyReaderDefaults(bytes.NewReader(p.PEM)); err != nil {
		return nil, fault.New(fault.Usage, hint, "key %s: %w", name, err)
	}
	return p, nil
}

// KeyID names the key: the SHA-256 of its description, as in-toto defines it.
func (p *PublicKey) KeyID() string { return p.InToto.KeyID }

// Public returns the signer's public key.
func (s *Signer) Public() *PublicKey { return s.public }

// sign makes an ASN.1 ECDSA signature of the SHA-256 of b. It takes no
// randomness (RFC 6979), so that the same record has the same signature.
func (s *Signer) sign(b []byte) ([]byte, error) {
	digest := sha256.Sum256(b)
	return s.key.Sign(nil, digest[:], crypto.SHA256)
}

func (p *PublicKey) verify(b, signature []byte) bool {
	digest := sha256.Sum256(b)
	return ecdsa.VerifyASN1(p.key, digest[:], signature)
}

// SignDetached makes a detached signature in base64, which cosign verify-blob
// reads.
func (s *Signer) SignDetached(b []byte) ([]byte, error) {
	sig, err := s.sign(b)
	if err != nil {
		return nil, err
	}
	return []byte(base64.StdEncoding.EncodeToString(sig) + "\n"), nil
}

// VerifyDetached checks what SignDetached made.
func (p *PublicKey) VerifyDetached(b, signature []byte) error {
	sig, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(signature)))
	if err != nil {
		return fmt.Errorf("the signature is not base64: %w", err)
	}
	if !p.verify(b, sig) {
		return errors.New("the signature does not verify with the key")
	}
	return nil
}
