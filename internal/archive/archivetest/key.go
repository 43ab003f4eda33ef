package archivetest

import (
	"bytes"
	"crypto"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Key is a key that signs archives. It is made anew for each test.
type Key struct {
	t      testing.TB
	entity *openpgp.Entity
}

// NewKey makes a key that is valid from created on, for ever when lifetime is 0.
func NewKey(t testing.TB, created time.Time, lifetime time.Duration) *Key {
	t.Helper()
	e, err := openpgp.NewEntity("Archive for Tests", "", "archive@example.org", &packet.Config{
		Algorithm:       packet.PubKeyAlgoEdDSA,
		DefaultHash:     crypto.SHA512,
		Time:            func() time.Time { return created },
		KeyLifetimeSecs: uint32(lifetime / time.Second),
	})
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	return &Key{t: t, entity: e}
}

// Revoke marks the key as compromised.
func (k *Key) Revoke(at time.Time) {
	k.t.Helper()
	if err := k.entity.Revoke(packet.KeyCompromised, "for a test", &packet.Config{Time: func() time.Time { return at }}); err != nil {
		k.t.Fatalf("revoke key: %v", err)
	}
}

// Public returns the public key, armored.
func (k *Key) Public() []byte {
	k.t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		err = k.entity.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		k.t.Fatalf("write key: %v", err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// Binary returns the public key without armor.
func (k *Key) Binary() []byte {
	k.t.Helper()
	var b bytes.Buffer
	if err := k.entity.Serialize(&b); err != nil {
		k.t.Fatalf("write key: %v", err)
	}
	return b.Bytes()
}

// Fingerprint returns the primary key's fingerprint.
func (k *Key) Fingerprint() []byte { return k.entity.PrimaryKey.Fingerprint }

// SignInline signs text as InRelease is signed, by each of the keys.
func SignInline(t testing.TB, text []byte, at time.Time, keys ...*Key) []byte {
	t.Helper()
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.entity.PrivateKey)
	}
	var b bytes.Buffer
	w, err := clearsign.EncodeMulti(&b, private, signing(at))
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// SignDetached signs text as Release.gpg does, by each of the keys.
func SignDetached(t testing.TB, text []byte, at time.Time, keys ...*Key) []byte {
	t.Helper()
	var signers []*openpgp.Entity
	for _, k := range keys {
		signers = append(signers, k.entity)
	}
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, signers, bytes.NewReader(text), &openpgp.SignParams{Config: signing(at)}); err != nil {
		t.Fatalf("sign: %v", err)
	}
	return b.Bytes()
}

func signing(at time.Time) *packet.Config {
	return &packet.Config{DefaultHash: crypto.SHA512, Time: func() time.Time { return at }}
}

// Private returns the private key without armor.
func (k *Key) Private() []byte {
	k.t.Helper()
	var b bytes.Buffer
	if err := k.entity.SerializePrivate(&b, nil); err != nil {
		k.t.Fatalf("write key: %v", err)
	}
	return b.Bytes()
}

// SignBlindly makes a detached signature, without armor, by whatever hash and
// a key that may have expired or been revoked.
func SignBlindly(t testing.TB, text []byte, at time.Time, h crypto.Hash, k *Key) []byte {
	t.Helper()
	id := k.entity.PrimaryKey.KeyId
	sig := &packet.Signature{
		Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: k.entity.PrimaryKey.PubKeyAlgo,
		Hash: h, CreationTime: at, IssuerKeyId: &id,
	}
	hash := h.New()
	hash.Write(text)
	var b bytes.Buffer
	// A salt in a notation is not defined for SHA-1.
	salted := false
	err := sig.Sign(hash, k.entity.PrivateKey, &packet.Config{NonDeterministicSignaturesViaNotation: &salted})
	if err == nil {
		err = sig.Serialize(&b)
	}
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	return b.Bytes()
}
