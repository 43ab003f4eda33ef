package archive

import (
	"bytes"
	"crypto"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/fault"
)

var signedText = []byte("Suite: stable\n- dash\n--- dashes\n-----BEGIN PGP SIGNATURE-----x\ntrailing \t\n\nlast: line\n")

func TestVerify(t *testing.T) {
	born := date.AddDate(-2, 0, 0)
	fine := archivetest.NewKey(t, born, 0)
	other := archivetest.NewKey(t, born, 0)
	expired := archivetest.NewKey(t, born, 365*24*time.Hour)
	laterExpired := archivetest.NewKey(t, born, 2*366*24*time.Hour)
	young := archivetest.NewKey(t, date.Add(time.Hour), 0)
	revoked := archivetest.NewKey(t, born, 0)
	revoked.Revoke(date.Add(time.Hour))
	keys := keyring(t, fine, expired, laterExpired, revoked, young)
	cases := map[string]struct {
		by   []*archivetest.Key
		now  time.Time
		good int
		text string
	}{
		"one":                     {by: []*archivetest.Key{fine}, good: 1},
		"one known of two":        {by: []*archivetest.Key{other, fine}, good: 1},
		"two":                     {by: []*archivetest.Key{laterExpired, fine}, good: 2},
		"one good of all":         {by: []*archivetest.Key{revoked, expired, other, fine}, good: 1},
		"unknown":                 {by: []*archivetest.Key{other}, text: "is not known"},
		"key had expired":         {by: []*archivetest.Key{expired}, text: "the key had expired"},
		"key expired afterwards":  {by: []*archivetest.Key{laterExpired}, now: date.AddDate(10, 0, 0), good: 1},
		"revoked as compromised":  {by: []*archivetest.Key{revoked}, text: "the key was revoked"},
		"clock a little behind":   {by: []*archivetest.Key{fine}, now: date.Add(-time.Hour), good: 1},
		"signed in the future":    {by: []*archivetest.Key{fine}, now: date.Add(-48 * time.Hour), text: "from the future"},
		"nothing but bad for all": {by: []*archivetest.Key{revoked, expired}, text: "revoked; key"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.now.IsZero() {
				c.now = now
			}
			text, inline, err := keys.VerifyInline(archivetest.SignInline(t, signedText, date, c.by...), "InRelease", c.now)
			var signatures []byte
			for _, k := range c.by {
				signatures = append(signatures, archivetest.SignBlindly(t, signedText, date, crypto.SHA256, k)...)
			}
			detached, derr := keys.VerifyDetached(signedText, signatures, "Release", c.now)
			for _, got := range []struct {
				signers []Signer
				err     error
			}{{inline, err}, {detached, derr}} {
				if len(got.signers) != c.good {
					t.Errorf("%d good signatures, want %d: %v", len(got.signers), c.good, got.err)
				}
				if c.good == 0 && (!errors.Is(got.err, ErrSignature) || !strings.Contains(got.err.Error(), c.text) || fault.ClassOf(got.err) != fault.Refused) {
					t.Errorf("error %v", got.err)
				}
			}
			if c.good > 0 {
				want := bytes.ReplaceAll(signedText, []byte("trailing \t"), []byte("trailing"))
				if !bytes.Equal(text, want) {
					t.Errorf("signed text %q, want %q", text, want)
				}
			} else if text != nil {
				t.Errorf("refused, but gave text %q", text)
			}
		})
	}
}

func TestVerifyInlineCRLF(t *testing.T) {
	key := archivetest.NewKey(t, date.AddDate(-1, 0, 0), 0)
	signed := bytes.ReplaceAll(archivetest.SignInline(t, []byte("Suite: a\nDate: b\n"), date, key), []byte("\n"), []byte("\r\n"))
	text, _, err := keyring(t, key).VerifyInline(signed, "InRelease", now)
	if err != nil || string(text) != "Suite: a\nDate: b\n" {
		t.Fatalf("text %q, error %v", text, err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	key := archivetest.NewKey(t, date.AddDate(-1, 0, 0), 0)
	keys := keyring(t, key)
	signed := string(archivetest.SignInline(t, signedText, date, key))
	detached := archivetest.SignDetached(t, signedText, date, key)
	for name, changed := range map[string]string{
		"two messages":     signed + signed,
		"header":           strings.Replace(signed, "Hash:", "Comment: x\nHash:", 1),
		"text in headers":  strings.Replace(signed, "Hash: SHA512\n", "Hash: SHA512\nSuite: evil\n", 1),
		"dash taken":       strings.Replace(signed, "- - dash", "- -dash", 1),
		"line more":        strings.Replace(signed, "\nlast: line", "\nmore: line\nlast: line", 1),
		"empty":            "",
		"no signature":     signed[:strings.Index(signed, "-----BEGIN PGP SIGNATURE-----\n\n")] + "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n",
		"damaged":          strings.Replace(signed, "-----BEGIN PGP SIGNATURE-----\n\n", "-----BEGIN PGP SIGNATURE-----\n\nAAAA", 1),
		"detached instead": string(detached),
	} {
		if changed == signed {
			t.Fatalf("%s: the test changes nothing", name)
		}
		if text, signers, err := keys.VerifyInline([]byte(changed), "InRelease", now); !errors.Is(err, ErrSignature) || text != nil || signers != nil {
			t.Errorf("%s: text %q, signers %v, error %v", name, text, signers, err)
		}
	}
	for name, signature := range map[string][]byte{
		"empty": nil, "public key": key.Public(), "garbage": []byte("garbage"), "inline": []byte(signed),
		"truncated": detached[:len(detached)/2],
	} {
		if _, err := keys.VerifyDetached(signedText, signature, "Release", now); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, _, err := keys.VerifyInline([]byte(signed), "InRelease", time.Time{}); err == nil {
		t.Error("verified without a time")
	}
}

func TestVerifyWeakHash(t *testing.T) {
	key := archivetest.NewKey(t, date.AddDate(-1, 0, 0), 0)
	sign := func(h crypto.Hash) []byte { return archivetest.SignBlindly(t, signedText, date, h, key) }
	md5 := sign(crypto.SHA256)
	// The library cannot make one with MD5; in the packet, after its two bytes
	// of header, the version, the type and the algorithm, is the hash's number.
	if md5[5] != 8 {
		t.Fatalf("the hash's number is %d, not that of SHA-256", md5[5])
	}
	md5[5] = 1
	for name, c := range map[string]struct {
		signature []byte
		good      bool
	}{"SHA-256": {sign(crypto.SHA256), true}, "SHA-1": {sign(crypto.SHA1), false}, "MD5": {md5, false}} {
		_, err := keyring(t, key).VerifyDetached(signedText, c.signature, "Release", now)
		if (err == nil) != c.good || !c.good && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestReadKeyring(t *testing.T) {
	a, b := archivetest.NewKey(t, date, 0), archivetest.NewKey(t, date, 0)
	for name, data := range map[string][]byte{
		"armored": append(a.Public(), b.Public()...),
		"binary":  append(a.Binary(), b.Binary()...),
		"comment": append([]byte("keys of the archive\n\n"), append(a.Public(), b.Public()...)...),
	} {
		k, err := ReadKeyring(name, data)
		if err != nil || len(k.Fingerprints()) != 2 || len(k.Fingerprints()[0]) != 40 {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("no key"), "signature": archivetest.SignDetached(t, signedText, date, a),
		"truncated": a.Binary()[:20], "large": make([]byte, maxKeyring+1), "private": a.Private(),
	} {
		if _, err := ReadKeyring(name, data); fault.ClassOf(err) != fault.Usage || !strings.Contains(err.Error(), "keyring "+name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzVerifyInline(f *testing.F) {
	data, err := os.ReadFile("testdata/InRelease")
	if err != nil {
		f.Fatal(err)
	}
	pub, err := os.ReadFile("testdata/key.asc")
	if err != nil {
		f.Fatal(err)
	}
	keys, err := ReadKeyring("key.asc", pub)
	if err != nil {
		f.Fatal(err)
	}
	text, _, err := keys.VerifyInline(data, "InRelease", now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")))
	f.Add(append([]byte("x\n"), data...))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _, err := keys.VerifyInline(data, "InRelease", now)
		if err == nil && !bytes.Equal(got, text) {
			t.Fatalf("a text that nobody signed passed: %q", got)
		}
	})
}
