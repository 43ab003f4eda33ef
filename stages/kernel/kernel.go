// Package kernel gives what the boot loader reads: the root tree's kernel, and
// the initial RAM file system that the tree's own programs make for it.
package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/system"
	"github.com/isotrace/isotrace/internal/tool"
)

// The files that the stage gives.
const (
	Kernel = "vmlinuz"
	Initrd = "initrd"
	Facts  = "system.json" // system.Facts
)

// Params say what the initial RAM file system needs besides.
type Params struct {
	// Verity adds what mount(8) loads to set up dm-verity.
	Verity bool `json:"verity,omitempty"`
	// Casper has the initrd look for the medium that it belongs to.
	Casper bool `json:"casper,omitempty"`
	// Live is the program that finds the squashfs, live-boot or casper.
	Live string `json:"live,omitempty"`
	// Persistence and Disk say what else is mounted.
	Persistence bool `json:"persistence,omitempty"`
	Disk        bool `json:"disk,omitempty"`
	// Init are the programs that the kernel's command lines name, as Init lists them.
	Init []string `json:"init,omitempty"`
}

// addHook has update-initramfs run a program; it stands in the scratch copy of the root
// tree, and does not ship.
func addHook(root *os.Root, name, text string) error {
	at := "etc/initramfs-tools/hooks/isotrace-" + name
	return errors.Join(root.MkdirAll(path.Dir(at), 0o755), regular.Replace(root, at, 0o755, []byte(text)))
}

// verityLibrary is what mount(8) loads when it is asked for dm-verity, and
// live-boot's own hook does not copy: nothing is linked to it.
const verityLibrary = "usr/lib/x86_64-linux-gnu/libcryptsetup.so.12"

// verityHook has update-initramfs copy it with all that it is linked to.
const verityHook = `#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
copy_exec /` + verityLibrary + `
`

// addVerity adds what dm-verity needs.
func addVerity(root *os.Root) error {
	if _, err := root.Stat(verityLibrary); err != nil {
		return fault.New(fault.Usage, "add libcryptsetup12 to packages, or leave squashfs.verity out", "dm-verity: %w", err)
	}
	return addHook(root, "verity", verityHook)
}

// casperHook has the initrd look for the one medium that has the same UUID, as casper does
// where /conf/uuid.conf is there. casper's own hook takes one at random.
const casperHook = `#!/bin/sh
[ "$1" = prereqs ] && exit 0
mkdir -p "$DESTDIR/conf"
echo %s > "$DESTDIR/conf/uuid.conf"
`

// mediumUUID is that of the medium with a root tree: version 5 of RFC 9562.
func mediumUUID(tree artifact.Digest) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/isotrace/isotrace/medium/"+string(tree))).String()
}

// Program makes the initial RAM file system, where the root tree has it.
const Program = "update-initramfs"

// Stage takes the root tree as it ships and gives its kernel, and an initial
// RAM file system of it. Of two kernels it takes none: nobody said which boots. The tree itself keeps none: the boot loader reads
// the medium's, and an installation makes its own.
func Stage(root stage.Tree, p Params) stage.Stage {
	return stage.Stage{
		Name: "kernel", Version: 3, Params: p,
		Takes: "root tree", Gives: "its kernel, and the initrd that its own update-initramfs makes for it",
		Inputs: []stage.Input{{Name: "root", From: root}},
		Outputs: []stage.Output{
			{Name: Kernel, Kind: stage.KindFile}, {Name: Initrd, Kind: stage.KindFile}, {Name: Facts, Kind: stage.KindFile},
		},
		Run: func(ctx context.Context, w *stage.Work) (err error) {
			dir, err := w.Scratch("root")
			if err != nil {
				return err
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, root.Close()) }()
			return run(ctx, w, root, p)
		},
	}
}

func run(ctx context.Context, w *stage.Work, root *os.Root, p Params) error {
	s, err := inspect(root)
	if err != nil {
		return err
	}
	tree, err := w.Manifest("root")
	if err != nil {
		return err
	}
	if err := checkInit(tree, p.Init); err != nil {
		return err
	}
	if p.Verity {
		if err := addVerity(root); err != nil {
			return err
		}
	}
	if p.Casper {
		tree, err := w.TreeIdentity("root")
		if err != nil {
			return err
		}
		s.Medium = mediumUUID(tree)
		if err := addHook(root, "casper", fmt.Sprintf(casperHook, s.Medium)); err != nil {
			return err
		}
	}
	switch _, err := root.Stat("usr/sbin/" + Program); {
	case err == nil:
		// Releases before Debian 13 want -t, or they leave what they know of alone.
		if err := w.RunIn(ctx, "root", tool.New(Program, "-c", "-t", "-k", s.Kernel).With(w.Epoch.Env(), tool.CLocale)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, f := range []struct{ name, output string }{{s.KernelPath(), Kernel}, {s.InitrdPath(), Initrd}} {
		if err := copyOut(root, f.name, w, f.output); err != nil {
			return fault.New(fault.Usage, "live-boot or casper brings initramfs-tools, which makes it", "the root tree has no /%s: %w", f.name, err)
		}
	}
	if err := checkInitrd(ctx, root, s.Kernel, w.Out(), Initrd, p); err != nil {
		return err
	}
	facts, err := s.Write()
	if err != nil {
		return err
	}
	return w.WriteBytes(Facts, facts)
}

var kernelName = regexp.MustCompile(`^vmlinuz-(.+)$`)

// installers are programs that install the running system on a disk.
var installers = []string{"usr/bin/ubiquity", "usr/bin/calamares", "usr/bin/debian-installer-launcher"}

func inspect(root *os.Root) (s system.Facts, err error) {
	entries, err := regular.ReadDir(root, "boot")
	if err != nil {
		return s, err
	}
	var kernels []string
	for _, e := range entries {
		if m := kernelName.FindStringSubmatch(e.Name()); m != nil && e.Type().IsRegular() {
			kernels = append(kernels, m[1])
		}
	}
	slices.SortFunc(kernels, archive.CompareVersions)
	switch len(kernels) {
	case 0:
		return s, fault.New(fault.Usage, "add a kernel to packages, such as linux-image-amd64", "the root tree has no kernel in /boot")
	case 1:
		s.Kernel = kernels[0]
	default:
		return s, fault.New(fault.Usage, "name the packages of those that the medium shall not boot under remove in isotrace.yaml",
			"the root tree has %d kernels in /boot: %s", len(kernels), strings.Join(kernels, ", "))
	}
	for _, program := range installers {
		if _, err := root.Stat(program); err == nil {
			s.Installer = true
		}
	}
	s.Codename, err = codename(root)
	return s, err
}

func codename(root *os.Root) (_ string, err error) {
	f, err := regular.Open(root, "etc/os-release")
	if err != nil {
		return "", fmt.Errorf("the root tree does not say what it is: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(io.LimitReader(f, 1<<16))
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"'`), nil
		}
	}
	return "", lines.Err()
}

func copyOut(root *os.Root, from string, w *stage.Work, output string) (err error) {
	f, err := regular.Open(root, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return w.Write(output, func(out io.Writer) error {
		_, err := io.Copy(out, f)
		return err
	})
}
