package provenance

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

func newSigner(t testing.TB) *Signer {
	t.Helper()
	private, _, err := GenerateKeyPair([]byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := LoadSigner("k", private, []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func record() stage.Record {
	return stage.Record{
		Name: "squashfs", Version: 3, Epoch: 1700000000, Params: json.RawMessage(`{"level":3,"note":"<&>é"}`),
		Materials: map[string]artifact.Digest{"sanitise/root.mtree": artifact.HashBytes([]byte("a")), "project/x y": artifact.HashBytes([]byte("b"))},
		Products:  map[string]artifact.Digest{"squashfs/filesystem.squashfs": artifact.HashBytes([]byte("c"))},
		Commands:  []tool.Command{{Argv: []string{"mksquashfs", "a\"b\n"}, Env: []string{"A=1"}, Dir: "/x"}, tool.New("true")},
	}
}

func TestLinkRoundTrip(t *testing.T) {
	r := Recorder{newSigner(t)}
	link, err := r.Seal(record())
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Seal(record())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(link, again) {
		t.Error("the same record gives two links")
	}
	rec, err := r.Open(link)
	if err != nil {
		t.Fatal(err)
	}
	have, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(record())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("have %s\nwant %s", have, want)
	}
	// in-toto's own code takes it.
	file := t.TempDir() + "/x.link"
	if err := artifact.WriteBytes(file, 0o644, link); err != nil {
		t.Fatal(err)
	}
	loaded, err := in_toto.LoadMetadata(file)
	if err != nil {
		t.Fatal(err)
	}
	mb, ok := loaded.(*in_toto.Metablock)
	if !ok {
		t.Fatalf("in-toto takes it for a %T", loaded)
	}
	if err := mb.VerifySignature(r.Signer.Public().InToto); err != nil {
		t.Errorf("in-toto refuses the signature: %v", err)
	}
	if err := in_toto.ValidateMetablock(*mb); err != nil {
		t.Errorf("in-toto refuses the link: %v", err)
	}
}

func TestOpenLinkRefuses(t *testing.T) {
	r := Recorder{newSigner(t)}
	link, err := r.Seal(record())
	if err != nil {
		t.Fatal(err)
	}
	text := string(link)
	for _, c := range []struct{ old, with, want string }{
		{`"name": "squashfs"`, `"name": "squashfs2"`, "is not signed by key"},
		{`filesystem.squashfs"`, `filesystem.squashfs2"`, "is not signed by key"},
		{`"signatures"`, `"signature"`, "unknown field"},
		{`"_type": "link"`, `"_type": "link", "extra": 1`, "unknown field"},
		{`"keyid": "`, `"keyid": "00`, "is not signed by key"},
		{"{", "[", "link:"},
	} {
		changed := strings.Replace(text, c.old, c.with, 1)
		if changed == text {
			t.Fatalf("%q does not occur", c.old)
		}
		if _, err := r.Open([]byte(changed)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.with, err, c.want)
		}
	}
	if _, err := r.Open(append(link, "{}"...)); err == nil {
		t.Error("something follows the link")
	}
	if _, err := (Recorder{newSigner(t)}).Open(link); err == nil {
		t.Error("another key's link was taken")
	}
}

// TestKeysAreCosigns: cosign reads our keys and our detached signatures.
func TestKeysAreCosigns(t *testing.T) {
	private, public, err := GenerateKeyPair([]byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := cosign.LoadPrivateKey(private, []byte("pw"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := LoadSigner("k", private, []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	pub, err := theirs.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := cryptoutils.MarshalPublicKeyToPEM(pub)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, ours.Public().PEM) || !bytes.Equal(text, public) {
		t.Error("the public keys differ")
	}
	blob := []byte("some text")
	sig, err := ours.SignDetached(blob)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(sig)))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.VerifySignature(bytes.NewReader(raw), bytes.NewReader(blob)); err != nil {
		t.Error(err)
	}
	if err := ours.Public().VerifyDetached(blob, sig); err != nil {
		t.Error(err)
	}
	if ours.Public().VerifyDetached([]byte("other text"), sig) == nil {
		t.Error("a signature of something else was taken")
	}
	if _, err := LoadSigner("k", private, []byte("wrong")); fault.ClassOf(err) != fault.Usage || fault.HintOf(err) == "" {
		t.Errorf("wrong password: %v", err)
	}
	for _, bad := range [][]byte{nil, []byte("x"), public} {
		if _, err := LoadSigner("k", bad, nil); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%.20q as a private key: %v", bad, err)
		}
	}
	if _, err := ParsePublicKey("k", private); fault.ClassOf(err) != fault.Usage {
		t.Errorf("a private key as a public one: %v", err)
	}
}

func TestParseSums(t *testing.T) {
	d := string(artifact.HashBytes(nil))
	good, err := parseSums([]byte(d + "  a b\n" + d + "  ../x.iso\n"))
	if err != nil || len(good) != 2 || good["a b"] != artifact.Digest(d) {
		t.Errorf("%v, %v", good, err)
	}
	for _, bad := range []string{"x  y\n", d + " y\n", d + "  \n", d + "  a\n" + d + "  a\n"} {
		if _, err := parseSums([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzOpenLink(f *testing.F) {
	s := newSigner(f)
	link, err := Recorder{s}.Seal(record())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(link)
	f.Add([]byte(`{"signed":{"_type":"link"},"signatures":[{"keyid":"","sig":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := OpenLink(b, s.Public())
		if err == nil && rec.Name != "squashfs" {
			t.Fatalf("a link that was never signed was taken: %s", rec.Name)
		}
	})
}

func FuzzParseSums(f *testing.F) {
	f.Add([]byte(string(artifact.HashBytes(nil)) + "  a\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseSums(b) })
}
