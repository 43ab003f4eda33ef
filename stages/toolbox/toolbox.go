// Package toolbox unpacks the programs that build the image, so that nothing
// of the host is used but its kernel.
package toolbox

import (
	"context"
	"errors"
	"os"

	"github.com/isotrace/isotrace/internal/debroot"
	"github.com/isotrace/isotrace/internal/stage"
)

// Stage takes the .debs of the tools set and gives the tree in which tools run.
func Stage(tools stage.Set) stage.Stage {
	return unpack("toolbox", "tools' .debs", "tree of tools", tools, "tools")
}

// BootStage takes the .debs of the boot set and gives their tree, from which
// the boot parts are taken.
func BootStage(boot stage.Set) stage.Stage {
	return unpack("bootset", "boot set's .debs", "tree of boot loaders", boot, "boot")
}

func unpack(name, takes, gives string, debs stage.Set, output string) stage.Stage {
	return stage.Stage{
		Name: name, Version: 2, Takes: takes, Gives: gives,
		Inputs:  []stage.Input{{Name: "debs", From: debs}},
		Outputs: []stage.Output{{Name: output, Kind: stage.KindTree}},
		Run: func(ctx context.Context, w *stage.Work) error {
			dir, err := w.NewTree(output)
			if err != nil {
				return err
			}
			if err := debroot.Prepare(dir); err != nil {
				return err
			}
			var packages []debroot.Package
			for _, ref := range w.Set("debs") {
				packages = append(packages, debroot.Package{Ref: ref, Content: w.Content(ref)})
			}
			if err := debroot.Unpack(ctx, dir, packages, debroot.Options{Spool: w.Temp(), Progress: w.Progress, Later: true}); err != nil {
				return err
			}
			return finish(dir)
		},
	}
}

// accounts are what programs look up; base-passwd's scripts, which would make
// the files, do not run in a toolbox.
var accounts = map[string]string{
	"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n",
	"etc/group":         "root:x:0:\ndisk:x:6:\nnogroup:x:65534:\n",
	"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}

func finish(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, d := range []string{"etc", "in", "out", "root"} {
		if err := root.Mkdir(d, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for name, text := range accounts {
		if _, err := root.Lstat(name); err == nil {
			continue
		}
		if err := root.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
