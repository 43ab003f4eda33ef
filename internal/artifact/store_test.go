package artifact

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/fault"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // some tests close it themselves
	return s
}

func TestAddVerifyAdopt(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s"))
	ref, err := s.Add(strings.NewReader("hello"), 5)
	if err != nil || ref.Digest != HashBytes([]byte("hello")) || ref.Size != 5 || !s.Has(ref.Digest) {
		t.Fatalf("%+v, %v", ref, err)
	}
	if st, err := os.Stat(s.Path(ref.Digest)); err != nil || st.Mode() != 0o444 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, err := s.Add(strings.NewReader("hello!"), 5); err == nil {
		t.Error("more than the limit was taken")
	}
	file := filepath.Join(s.Root(), "partial", "x")
	if err := os.WriteFile(file, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Adopt(file, ref.Digest); fault.ClassOf(err) != fault.Refused {
		t.Errorf("adopted under another's name: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a refused file is gone: %v", err)
	}
	if err := os.Chmod(s.Path(ref.Digest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path(ref.Digest), []byte("HELLO"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(ref.Digest); fault.ClassOf(err) != fault.Refused || s.Has(ref.Digest) {
		t.Errorf("damaged content: %v, still there: %t", err, s.Has(ref.Digest))
	}
	for _, bad := range []Digest{"", "ab", Digest(strings.Repeat("g", 64)), "../../../../etc/passwd"} {
		if _, err := s.Verify(bad); err == nil || s.Has(bad) {
			t.Errorf("%q is no digest", bad)
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.Root(), "partial", "add-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestSweepOnlyAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	s := open(t, dir)
	work, err := s.NewWork("stage")
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	if _, err := os.Stat(work); err != nil {
		t.Errorf("scratch of a running build was swept: %v", err)
	}
	if _, err := other.Alone(); err == nil {
		t.Error("alone, with two users")
	}
	if err := errors.Join(s.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if _, err := os.Stat(work); !os.IsNotExist(err) {
		t.Errorf("scratch of a dead build is left: %v", err)
	}
	release, err := again.Alone()
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s")
	a, b := open(t, dir), open(t, dir)
	unlock, err := a.Lock(t.Context(), "x/y")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Lock(ctx, "x/y"); err == nil {
		t.Error("two hold one lock")
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = b.Lock(t.Context(), "x/y")
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestAdoptLayerReplacesADamagedOne(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "s"))
	for _, text := range []string{"old", "new"} {
		dir, err := s.NewWork("layer")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.AdoptLayer(dir, "id"); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(s.Layer("id"), "f"))
		if err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
	}
}

func TestWriteFileWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := WriteBytes(file, 0o640, []byte("one")); err != nil {
		t.Fatal(err)
	}
	err := WriteFile(file, 0o640, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, errors.New("on purpose"))
	})
	if err == nil {
		t.Error("no error")
	}
	b, err := os.ReadFile(file)
	if err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o640 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestParseDigest(t *testing.T) {
	hex := strings.Repeat("0f", 32)
	for in, ok := range map[string]bool{hex: true, "sha256:" + hex: true, strings.ToUpper(hex): false, hex[1:]: false, "sha512:" + hex: false, "": false, hex + "\n": false} {
		if d, err := ParseDigest(in); (err == nil) != ok || ok && string(d) != hex {
			t.Errorf("%q: %q, %v", in, d, err)
		}
	}
}

func TestExplainWrite(t *testing.T) {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS} {
		if fault.HintOf(ExplainWrite(&os.PathError{Op: "write", Path: "x", Err: e})) == "" {
			t.Errorf("%v: no hint", e)
		}
	}
	if ExplainWrite(nil) != nil || fault.HintOf(ExplainWrite(io.EOF)) != "" {
		t.Error("a hint for nothing")
	}
}

func TestHoldDir(t *testing.T) {
	dir := t.TempDir()
	release, err := HoldDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := HoldDir(dir); err == nil || fault.HintOf(err) == "" {
		t.Errorf("held twice: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if release, err = HoldDir(dir); err != nil {
		t.Fatalf("not let go: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

// TestAdoptTakesNothingOfOthers: what a program in a sandbox may have left is a file of its
// own, or an error, and what it points to stays as it was.
func TestAdoptTakesNothingOfOthers(t *testing.T) {
	s := open(t, t.TempDir())
	dir := filepath.Join(s.Root(), "work")
	victim, fifo := filepath.Join(dir, "victim"), filepath.Join(dir, "fifo")
	err := errors.Join(os.WriteFile(victim, []byte("the host's"), 0o640), os.Symlink(victim, filepath.Join(dir, "link")),
		os.Link(victim, filepath.Join(dir, "twin")), unix.Mkfifo(fifo, 0o600), os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{"link": "not a regular file", "fifo": "not a regular file", "folder": "not a regular file", "twin": "has another name"} {
		if ref, err := s.Adopt(filepath.Join(dir, name), ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v", name, ref, err)
		}
	}
	if st, err := os.Stat(victim); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("what a link led to was changed: %v, %v", st.Mode(), err)
	}
	if s.Has(HashBytes([]byte("the host's"))) {
		t.Error("the store has what a link led to")
	}
}

// TestTreesAreNobodyElses: root trees have programs with the set-user-ID bit, and folders
// that everybody may write to; in the store of an earlier isotrace, too.
func TestTreesAreNobodyElses(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "layers"), 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, root)
	for _, dir := range []string{"layers", "work"} {
		st, err := os.Stat(filepath.Join(root, dir))
		if err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, st.Mode(), err)
		}
	}
}
