package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFileCapabilities: they have the bytes that a package's tools wrote, through an overlay, too.
func TestFileCapabilities(t *testing.T) {
	const value = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // version 2: cap_net_raw+ep
	dir := t.TempDir()
	for _, name := range []string{"low", "upper", "work", "at"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	set := func(name string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(p, 1, 65535); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setxattr(p, "security.capability", []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	have := func(name string) {
		t.Helper()
		b := make([]byte, 64)
		n, err := unix.Getxattr(filepath.Join(dir, name), "security.capability", b)
		if err != nil || string(b[:n]) != value {
			t.Errorf("%s: %x, %v", name, b[:max(n, 0)], err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, name), &st); err != nil || st.Uid != 1 || st.Gid != 65535 {
			t.Errorf("%s belongs to %d:%d, %v", name, st.Uid, st.Gid, err)
		}
	}
	set("low/a")
	if err := MountOverlay(filepath.Join(dir, "at"), []string{filepath.Join(dir, "low")}, filepath.Join(dir, "upper"), filepath.Join(dir, "work")); err != nil {
		t.Fatal(err)
	}
	set("at/b")
	have("at/a")
	have("at/b")
	if err := os.Chmod(filepath.Join(dir, "at/a"), 0o700); err != nil { // copies it up
		t.Fatal(err)
	}
	have("at/a")
	if err := Unmount(filepath.Join(dir, "at")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"low/a", "upper/a", "upper/b"} {
		have(name)
	}
}
