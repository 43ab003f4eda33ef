// Package secret finds private keys and other credentials in files that go to others.
package secret

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
)

const (
	chunk   = 1 << 20 // bytes read at once
	overlap = 8 << 10 // of two chunks: more than any text that is looked for
)

// privateKeys are what says "PRIVATE KEY" of itself.
var privateKeys = []struct{ kind, has string }{
	{"a private key of cosign's", "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----"},
	{"a private key of sigstore's", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"},
	{"a private key of OpenSSH's", "OPENSSH PRIVATE KEY-----"},
	{"a private key in PEM", "PRIVATE KEY-----"},
	{"a private key of OpenPGP's", "-----BEGIN PGP PRIVATE KEY BLOCK"},
	{"a private key of SSH's", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"},
}

// texts are what else is a secret in text. All of has are in a chunk before form is tried,
// where there is one; at the start of a line alone, behind blanks, where that begins with line.
var texts = []struct {
	kind string
	has  []string
	form *regexp.Regexp
	line string
}{
	{"a private key of OpenPGP's", []string{"-----BEGIN PGP SECRET KEY BLOCK"}, nil, ""},
	{"a private key of PuTTY's", []string{"PuTTY-User-Key-File-"}, regexp.MustCompile(`(?m)^PuTTY-User-Key-File-[0-9]+:`), ""},
	{"a private key of age's", []string{"AGE-SECRET-KEY-1"}, regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]{50}`), ""},
	{"a private key of age's", []string{"AGE-PLUGIN-"}, regexp.MustCompile(`AGE-PLUGIN-[0-9A-Z-]+-1[0-9A-Z]{20}`), ""},
	{"a private key of WireGuard's", nil, regexp.MustCompile(`^PrivateKey[ \t]*=[ \t]*[0-9A-Za-z+/]{43}=`), "PrivateKey"},
	{"a private key as a JWK", []string{`"kty"`, `"d"`}, regexp.MustCompile(`"d"\s*:\s*"[0-9A-Za-z_-]{16,}"`), ""},
	{"a password for a machine, as apt and netrc have it", []string{"password"}, regexp.MustCompile(`^machine\s+\S+\s+(login\s+\S+\s+)?password\s+\S+`), "machine"},
	{"a login to a registry", []string{`"auths"`}, regexp.MustCompile(`"(auth|identitytoken|registrytoken|password)"\s*:\s*"[^"]{4,}"`), ""},
	{"a JSON Web Token", []string{".eyJ"}, regexp.MustCompile(`eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{16,}`), ""},
	{"a token of GitHub's", []string{"ghp_"}, regexp.MustCompile(`\bghp_[0-9A-Za-z]{36}`), ""},
	{"a token of GitHub's", []string{"github_pat_"}, regexp.MustCompile(`\bgithub_pat_[0-9A-Za-z_]{60}`), ""},
	{"a token of GitLab's", []string{"glpat-"}, regexp.MustCompile(`\bglpat-[0-9A-Za-z_-]{20}`), ""},
}

// Find reads r to its end, and says what kind of secret it holds; "" where it holds none.
// It does not look into what is packed.
func Find(r io.Reader) (kind string, err error) {
	buf := make([]byte, 0, chunk+overlap)
	for first := true; ; first = false {
		kept := copy(buf[:cap(buf)], buf[max(0, len(buf)-overlap):])
		n, err := io.ReadFull(r, buf[kept:kept+chunk])
		buf = buf[:kept+n]
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return "", err
		}
		if kind := inText(buf); kind != "" {
			return kind, nil
		}
		if first {
			if kind := inBytes(buf); kind != "" {
				return kind, nil
			}
		}
		if err != nil {
			return "", nil
		}
	}
}

func inText(b []byte) string {
	if bytes.Contains(b, []byte("PRIVATE KEY")) {
		for _, k := range privateKeys {
			if bytes.Contains(b, []byte(k.has)) {
				return k.kind
			}
		}
	}
	for _, t := range texts {
		has := true
		for _, part := range t.has {
			has = has && bytes.Contains(b, []byte(part))
		}
		if has && (t.form == nil || t.line == "" && t.form.Match(b) || t.line != "" && lineOf(b, t.line, t.form)) {
			return t.kind
		}
	}
	return ""
}

// lineOf tells whether form, which begins with start, holds at the start of a line. Words such
// as "machine" are everywhere: a form that looks for them by itself takes long.
func lineOf(b []byte, start string, form *regexp.Regexp) bool {
	for at := 0; ; at += len(start) {
		next := bytes.Index(b[at:], []byte(start))
		if next < 0 {
			return false
		}
		at += next
		before := bytes.TrimRight(b[:at], " \t")
		if (len(before) == 0 || before[len(before)-1] == '\n') && form.Match(b[at:]) {
			return true
		}
	}
}

// pkcs12 is how a PFX begins, after its outermost length: version 3, then PKCS #7 data.
var pkcs12 = []byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01")

// inBytes looks at the start of a file, or at the whole of a small one.
func inBytes(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte("\xfe\xed\xfe\xed")), bytes.HasPrefix(b, []byte("\xce\xce\xce\xce")):
		return "a keystore of Java's"
	case isPKCS12(b):
		return "a key in PKCS #12"
	case signifyKey(b):
		return "a private key of signify's or minisign's"
	case len(b) < 1<<16 && isDER(b):
		return "a private key in DER"
	case openPGP(b):
		return "a private key of OpenPGP's"
	}
	return ""
}

func isPKCS12(b []byte) bool {
	if len(b) < 32 || b[0] != 0x30 {
		return false
	}
	head := b[:32]
	at := bytes.Index(head, []byte("\x02\x01\x03\x30"))
	return at > 0 && at < 8 && bytes.Contains(head, pkcs12)
}

func isDER(b []byte) bool {
	if len(b) == 0 || b[0] != 0x30 {
		return false
	}
	_, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		_, err = x509.ParsePKCS1PrivateKey(b)
	}
	if err != nil {
		_, err = x509.ParseECPrivateKey(b)
	}
	// An encrypted one: PBES2 comes first.
	return err == nil || len(b) > 24 && bytes.Contains(b[:24], []byte("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"))
}

// signifyKey tells a key of signify's or minisign's: a comment, and base64 that says
// Ed25519 and how it is encrypted; that of a public key goes on with its number.
func signifyKey(b []byte) bool {
	rest, ok := bytes.CutPrefix(b, []byte("untrusted comment:"))
	if !ok {
		return false
	}
	_, rest, _ = bytes.Cut(rest, []byte("\n"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(line)))
	const signature = 74 // bytes; a public key has 42, and any private one more than either
	return err == nil && len(key) > signature && string(key[:2]) == "Ed"
}

// openPGP looks for a secret key among the packets that a file begins with.
func openPGP(b []byte) bool {
	if len(b) == 0 || b[0]&0x80 == 0 {
		return false
	}
	packets := packet.NewOpaqueReader(bytes.NewReader(b))
	for range 10_000 {
		p, err := packets.Next()
		if err != nil {
			return false
		}
		if p.Tag == 5 || p.Tag == 7 { // secret key, secret subkey: RFC 9580, section 5
			return len(p.Contents) > 0 && p.Contents[0] >= 3 && p.Contents[0] <= 6
		}
	}
	return false
}

// Refuse is an error where a regular file below root holds a secret; hint says what to do.
func Refuse(root *os.Root, name, hint string) (err error) {
	f, err := regular.Open(root, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	kind, err := Find(f)
	if err == nil && kind != "" {
		err = fault.New(fault.Refused, hint, "%s: holds %s", name, kind)
	}
	return err
}
