package roottree

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// member is a member of a tar archive. Its size is that of content where the
// header has none.
type member struct {
	tar.Header
	content string
}

func reg(name, content string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func folder(name string, mode int64) member {
	return member{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}}
}

func symlink(name, target string) member {
	return member{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

func hardlink(name, target string) member {
	return member{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}}
}

func special(name string, kind byte) member {
	return member{Header: tar.Header{Name: name, Typeflag: kind, Devmajor: 1, Devminor: 3}}
}

func makeTar(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, m := range members {
		short := m.Size > int64(len(m.content))
		if m.Size == 0 {
			m.Size = int64(len(m.content))
		}
		if err := tw.WriteHeader(&m.Header); err != nil {
			t.Fatalf("write %q: %v", m.Name, err)
		}
		if _, err := io.WriteString(tw, m.content); err != nil {
			t.Fatalf("write %q: %v", m.Name, err)
		}
		if short {
			return b.Bytes()
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// place is a tree between things that no archive may touch.
type place struct{ outer, tree string }

func newPlace(t testing.TB) place {
	t.Helper()
	outer := t.TempDir()
	for _, dir := range []string{"tree", "outside"} {
		if err := os.Mkdir(filepath.Join(outer, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sentinel", "outside/sentinel"} {
		if err := os.WriteFile(filepath.Join(outer, name), []byte("untouched"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return place{outer, filepath.Join(outer, "tree")}
}

func (p place) check(t testing.TB) {
	t.Helper()
	for dir, want := range map[string]string{"": "outside sentinel tree", "outside": "sentinel"} {
		entries, err := os.ReadDir(filepath.Join(p.outer, dir))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if have := strings.Join(names, " "); have != want {
			t.Errorf("outside the tree, in %q: %q, want %q", dir, have, want)
		}
	}
	for name, mode := range map[string]uint32{"sentinel": unix.S_IFREG | 0o600, "outside/sentinel": unix.S_IFREG | 0o600, "outside": unix.S_IFDIR | 0o755} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(p.outer, name), &st); err != nil || st.Mode != mode {
			t.Errorf("%s: mode %o, want %o, %v", name, st.Mode, mode, err)
		}
		if mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		b, err := os.ReadFile(filepath.Join(p.outer, name))
		if err != nil || string(b) != "untouched" || st.Nlink != 1 {
			t.Errorf("%s: %q with %d names, %v", name, b, st.Nlink, err)
		}
	}
}

// list names what is in the tree: "folder/", "file=content", "link>target".
func (p place) list(t testing.TB) string {
	t.Helper()
	m, err := Walk(context.Background(), p.tree, WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range m.Entries[1:] {
		switch e.Type {
		case Dir:
			e.Path += "/"
		case Link:
			e.Path += ">" + e.Target
		case File:
			b, err := os.ReadFile(filepath.Join(p.tree, e.Path))
			if err != nil {
				t.Fatal(err)
			}
			e.Path += "=" + string(b)
		default:
			e.Path += " " + string(e.Type)
		}
		names = append(names, e.Path)
	}
	return strings.Join(names, " ")
}

func (p place) extract(t testing.TB, archive []byte, opts ExtractOptions) (Extracted, error) {
	opts.IgnoreOwners = true
	return Extract(t.Context(), p.tree, tar.NewReader(bytes.NewReader(archive)), opts)
}
