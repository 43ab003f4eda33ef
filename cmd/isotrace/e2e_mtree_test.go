package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/roottree/hardtree"
)

// TestNetBSDMtree: NetBSD's mtree, as Debian has it, reads our manifests, finds a tree to
// be as they say, and says so where it is not.
func TestNetBSDMtree(t *testing.T) {
	p := rescue(t)
	root := filepath.Join(t.TempDir(), "root")
	tree := filepath.Join(root, "tree")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	unpackDebian(t, root, "bookworm", "mtree-netbsd", "base-files", "libc-bin")
	mtree := func(args ...string) (string, error) {
		c := namespaced(append([]string{"root", root, "0", "/usr/bin/mtree"}, args...)...)
		c.Env = []string{"PATH=/usr/bin:/bin"}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if err := hardtree.Make(tree); err != nil {
		t.Fatal(err)
	}
	m, err := roottree.Walk(t.Context(), tree, roottree.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Entries { // of whoever runs the test, who is root in the namespace
		m.Entries[i].UID, m.Entries[i].GID = 0, 0
		m.Entries[i].Xattrs = []roottree.Xattr{{Name: "user.x", Value: []byte("1")}}
	}
	var text bytes.Buffer
	if err := m.Write(&text); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "hard.mtree"), text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := mtree("-f", "/hard.mtree", "-p", "/tree"); err != nil || out != "" {
		t.Errorf("%v\n%s\n%s", err, out, text.String())
	}
	if err := os.WriteFile(filepath.Join(tree, hardtree.Pattern), []byte("changed!"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := mtree("-f", "/hard.mtree", "-p", "/tree"); err == nil || !strings.Contains(out, "sha256") {
		t.Errorf("a changed file: %v\n%s", err, out)
	}
	whole := readAll(t, p.out("evidence", "manifest", "sanitise", "root.mtree"))
	if err := os.WriteFile(filepath.Join(root, "whole.mtree"), whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if m, err = roottree.Parse(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	out, err := mtree("-C", "-f", "/whole.mtree")
	if have := strings.Count(out, "\n"); err != nil || have != len(m.Entries) {
		t.Errorf("%d entries, want %d; %v\n%.1000s", have, len(m.Entries), err, out)
	}
}
