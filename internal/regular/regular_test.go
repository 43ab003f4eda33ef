package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"full": "12345", "long": "123456", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": "full", "away": outside, "up": "../../" + filepath.Base(outside), "round": "round", "pipe-link": "pipe"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "folder"), 0o755), unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, want := range map[string]string{
		"full": "12345", "empty": "", "link": "12345",
		"long": "error: long: longer than 5 bytes", "folder": "error: folder: is not a regular file",
		"pipe": "error: pipe: is not a regular file", "pipe-link": "error: pipe-link: is not a regular file",
		"away": "error: ", "up": "error: ", "round": "error: ", "../outside": "error: ", "none": "error: ",
	} {
		b, err := Read(root, name, 5)
		have := string(b)
		if err != nil {
			have = "error: " + err.Error()
		}
		if have != want && !(want == "error: " && err != nil) || err != nil && b != nil {
			t.Errorf("%s: %q and %q, want %q", name, b, have, want)
		}
		if name == "none" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v is not fs.ErrNotExist", name, err)
		}
	}
}

// TestReadNamed: what the user names may be a pipe.
func TestReadNamed(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"12345": "", "123456": "longer than 5 bytes"} {
		wrote := make(chan error, 1)
		go func() { wrote <- os.WriteFile(pipe, []byte(text), 0) }()
		b, err := ReadNamed(pipe, 5)
		if werr := <-wrote; werr != nil {
			t.Fatal(werr)
		}
		switch {
		case want == "" && (err != nil || string(b) != text):
			t.Errorf("%q: %q and %v", text, b, err)
		case want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
