package regular

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostile makes what is no file in a folder, by what it is.
func hostile(t *testing.T, dir string) []string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		unix.Mkfifo(at("fifo"), 0o644), os.Mkdir(at("folder"), 0o755), os.Symlink("fifo", at("link-to-fifo")), os.Symlink("/dev/zero", at("device")),
	); err != nil {
		t.Fatal(err)
	}
	return []string{"socket", "fifo", "folder", "link-to-fifo", "device"}
}

// within fails a test that something holds up.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: hangs", what)
	}
}

func TestNothingButFiles(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range hostile(t, dir) {
		for how, open := range map[string]func() (*os.File, error){
			"Open": func() (*os.File, error) { return Open(root, name) }, "OpenHere": func() (*os.File, error) { return OpenHere(root, name) },
			"OpenFile": func() (*os.File, error) { return OpenFile(filepath.Join(dir, name)) },
		} {
			within(t, how+" "+name, func() {
				f, err := open()
				if err == nil {
					t.Errorf("%s %s: was opened", how, name)
					_ = f.Close()
				} else if !errors.Is(err, ErrNotRegular) && !(how == "Open" && name == "device") { // a link that leads out
					t.Errorf("%s %s: %v", how, name, err)
				}
			})
		}
		within(t, "ReadFile "+name, func() {
			if _, err := ReadFile(filepath.Join(dir, name), 1); !errors.Is(err, ErrNotRegular) {
				t.Errorf("ReadFile %s: %v", name, err)
			}
		})
	}
}

// TestFIFOInBetween: a FIFO that comes in a file's place after it was looked at holds
// nobody up.
func TestFIFOInBetween(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o644); err != nil {
		t.Fatal(err)
	}
	here, err := os.Stat("regular.go")
	if err != nil {
		t.Fatal(err)
	}
	within(t, "open", func() {
		f, err := open(name, os.O_RDONLY, func(string) (os.FileInfo, error) { return here, nil }, os.OpenFile)
		if !errors.Is(err, ErrNotRegular) {
			t.Errorf("%v, %v", f, err)
		}
	})
}

// TestGiants: a sparse file of 1 TiB costs no more than what may be read of it.
func TestGiants(t *testing.T) {
	name := filepath.Join(t.TempDir(), "giant")
	if err := errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, 1<<40)); err != nil {
		t.Fatal(err)
	}
	within(t, "ReadFile", func() {
		if _, err := ReadFile(name, 1<<20); err == nil || err.Error() != fmt.Sprintf("giant: longer than %d bytes", 1<<20) {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	f, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop := errors.New("stop")
	time.AfterFunc(10*time.Millisecond, func() { cancel(stop) })
	within(t, "Until", func() {
		if _, err := io.Copy(io.Discard, Until(ctx, f)); !errors.Is(err, stop) {
			t.Error(err)
		}
	})
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	name, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.WriteFile(name, []byte("x"), 0o644), os.WriteFile(other, []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before, err := IdentityOf(f)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := IdentityAt(name); err != nil || at != before {
		t.Errorf("%+v, want %+v, %v", at, before, err)
	}
	time.Sleep(20 * time.Millisecond) // the clock of a file system is coarse
	if err := errors.Join(os.WriteFile(name, []byte("y"), 0o644), os.Chtimes(name, time.Time{}, time.Unix(before.mtime.Unix()))); err != nil {
		t.Fatal(err)
	}
	if now, err := IdentityOf(f); err != nil || now == before || !now.Same(before) {
		t.Errorf("written to: %+v, was %+v, %v", now, before, err)
	}
	if err := os.Rename(other, name); err != nil {
		t.Fatal(err)
	}
	if at, err := IdentityAt(name); err != nil || at.Same(before) {
		t.Errorf("replaced: %+v, was %+v, %v", at, before, err)
	}
}
