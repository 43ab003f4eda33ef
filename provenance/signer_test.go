package provenance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/isotrace/isotrace/internal/artifact"
)

// imported makes a signer of a key as keys import does.
func imported(t *testing.T, key crypto.Signer) (*Signer, []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "plain.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	private, public, err := ImportKeyPair(file, []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := LoadSigner("k", private, []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.Public().PEM, public) {
		t.Errorf("the public key is\n%s\nnot\n%s", s.Public().PEM, public)
	}
	return s, private
}

func generated(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"ed25519": ed, "ecdsa": ec, "rsa": rsaKey}
}

// TestKindsOfKeys: what a key of each kind signs, in-toto's and sigstore's own code
// verifies.
func TestKindsOfKeys(t *testing.T) {
	for kind, key := range generated(t) {
		t.Run(kind, func(t *testing.T) {
			s, private := imported(t, key)
			// A link, under a layout that names the key.
			link, err := Recorder{s}.Seal(record())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenLink(link, s.Public()); err != nil {
				t.Error(err)
			}
			file := filepath.Join(t.TempDir(), "x.link")
			if err := artifact.WriteBytes(file, 0o644, link); err != nil {
				t.Fatal(err)
			}
			loaded, err := in_toto.LoadMetadata(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := loaded.VerifySignature(s.Public().InToto); err != nil {
				t.Errorf("in-toto refuses the link: %v", err)
			}
			owner := newSigner(t)
			text, err := owner.SignLayout(sampleLayout(t, 1, s))
			if err != nil {
				t.Fatal(err)
			}
			l, err := OpenLayout(text, owner.Public())
			if err != nil {
				t.Fatal(err)
			}
			if !l.Allows("iso", s.Public()) || !l.signer("iso", s.Public().KeyID()[:8]).Same(s.Public()) {
				t.Error("the layout has another key")
			}
			// A file, and a statement.
			v, err := signature.LoadVerifier(key.Public(), crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			detached, err := s.SignDetached([]byte("content"))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(detached)))
			if err != nil {
				t.Fatal(err)
			}
			if err := v.VerifySignature(bytes.NewReader(raw), strings.NewReader("content")); err != nil {
				t.Errorf("sigstore refuses the signature: %v", err)
			}
			if err := s.Public().VerifyDetached([]byte("content"), detached); err != nil {
				t.Error(err)
			}
			if err := s.Public().VerifyDetached([]byte("other"), detached); err == nil {
				t.Error("the signature of something else was taken")
			}
			st := Statement{statementType, []Resource{{Name: "x", Digest: map[string]string{"sha256": strings.Repeat("0", 64)}}}, PredicatePolicy, map[string]bool{"holds": true}}
			bundled, err := s.SignStatement(st)
			if err != nil {
				t.Fatal(err)
			}
			want, err := st.payload()
			if err != nil {
				t.Fatal(err)
			}
			if have, err := openStatement(bundled, s.Public()); err != nil || !bytes.Equal(have, want) {
				t.Errorf("%s, %v", have, err)
			}
			if _, err := openStatement(bundled, newSigner(t).Public()); err == nil {
				t.Error("a statement of another key was taken")
			}
			// cosign's own reader opens the key.
			if _, err := cosign.LoadPrivateKey(private, []byte("pw"), nil); err != nil {
				t.Errorf("cosign refuses the key: %v", err)
			}
			if _, err := LoadSigner("k", private, []byte("other")); err == nil {
				t.Error("another password opens the key")
			}
		})
	}
}

// TestRemoteKeys: a key that only a service can use signs as one at hand does.
func TestRemoteKeys(t *testing.T) {
	for kind, key := range generated(t) {
		sv, err := signature.LoadSignerVerifier(key, crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		s, err := SignerOf(kind, sv)
		if err != nil {
			t.Fatal(err)
		}
		link, err := Recorder{s}.Seal(record())
		if kind == "rsa" {
			if err == nil || !strings.Contains(err.Error(), "signs no links") {
				t.Errorf("rsa: %v", err)
			}
		} else if err != nil {
			t.Errorf("%s: %v", kind, err)
		} else if _, err := OpenLink(link, s.Public()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		d := artifact.HashBytes([]byte("content"))
		sum, err := hex.DecodeString(string(d))
		if err != nil {
			t.Fatal(err)
		}
		sig, err := s.signContent(BytesContent([]byte("content")))
		if kind == "ed25519" {
			if err == nil || !strings.Contains(err.Error(), "in memory only") {
				t.Errorf("ed25519: %v", err)
			}
		} else if err != nil || !s.Public().verifyDigest(sum, sig) {
			t.Errorf("%s: signature by digest: %v", kind, err)
		}
	}
}

func TestKeysRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key  crypto.Signer
		want string
	}{"small": {small, "an RSA key of 1024 bits"}, "curve": {other, "its curve is P-384"}} {
		if _, err := signerWith(name, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if _, err := ParsePublicKey("k", []byte(text)); err == nil {
			t.Errorf("%q was taken for a key", text)
		}
	}
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ImportKeyPair(file, nil); err == nil {
		t.Error("a file that is no key was imported")
	}
}

// TestBundlesAreCanonical: a bundle of ours is read only as it was written.
func TestBundlesAreCanonical(t *testing.T) {
	s := newSigner(t)
	se, err := Sealing{Signer: s}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := artifact.HashBytes([]byte("content"))
	text, err := se.File(BytesContent([]byte("content")))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := se.File(BytesContent([]byte("content"))); err != nil || !bytes.Equal(text, again) {
		t.Errorf("the same signature has two bundles (%v)", err)
	}
	v := &verification{}
	b, err := openBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.fileBundle(b, s.Public(), d); err != nil {
		t.Error(err)
	}
	if err := v.fileBundle(b, s.Public(), artifact.HashBytes([]byte("other"))); err == nil || !strings.Contains(err.Error(), "is over sha256") {
		t.Errorf("a bundle of something else: %v", err)
	}
	if err := v.fileBundle(b, newSigner(t).Public(), d); err == nil || !strings.Contains(err.Error(), "is not signed by key") {
		t.Errorf("a bundle of another key: %v", err)
	}
	for _, changed := range []string{strings.Replace(string(text), `{`, `{ `, 1), strings.Replace(string(text), `{`, `{"x":1,`, 1), "", "{}", string(text) + "{}"} {
		if _, err := openBundle([]byte(changed)); err == nil {
			t.Errorf("taken for a bundle: %.60s", changed)
		}
	}
	for i := range text {
		changed := bytes.Clone(text)
		changed[i] ^= 1
		if b, err := openBundle(changed); err == nil && v.fileBundle(b, s.Public(), d) == nil {
			t.Errorf("byte %d changed, and the bundle holds:\n%s", i, changed)
		}
	}
}

func FuzzOpenBundle(f *testing.F) {
	s := newSigner(f)
	se, err := Sealing{Signer: s}.Open(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	text, err := se.File(BytesContent([]byte("content")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	statement, err := s.SignStatement(Statement{Type: statementType, Subject: []Resource{{Name: "x", Digest: map[string]string{}}}, PredicateType: PredicatePolicy})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(statement)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
	v := &verification{Bundle: &Bundle{}, opts: VerifyOptions{Now: time.Unix(0, 0)}}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := openBundle(text)
		if err != nil {
			return
		}
		_ = v.fileBundle(b, s.Public(), artifact.HashBytes([]byte("content")))
		_, _ = openStatement(text, s.Public())
	})
}
