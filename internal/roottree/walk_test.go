package roottree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWalk(t *testing.T) {
	outer := t.TempDir()
	dir := filepath.Join(outer, "tree")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"d", "d!", "z\xff"} {
		must(t, os.MkdirAll(at(name), 0o755))
	}
	for name, content := range map[string]string{"d/second": "shared", "empty": "", "alone": "1", "z\xff/ \n#": "odd"} {
		must(t, os.WriteFile(at(name), []byte(content), 0o644))
		must(t, os.Chmod(at(name), 0o640))
	}
	must(t, os.Link(at("d/second"), at("d!/first")))
	must(t, os.Link(at("d/second"), at("third")))
	must(t, os.Link(at("alone"), filepath.Join(outer, "elsewhere")))
	must(t, os.Symlink("d", at("folder link")))
	must(t, os.Symlink("../elsewhere", at("outward")))
	must(t, os.Symlink("missing", at("dangling")))
	must(t, unix.Mkfifo(at("pipe"), 0o600))
	must(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	for _, name := range []string{".", "d", "d!", "z\xff"} {
		must(t, os.Chmod(at(name), fs.ModeSetgid|0o750))
	}
	for _, name := range []string{"pipe", "socket"} {
		must(t, os.Chmod(at(name), 0o600))
	}

	m, err := Walk(t.Context(), dir, WalkOptions{NoXattrs: true})
	must(t, err)
	shared, odd := artifact.HashBytes([]byte("shared")), artifact.HashBytes([]byte("odd"))
	want := []Entry{
		{Path: ".", Type: Dir, Mode: 0o2750},
		{Path: "alone", Type: File, Mode: 0o640, Size: 1, SHA256: artifact.HashBytes([]byte("1"))},
		{Path: "d", Type: Dir, Mode: 0o2750},
		{Path: "d!", Type: Dir, Mode: 0o2750},
		{Path: "d!/first", Type: File, Mode: 0o640, Size: 6, SHA256: shared, HardLink: "d!/first"},
		{Path: "d/second", Type: File, Mode: 0o640, Size: 6, SHA256: shared, HardLink: "d!/first"},
		{Path: "dangling", Type: Link, Mode: 0o777, Target: "missing"},
		{Path: "empty", Type: File, Mode: 0o640, SHA256: empty},
		{Path: "folder link", Type: Link, Mode: 0o777, Target: "d"},
		{Path: "outward", Type: Link, Mode: 0o777, Target: "../elsewhere"},
		{Path: "pipe", Type: Fifo, Mode: 0o600},
		{Path: "socket", Type: Socket, Mode: 0o600},
		{Path: "third", Type: File, Mode: 0o640, Size: 6, SHA256: shared, HardLink: "d!/first"},
		{Path: "z\xff", Type: Dir, Mode: 0o2750},
		{Path: "z\xff/ \n#", Type: File, Mode: 0o640, Size: 3, SHA256: odd},
	}
	for i := range want {
		want[i].UID = uint32(os.Getuid())
		if i < len(m.Entries) {
			want[i].GID = m.Entries[i].GID
		}
	}
	if !reflect.DeepEqual(m.Entries, want) {
		t.Errorf("have\n%s\nwant\n%s", text(t, m), text(t, &Manifest{Entries: want}))
	}
	read, err := Parse(strings.NewReader(text(t, m)))
	must(t, err)
	if ds := Compare(m, read, CompareOptions{}); ds != nil {
		t.Error(ds)
	}

	must(t, os.WriteFile(at("third"), []byte("SHARED"), 0o640))
	changed, err := Walk(t.Context(), dir, WalkOptions{NoXattrs: true})
	must(t, err)
	if ds := Compare(m, changed, CompareOptions{}); len(ds) != 3 || changed.Digest() == m.Digest() {
		t.Errorf("after a change: %v", ds)
	}
}

func TestWalkManyFiles(t *testing.T) {
	dir := t.TempDir()
	for i := range 2000 {
		name := string(rune('a'+i%26)) + "/" + strings.Repeat("x", 1+i/26)
		must(t, os.MkdirAll(filepath.Join(dir, name[:1]), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	m, err := Walk(t.Context(), dir, WalkOptions{})
	must(t, err)
	if len(m.Entries) != 2000+26+1 {
		t.Fatalf("%d entries", len(m.Entries))
	}
	for _, e := range m.Entries {
		if e.Type == File && e.SHA256 != artifact.HashBytes([]byte(e.Path)) {
			t.Errorf("%s has %s", e.Path, e.SHA256)
		}
	}
}

func TestWalkRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Walk(t.Context(), filepath.Join(dir, "missing"), WalkOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	if _, err := Walk(t.Context(), filepath.Join(dir, "file"), WalkOptions{}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Walk(ctx, dir, WalkOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	must(t, os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", maxDepth)), 0o755))
	if _, err := Walk(t.Context(), dir, WalkOptions{}); err != nil {
		t.Error(err)
	}
	must(t, os.Mkdir(filepath.Join(dir, strings.Repeat("d/", maxDepth), "d"), 0o755))
	if _, err := Walk(t.Context(), dir, WalkOptions{}); err == nil || !strings.Contains(err.Error(), "folders deep") {
		t.Errorf("error %v", err)
	}
}

func TestOwnXattr(t *testing.T) {
	for name, want := range map[string]bool{
		"user.overlay.opaque": false, "trusted.overlay.whiteout": false, "security.selinux": false,
		"user.overlay": true, "user.mime_type": true, "security.capability": true,
	} {
		if ownXattr(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
