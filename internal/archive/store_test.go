package archive

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

// folder is a Content in a temporary folder.
type folder string

func newFolder(t testing.TB) folder {
	t.Helper()
	dir := folder(t.TempDir())
	for _, sub := range []string{"partial", "files"} {
		if err := os.Mkdir(filepath.Join(string(dir), sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (f folder) Path(d artifact.Digest) string {
	return filepath.Join(string(f), "files", string(d))
}

func (f folder) Partial(d artifact.Digest) string {
	return filepath.Join(string(f), "partial", string(d))
}

func (f folder) Has(d artifact.Digest) bool {
	_, err := os.Stat(f.Path(d))
	return err == nil
}

func (f folder) Adopt(path string, want artifact.Digest) (artifact.Ref, error) {
	have, size, err := artifact.HashFile(path)
	if err != nil {
		return artifact.Ref{}, err
	}
	if have != want {
		return artifact.Ref{}, fmt.Errorf("adopt %s: it is %s", want, have)
	}
	return artifact.Ref{Digest: have, Size: size}, os.Rename(path, f.Path(have))
}

// names returns the files that lie in a folder of the sink.
func (f folder) names(t testing.TB, sub string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(string(f), sub))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
