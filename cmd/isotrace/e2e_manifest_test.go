package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestManifestAsByHand holds the manifests to what dpkg-query says inside the very tree
// of the squashfs, and to the commands with which they are made by hand: a manifest
// with spaces, of which casper's reader takes the text before a colon, and a copy
// without the packages of the live system alone.
func TestManifestAsByHand(t *testing.T) {
	p := rescue(t)
	tools, tree := filepath.Join(t.TempDir(), "tools"), filepath.Join(t.TempDir(), "tree")
	for _, d := range []string{"proc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(tools, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	unpackDebian(t, tools, "trixie", "base-files", "libc-bin", "squashfs-tools")
	squashfs := filepath.Join(filepath.Dir(tree), "filesystem.squashfs")
	if err := os.WriteFile(squashfs, onMedium(t, p, "casper/filesystem.squashfs"), 0o644); err != nil {
		t.Fatal(err)
	}
	in := func(root string, argv ...string) string {
		t.Helper()
		c := namespaced(append([]string{"root", root, "0"}, argv...)...)
		c.Env = []string{bindVariable + "=" + filepath.Dir(tree), "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		var errors strings.Builder
		c.Stderr = &errors
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, errors.String())
		}
		return string(out)
	}
	in(tools, "/usr/bin/unsquashfs", "-no-progress", "-quiet", "-no-xattrs", "-dest", tree, squashfs)
	manifest := string(onMedium(t, p, "casper/filesystem.manifest"))
	if have := in(tree, "/usr/bin/dpkg-query", "-W"); have != manifest {
		t.Errorf("dpkg-query -W says\n%s\nthe manifest is\n%s", have, manifest)
	}
	spaced := in(tree, "/usr/bin/dpkg-query", "-W", "--showformat=${binary:Package} ${Version}\n")
	if spaced != strings.ReplaceAll(manifest, "\t", " ") {
		t.Errorf("with spaces dpkg-query says\n%s", spaced)
	}
	const liveOnly = "ubiquity casper discover laptop-detect os-prober"
	script := "m=$1; for i in " + liveOnly + `; do m=$(printf '%s\n' "$m" | sed "/^$i[[:space:]]/d"); done; printf '%s\n' "$m"`
	if have, want := in(tree, "/bin/sh", "-c", script, "sh", manifest[:len(manifest)-1]), string(onMedium(t, p, "casper/filesystem.manifest-desktop")); have != want {
		t.Errorf("by hand the manifest of what stays is\n%s\nand not\n%s", have, want)
	}
	for _, name := range strings.Fields(string(onMedium(t, p, "casper/filesystem.manifest-remove"))) {
		if !slices.Contains(strings.Fields(liveOnly), name) {
			t.Errorf("%s is to be removed", name)
		}
	}
}
