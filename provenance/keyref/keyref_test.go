package keyref

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
)

func password(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

// signs makes a signer sign what builders and release managers do.
func signs(t *testing.T, s *provenance.Signer) {
	t.Helper()
	r := provenance.Recorder{Signer: s}
	link, err := r.Seal(stage.Record{Name: "iso", Params: json.RawMessage("{}")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(link); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "x.img")
	if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	written, err := provenance.SignFile(t.Context(), file, provenance.Sealing{Signer: s})
	if err != nil || len(written) != 3 {
		t.Fatalf("%v, %v", written, err)
	}
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Public().VerifyDetached([]byte("content"), sig); err != nil {
		t.Error(err)
	}
}

func TestFileAndEnvironment(t *testing.T) {
	private, public, err := provenance.GenerateKeyPair([]byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.key")
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("A_KEY", string(private))
	for _, ref := range []string{file, "env://A_KEY"} {
		s, err := Open(t.Context(), ref, password("pw"))
		if err != nil {
			t.Fatal(err)
		}
		if string(s.Public().PEM) != string(public) {
			t.Errorf("%s: another key", ref)
		}
		signs(t, s)
		if _, err := Open(t.Context(), ref, password("other")); err == nil || !strings.Contains(err.Error(), "the password does not open it") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestReferencesRefused(t *testing.T) {
	for ref, want := range map[string]string{
		"/nowhere/x.key":                     "there is no key to sign with",
		"env://NOT_SET_ANYWHERE":             "the variable is not set",
		"https://example.org/x.key":          "is no reference to a key",
		"k8s://default/x":                    "is no reference to a key",
		"gitlab://x":                         "is no reference to a key",
		"hashivault://../x":                  "",
		"awskms://":                          "",
		"pkcs11:token=x?pin-value=secretpin": "",
	} {
		_, err := Open(t.Context(), ref, password("pw"))
		if err == nil || !strings.Contains(err.Error(), want) || fault.ClassOf(err) != fault.Usage {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
		if err != nil && strings.Contains(err.Error()+fault.HintOf(err), "secretpin") {
			t.Errorf("%s: the error shows the PIN: %v", ref, err)
		}
	}
	if _, err := Open(t.Context(), "env://PATH", func() ([]byte, error) { return nil, errors.New("no terminal") }); err == nil {
		t.Error("a key without a password was taken")
	}
}
