package provenance

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/testing/data"

	"github.com/isotrace/isotrace/internal/artifact"
)

// TestSigstoreConformance is a client of sigstore-conformance: every bundle of its
// suite that can be judged offline is accepted or refused as it says.
func TestSigstoreConformance(t *testing.T) {
	dir := filepath.Join("..", "testdata", "sigstore-conformance")
	cases, err := filepath.Glob(filepath.Join(dir, "*", "bundle.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	accepted, refused := 0, 0
	for _, file := range cases {
		name := filepath.Base(filepath.Dir(file))
		err := conforms(t, dir, filepath.Dir(file))
		switch wrong := strings.HasSuffix(name, "_fail"); {
		case wrong && err == nil:
			t.Errorf("%s: was accepted", name)
		case !wrong && err != nil:
			t.Errorf("%s: %v", name, err)
		case wrong:
			refused++
		default:
			accepted++
		}
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
	if accepted < 15 || refused < 40 {
		t.Errorf("%d accepted, %d refused: some are missing", accepted, refused)
	}
}

// conforms verifies one case as the suite's protocol has it.
func conforms(t *testing.T, dir, at string) error {
	t.Helper()
	read := func(file, otherwise string) string {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return otherwise
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	in := func(name, otherwise string) string { return read(filepath.Join(at, name), otherwise) }
	content := in("artifact", read(filepath.Join(dir, "a.txt"), ""))
	v := &verification{opts: VerifyOptions{Identity: &Identity{
		Issuer:  strings.TrimSpace(in("issuer", "https://token.actions.githubusercontent.com")),
		Subject: strings.TrimSpace(in("identity", "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main")),
	}}}
	v.root = data.TrustedRoot(t, "public-good.json")
	if text := in("trusted_root.json", ""); text != "" {
		var err error
		if v.root, err = parseRoot([]byte(text)); err != nil {
			return err
		}
	}
	var key *PublicKey
	if text := in("key.pub", ""); text != "" {
		var err error
		if key, err = ParsePublicKey("key.pub", []byte(text)); err != nil {
			return err
		}
		v.opts.Identity = nil
	}
	b, err := parseBundle([]byte(in("bundle.sigstore.json", "")))
	if err != nil {
		return err
	}
	return v.bundleOf(b, key, artifact.HashBytes([]byte(content)))
}
