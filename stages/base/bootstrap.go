// Package base makes the tree that everything else is installed into.
package base

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"

	"github.com/isotrace/isotrace/internal/debroot"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/sanitise"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// Changes is the output that says who changed what in the tree.
const Changes = "changes"

// Bootstrap takes the .debs of the minimal system and gives its tree, every
// package configured by the system's own dpkg.
func Bootstrap(debs stage.Set) stage.Stage {
	return stage.Stage{
		Name: "base", Version: 7,
		Takes: "minimal system's .debs", Gives: "base tree",
		Inputs:  []stage.Input{{Name: "debs", From: debs}},
		Outputs: []stage.Output{{Name: "root", Kind: stage.KindTree}, {Name: Changes, Kind: stage.KindFile}},
		Run:     bootstrap,
	}
}

// bootstrap unpacks every package first, so that dpkg and what maintainer
// scripts call can run, and then lets dpkg install them all in one run: as they
// were decompressed for the unpacking, for dpkg would only do it again. Its
// dependencies are forced for that run, since a script may need a package that
// is unpacked but not configured yet; dpkg configures in the order of the
// dependencies all the same, and the second run, unforced, finds what is amiss.
func bootstrap(ctx context.Context, w *stage.Work) error {
	dir, err := w.NewTree("root")
	if err != nil {
		return err
	}
	if err := debroot.Prepare(dir); err != nil {
		return err
	}
	install := []string{"dpkg", "--force-depends", "--force-unsafe-io", "--force-confdef", "--force-confold", "--install"}
	var packages []debroot.Package
	for _, ref := range w.Set("debs") {
		packages = append(packages, debroot.Package{Ref: ref, Content: w.Content(ref)})
		install = append(install, path.Join("/run/isotrace/in/given/debs", ref.Path))
	}
	if err := debroot.Unpack(ctx, dir, packages, debroot.Options{Spool: filepath.Join(w.Given(), "debs"), Keep: true, Progress: w.Progress}); err != nil {
		return err
	}
	if err := emptyDatabase(dir); err != nil {
		return err
	}
	for _, c := range []tool.Command{
		{Argv: install, Env: tool.Unattended},
		{Argv: []string{"dpkg", "--configure", "--pending"}, Env: tool.Unattended},
	} {
		if err := w.RunPackages(ctx, "root", c); err != nil {
			return err
		}
	}
	if err := sanitise.Apply(ctx, dir, sanitise.Options{Epoch: w.Epoch, VaryingOnly: true, Changed: w.ByPass("root"), Log: w.Log}); err != nil {
		return err
	}
	return w.WriteChanges(ctx, "root", Changes)
}

// emptyDatabase makes the files that dpkg wants to find.
func emptyDatabase(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, d := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers"} {
		if err := root.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for _, f := range []string{"var/lib/dpkg/status", "var/lib/dpkg/available"} {
		if err := regular.Replace(root, f, 0o644, nil); err != nil {
			return err
		}
	}
	return nil
}
