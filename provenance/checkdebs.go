package provenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/contents"
	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/trace"
)

// Record path of what the stage contents listed of a .deb, and its end.
const (
	recordLists = "contents/lists/"
	listSuffix  = ".mtree"
)

// checkDebs proves from the .debs themselves what the trace says of them: each path of
// the image that a .deb has is said to be of it, as it is or as it was changed, and none
// is said to be of one that does not have it.
func (v *verification) checkDebs(ctx context.Context) (_ string, _ []Problem, err error) {
	if v.opts.Archive == "" {
		return "no .debs are at hand: name a copy of the archives with --archive", nil, nil
	}
	packages := slices.Concat(v.Lock.Target, v.Lock.Boot)
	for _, p := range v.Lock.Tools {
		if p.Is(lockfile.UseBuild) { // what only boots the image has no part in it
			packages = append(packages, p)
		}
	}
	if problems, err := v.lockedDebs(ctx, packages); err != nil || len(problems) > 0 {
		return "", bounded(problems), err
	}
	t, err := openTracing(v.Bundle, v.key)
	if err != nil {
		return "", []Problem{problemOf(TraceDir, err)}, nil
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	of := 0
	for _, p := range t.Parts {
		for _, k := range p.Counts {
			if k.Kind == trace.Archive {
				of += k.Files
			}
		}
	}
	what := fmt.Sprintf("%d .debs are those of the lock, and hold the %d files that are said to be theirs", len(packages), of)
	remembered, known := v.known("debs", v.traced()...)
	if known {
		return what, nil, nil
	}
	tree, problems := v.rootManifest()
	if len(problems) > 0 {
		return "", problems, nil
	}
	iso, err := v.openISO()
	if err != nil {
		return "", []Problem{problemOf(v.ImageName(), err)}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	target, boot, problems, err := v.readDebs(ctx, &t.Head)
	if err != nil || len(problems) > 0 {
		return "", bounded(problems), err
	}
	diversions, problems := readDiversions(ctx, iso, tree)
	if len(problems) > 0 {
		return "", bounded(problems), nil
	}
	owners, problems := readOwners(ctx, iso, tree)
	if len(problems) > 0 {
		return "", bounded(problems), nil
	}
	c, err := newClaims(&t.Head, tree, diversions, owners, target)
	if err != nil {
		return "", []Problem{problemOf(TraceDir, err)}, nil
	}
	if problems, err = v.provedRoot(t, c); err != nil {
		return "", []Problem{problemOf(TraceDir+"/"+trace.PartRoot+trace.Suffix, err)}, nil
	}
	problems = append(problems, c.removed()...)
	problems = append(problems, c.actors(v.inBase)...)
	r, found, err := v.reread(ctx, tree)
	if err != nil {
		return "", nil, err
	}
	if problems = append(problems, found...); len(found) == 0 {
		if err := v.readEFI(t, r); err != nil {
			return "", append(problems, problemOf(TraceDir, err)), nil
		}
		if found, err = v.provedBoot(t, iso, r, boot); err != nil {
			return "", append(problems, problemOf(TraceDir, err)), nil
		}
		problems = append(problems, found...)
	}
	v.hold(remembered, problems)
	return what, bounded(problems), nil
}

// lockedDebs looks for each .deb in the copy of the archives and compares its digest.
func (v *verification) lockedDebs(ctx context.Context, packages []lockfile.Package) ([]Problem, error) {
	found := make([]*Problem, len(packages))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	seen := map[artifact.Digest]bool{} // .debs that stand in several sets
	for i, p := range packages {
		if seen[p.SHA256] {
			continue
		}
		seen[p.SHA256] = true
		group.Go(func() error {
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			file, err := FindDeb(v.opts.Archive, p)
			if err == nil {
				var have artifact.Digest
				if have, _, err = artifact.HashFile(file); err == nil && have != p.SHA256 {
					err = fmt.Errorf("its SHA-256 is %s, the lock says %s", have, p.SHA256)
				}
			}
			if err != nil {
				wrong := problemOf(p.Path, err)
				found[i] = &wrong
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var problems []Problem
	for _, p := range found {
		if p != nil {
			problems = append(problems, *p)
		}
	}
	return problems, nil
}

// readDebs reads the .debs of the target and of the boot set, and compares what they
// install with what the stage contents listed.
func (v *verification) readDebs(ctx context.Context, head *trace.Head) (target, boot []debContent, problems []Problem, err error) {
	index := map[string]int{}
	for i := range head.Packages {
		index[head.Packages[i].Set+"/"+head.Packages[i].ID()] = i
	}
	type one struct {
		lockfile.Package
		set string
	}
	var packages []one
	for _, p := range v.Lock.Target {
		packages = append(packages, one{p, "target"})
	}
	for _, p := range v.Lock.Boot {
		packages = append(packages, one{p, "boot"})
	}
	read, wrong := make([]debContent, len(packages)), make([]error, len(packages))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for i, p := range packages {
		at, ok := index[p.set+"/"+p.ID()]
		if !ok {
			return nil, nil, []Problem{{TraceDir + "/" + trace.HeadFile, fmt.Sprintf("lacks the package %s of the lock", p.ID())}}, nil
		}
		group.Go(func() error {
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			read[i], wrong[i] = v.readDeb(p.Package, p.set)
			read[i].Package = at
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, nil, err
	}
	for i, p := range packages {
		switch {
		case wrong[i] != nil:
			problems = append(problems, problemOf(p.Path, wrong[i]))
		case p.set == "boot":
			boot = append(boot, read[i])
		default:
			target = append(target, read[i])
		}
	}
	slices.SortFunc(target, func(a, b debContent) int { return a.Package - b.Package })
	return target, boot, problems, nil
}

// DebCache is what .debs were found to hold, for several verifications in one process.
type DebCache struct{ found sync.Map } // by set and SHA-256

// readDeb reads a .deb whose digest is the lock's.
func (v *verification) readDeb(p lockfile.Package, set string) (debContent, error) {
	key := set + " " + string(p.SHA256)
	if v.opts.Debs != nil {
		if d, ok := v.opts.Debs.found.Load(key); ok {
			return d.(debContent), v.listed(p, d.(debContent))
		}
	}
	file, err := FindDeb(v.opts.Archive, p)
	if err != nil {
		return debContent{}, err
	}
	d, err := openDeb(file, p.Size, set == "boot")
	if err == nil && v.opts.Debs != nil {
		v.opts.Debs.found.Store(key, d)
	}
	if err != nil {
		return d, err
	}
	return d, v.listed(p, d)
}

// listed compares what a .deb installs with what the stage contents listed.
func (v *verification) listed(p lockfile.Package, d debContent) error {
	name := recordLists + v.Lock.ArchiveOf(p.Archive).Repository + "/" + p.Path + listSuffix
	want := v.made[name]
	if want == d.List.Digest() || want == d.List.Identity() {
		return nil
	}
	// Before version 3 of the stage, the lists had no names of owners.
	bare := &roottree.Manifest{Entries: slices.Clone(d.List.Entries)}
	for i := range bare.Entries {
		bare.Entries[i].Uname, bare.Entries[i].Gname = "", ""
	}
	if want != bare.Digest() && want != bare.Identity() {
		return fmt.Errorf("what it installs is not what the stage contents listed, whose SHA-256 is %q", want)
	}
	return nil
}

func openDeb(file string, size int64, boots bool) (d debContent, err error) {
	if d.List, err = contents.Read(file, size); err != nil {
		return d, err
	}
	f, err := regular.OpenFile(file)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pkg, err := deb.Open(f, size, deb.Limits{})
	if err != nil {
		return d, err
	}
	control, err := pkg.Control()
	if err != nil {
		return d, err
	}
	d.scriptsOf(control)
	if boots {
		d.images, err = grubFiles(pkg)
	}
	return d, err
}

// maxDatabase bounds the files of the tree that the proof needs, in bytes.
const maxDatabase = 64 << 20

// readDiversions reads the diversions of the tree in the squashfs, where they are the
// bytes that the manifest names.
func readDiversions(ctx context.Context, iso *medium.ISO, tree *roottree.Manifest) (found map[string]dpkgdb.Diversion, problems []Problem) {
	text, wrong := rootFile(ctx, iso, tree, dpkgdb.DiversionsFile, maxDatabase)
	if wrong != "" {
		return nil, []Problem{{"/" + dpkgdb.DiversionsFile, wrong}}
	}
	found, odd, err := dpkgdb.ReadDiversions(bytes.NewReader(text))
	if err != nil {
		return nil, []Problem{problemOf("/"+dpkgdb.DiversionsFile, err)}
	}
	for _, p := range odd {
		problems = append(problems, Problem{"/" + p.Path, p.Text})
	}
	return found, problems
}

// readOwners reads the accounts and groups of the tree in the squashfs.
func readOwners(ctx context.Context, iso *medium.ISO, tree *roottree.Manifest) (trace.Owners, []Problem) {
	var texts [2][]byte
	for i, name := range []string{"etc/passwd", "etc/group"} {
		text, wrong := rootFile(ctx, iso, tree, name, maxDatabase)
		if wrong != "" {
			return trace.Owners{}, []Problem{{"/" + name, wrong}}
		}
		texts[i] = text
	}
	return trace.ParseOwners(texts[0], texts[1]), nil
}

// inBase tells whether the base image came with a package of the name.
func (v *verification) inBase(name string) bool {
	return v.Lock.Image != nil && slices.ContainsFunc(v.Lock.Image.Packages, func(id string) bool { return strings.HasPrefix(id, name+":") })
}

// provedRoot holds each line of the root tree against the .debs.
func (v *verification) provedRoot(t *Tracing, c *claims) (problems []Problem, err error) {
	moved := map[string]trace.Origin{} // what stands where a diversion is from
	for from := range c.diversions {
		if at, err := c.have.Place(from, c.diversions[from].Package); err == nil && c.have.Diverted(from) {
			moved[at] = trace.Origin{}
		}
	}
	err = t.Each(trace.PartRoot, nil, func(o trace.Origin) bool {
		if _, ok := moved[o.Path]; ok {
			moved[o.Path] = o
		}
		if wrong := c.judge(&o); wrong != "" {
			problems = append(problems, Problem{"/" + o.Path, wrong})
		}
		return len(problems) <= maxProblems
	})
	return append(problems, c.diverted(moved)...), err
}

// FindDeb looks for a .deb in a copy of the archives: below the archive's name, as
// a mirror has it, or by its own name.
func FindDeb(archive string, p lockfile.Package) (string, error) {
	repository, _, _ := strings.Cut(p.Archive, "/")
	for _, name := range []string{path.Join(repository, p.Path), p.Path, path.Base(p.Path)} {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			continue
		}
		file := filepath.Join(archive, filepath.FromSlash(name))
		switch st, err := os.Stat(file); {
		case err == nil && st.Mode().IsRegular():
			return file, nil
		case err == nil:
			return "", fmt.Errorf("%s: %w", name, regular.ErrNotRegular)
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	return "", fmt.Errorf("is not in %s: %w", archive, fs.ErrNotExist)
}

func (v *verification) debsState() State {
	if v.opts.Archive == "" {
		return CannotTell
	}
	return Valid
}

// rootFile reads a regular file of the tree in the squashfs, whose bytes have to be those
// that the manifest names; nil where the tree has none. What is wrong is told in words.
func rootFile(ctx context.Context, iso *medium.ISO, tree *roottree.Manifest, name string, limit int64) (text []byte, wrong string) {
	e, ok := tree.Lookup(name)
	switch {
	case !ok:
		return nil, ""
	case e.Type != roottree.File:
		return nil, "is not a regular file"
	case e.Size > limit:
		return nil, fmt.Sprintf("is longer than %d bytes", limit)
	}
	err := iso.SquashfsFiles(ctx, squashfsPath, []string{name}, e.Size+1, func(_ string, b []byte) error {
		text = b
		return nil
	})
	if err != nil {
		return nil, strings.TrimPrefix(err.Error(), squashfsPath+": ")
	}
	if have := artifact.HashBytes(text); have != e.SHA256 {
		return nil, fmt.Sprintf("its SHA-256 in the image is %s, the manifest says %s", have, e.SHA256)
	}
	return text, ""
}
