// Package kernel gives what the boot loader reads: the root tree's kernel, and
// the initial RAM file system that the tree's own programs make for it.
package kernel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// The files that the stage gives.
const (
	Kernel = "vmlinuz"
	Initrd = "initrd"
	Facts  = "system.json" // a System
)

// System is what the root tree says of itself.
type System struct {
	Kernel   string `json:"kernel"`   // version
	Codename string `json:"codename"` // of the distribution, or empty
	// Installer tells that the tree has a program that installs it.
	Installer bool `json:"installer"`
}

// Program makes the initial RAM file system, where the root tree has it.
const Program = "update-initramfs"

// Stage takes the root tree as it ships and gives its newest kernel, and an
// initial RAM file system of it. The tree itself keeps none: the boot loader reads
// the medium's, and an installation makes its own.
func Stage(root stage.Tree) stage.Stage {
	return stage.Stage{
		Name: "kernel", Version: 2,
		Takes: "root tree", Gives: "its newest kernel, and the initrd that its own update-initramfs makes for it",
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
			return run(ctx, w, root)
		},
	}
}

func run(ctx context.Context, w *stage.Work, root *os.Root) error {
	s, err := inspect(root)
	if err != nil {
		return err
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
	for _, f := range []struct{ name, output string }{{"boot/vmlinuz-" + s.Kernel, Kernel}, {"boot/initrd.img-" + s.Kernel, Initrd}} {
		if err := copyOut(root, f.name, w.OutFile(f.output)); err != nil {
			return fault.New(fault.Usage, "live-boot or casper brings initramfs-tools, which makes it", "the root tree has no /%s: %w", f.name, err)
		}
	}
	facts, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return artifact.WriteBytes(w.OutFile(Facts), 0o644, append(facts, '\n'))
}

var kernelName = regexp.MustCompile(`^vmlinuz-(.+)$`)

// installers are programs that install the running system on a disk.
var installers = []string{"usr/bin/ubiquity", "usr/bin/calamares", "usr/bin/debian-installer-launcher"}

func inspect(root *os.Root) (s System, err error) {
	boot, err := root.Open("boot")
	if err != nil {
		return s, err
	}
	entries, err := boot.ReadDir(-1)
	if err := errors.Join(err, boot.Close()); err != nil {
		return s, err
	}
	for _, e := range entries {
		m := kernelName.FindStringSubmatch(e.Name())
		if m != nil && e.Type().IsRegular() && (s.Kernel == "" || archive.CompareVersions(m[1], s.Kernel) > 0) {
			s.Kernel = m[1]
		}
	}
	if s.Kernel == "" {
		return s, fault.New(fault.Usage, "add a kernel to packages, such as linux-image-amd64", "the root tree has no kernel in /boot")
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
	f, err := root.Open("etc/os-release")
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

func copyOut(root *os.Root, from, to string) (err error) {
	f, err := root.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, errors.New("not a regular file"))
	}
	return artifact.WriteFile(to, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
