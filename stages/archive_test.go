package stages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

// TestNoSecretInArchive: a key goes into no archive, wherever it lies.
func TestNoSecretInArchive(t *testing.T) {
	const key = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ\n"
	for at, want := range map[string]string{
		"project/files/key.asc": "files/key.asc: holds a private key of OpenPGP's", "out/key.asc": "key.asc: holds a private key of OpenPGP's",
		"out/evidence/links/key.asc": "evidence/links/key.asc: holds a private key of OpenPGP's", "out/release/key.asc": "release/key.asc: holds a private key of OpenPGP's",
		"out/x.iso": "", "out/journal/log": "",
	} {
		dir := t.TempDir()
		for _, d := range []string{"project/files", "out/evidence/links", "out/release", "out/journal"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, at), []byte(key), 0o644); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(filepath.Join(dir, "project"))
		if err != nil {
			t.Fatal(err)
		}
		a := &archiver{paths: map[artifact.Digest]string{}, seen: map[string]bool{}}
		if err = a.tree(root, filepath.Join(dir, "project"), "files"); err == nil {
			err = a.output(filepath.Join(dir, "out"), []string{"x.iso"})
		}
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want || fault.ClassOf(err) != fault.Refused) {
			t.Errorf("%s: %v, want %q", at, err, want)
		}
		if err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("%s: names a path of the host: %v", at, err)
		}
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	}
}
