package archive

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/isotrace/isotrace/internal/fault"
)

// Keyring holds the public keys that may sign an archive.
type Keyring struct {
	name   string
	binary []byte
	keys   openpgp.EntityList
}

// maxKeyring is fifty times the size of Debian's keyring.
const maxKeyring = 4 << 20

// ReadKeyring reads public keys, armored or binary; name, such as a path,
// stands in errors.
func ReadKeyring(name string, data []byte) (*Keyring, error) {
	const hint = "name a file of OpenPGP public keys, armored or binary"
	if len(data) > maxKeyring {
		return nil, fault.New(fault.Usage, hint, "keyring %s: has %d bytes; at most %d are allowed", name, len(data), maxKeyring)
	}
	binary, err := Dearmor(name, data)
	if err != nil {
		return nil, err
	}
	k := &Keyring{name: name, binary: binary}
	return k, k.add(bytes.NewReader(binary), hint)
}

// Dearmor returns public keys without their armor. A file may hold several
// armored blocks, as apt allows; one that has none comes back as it is.
func Dearmor(name string, data []byte) ([]byte, error) {
	const hint = "name a file of OpenPGP public keys, armored or binary"
	begin := []byte("-----BEGIN PGP")
	if !bytes.Contains(data, begin) {
		return data, nil
	}
	var binary []byte
	for rest := data; ; {
		i := bytes.Index(rest, begin)
		if i < 0 {
			return binary, nil
		}
		rest = rest[i:]
		end := len(rest)
		if j := bytes.Index(rest[1:], begin); j >= 0 {
			end = j + 1
		}
		block, err := armor.Decode(bytes.NewReader(rest[:end]))
		if err != nil {
			return nil, fault.New(fault.Usage, hint, "keyring %s: %w", name, err)
		}
		if block.Type != openpgp.PublicKeyType {
			return nil, fault.New(fault.Usage, hint, "keyring %s: holds a %s", name, strings.ToLower(block.Type))
		}
		body, err := io.ReadAll(io.LimitReader(block.Body, maxKeyring))
		if err != nil {
			return nil, fault.New(fault.Usage, hint, "keyring %s: %w", name, err)
		}
		binary = append(binary, body...)
		rest = rest[end:]
	}
}

func (k *Keyring) add(r io.Reader, hint string) error {
	keys, err := openpgp.ReadKeyRing(r)
	if err != nil {
		return fault.New(fault.Usage, hint, "keyring %s: %w", k.name, err)
	}
	if len(keys) == 0 {
		return fault.New(fault.Usage, hint, "keyring %s: holds no key", k.name)
	}
	for _, e := range keys {
		if e.PrivateKey != nil {
			return fault.New(fault.Usage, "export the public keys alone", "keyring %s: holds a private key", k.name)
		}
	}
	k.keys = append(k.keys, keys...)
	return nil
}

// Name returns the name under which the keyring was read.
func (k *Keyring) Name() string { return k.name }

// Fingerprints returns the primary keys' fingerprints, sorted.
func (k *Keyring) Fingerprints() []string {
	var all []string
	for _, e := range k.keys {
		all = append(all, fingerprint(e.PrimaryKey))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Signer is a key that made a good signature.
type Signer struct {
	Primary string    // fingerprint of the primary key, in upper-case hexadecimal
	Key     string    // fingerprint of the key that signed: the primary key or one of its subkeys
	Time    time.Time // when it signed, by its own account; in UTC
	Expires time.Time // when the signature ceases to hold, in UTC; zero for never
}

// ErrSignature is in the chain of every error about signatures.
var ErrSignature = errors.New("no good signature")

// maxSignatures bounds the work for one file; Debian's have two to four.
const maxSignatures = 64

// VerifyInline checks a file signed inline, such as InRelease, and returns the
// text that is signed, with lines that end in a line feed. Nothing may stand
// around the signed message. One good signature is enough, as an archive signs
// with old and new keys at once.
func (k *Keyring) VerifyInline(data []byte, name string, now time.Time) (text []byte, signers []Signer, err error) {
	refuse := func(what string) ([]byte, []Signer, error) {
		return nil, nil, fault.New(fault.Refused, "the mirror is damaged or tampered with; use another", "%s: %s: %w", name, what, ErrSignature)
	}
	if !bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return refuse("does not begin with a signed message")
	}
	block, rest := clearsign.Decode(data)
	if block == nil {
		return refuse("is no whole signed message")
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return refuse("something stands after the signed message")
	}
	signers, err = k.verify(block.Bytes, block.ArmoredSignature.Body, name, now)
	if err != nil {
		return nil, nil, err
	}
	// The last line end belongs to the armor, not to the text.
	text = block.Plaintext
	if !bytes.HasSuffix(text, []byte{'\n'}) {
		text = append(text, '\n')
	}
	return text, signers, nil
}

// VerifyDetached checks data against a signature in a file of its own, such as
// Release.gpg, armored or binary.
func (k *Keyring) VerifyDetached(data, signature []byte, name string, now time.Time) ([]Signer, error) {
	body := io.Reader(bytes.NewReader(signature))
	if bytes.HasPrefix(bytes.TrimSpace(signature), []byte("-----BEGIN PGP")) {
		block, err := armor.Decode(bytes.NewReader(signature))
		if err != nil || block.Type != openpgp.SignatureType {
			return nil, fault.New(fault.Refused, "", "%s: is no detached signature: %w", name, ErrSignature)
		}
		body = block.Body
	}
	return k.verify(data, body, name, now)
}

// verify judges each signature by itself, so that one that is malformed, weak
// or of an unknown key neither helps nor hides a good one.
func (k *Keyring) verify(data []byte, signatures io.Reader, name string, now time.Time) ([]Signer, error) {
	if now.IsZero() {
		return nil, fmt.Errorf("%s: verify: no time is given", name)
	}
	var signers []Signer
	var reasons []string
	packets := packet.NewOpaqueReader(io.LimitReader(signatures, 1<<20))
	for n := 0; ; n++ {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			reasons = append(reasons, "signature "+fmt.Sprint(n+1)+": "+err.Error())
			break
		}
		if n == maxSignatures {
			return nil, fault.New(fault.Refused, "", "%s: more than %d signatures: %w", name, maxSignatures, ErrSignature)
		}
		var raw bytes.Buffer
		if err := p.Serialize(&raw); err != nil {
			return nil, fmt.Errorf("%s: signature %d: %w", name, n+1, err)
		}
		s, reason := k.verifyOne(data, raw.Bytes(), now)
		if reason != "" {
			reasons = append(reasons, reason)
			continue
		}
		signers = append(signers, s)
	}
	lasting := func(s Signer) bool { return s.Expires.IsZero() || !now.After(s.Expires) }
	if len(signers) > 0 && !slices.ContainsFunc(signers, lasting) {
		return nil, k.unsigned(name, []string{"the signature has expired"})
	}
	if len(signers) == 0 {
		if len(reasons) == 0 {
			reasons = []string{"it is not signed"}
		}
		return nil, k.unsigned(name, reasons)
	}
	slices.SortFunc(signers, func(a, b Signer) int {
		if c := strings.Compare(a.Primary, b.Primary); c != 0 {
			return c
		}
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return a.Time.Compare(b.Time)
	})
	return slices.Compact(signers), nil
}

func (k *Keyring) unsigned(name string, reasons []string) error {
	return fault.New(fault.Refused, "name the keyring that the archive is signed by (signed-by), or use another mirror",
		"%s: %w by a key of %s: %s", name, ErrSignature, k.name, strings.Join(reasons, "; "))
}

// verifyOne judges the key as of the time that the signature itself states: whoever calls
// it holds that time against another one.
func (k *Keyring) verifyOne(data, raw []byte, now time.Time) (Signer, string) {
	p, err := packet.NewReader(bytes.NewReader(raw)).Next()
	if err != nil {
		return Signer{}, "unreadable signature"
	}
	sig, ok := p.(*packet.Signature)
	if !ok || sig.IssuerKeyId == nil {
		return Signer{}, "no signature with an issuer"
	}
	if sig.CreationTime.After(now.Add(MaxFuture)) {
		return Signer{}, fmt.Sprintf("key %016X: the signature is from the future", *sig.IssuerKeyId)
	}
	reason := fmt.Sprintf("key %016X is not known", *sig.IssuerKeyId)
	// Key IDs are not unique: try each key that has this one.
	for _, e := range k.fresh().EntitiesById(*sig.IssuerKeyId) {
		md, err := openpgp.VerifyDetachedSignatureReader(openpgp.EntityList{e}, bytes.NewReader(data), bytes.NewReader(raw), judging(sig.CreationTime))
		if err == nil {
			_, err = io.Copy(io.Discard, md.UnverifiedBody)
		}
		if err == nil {
			err = md.SignatureError
		}
		if err != nil {
			reason = fmt.Sprintf("key %016X: %s", *sig.IssuerKeyId, explainSignature(err))
			continue
		}
		s := Signer{
			Primary: fingerprint(e.PrimaryKey),
			Key:     fingerprint(md.SignedBy.PublicKey),
			Time:    md.Signature.CreationTime.UTC(),
		}
		if lifetime := md.Signature.SigLifetimeSecs; lifetime != nil && *lifetime != 0 {
			s.Expires = s.Time.Add(time.Duration(*lifetime) * time.Second)
		}
		return s, ""
	}
	return Signer{}, reason
}

// fresh are the keys as they were read: the library remembers of each self-signature
// whether it held at the first time that it was asked about. Where a key is there twice,
// what one copy revokes is revoked in the other, too.
func (k *Keyring) fresh() openpgp.EntityList {
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(k.binary))
	if err != nil {
		return nil // it was read before
	}
	primary, sub := map[string][]*packet.VerifiableSignature{}, map[string][]*packet.VerifiableSignature{}
	for _, e := range keys {
		id := fingerprint(e.PrimaryKey)
		primary[id] = append(primary[id], e.Revocations...)
		for _, s := range e.Subkeys {
			sub[id+fingerprint(s.PublicKey)] = append(sub[id+fingerprint(s.PublicKey)], s.Revocations...)
		}
	}
	for _, e := range keys {
		id := fingerprint(e.PrimaryKey)
		e.Revocations = primary[id]
		for i := range e.Subkeys {
			e.Subkeys[i].Revocations = sub[id+fingerprint(e.Subkeys[i].PublicKey)]
		}
	}
	return keys
}

// judging is what a signature must be like at a time. SHA-1 counts nowhere: neither below
// a text nor where a key binds its names and subkeys. DSA is refused by default.
func judging(at time.Time) *packet.Config {
	return &packet.Config{
		Time:                 func() time.Time { return at },
		MinRSABits:           2048,
		RejectHashAlgorithms: map[crypto.Hash]bool{crypto.MD5: true, crypto.RIPEMD160: true, crypto.SHA1: true},
	}
}

// How far the time of a signature may be from the Date of the Release file below which it
// stands. Archives sign what they date within minutes; where somebody signs by hand, within
// a day.
const (
	signedBefore = 24 * time.Hour
	signedAfter  = 48 * time.Hour
)

// AsOf keeps those who signed about the date that the signed text states, with keys that
// were valid then: a signature's own time is the signer's to choose, so that a key that has
// expired could sign for ever in the name of its youth.
func (k *Keyring) AsOf(signers []Signer, date time.Time, name string) ([]Signer, error) {
	var kept []Signer
	var reasons []string
	for _, s := range signers {
		reason := ""
		if s.Time.Before(date.Add(-signedBefore)) || s.Time.After(date.Add(signedAfter)) {
			reason = fmt.Sprintf("was made on %s, which does not fit the Date %s", stamp(s.Time), stamp(date))
		} else if err := k.valid(s, date); err != nil {
			reason = fmt.Sprintf("on the Date %s: %s", stamp(date), explainSignature(err))
		}
		if reason != "" {
			reasons = append(reasons, fmt.Sprintf("signature of key %s: %s", s.Key, reason))
			continue
		}
		kept = append(kept, s)
	}
	if len(kept) == 0 {
		return nil, k.unsigned(name, reasons)
	}
	return kept, nil
}

// valid tells why a signer's key could not sign at a time.
func (k *Keyring) valid(s Signer, at time.Time) error {
	err := errors.New("the key is not known")
	for _, e := range k.fresh() { // a keyring may have a key twice, before and after its life was prolonged
		if fingerprint(e.PrimaryKey) != s.Primary {
			continue
		}
		keys := []*packet.PublicKey{e.PrimaryKey}
		for _, sub := range e.Subkeys {
			keys = append(keys, sub.PublicKey)
		}
		i := slices.IndexFunc(keys, func(p *packet.PublicKey) bool { return fingerprint(p) == s.Key })
		if i < 0 {
			continue
		}
		if key, ok := e.SigningKeyById(at, keys[i].KeyId, judging(at)); ok && fingerprint(key.PublicKey) == s.Key {
			return nil
		}
		err = whyInvalid(e, keys[i], at)
	}
	return err
}

func whyInvalid(e *openpgp.Entity, id *packet.PublicKey, at time.Time) error {
	if _, err := e.VerifyPrimaryKey(at, judging(at)); err != nil {
		return err
	}
	for _, sub := range e.Subkeys {
		if sub.PublicKey == id {
			if _, err := sub.Verify(at, judging(at)); err != nil {
				return err
			}
		}
	}
	return errors.New("the key may not sign")
}

func explainSignature(err error) string {
	switch {
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return "the signature has expired or is from the future"
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "the key had expired"
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "the key was revoked"
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

func fingerprint(k *packet.PublicKey) string {
	return strings.ToUpper(hex.EncodeToString(k.Fingerprint))
}
