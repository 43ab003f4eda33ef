package ociarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/isotrace/isotrace/internal/artifact"
)

var texts = map[string]string{"project/a": "hello", "project/run": "#!/bin/sh\n", "store/x.deb": strings.Repeat("deb", 300), "store/same": "hello", "empty": ""}

func contents() Contents {
	c := Contents{Epoch: time.Unix(1700000000, 0).UTC(), About: map[string]string{"org.isotrace.image": "x.iso"}}
	for title, text := range texts {
		c.Files = append(c.Files, File{Title: title, Digest: artifact.HashBytes([]byte(text)), Size: int64(len(text)), Executable: title == "project/run"})
	}
	c.Files = append(c.Files, File{Title: "project/link", Digest: artifact.HashBytes(nil), Link: "a"})
	return c
}

func open(d artifact.Digest) (io.ReadCloser, error) {
	for _, text := range texts {
		if artifact.HashBytes([]byte(text)) == d {
			return io.NopCloser(strings.NewReader(text)), nil
		}
	}
	return nil, os.ErrNotExist
}

func made(t testing.TB, c Contents) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Write(context.Background(), &b, c, open); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// damage is all that is wrong with an archive, the errors of its index among it.
func damage(t *testing.T, b []byte) []Damage {
	t.Helper()
	a, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return []Damage{{Detail: err.Error()}}
	}
	all, err := a.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWrite(t *testing.T) {
	c := contents()
	first := made(t, c)
	slices.Reverse(c.Files)
	if !bytes.Equal(first, made(t, c)) {
		t.Error("another order of the files gives other bytes")
	}
	if all := damage(t, first); len(all) > 0 {
		t.Errorf("whole, and yet %v", all)
	}
	a, err := Read(bytes.NewReader(first), int64(len(first)))
	if err != nil || a.About["org.isotrace.image"] != "x.iso" || !a.Epoch.Equal(c.Epoch) || len(a.Files) != len(texts)+2 {
		t.Fatalf("%+v, %v", a, err)
	}
	seen := map[string]string{}
	err = a.Each(t.Context(), func(files []File, content io.ReadSeeker) error {
		text, err := io.ReadAll(content)
		for _, f := range files {
			seen[f.Title] = string(text)
		}
		return err
	})
	if err != nil || len(seen) != len(a.Files) {
		t.Errorf("%d files of %d, %v", len(seen), len(a.Files), err)
	}
	for title, text := range texts {
		if seen[title] != text {
			t.Errorf("%s: %q", title, seen[title])
		}
		sum := sha256.Sum256([]byte(text))
		if line := hex.EncodeToString(sum[:]) + "  " + title + "\n"; !strings.Contains(seen[sumsTitle], line) {
			t.Errorf("SHA256SUMS lacks %s", line)
		}
	}
}

// TestStockReader has go-containerregistry read what tar unpacks.
func TestStockReader(t *testing.T) {
	dir := t.TempDir()
	r := tar.NewReader(bytes.NewReader(made(t, contents())))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, h.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("%v, %v", m, err)
	}
	image, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != len(texts)+2 {
		t.Errorf("%d layers, %v", len(layers), err)
	}
}

// TestEveryByte changes each byte of an archive, one at a time: each is found.
func TestEveryByte(t *testing.T) {
	good := made(t, contents())
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if len(damage(t, bad)) == 0 {
			t.Fatalf("byte %d of %d: not found", i, len(good))
		}
	}
	for n := range good {
		if len(damage(t, good[:n])) == 0 {
			t.Fatalf("cut after byte %d: not found", n)
		}
	}
	if all := damage(t, append(bytes.Clone(good), 0)); len(all) != 1 || !strings.Contains(all[0].Detail, "1 bytes follow") {
		t.Errorf("a byte too many: %v", all)
	}
}

// What is hit is named, and the rest is looked at all the same.
func TestWhatIsHit(t *testing.T) {
	bad := made(t, contents())
	bad[bytes.Index(bad, []byte("debdeb"))] ^= 1
	bad[bytes.Index(bad, []byte("#!/bin/sh"))-100] ^= 1 // in its header
	var what []string
	for _, d := range damage(t, bad) {
		what = append(what, d.What)
	}
	slices.Sort(what)
	if !slices.Equal(what, []string{"project/run", "store/x.deb"}) {
		t.Errorf("hit: %q", what)
	}
}

// TestBackslash: units of systemd have names such as dev-my\x2ddisk.mount.
func TestBackslash(t *testing.T) {
	c := contents()
	c.Files[0] = File{Title: `project/my\x2ddisk.mount`, Digest: artifact.HashBytes([]byte("hello")), Size: 5}
	b := made(t, c)
	if all := damage(t, b); len(all) > 0 {
		t.Errorf("%+v", all)
	}
	// As sha256sum of coreutils 9.7 writes it.
	line := `\` + string(artifact.HashBytes([]byte("hello"))) + `  project/my\\x2ddisk.mount` + "\n"
	if !bytes.Contains(b, []byte(line)) {
		t.Errorf("the sums lack %q", line)
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*Contents){
		"a path that leads out": func(c *Contents) { c.Files[0].Title = "../x" },
		"an absolute path":      func(c *Contents) { c.Files[0].Title = "/x" },
		"a line end in a path":  func(c *Contents) { c.Files[0].Title = "x\ny" },
		"one path twice":        func(c *Contents) { c.Files[0].Title = c.Files[1].Title },
		"no digest":             func(c *Contents) { c.Files[0].Digest = "sha256:x" },
		"a negative size":       func(c *Contents) { c.Files[0].Size = -1 },
		"a link with content":   func(c *Contents) { c.Files[0].Link, c.Files[0].Size = "x", 5 },
		"content of another":    func(c *Contents) { c.Files[0].Size++ },
		"no content":            func(c *Contents) { c.Files[0].Digest = artifact.HashBytes([]byte("none")) },
	} {
		c := contents()
		slices.SortFunc(c.Files, byTitle)
		c.Files = slices.DeleteFunc(c.Files, func(f File) bool { return f.Size == 0 })
		change(&c)
		if _, err := Write(t.Context(), io.Discard, c, open); err == nil {
			t.Errorf("%s: is written", name)
		}
	}
}

func TestVolumes(t *testing.T) {
	good := made(t, contents())
	name := filepath.Join(t.TempDir(), "x.tar")
	names, err := WriteVolumes(name, 1000, func(w io.Writer) error {
		_, err := w.Write(good)
		return err
	})
	if want := (len(good)+999)/1000 + 1; err != nil || len(names) != want {
		t.Fatalf("%d files, want %d, %v", len(names), want, err)
	}
	for _, n := range []string{name, name + ".001"} {
		v, err := OpenVolumes(n)
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(io.NewSectionReader(v, 0, v.Size()))
		if err != nil || !bytes.Equal(all, good) || v.At(1000) != name+".002" {
			t.Errorf("%s: %d bytes of %d, %v; byte 1000 in %s", n, len(all), len(good), err, v.At(1000))
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := os.Remove(name + ".002"); err != nil {
		t.Fatal(err)
	}
	v, err := OpenVolumes(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.Close() }() // it was only read
	if _, err := Read(v, v.Size()); err == nil {
		t.Error("an archive without its second volume is read")
	}
	if _, err := OpenVolumes(name + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no archive: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	good := made(f, contents())
	f.Add(good)
	f.Add(good[:3000])
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		all, err := a.Check(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) > 0 {
			return
		}
		// What is whole is what Write writes of it.
		content := map[artifact.Digest][]byte{}
		if err := a.Each(t.Context(), func(files []File, r io.ReadSeeker) error {
			text, err := io.ReadAll(r)
			content[files[0].Digest] = text
			return err
		}); err != nil {
			t.Fatal(err)
		}
		c := a.Contents
		c.Files = slices.DeleteFunc(slices.Clone(c.Files), func(f File) bool { return f.Title == sumsTitle })
		var again bytes.Buffer
		if _, err := Write(t.Context(), &again, c, func(d artifact.Digest) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(content[d])), nil
		}); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("what is whole is not what is written of it: %v", err)
		}
	})
}
