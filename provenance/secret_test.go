package provenance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
)

// TestNoSecretInEvidence: evidence that holds a key is not signed.
func TestNoSecretInEvidence(t *testing.T) {
	s := newSigner(t)
	private, _, err := GenerateKeyPair([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"links/x.link": string(private), "isotrace.yaml": "machine example.org login me password secret\n", "builder.pub": ""} {
		dir := t.TempDir()
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		err := WriteSums(dir, nil, s)
		if text == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), name+": holds a ") || fault.ClassOf(err) != fault.Refused {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, Sums)); err == nil {
			t.Errorf("%s: there are sums", name)
		}
	}
}
