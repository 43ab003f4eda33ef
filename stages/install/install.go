// Package install adds the locked packages to the base tree, with the target's
// own apt and dpkg, offline.
package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/sanitise"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// Params say what is installed.
type Params struct {
	// Manual are the packages that the config asks for, as NAME=VERSION; the
	// rest of the set is marked as automatically installed.
	Manual []string `json:"manual"`
	// Places are where the config asks for each of Manual, such as packages[0]: errors
	// name them.
	Places []string `json:"-"`
	// Expect is every package that the tree must hold afterwards, as
	// NAME:ARCH=VERSION, sorted; it is not checked when empty.
	Expect []string `json:"expect,omitempty"`
	// Remove are packages that are purged at the end, as the config asks.
	Remove []string `json:"remove,omitempty"`
	// Preseed are the record paths of debconf selections among the materials.
	Preseed []string `json:"preseed,omitempty"`
}

// Changes is the output that says who changed what in the tree.
const Changes = "changes"

// Stage takes the base tree and the .debs of the target set and gives the
// tree with all packages configured.
func Stage(root stage.Tree, debs stage.Set, preseed []stage.Material, p Params) stage.Stage {
	return stage.Stage{
		Name: "install", Version: 6, Params: p,
		Takes: "base tree, .debs", Gives: "root tree with every package configured",
		Inputs:    []stage.Input{{Name: "root", From: root}, {Name: "debs", From: debs}},
		Materials: preseed,
		Outputs:   []stage.Output{{Name: "root", Kind: stage.KindTree}, {Name: Changes, Kind: stage.KindFile}},
		Run:       func(ctx context.Context, w *stage.Work) error { return run(ctx, w, p) },
	}
}

func run(ctx context.Context, w *stage.Work, p Params) (err error) {
	dir, err := w.CopyTree("root", "root")
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	in := &installation{work: w, root: root}
	if len(p.Manual) > 0 {
		if err := writeRepository(ctx, w); err != nil {
			return err
		}
	}
	if err := in.guarded(ctx, func() error { return in.packages(ctx, p) }); err != nil {
		return err
	}
	if err := in.forget(); err != nil {
		return err
	}
	if err := in.check(p); err != nil {
		return err
	}
	if err := kept(root, p); err != nil {
		return err
	}
	if err := sanitise.Apply(ctx, dir, sanitise.Options{Epoch: w.Epoch, VaryingOnly: true, Changed: w.ByPass("root"), Log: w.Log}); err != nil {
		return err
	}
	return w.WriteChanges(ctx, "root", Changes)
}

// installation is a tree while packages are installed into it.
type installation struct {
	work *stage.Work
	root *os.Root
}

// Files that stand in the tree only while packages are installed.
const (
	policyFile = "usr/sbin/policy-rc.d"
	// policy-rc.d(8): 101 forbids every action, so that no service is started.
	policyText = "#!/bin/sh\nexit 101\n"
	stubText   = "#!/bin/sh\nexit 0\n"
)

// held are programs that must not run while packages are installed.
// update-initramfs takes half a minute for each trigger that calls it, and the
// kernel stage runs it once; initctl would talk to an init that is not there.
var held = []string{"/sbin/initctl", "/usr/sbin/update-initramfs"}

// guarded keeps services and held programs from running while do runs, and
// takes the guards back whatever happens.
func (in *installation) guarded(ctx context.Context, do func() error) (err error) {
	had, err := in.read(policyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := in.write(policyFile, policyText); err != nil {
		return err
	}
	defer func() {
		if had != nil {
			err = errors.Join(err, in.write(policyFile, string(had)))
		} else {
			err = errors.Join(err, in.root.Remove(policyFile))
		}
	}()
	for _, program := range held {
		diverted := program + ".isotrace"
		divert := tool.New("dpkg-divert", "--quiet", "--local", "--rename", "--divert", diverted, "--add", program)
		if err := in.work.RunIn(ctx, "root", divert); err != nil {
			return err
		}
		if err := in.write(program[1:], stubText); err != nil {
			return err
		}
		defer func() {
			restore := tool.New("dpkg-divert", "--quiet", "--local", "--rename", "--divert", diverted, "--remove", program)
			err = errors.Join(err, in.root.Remove(program[1:]), in.work.RunIn(context.WithoutCancel(ctx), "root", restore))
		}()
	}
	return do()
}

func (in *installation) packages(ctx context.Context, p Params) error {
	for _, path := range p.Preseed {
		c := tool.New("debconf-set-selections", "/run/isotrace/in/material/"+path).With(tool.Unattended...)
		if err := in.work.RunIn(ctx, "root", c); err != nil {
			return err
		}
	}
	commands := Commands(p)
	for i, c := range commands {
		if len(p.Remove) > 0 && i == len(commands)-1 {
			if err := in.contradictions(p); err != nil {
				return err
			}
		}
		if err := in.work.RunPackages(ctx, "root", c); err != nil {
			return explain(err)
		}
	}
	return nil
}

// Commands are the apt runs of the stage.
func Commands(p Params) []tool.Command {
	env := append([]string{"APT_CONFIG=" + given + "apt.conf"}, tool.Unattended...)
	var cs []tool.Command
	if len(p.Manual) > 0 {
		cs = append(cs,
			tool.New("mkdir", "-p", "/tmp/lists/partial", "/tmp/cache/archives/partial", "/tmp/log"),
			tool.New("apt-get", "update").With(env...),
			tool.New(append([]string{"apt-get", "install", "--"}, p.Manual...)...).With(env...))
	}
	if len(p.Remove) > 0 {
		cs = append(cs, tool.New(append([]string{"apt-get", "purge", "--autoremove", "--"}, p.Remove...)...).With(env...))
	}
	return cs
}

func explain(err error) error {
	if errors.Is(err, sandbox.ErrLimit) {
		return err // which says what to raise
	}
	return fault.WithHint(err, "the journal beside the image has apt's own words; if the packages conflict, change the list and run isotrace lock")
}

// forget removes what apt remembers of the repository that was only there for
// this run.
func (in *installation) forget() error {
	return in.root.RemoveAll("var/lib/apt/lists/partial")
}

func (in *installation) read(name string) ([]byte, error) {
	return regular.Read(in.root, name, 1<<20)
}

func (in *installation) write(name, text string) error {
	if err := in.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return regular.Replace(in.root, name, 0o755, []byte(text))
}

// check compares what dpkg has with what was locked. Where packages were
// removed, others that only they needed may be gone with them.
func (in *installation) check(p Params) error {
	if len(p.Expect) == 0 {
		return nil
	}
	have, err := Installed(in.root)
	if err != nil {
		return err
	}
	missing, extra := compare(p.Expect, have)
	if len(p.Remove) > 0 {
		missing = nil
		for _, h := range have {
			if name, _, _ := strings.Cut(h, ":"); slices.Contains(p.Remove, name) {
				extra = append(extra, h)
			}
		}
	}
	if len(missing)+len(extra) == 0 {
		return nil
	}
	var b strings.Builder
	if len(missing) > 0 {
		fmt.Fprintf(&b, "; missing: %s", strings.Join(missing, ", "))
	}
	if len(extra) > 0 {
		fmt.Fprintf(&b, "; too many: %s", strings.Join(extra, ", "))
	}
	return fault.New(fault.Refused, "run isotrace lock and look at what changes", "installed packages differ from the lock%s", b.String())
}
