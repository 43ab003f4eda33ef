package archivetest

import (
	"bytes"
	"crypto"
	"crypto/dsa" //lint:ignore SA1019 what is refused has to be made
	"crypto/rand"
	"crypto/rsa"
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

// KeyOptions are the ways in which keys differ. The zero value is a good key.
type KeyOptions struct {
	Lifetime time.Duration // for ever when 0
	// Weak makes an RSA key of 1024 bits, DSA one of that kind.
	Weak, DSA bool
	// SelfHash is that of the signatures by which the key binds its name; SHA-512 where 0.
	SelfHash crypto.Hash
}

// NewKeyOf makes a key that is valid from created on.
func NewKeyOf(t testing.TB, created time.Time, o KeyOptions) *Key {
	t.Helper()
	var private *packet.PrivateKey
	switch {
	case o.Weak:
		k, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		private = packet.NewRSAPrivateKey(created, k)
	case o.DSA:
		k := &dsa.PrivateKey{}
		err := dsa.GenerateParameters(&k.Parameters, rand.Reader, dsa.L1024N160)
		if err == nil {
			err = dsa.GenerateKey(k, rand.Reader)
		}
		if err != nil {
			t.Fatal(err)
		}
		private = packet.NewDSAPrivateKey(created, k)
	default:
		private = NewKey(t, created, 0).entity.PrivateKey
	}
	if o.SelfHash == 0 {
		o.SelfHash = crypto.SHA512
	}
	k := &Key{t: t, entity: &openpgp.Entity{PrimaryKey: &private.PublicKey, PrivateKey: private, Identities: map[string]*openpgp.Identity{}}}
	k.Certify(created, o.Lifetime, o.SelfHash)
	return k
}

// Certify has the key sign its name anew, and with it how long it is valid from its
// creation on: for ever when lifetime is 0. What it signed before stays where it is.
func (k *Key) Certify(at time.Time, lifetime time.Duration, h crypto.Hash) {
	k.t.Helper()
	const name = "Archive for Tests <archive@example.org>"
	id := k.entity.Identities[name]
	if id == nil {
		id = &openpgp.Identity{Primary: k.entity, Name: name, UserId: packet.NewUserId("Archive for Tests", "", "archive@example.org")}
		k.entity.Identities[name] = id
	}
	sig := k.signature(packet.SigTypePositiveCert, at, lifetime, h)
	if err := sig.SignUserId(name, k.entity.PrimaryKey, k.entity.PrivateKey, unsalted()); err != nil {
		k.t.Fatalf("certify key: %v", err)
	}
	id.SelfCertifications = append(id.SelfCertifications, packet.NewVerifiableSig(sig))
}

func (k *Key) signature(kind packet.SignatureType, at time.Time, lifetime time.Duration, h crypto.Hash) *packet.Signature {
	primary := k.entity.PrimaryKey
	sig := &packet.Signature{
		Version: 4, SigType: kind, PubKeyAlgo: primary.PubKeyAlgo, Hash: h, CreationTime: at,
		IssuerKeyId: &primary.KeyId, IssuerFingerprint: primary.Fingerprint, FlagsValid: true, FlagSign: true,
	}
	if lifetime > 0 {
		seconds := uint32(lifetime / time.Second)
		sig.KeyLifetimeSecs = &seconds
	}
	return sig
}

// unsalted: a salt in a notation is not defined for SHA-1.
func unsalted() *packet.Config {
	salted := false
	return &packet.Config{NonDeterministicSignaturesViaNotation: &salted}
}

// Subkey is how a signing subkey is bound to its key.
type Subkey struct {
	Lifetime time.Duration // for ever when 0
	// Uncrossed leaves out that the subkey agrees to be the key's.
	Uncrossed bool
	// Foreign has another key bind it.
	Foreign *Key
	// BindHash and CrossHash are those of the two signatures; SHA-512 where 0.
	BindHash, CrossHash crypto.Hash
}

// AddSubkey adds a signing subkey to the key, and returns what signs with it.
func (k *Key) AddSubkey(created time.Time, o Subkey) *Key {
	k.t.Helper()
	if o.BindHash == 0 {
		o.BindHash = crypto.SHA512
	}
	if o.CrossHash == 0 {
		o.CrossHash = crypto.SHA512
	}
	private := NewKey(k.t, created, 0).entity.PrivateKey
	private.IsSubkey = true
	sub := openpgp.Subkey{PublicKey: &private.PublicKey, PrivateKey: private, Primary: k.entity}
	sig := k.signature(packet.SigTypeSubkeyBinding, created, o.Lifetime, o.BindHash)
	if !o.Uncrossed {
		sig.EmbeddedSignature = &packet.Signature{
			Version: 4, SigType: packet.SigTypePrimaryKeyBinding, PubKeyAlgo: private.PubKeyAlgo, Hash: o.CrossHash,
			CreationTime: created, IssuerKeyId: &private.KeyId,
		}
		if err := sig.EmbeddedSignature.CrossSignKey(sub.PublicKey, k.entity.PrimaryKey, private, unsalted()); err != nil {
			k.t.Fatalf("cross-certify subkey: %v", err)
		}
	}
	by := k.entity.PrivateKey
	if o.Foreign != nil {
		by = o.Foreign.entity.PrivateKey
	}
	if err := sig.SignKey(sub.PublicKey, by, unsalted()); err != nil {
		k.t.Fatalf("bind subkey: %v", err)
	}
	sub.Bindings = []*packet.VerifiableSignature{packet.NewVerifiableSig(sig)}
	k.entity.Subkeys = append(k.entity.Subkeys, sub)
	return &Key{t: k.t, entity: &openpgp.Entity{PrimaryKey: sub.PublicKey, PrivateKey: private}}
}

// RevokeAs revokes the key for a reason that may leave what it signed before as it is.
func (k *Key) RevokeAs(reason packet.ReasonForRevocation, at time.Time) {
	k.t.Helper()
	if err := k.entity.Revoke(reason, "for a test", &packet.Config{Time: func() time.Time { return at }}); err != nil {
		k.t.Fatalf("revoke key: %v", err)
	}
}

// RevokeSubkey revokes the key's last subkey.
func (k *Key) RevokeSubkey(reason packet.ReasonForRevocation, at time.Time) {
	k.t.Helper()
	sub := &k.entity.Subkeys[len(k.entity.Subkeys)-1]
	if err := sub.Revoke(reason, "for a test", &packet.Config{Time: func() time.Time { return at }}); err != nil {
		k.t.Fatalf("revoke subkey: %v", err)
	}
}
