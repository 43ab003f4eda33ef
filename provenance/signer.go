// Package provenance records what stages did as signed in-toto links, attests and
// signs what came of it, and checks such records against an image.
package provenance

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
)

// Signer is a private key at hand, or one that a token or a service uses for us.
type Signer struct {
	key    crypto.Signer
	remote signature.Signer // in place of key
	public *PublicKey
}

// Content is what is signed: its SHA-256, and the content itself, which some tokens want
// to hash themselves.
type Content struct {
	Digest artifact.Digest
	Open   func() (io.ReadCloser, error)
}

// FileContent is a file as content.
func FileContent(file string) (Content, error) {
	d, _, err := artifact.HashFile(file)
	return Content{d, func() (io.ReadCloser, error) { return regular.OpenFile(file) }}, err
}

// BytesContent is bytes as content.
func BytesContent(b []byte) Content {
	return Content{artifact.HashBytes(b), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
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

// ImportKeyPair encrypts the private key in a PEM file as cosign does: PKCS #8, or an
// RSA or EC key in its own format.
func ImportKeyPair(file string, password []byte) (private, public []byte, err error) {
	pair, err := cosign.ImportKeyPair(file, func(bool) ([]byte, error) { return password, nil })
	if err != nil {
		return nil, nil, fault.New(fault.Usage, "name an unencrypted private key as PEM, such as openssl genpkey writes", "import %s: %w", file, err)
	}
	if _, err := ParsePublicKey(file, pair.PublicBytes); err != nil {
		return nil, nil, err
	}
	return pair.PrivateBytes, pair.PublicBytes, nil
}

// The PEM types of cosign's encrypted private keys.
var privateTypes = map[string]bool{cosign.SigstorePrivateKeyPemType: true, cosign.CosignPrivateKeyPemType: true}

// LoadSigner decrypts a private key in cosign's format.
func LoadSigner(name string, text, password []byte) (*Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil || !privateTypes[block.Type] {
		return nil, fault.New(fault.Usage, "isotrace keys new makes one, as does cosign generate-key-pair; isotrace keys import takes others", "key %s: not a private key in cosign's format", name)
	}
	der, err := encrypted.Decrypt(block.Bytes, password)
	if err != nil {
		return nil, fault.New(fault.Usage, "set COSIGN_PASSWORD, or type the password of this key", "key %s: the password does not open it", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fault.New(fault.Usage, "", "key %s: %w", name, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Usage, "isotrace keys new makes one", "key %s: cannot sign", name)
	}
	return signerWith(name, key)
}

func signerWith(name string, key crypto.Signer) (*Signer, error) {
	public, err := newPublicKey(name, key.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, public: public}, nil
}

// SignerOf is the signer of a key that is not at hand, as a token or a key management
// service gives it. An RSA key of that kind signs files, but no links or layouts: these
// want PSS, and such keys are made for one way of padding.
func SignerOf(name string, remote signature.SignerVerifier) (*Signer, error) {
	key, err := remote.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	public, err := newPublicKey(name, key)
	if err != nil {
		return nil, err
	}
	return &Signer{remote: remote, public: public}, nil
}

// Public returns the signer's public key.
func (s *Signer) Public() *PublicKey { return s.public }

// signMetadata signs in-toto metadata; see PublicKey.verifyMetadata. But for RSA it
// takes no randomness (RFC 6979), so that the same record has the same signature.
func (s *Signer) signMetadata(b []byte) ([]byte, error) {
	if _, ok := s.public.key.(*rsa.PublicKey); !ok {
		return s.signFile(b)
	}
	if s.remote != nil {
		return nil, fault.New(fault.Usage, "take an ECDSA key", "an RSA key that is not in a file signs no links and no layouts")
	}
	digest := sha256.Sum256(b)
	return s.key.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
}

// signFile signs content as cosign does; see PublicKey.verifyFile.
func (s *Signer) signFile(b []byte) ([]byte, error) {
	_, isEd25519 := s.public.key.(ed25519.PublicKey)
	switch {
	case isEd25519 && s.remote != nil:
		return s.remote.SignMessage(bytes.NewReader(b))
	case isEd25519:
		return s.key.Sign(nil, b, crypto.Hash(0))
	}
	return s.signContent(BytesContent(b))
}

// signContent signs content of any size by its SHA-256.
func (s *Signer) signContent(c Content) (_ []byte, err error) {
	if _, ok := s.public.key.(ed25519.PublicKey); ok {
		return nil, fault.New(fault.Usage, "take an ECDSA or RSA key for the release", "key %.8s: Ed25519 signs a whole image in memory only", s.public.KeyID())
	}
	sum, err := hex.DecodeString(string(c.Digest))
	if err != nil {
		return nil, err
	}
	if s.remote == nil {
		return s.key.Sign(nil, sum, crypto.SHA256)
	}
	r, err := c.Open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	sig, err := s.remote.SignMessage(r, options.WithDigest(sum), options.WithCryptoSignerOpts(crypto.SHA256))
	if err != nil {
		return nil, fmt.Errorf("key %.8s: %w", s.public.KeyID(), err)
	}
	if !s.public.verifyDigest(sum, sig) {
		return nil, fmt.Errorf("key %.8s: its signature does not verify: the content has changed, or the key signs something else", s.public.KeyID())
	}
	return sig, nil
}

// SignDetached makes a detached signature in base64, which cosign verify-blob
// reads.
func (s *Signer) SignDetached(b []byte) ([]byte, error) {
	sig, err := s.signFile(b)
	if err != nil {
		return nil, err
	}
	return []byte(base64.StdEncoding.EncodeToString(sig) + "\n"), nil
}
