package provenance

import (
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/provenance/sigstoretest"
)

// TestKeyless signs with a key of the moment, which a certificate authority gives to an
// identity and a log says when it was used.
func TestKeyless(t *testing.T) {
	s := sigstoretest.New(t)
	sealer, err := Sealing{Fulcio: s.URL, Token: sigstoretest.Token(), Rekor: s.URL}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := artifact.HashBytes([]byte("content"))
	file, err := sealer.File(BytesContent([]byte("content")))
	if err != nil {
		t.Fatal(err)
	}
	statement, err := sealer.Statement(Statement{statementType, []Resource{{Name: "x", Digest: sha256Of(d)}}, PredicatePolicy, map[string]bool{"holds": true}})
	if err != nil {
		t.Fatal(err)
	}
	trusted := func(s *sigstoretest.Sigstore) root.TrustedMaterial {
		t.Helper()
		r, err := parseRoot(s.TrustedRoot(t))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	good := func() *verification {
		return &verification{opts: VerifyOptions{Identity: &Identity{sigstoretest.Issuer, sigstoretest.Subject}}, root: trusted(s)}
	}
	judge := func(v *verification, text []byte, d artifact.Digest) error {
		b, err := openBundle(text)
		if err != nil {
			return err
		}
		return v.bundleOf(b, nil, d)
	}
	if err := judge(good(), file, d); err != nil {
		t.Error(err)
	}
	if err := judge(good(), statement, ""); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		change func(*verification)
		d      artifact.Digest
		want   string
	}{
		"another file":              {func(*verification) {}, artifact.HashBytes([]byte("other")), "verify signature"},
		"another subject":           {func(v *verification) { v.opts.Identity.Subject = "other@example.org" }, d, "identity"},
		"another issuer":            {func(v *verification) { v.opts.Identity.Issuer = "https://other.example.org" }, d, "identity"},
		"nobody named":              {func(v *verification) { v.opts.Identity = nil }, d, "say whose"},
		"nobody trusted":            {func(v *verification) { v.root = nil }, d, "--trusted-root"},
		"another log and authority": {func(v *verification) { v.root = trusted(sigstoretest.New(t)) }, d, "log"},
	} {
		v := good()
		c.change(v)
		if err := judge(v, file, c.d); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for name, o := range map[string]Sealing{
		"nothing": {}, "no token": {Fulcio: s.URL}, "no time": {Fulcio: s.URL, Token: sigstoretest.Token()},
	} {
		if _, err := o.Open(t.Context()); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}
