package provenance

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/trace"
)

// within fails a test that something holds up.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: hangs", what)
	}
}

// odd puts each of what is no file, or too much of one, in the place of a file.
var odd = map[string]func(file string) error{
	"fifo":   func(file string) error { return unix.Mkfifo(file, 0o644) },
	"folder": func(file string) error { return os.Mkdir(file, 0o755) },
	"device": func(file string) error { return os.Symlink("/dev/zero", file) },
	"away":   func(file string) error { return os.Symlink("/etc/passwd", file) },
	"giant":  func(file string) error { return errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 1<<40)) },
}

// TestOddEvidence: whatever lies in the place of a file of the evidence, it is refused at
// once.
func TestOddEvidence(t *testing.T) {
	for _, name := range []string{config.FileName, "isotrace.lock", Sums, SumsSignature, BuilderKey, LayoutFile, TraceDir + "/trace.json"} {
		for what, put := range odd {
			out := t.TempDir()
			file := filepath.Join(out, EvidenceDir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := put(file); err != nil {
				t.Fatal(err)
			}
			within(t, name+" "+what, func() {
				b := &Bundle{out: out, dir: filepath.Join(out, EvidenceDir)}
				if _, err := b.read(name, 1<<20); err == nil || !strings.Contains(err.Error(), "is not a regular file") && !strings.Contains(err.Error(), "longer than") {
					t.Errorf("read %s: %s: %v", what, name, err)
				}
				if _, err := listSums(t.Context(), b.dir, nil); err == nil && what != "folder" && name != Sums && name != SumsSignature { // a folder has no files
					t.Errorf("list %s: %s was hashed", what, name)
				}
				if _, err := OpenBundle(out); err == nil {
					t.Errorf("open %s: %s", what, name)
				}
				if _, err := OpenTracing(out, nil); err == nil {
					t.Errorf("trace %s: %s", what, name)
				}
			})
		}
	}
}

// TestGiantEvidence: files that take no room on the medium take time to hash, all together.
func TestGiantEvidence(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		name := filepath.Join(dir, string(rune('a'+i)))
		size := int64(maxEvidenceFile)
		if i == 0 {
			size = 1 // what is hashed before the bound is reached takes its time here, too
		}
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, size)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := listSums(ctx, dir, nil); err == nil || !strings.Contains(err.Error(), "the evidence is longer than") {
		t.Errorf("%v", err)
	}
}

// TestOtherSums: the trace is checked by the sums that the evidence was, and not by others
// that the builder signed, too, and that came in their place.
func TestOtherSums(t *testing.T) {
	out := t.TempDir()
	b := &Bundle{out: out, dir: filepath.Join(out, EvidenceDir)}
	sums := filepath.Join(b.dir, Sums)
	if err := errors.Join(os.Mkdir(b.dir, 0o755), os.WriteFile(sums, []byte("one"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.read(Sums, maxSums); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sums, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openTracing(b, nil); err == nil || !strings.Contains(err.Error(), Sums+": has changed while it was checked") {
		t.Errorf("%v", err)
	}
}

// TestOddImage: nothing but a file of a size that an image can have is read as one.
func TestOddImage(t *testing.T) {
	for what, put := range odd {
		if what == "away" {
			continue // a link to a file: its digest will not fit
		}
		file := filepath.Join(t.TempDir(), "x.iso")
		if err := put(file); err != nil {
			t.Fatal(err)
		}
		within(t, what, func() {
			if h := holdImage(t.Context(), file, maxImage); h.err == nil || h.digest != "" || h.file != nil {
				t.Errorf("%s: %+v", what, h)
			}
		})
	}
}

// TestSwappedImage: an image that is written to, or for which another one comes, after it
// was hashed is found out, and nothing else is.
func TestSwappedImage(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(file string) error
		same bool
	}{
		"nothing":        {func(string) error { return nil }, true},
		"linked":         {func(file string) error { return os.Link(file, file+"2") }, true},
		"made read-only": {func(file string) error { return os.Chmod(file, 0o400) }, true},
		"replaced": {func(file string) error {
			return errors.Join(os.WriteFile(file+"2", []byte("image"), 0o644), os.Rename(file+"2", file))
		}, false},
		"gone": {os.Remove, false},
		"written to": {func(file string) error {
			return errors.Join(os.WriteFile(file, []byte("other"), 0o644), os.Chtimes(file, time.Time{}, time.Unix(1, 0)))
		}, false},
		"longer":  {func(file string) error { return os.WriteFile(file, []byte("image and more"), 0o644) }, false},
		"shorter": {func(file string) error { return os.Truncate(file, 2) }, false},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "x.iso")
		if err := errors.Join(os.WriteFile(file, []byte("image"), 0o644), os.Chtimes(file, time.Time{}, time.Unix(1, 0))); err != nil {
			t.Fatal(err)
		}
		h := holdImage(t.Context(), file, 100)
		if h.err != nil || h.digest != artifact.HashBytes([]byte("image")) {
			t.Fatalf("%s: %+v", name, h)
		}
		time.Sleep(20 * time.Millisecond) // the clock of a file system is coarse
		if err := c.do(file); err != nil {
			t.Fatal(err)
		}
		v := &verification{Bundle: &Bundle{out: dir}, images: map[string]hashed{"x.iso": h}}
		err := v.unchanged(t.Context())
		if (err == nil) != c.same || err != nil && !strings.Contains(err.Error(), "x.iso: has changed while it was checked") {
			t.Errorf("%s: %v", name, err)
		}
		if err := v.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestEvidenceChangesInBetween: what is read twice has to be the same.
func TestEvidenceChangesInBetween(t *testing.T) {
	b := &Bundle{dir: t.TempDir()}
	file := filepath.Join(b.dir, Sums)
	for i, text := range []string{"one", "one", "two"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := b.read(Sums, 10)
		if (err != nil) != (i == 2) || err != nil && !strings.Contains(err.Error(), Sums+": has changed while it was checked") {
			t.Errorf("reading %d: %v", i, err)
		}
	}
}

// TestRereadHeld: the trace's check reads the image that was hashed, and not what stands at
// its name by then.
func TestRereadHeld(t *testing.T) {
	r, err := os.Open(filepath.FromSlash("../internal/medium/testdata/hybrid.iso.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	name := filepath.Join(out, "x.iso")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	v := &verification{Bundle: &Bundle{out: out, image: name}, images: map[string]hashed{"x.iso": holdImage(t.Context(), name, maxImage)}}
	if err := os.WriteFile(name+".new", []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	reading, problems, err := v.reread(t.Context(), &roottree.Manifest{})
	if err != nil || reading == nil || len(reading.parts[trace.PartESP]) != 1 {
		t.Errorf("the image that was hashed was not read: %v, %v", problems, err)
	}
	if err := v.close(); err != nil {
		t.Error(err)
	}
}
