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
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/scan"
)

// Output is the file that the stage gives.
const Output = "catalogue.json"

// Params are what the lock says.
type Params struct {
	// Expect are the packages that the root tree should hold, as NAME:ARCH=VERSION.
	Expect []string `json:"expect"`
}

// Debs are sets of .debs.
type Debs struct {
	// Target are those of packages in the root tree.
	Target      []stage.Set
	Boot, Tools stage.Set
}

// Stage takes the root tree and the .debs and gives what is known of both. What
// dpkg, the lock and syft do not agree on is a finding; a package that is not in
// the lock ends the build.
func Stage(root stage.Tree, debs Debs, p Params) stage.Stage {
	s := stage.Stage{
		Name: "catalogue", Version: 2, Params: p,
		Takes: "root tree, .debs of all sets", Gives: "packages, licences and everything else that software can be told by",
		Inputs:  []stage.Input{{Name: "root", From: root}, {Name: "boot", From: debs.Boot}, {Name: "tools", From: debs.Tools}},
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindFile}},
	}
	var target []string
	for _, set := range debs.Target {
		name := "target-" + stage.NameOf(set)
		target = append(target, name)
		s.Inputs = append(s.Inputs, stage.Input{Name: name, From: set})
	}
	s.Run = func(ctx context.Context, w *stage.Work) error {
		r := &run{work: w, params: p, licences: newLicences(), out: sbom.Catalogue{Format: sbom.Format}}
		return r.all(ctx, target)
	}
	return s
}

type run struct {
	work     *stage.Work
	params   Params
	root     *os.Root
	tree     *roottree.Manifest
	db       *dpkgdb.DB
	seen     *scan.Result
	licences *licences
	archived [2][]archived // the .debs of boot and tools

	needs []sbom.Needs // of the packages, by index
	out   sbom.Catalogue
}

func (r *run) all(ctx context.Context, target []string) (err error) {
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
	var installed []archived
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		r.seen, err = scan.Run(gctx, scan.Tree{Root: r.root, Manifest: r.tree, Owner: r.owners()})
		return err
	})
	group.Go(func() (err error) {
		var refs []artifact.Ref
		for _, name := range target {
			refs = append(refs, r.work.Set(name)...)
		}
		if installed, err = r.debs(gctx, refs, false); err != nil {
			return err
		}
		for i, set := range []string{"boot", "tools"} {
			if r.archived[i], err = r.debs(gctx, r.work.Set(set), true); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := r.target(installed); err != nil {
		return err
	}
	r.unpacked(sbom.Boot, r.archived[0])
	r.unpacked(sbom.Tools, r.archived[1])
	r.out.Found = r.seen.Found
	r.out.Copyrights, r.out.Texts = r.licences.finish()
	r.out.Findings = append(r.out.Findings, sbom.Depend(r.out.Packages, r.needs)...)
	r.out.Findings = append(r.out.Findings, r.licences.findings...)
	r.out.Findings = append(r.out.Findings, r.seen.Findings...)
	if err := r.compare(); err != nil {
		return err
	}
	return artifact.WriteFile(r.work.OutFile(Output), 0o644, func(w io.Writer) error { return r.out.Write(w) })
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

// debs reads .debs, what their data holds, too, where withData says so.
func (r *run) debs(ctx context.Context, refs []artifact.Ref, withData bool) ([]archived, error) {
	all := make([]archived, len(refs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, ref := range refs {
		group.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if all[i], err = readControl(r.work.Content(ref), ref); err != nil {
				return fmt.Errorf("%s: %w", ref.Path, err)
			}
			if !withData {
				return nil
			}
			made, err := r.work.Remember(ctx, ref, func(to string) error { return writeData(r.work.Content(ref), ref.Size, to) })
			if err != nil {
				return err
			}
			all[i].data, err = readData(r.work.Content(made))
			return err
		})
	}
	return all, group.Wait()
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
		if text, err = readAll(root, real, 1<<16); err != nil {
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

func readAll(root *os.Root, name string, limit int64) (_ []byte, err error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, limit)
	}
	return b, err
}
