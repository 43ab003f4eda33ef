package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
)

// cpio is an archive of empty files and the folders above them, as the kernel takes it.
func cpio(names ...string) []byte {
	var b bytes.Buffer
	seen := map[string]bool{}
	var put func(name string, mode int)
	put = func(name string, mode int) {
		if dir := path.Dir(name); dir != "." {
			put(dir, 0o40755)
		}
		if seen[name] {
			return
		}
		seen[name] = true
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00", len(seen), mode, 0, 0, 1, 0, 0, 0, 0, 0, 0, len(name)+1, 0, name)
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	for _, name := range names {
		put(name, 0o100755)
	}
	put("TRAILER!!!", 0)
	return b.Bytes()
}

// TestInitrdHolds: an initial RAM file system without what the config relies on is refused.
func TestInitrdHolds(t *testing.T) {
	const dir = "usr/lib/modules/6.12/kernel/"
	live := []string{"scripts/live", dir + "drivers/block/loop.ko.xz", dir + "fs/squashfs/squashfs.ko.zst", dir + "fs/overlay.ko", dir + "fs/isofs.ko.gz"}
	for _, c := range []struct {
		name    string
		files   []string
		builtin string // "-" where the kernel has no folder of modules
		p       Params
		want    string
	}{
		{"live-boot", live, "", Params{Live: "live-boot"}, ""},
		{"no live-boot", live[1:], "", Params{Live: "live-boot"}, "live: live-boot: the initial RAM file system that the root tree's programs make has no /scripts/live"},
		{"live-boot for casper", live, "", Params{Live: "casper"}, "live: casper: the initial RAM file system that the root tree's programs make has no /scripts/casper"},
		{"casper", append([]string{"scripts/casper"}, live[1:]...), "", Params{Live: "casper"}, ""},
		{"no overlay", append([]string{dir + "fs/overlay.kombi", dir + "overlay"}, append(live[:3:3], live[4])...), "", Params{Live: "live-boot"}, "live: live-boot: the initial RAM file system that the root tree's programs make has no module overlay"},
		{"overlay built in", append(live[:3:3], live[4]), "kernel/fs/overlayfs/overlay.ko\n", Params{Live: "live-boot"}, ""},
		{"no modules at all", live[:1], "-", Params{Live: "live-boot"}, ""},
		{"a disk", live, "kernel/fs/ext4/ext4.ko\n", Params{Live: "live-boot", Disk: true}, ""},
		{"a disk without its file system", live, "", Params{Live: "live-boot", Disk: true}, "outputs: the initial RAM file system that the root tree's programs make has no module ext4"},
		{"persistence without its file system", live, "", Params{Live: "live-boot", Persistence: true}, "boot.persistence: the initial RAM file system that the root tree's programs make has no module ext4"},
		{"verity", append([]string{"usr/lib/x86_64-linux-gnu/libcryptsetup.so.12.10.0", dir + "dm-verity.ko.xz"}, live...), "", Params{Live: "live-boot", Verity: true}, ""},
		{"verity without its library", append([]string{dir + "dm-verity.ko.xz"}, live...), "", Params{Live: "live-boot", Verity: true}, "squashfs.verity: the initial RAM file system that the root tree's programs make has no libcryptsetup.so.12"},
		{"verity without its module", append([]string{"usr/lib/libcryptsetup.so.12"}, live...), "", Params{Live: "live-boot", Verity: true}, "squashfs.verity: the initial RAM file system that the root tree's programs make has no module dm_verity"},
	} {
		at := t.TempDir()
		image := filepath.Join(at, "initrd")
		if err := os.WriteFile(image, cpio(c.files...), 0o644); err != nil {
			t.Fatal(err)
		}
		if c.builtin != "-" {
			modules := filepath.Join(at, "lib", "modules", "6.12")
			if err := errors.Join(os.MkdirAll(modules, 0o755), os.WriteFile(filepath.Join(modules, "modules.builtin"), []byte(c.builtin), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		root, err := os.OpenRoot(at)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(checkInitrd(context.Background(), root, "6.12", root, "initrd", c.p), root.Close())
		if (err == nil) != (c.want == "") || err != nil && (err.Error() != c.want || fault.ClassOf(err) != fault.Usage) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestInit(t *testing.T) {
	tree := &roottree.Manifest{Entries: []roottree.Entry{
		{Path: ".", Type: roottree.Dir}, {Path: "opt", Type: roottree.Dir}, {Path: "opt/data", Type: roottree.File, Mode: 0o644}, {Path: "opt/init", Type: roottree.File, Mode: 0o755},
	}}
	whole := &roottree.Manifest{Entries: append(tree.Entries[:4:4], roottree.Entry{Path: "sbin", Type: roottree.Link, Target: "usr/sbin"}, roottree.Entry{Path: "usr", Type: roottree.Dir},
		roottree.Entry{Path: "usr/sbin", Type: roottree.Dir}, roottree.Entry{Path: "usr/sbin/init", Type: roottree.Link, Target: "/opt/init"})}
	for _, c := range []struct {
		tree  *roottree.Manifest
		lines [][]string
		want  string
	}{
		{whole, [][]string{{"quiet"}}, ""},
		{tree, [][]string{{"quiet"}}, "the root tree has no init system: there is no program /sbin/init"},
		{tree, [][]string{{"init=/bin/sh", "init=/opt/init"}}, ""},
		{tree, [][]string{{"init=/opt/init"}, {}}, "the root tree has no init system"},
		{whole, [][]string{{"init=/opt/data"}}, "init=/opt/data: the root tree has no such program"},
		{whole, [][]string{{"init=/sbin/none"}, {}}, "init=/sbin/none: the root tree has no such program"},
	} {
		err := checkInit(c.tree, Init(c.lines...))
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.lines, err, c.want)
		}
	}
	if have := Init([]string{"quiet"}, nil); !reflect.DeepEqual(have, []string(nil)) {
		t.Errorf("no init: %q", have)
	}
}
