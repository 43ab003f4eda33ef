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

// TestWrite: nothing is written through what stands in a file's place.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	outside := filepath.Join(t.TempDir(), "outside")
	err := errors.Join(
		os.WriteFile(outside, []byte("kept"), 0o600), os.WriteFile(at("inside"), []byte("kept"), 0o600), os.Link(at("inside"), at("twin")),
		os.Symlink(outside, at("away")), os.Symlink("inside", at("link")), os.Symlink("none", at("dangling")), unix.Mkfifo(at("pipe"), 0o600),
		os.MkdirAll(at("folder/sub"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	names := []string{"away", "link", "dangling", "pipe", "twin", "folder"}
	for _, name := range names {
		if f, err := Create(root, name, 0o644); !errors.Is(err, fs.ErrExist) {
			t.Errorf("create %s: %v, %v", name, f, err)
		}
		if f, err := Edit(root, name); (err == nil) != (name == "twin") {
			t.Errorf("edit %s: %v, %v", name, f, err)
		} else if err == nil {
			f.Close()
		}
	}
	for _, name := range append(names, "new") {
		err := Replace(root, name, 0o755, []byte("replaced"))
		if name == "folder" {
			if err == nil {
				t.Error("a folder was replaced")
			}
			continue
		}
		st, serr := root.Lstat(name)
		if err != nil || serr != nil || st.Mode() != 0o755 {
			t.Errorf("replace %s: %v, %v, %v", name, err, st, serr)
			continue
		}
		if b, err := Read(root, name, 100); err != nil || string(b) != "replaced" {
			t.Errorf("replace %s: %q, %v", name, b, err)
		}
	}
	for _, name := range []string{outside, at("inside")} {
		if b, err := os.ReadFile(name); err != nil || string(b) != "kept" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "d/b"), 0o755), os.WriteFile(filepath.Join(dir, "d/a\xff"), nil, 0o644),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644), os.Symlink("/", filepath.Join(dir, "away")))
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	entries, err := ReadDir(root, "d")
	if err != nil || len(entries) != 2 || entries[0].Name() != "a\xff" || entries[1].Name() != "b" {
		t.Errorf("%v, %v", entries, err)
	}
	for _, name := range []string{"pipe", "away", "none"} {
		if entries, err := ReadDir(root, name); err == nil {
			t.Errorf("%s: %v", name, entries)
		}
	}
}
