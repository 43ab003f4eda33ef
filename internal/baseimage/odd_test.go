package baseimage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/config"
)

// TestOddFiles: a FIFO or device in the place of an image, or of a part of one, is refused
// at once.
func TestOddFiles(t *testing.T) {
	for name, put := range map[string]func(file string) error{
		"fifo": func(file string) error { return unix.Mkfifo(file, 0o644) }, "device": func(file string) error { return os.Symlink("/dev/zero", file) },
	} {
		for _, at := range []string{"layout/index.json", "layout/oci-layout", "layout/blobs/sha256/00", "archive.tar", "disk.img"} {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "layout", "blobs", "sha256"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "layout", "index.json"), []byte(`{"schemaVersion":2,"manifests":[]}`), 0o644), os.RemoveAll(filepath.Join(dir, at)), put(filepath.Join(dir, at))); err != nil {
				t.Fatal(err)
			}
			b := config.Base{OCI: "layout"}
			switch filepath.Ext(at) {
			case ".tar":
				b = config.Base{Archive: at}
			case ".img":
				b = config.Base{Disk: at}
			}
			done := make(chan error, 1)
			go func() { _, err := Open(t.Context(), b, dir, "amd64", nil); done <- err }()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
					t.Errorf("%s %s: %v", name, at, err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s %s: hangs", name, at)
			}
		}
	}
}
