// Package catalogue looks at what an image is made of: its root tree and the
// .debs of all sets. What comes of it is the larger part of the bills of
// materials.
package catalogue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/debfacts"
	"github.com/isotrace/isotrace/sbom/scan"
)

// Output is the file that the stage gives.
const Output = "catalogue.json"

// Params are what the lock says.
type Params struct {
	// Expect are the packages that the root tree should hold, as NAME:ARCH=VERSION.
	Expect []string `json:"expect"`
}

// Stage takes the root tree and what the .debs say and gives what is known of
// both. What dpkg, the lock and syft do not agree on is a finding; a package that
// is not in the lock ends the build.
func Stage(root stage.Tree, facts stage.File, p Params) stage.Stage {
	return stage.Stage{
		Name: "catalogue", Version: 4, Params: p,
		Takes: "root tree, what the .debs say", Gives: "packages, licences and everything else that software can be told by",
		Inputs:  []stage.Input{{Name: "root", From: root}, {Name: "debs", From: facts}},
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindFile}},
		Run: func(ctx context.Context, w *stage.Work) error {
			r := &run{work: w, params: p, licences: newLicences(), out: sbom.Catalogue{Format: sbom.Format}}
			return r.all(ctx)
		},
	}
}

type run struct {
	work     *stage.Work
	params   Params
	root     *os.Root
	tree     *roottree.Manifest
	db       *dpkgdb.DB
	seen     *scan.Result
	licences *licences
	debs     debfacts.Facts

	needs []sbom.Needs // of the packages, by index
	out   sbom.Catalogue
}

func (r *run) all(ctx context.Context) (err error) {
	dir, err := r.work.View("root")
	if err != nil {
		return err
	}
	if r.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.root.Close()) }()
	if r.tree, err = r.work.Manifest("root"); err != nil {
		return err
	}
	if r.db, err = dpkgdb.Read(r.root); err != nil {
		return err
	}
	if r.out.Distro, err = distro(r.root, r.tree); err != nil {
		return err
	}
	if r.debs, err = debfacts.ReadFacts(r.work.File("debs")); err != nil {
		return err
	}
	if r.seen, err = scan.Run(ctx, scan.Tree{Root: r.root, Manifest: r.tree, Owner: r.owners()}); err != nil {
		return err
	}
	if err := r.target(r.debs.Target); err != nil {
		return err
	}
	r.out.Absent = absent(r.debs.Target, r.db)
	r.unpacked(sbom.Boot, r.debs.Boot)
	r.unpacked(sbom.Tools, r.debs.Tools)
	r.out.Found = r.seen.Found
	r.out.Copyrights, r.out.Texts = r.licences.finish()
	r.out.Findings = append(r.out.Findings, sbom.Depend(r.out.Packages, r.needs)...)
	r.out.Findings = append(r.out.Findings, r.licences.findings...)
	r.out.Findings = append(r.out.Findings, r.seen.Findings...)
	if err := r.compare(); err != nil {
		return err
	}
	return r.work.Write(Output, func(w io.Writer) error { return r.out.Write(w) })
}

// owners tells by path which package has a file of the root tree.
func (r *run) owners() func(path string) string {
	all := map[string]string{}
	for i := range r.db.Packages {
		p := &r.db.Packages[i]
		for _, f := range p.Files {
			if at, err := r.tree.Resolve(f); err == nil {
				all[at] = p.ID()
			}
		}
	}
	return func(path string) string { return all[path] }
}

// compare tells where dpkg, the lock and syft differ, and ends the build where a
// package is not in the lock.
func (r *run) compare() error {
	installed := make([]sbom.Seen, len(r.db.Packages))
	for i, p := range r.db.Packages {
		installed[i] = sbom.Seen{Name: p.Name, Architecture: p.Architecture, Version: p.Version, Source: p.Source, SourceVersion: p.SourceVersion}
	}
	found := sbom.Reconcile(installed, r.params.Expect, r.seen.Packages, "syft")
	for i, p := range r.db.Problems {
		found = append(found, sbom.Finding{ID: fmt.Sprintf("%s:%d", sbom.RuleDatabase, i+1), Text: "/" + p.Path + ": " + p.Text})
	}
	r.out.Findings = append(r.out.Findings, found...)
	slices.SortFunc(r.out.Findings, func(a, b sbom.Finding) int { return strings.Compare(a.ID, b.ID) })
	for _, f := range r.out.Findings {
		if _, err := fmt.Fprintf(r.work.Log, "finding %s: %s\n", f.ID, f.Text); err != nil {
			return err
		}
	}
	for _, f := range found {
		if strings.HasPrefix(f.ID, sbom.RuleNotLocked+":") || strings.HasPrefix(f.ID, sbom.RuleOtherVersion+":") {
			return fault.New(fault.Refused, "a script of the project may have installed it; name it under packages, and run isotrace lock", "%s", f.Text)
		}
	}
	return nil
}

// distro reads the root tree's os-release(5), wherever links lead within the tree.
func distro(root *os.Root, tree *roottree.Manifest) (d sbom.Distro, err error) {
	var text []byte
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		real, _, ok := scan.Follow(tree, name)
		if !ok {
			continue
		}
		if text, err = regular.Read(root, real, 1<<16); err != nil {
			return d, fmt.Errorf("which distribution it is: %w", err)
		}
		break
	}
	if text == nil {
		return d, errors.New("which distribution it is: the root tree has no os-release")
	}
	fields := map[string]string{}
	for l := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(l), "=")
		fields[key] = sbom.Printable(strings.Trim(value, `"'`))
	}
	d = sbom.Distro{ID: strings.ToLower(fields["ID"]), Version: fields["VERSION_ID"], Codename: fields["VERSION_CODENAME"]}
	if d.ID == "" {
		d.ID = "linux" // os-release(5): what it is where the field is missing
	}
	return d, nil
}
