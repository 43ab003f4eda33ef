package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/aptsolve"
	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/sandbox"
)

// solve lets the toolbox's apt choose the target set.
func (k *locking) solve(ctx context.Context) (err error) {
	c := k.config
	work, err := k.Store.NewWork("lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	suites := k.of(c.Archives)
	// First of all: of equal versions, apt takes the project's.
	archives, err := k.projectDebs(filepath.Join(work, "index-"+lockfile.Project))
	if err != nil {
		return err
	}
	for i, s := range suites {
		a, err := k.plain(s, filepath.Join(work, fmt.Sprint("index-", i)))
		if err != nil {
			return err
		}
		archives = append(archives, a)
	}
	all, origin := packagesOf(suites)
	for _, p := range k.debs {
		if _, listed := origin[p.SHA256]; listed {
			// An archive has the very file, and its keys sign for it.
			return fault.New(fault.Usage, "list the package under packages", "debs: %s is in %s", p.Filename, origin[p.SHA256])
		}
		all, origin[p.SHA256] = append(all, p), lockfile.Project
	}
	byDigest := map[artifact.Digest]*archive.Package{}
	for i := range all {
		byDigest[all[i].SHA256] = &all[i]
	}
	solver := &solver{work: work, archives: archives, byDigest: byDigest, arch: k.lock.Architecture, limits: limitsOf(k.config)}
	err = k.withTools(ctx, k.lock, lockfile.UseSolve, func(dir string) error {
		solver.toolbox = dir
		return k.target(ctx, solver, origin)
	})
	if err != nil {
		return err
	}
	k.proofs(all, origin)
	return nil
}

// target fills the target set: of a bootstrap first the base, which is then
// held at its versions.
func (k *locking) target(ctx context.Context, s *solver, origin map[artifact.Digest]string) error {
	c := k.config
	var request []string
	basis := map[artifact.Digest]bool{}
	var chosen []*archive.Package
	if k.base != nil {
		s.status = k.base.status
	} else {
		base, err := s.solve(ctx, minimal, false)
		if err != nil {
			return fmt.Errorf("base: %w", err)
		}
		for _, p := range base {
			basis[p.SHA256] = true
			request = append(request, p.Name+"="+p.Version)
		}
		chosen = base
	}
	for _, p := range c.Packages {
		request = append(request, p.Name)
	}
	for _, p := range k.debs {
		request = append(request, p.Name+"="+p.Version)
	}
	if len(request) > 0 {
		var err error
		if chosen, err = s.solve(ctx, request, c.Recommends); err != nil {
			return explainPackage(c, err, s.byDigest)
		}
	}
	for _, p := range c.Packages {
		name, _, _ := strings.Cut(p.Name, "=")
		if k.base == nil && !slices.ContainsFunc(chosen, func(p *archive.Package) bool { return p.Name == name || provides(p, name) }) {
			return fmt.Errorf("packages: %s is not in apt's solution", name)
		}
	}
	if err := k.checkDebs(chosen); err != nil {
		return err
	}
	if err := k.checkKept(chosen); err != nil {
		return err
	}
	reasons := why(c, chosen, basis)
	for _, p := range chosen {
		use := lockfile.UseInstall
		if basis[p.SHA256] {
			use = lockfile.UseBase
		}
		k.lock.Target = append(k.lock.Target, lockPackage(p, origin[p.SHA256], reasons[p.Name], use))
	}
	return nil
}

// explainPackage says where in the config an unknown package stands, and which
// names come near it.
func explainPackage(c *config.Config, err error, all map[artifact.Digest]*archive.Package) error {
	unknown, ok := errors.AsType[*aptsolve.UnknownPackageError](err)
	if !ok {
		return err
	}
	names := func(yield func(string) bool) {
		for _, p := range all {
			if !yield(p.Name) {
				return
			}
		}
	}
	if near := archive.Nearest(unknown.Name, names); len(near) > 0 {
		err = fault.WithHint(err, "names that are near: "+strings.Join(near, ", "))
	}
	for i, p := range c.Packages {
		if name, _, _ := strings.Cut(p.Name, "="); name == unknown.Name {
			return fmt.Errorf("%s: packages[%d]: %w", config.FileName, i, err)
		}
	}
	return err
}

// plain decompresses a suite's indexes for apt.
func (k *locking) plain(s *suite, dir string) (aptsolve.Archive, error) {
	r := s.Release
	a := aptsolve.Archive{
		ID: s.id, Origin: r.Origin, Label: r.Label, Suite: r.Suite, Codename: r.Codename, Version: r.Version,
		NotAutomatic: r.NotAutomatic, ButAutomaticUpgrades: r.ButAutomaticUpgrades,
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return a, err
	}
	for i, index := range s.Indexes {
		to := filepath.Join(dir, fmt.Sprint(i))
		in, err := index.Open(k.Store)
		if err != nil {
			return a, err
		}
		err = artifact.WriteFile(to, 0o644, func(w io.Writer) error {
			_, err := io.Copy(w, in)
			return err
		})
		if err := errors.Join(err, in.Close()); err != nil {
			return a, err
		}
		a.Packages = append(a.Packages, to)
	}
	return a, nil
}

// solver asks apt.
type solver struct {
	work, toolbox, arch string
	archives            []aptsolve.Archive
	byDigest            map[artifact.Digest]*archive.Package
	status              []byte
	runs                int
	limits              sandbox.Limits
}

func (s *solver) solve(ctx context.Context, packages []string, recommends bool) ([]*archive.Package, error) {
	s.runs++
	scratch := filepath.Join(s.work, fmt.Sprint("apt-", s.runs))
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return nil, err
	}
	choices, err := aptsolve.Solve(ctx, aptsolve.Request{
		Toolbox: s.toolbox, Scratch: scratch, Architecture: s.arch, Archives: s.archives,
		Status: s.status, Packages: packages, Recommends: recommends, Limits: s.limits,
	})
	if err != nil {
		return nil, err
	}
	var chosen []*archive.Package
	for _, c := range choices {
		p, ok := s.byDigest[c.Digest]
		if !ok {
			return nil, fmt.Errorf("apt chose %s (%s), which no index has", c.Filename, c.Digest.Short())
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}
