package secret

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"golang.org/x/crypto/ssh"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestFind(t *testing.T) {
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	public, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	inPEM := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	entity := must(openpgp.NewEntity("Test", "", "test@example.org", nil))
	var secretRing, publicRing, armoured, armouredPublic bytes.Buffer
	if err := entity.SerializePrivate(&secretRing, nil); err != nil {
		t.Fatal(err)
	}
	if err := entity.Serialize(&publicRing); err != nil {
		t.Fatal(err)
	}
	for kind, c := range map[string]struct {
		to *bytes.Buffer
		b  []byte
	}{openpgp.PrivateKeyType: {&armoured, secretRing.Bytes()}, openpgp.PublicKeyType: {&armouredPublic, publicRing.Bytes()}} {
		w := must(armor.Encode(c.to, kind, nil))
		must(w.Write(c.b))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	comment := func(what string, n int) []byte {
		return []byte("untrusted comment: " + what + "\n" + base64.StdEncoding.EncodeToString(append([]byte("Ed"), make([]byte, n-2)...)) + "\n")
	}
	random := make([]byte, 3<<20)
	must(io.ReadFull(rand.Reader, random))
	pkcs8 := must(x509.MarshalPKCS8PrivateKey(ec))
	jwt := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"somebody"}`)) + "." + strings.Repeat("x", 86)
	for name, c := range map[string]struct {
		content []byte
		kind    string
	}{
		"PKCS #8":                {inPEM("PRIVATE KEY", pkcs8), "PEM"},
		"PKCS #8, encrypted":     {inPEM("ENCRYPTED PRIVATE KEY", pkcs8), "PEM"},
		"RSA":                    {inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "PEM"},
		"EC":                     {inPEM("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec))), "PEM"},
		"DSA":                    {inPEM("DSA PRIVATE KEY", pkcs8), "PEM"},
		"cosign":                 {inPEM("ENCRYPTED COSIGN PRIVATE KEY", pkcs8), "cosign"},
		"sigstore":               {inPEM("ENCRYPTED SIGSTORE PRIVATE KEY", pkcs8), "sigstore"},
		"OpenSSH":                {pem.EncodeToMemory(must(ssh.MarshalPrivateKey(ed, ""))), "OpenSSH"},
		"OpenPGP":                {secretRing.Bytes(), "OpenPGP"},
		"OpenPGP, behind public": {append(bytes.Clone(publicRing.Bytes()), secretRing.Bytes()...), "OpenPGP"},
		"OpenPGP, armoured":      {armoured.Bytes(), "OpenPGP"},
		"PKCS #8, DER":           {pkcs8, "DER"},
		"RSA, DER":               {x509.MarshalPKCS1PrivateKey(rsaKey), "DER"},
		"EC, DER":                {must(x509.MarshalECPrivateKey(ec)), "DER"},
		"PKCS #12":               {append([]byte("\x30\x82\x0a\x20\x02\x01\x03\x30\x82\x09\xe6\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01\xa0\x82"), random[:2000]...), "PKCS #12"},
		"Java":                   {append([]byte("\xfe\xed\xfe\xed\x00\x00\x00\x02"), random[:100]...), "Java"},
		"age":                    {[]byte("# created: 2026\nAGE-SECRET-KEY-1" + strings.Repeat("Q", 58) + "\n"), "age"},
		"minisign":               {comment("minisign encrypted secret key", 158), "minisign"},
		"signify":                {comment("signify secret key", 104), "signify"},
		"PuTTY":                  {[]byte("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"), "PuTTY"},
		"WireGuard":              {[]byte("[Interface]\nPrivateKey = " + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"), "WireGuard"},
		"JWK":                    {[]byte(`{"kty":"EC","crv":"P-256","d":"` + strings.Repeat("x", 43) + `"}`), "JWK"},
		"apt":                    {[]byte("machine example.org/debian login me password secret\n"), "machine"},
		"netrc":                  {[]byte("machine example.org\n\tlogin me\n\tpassword secret\n"), "machine"},
		"docker":                 {[]byte(`{"auths": {"example.org": {"auth": "bWU6c2VjcmV0"}}}`), "registry"},
		"JWT":                    {[]byte("token: " + jwt), "JSON Web Token"},
		"GitHub":                 {[]byte("GH=ghp_" + strings.Repeat("a", 36)), "GitHub"},
		"far behind":             {append(bytes.Clone(random), inPEM("PRIVATE KEY", pkcs8)...), "PEM"},
		"across two chunks":      {append(bytes.Clone(random[:chunk-10]), inPEM("PRIVATE KEY", pkcs8)...), "PEM"},

		"in a document":      {[]byte("it begins thus:\n  PuTTY-User-Key-File-3: ssh-ed25519\nand: machine x password y"), ""},
		"nothing":            {nil, ""},
		"random":             {random, ""},
		"public PEM":         {inPEM("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(public))), ""},
		"public OpenPGP":     {publicRing.Bytes(), ""},
		"public, armoured":   {armouredPublic.Bytes(), ""},
		"public minisign":    {comment("minisign public key", 42), ""},
		"signature":          {comment("signature from minisign secret key", 74), ""},
		"docker's helper":    {[]byte(`{"auths": {}, "credsStore": "desktop"}`), ""},
		"words":              {[]byte("the private key of this machine and its password; AGE-SECRET-KEY-1 is how one begins"), ""},
		"a bundle's payload": {[]byte(`{"payload":"` + base64.StdEncoding.EncodeToString([]byte(`{"_type":"x"}`)) + `"}`), ""},
		"public JWK":         {[]byte(`{"kty":"EC","x":"` + strings.Repeat("x", 43) + `"}`), ""},
	} {
		kind, err := Find(iotest.HalfReader(bytes.NewReader(c.content)))
		if err != nil || (kind == "") != (c.kind == "") || !strings.Contains(kind, c.kind) {
			t.Errorf("%s: %q, %v, want %q", name, kind, err, c.kind)
		}
	}
}

// TestFindsNoneInExamples: what people archive has none.
func TestFindsNoneInExamples(t *testing.T) {
	seen := 0
	for _, dir := range []string{"../../examples", "../../testdata", "../../docs"} {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			seen++
			if kind, err := Find(f); err != nil || kind != "" {
				t.Errorf("%s: %s, %v", p, kind, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("%d files", seen)
	}
}
