package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/aptsolve"
	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/stages/fetch"
)

// Session is what commands that work on a project need.
type Session struct {
	Project *Project
	Store   *artifact.Store
	Mirrors Mirrors
	Proxy   string
	// Now decides whether a Release file has expired, and nothing else.
	Now      time.Time
	Progress stage.Progress
	// Journal takes what tools print, by stage; it may be nil.
	Journal func(stage string) io.Writer
}

// The packages that isotrace itself needs, from the archives of each set.
var (
	// toolPackages run in the toolbox.
	toolPackages = []string{
		"apt", "base-files", "bash", "coreutils", "dosfstools", "dpkg", "e2fsprogs", "grub-common", "gzip", "libc-bin",
		"mtools", "squashfs-tools", "tar", "xorriso", "xz-utils", "zstd",
	}
	// emulatorPackages run the image.
	emulatorPackages = []string{"base-files", "bash", "coreutils", "libc-bin", "ovmf", "qemu-system-x86", "seabios"}
	// bootPackages hold what firmware starts; nothing that they depend on is needed.
	bootPackages = []string{"grub-pc-bin", "grub-efi-amd64-bin"}
	memtestName  = "memtest86+"
	// minimal is a bootstrapped base.
	minimal = []string{"?essential", "?priority(required)", "apt"}
)

// suite is an archive that a lock is made from.
type suite struct {
	*archive.Suite
	id       string
	keyring  artifact.Ref
	packages []archive.Package
}

// locking is a lock in the making.
type locking struct {
	*Session
	config *config.Config // with the base image's archives, where it names none
	client *archive.Client
	suites map[string]*suite
	lock   *lockfile.Lock
	base   *baseSystem
}

// Lock resolves the project's config into exact content.
func (s *Session) Lock(ctx context.Context) (_ *lockfile.Lock, err error) {
	c := *s.Project.Config
	k := &locking{Session: s, config: &c, suites: map[string]*suite{}, lock: &lockfile.Lock{Format: lockfile.Format, Architecture: c.Architecture}}
	if k.lock.Intent, err = c.Intent(); err != nil {
		return nil, err
	}
	steps := []lockStep{{"archives", k.archives}, {"tools", k.tools}, {"solve", k.solve}}
	if c.Base.IsImage() {
		steps = append([]lockStep{{"base", k.openBase}}, steps...)
	}
	for _, step := range steps {
		k.tell(step.name, stage.StateRunning)
		if err := step.do(ctx); err != nil {
			k.tell(step.name, stage.StateFailed)
			return nil, err
		}
		k.tell(step.name, stage.StateDone)
	}
	// What Encode writes, Decode must take.
	text, err := k.lock.Encode()
	if err != nil {
		return nil, err
	}
	return lockfile.Decode(lockfile.FileName, text)
}

type lockStep struct {
	name string
	do   func(context.Context) error
}

func (s *Session) tell(name string, st stage.State) {
	if s.Progress != nil {
		s.Progress.Stage(name, st)
	}
}

func (k *locking) bytes(name string) func(done, total int64) {
	return func(done, total int64) {
		if k.Progress != nil {
			k.Progress.Bytes(name, done, total)
		}
	}
}

// Client makes the archives' client of the session.
func (s *Session) Client() (*archive.Client, error) {
	mirrors, err := s.Mirrors.ByRepository()
	if err != nil {
		return nil, err
	}
	return archive.NewClient(archive.Options{Mirrors: mirrors, Proxy: s.Proxy, Notice: func(err error) {
		if s.Progress != nil {
			s.Progress.Line("fetch", err.Error())
		}
	}})
}

// archives resolves every suite of the config.
func (k *locking) archives(ctx context.Context) (err error) {
	c := k.config
	if len(c.Archives) == 0 {
		if k.base == nil {
			return fault.New(fault.Usage, "list the suites under archives", "archives: a bootstrap has no apt sources to take them from")
		}
		if c.Archives = k.base.archives; len(c.Archives) == 0 {
			return fault.New(fault.Usage, "list the suites under archives", "archives: apt in the base image has no sources to take them from")
		}
	}
	if k.client, err = k.Client(); err != nil {
		return err
	}
	defer k.client.Close()
	all := map[string]config.Archive{}
	for _, list := range [][]config.Archive{c.Archives, c.BootArchives(), c.ToolArchives()} {
		for _, a := range list {
			id := a.Repo() + "/" + a.Suite
			if have, ok := all[id]; ok {
				if have.SignedBy != a.SignedBy {
					return fault.New(fault.Usage, "use the same keys for one suite", "archives: %s is listed with %s and with %s", id, have.SignedBy, a.SignedBy)
				}
				a.Components = slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(have.Components), a.Components...))))
				a.IgnoreValidUntil = a.IgnoreValidUntil && have.IgnoreValidUntil
			}
			all[id] = a
			k.suites[id] = &suite{id: id}
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(3)
	for id, s := range k.suites {
		group.Go(func() error { return k.resolve(gctx, all[id], s) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var newest time.Time
	for _, s := range k.suites {
		k.lock.Archives = append(k.lock.Archives, s.locked())
		if s.Release.Date.After(newest) {
			newest = s.Release.Date
		}
	}
	if t, ok := c.EpochTime(); ok {
		newest = t
	}
	k.lock.Epoch = epoch.Epoch(newest.Unix())
	return nil
}

func (k *locking) resolve(ctx context.Context, a config.Archive, s *suite) error {
	keyring, text, err := k.keyring(a.SignedBy)
	if err != nil {
		return err
	}
	s.keyring = artifact.Ref{Path: a.SignedBy, Digest: artifact.HashBytes(text), Size: int64(len(text))}
	s.Suite, err = k.client.ResolveSuite(ctx, archive.SuiteRequest{
		Repository: a.Repo(), Suite: a.Suite, Components: a.Components, Architecture: k.lock.Architecture,
		Keyring: keyring, Now: k.Now, IgnoreValidUntil: a.IgnoreValidUntil,
	}, k.Store, k.bytes("archives"))
	if err != nil {
		return err
	}
	s.packages, err = s.Packages(k.Store)
	return err
}

func (k *locking) keyring(signedBy string) (*archive.Keyring, []byte, error) {
	if k.base != nil && k.base.keys[signedBy] != nil {
		ring, err := archive.ReadKeyring(signedBy, k.base.keys[signedBy])
		return ring, k.base.keys[signedBy], err
	}
	return k.Project.Keyring(signedBy)
}

// locked is the suite as a lock has it.
func (s *suite) locked() lockfile.Archive {
	a := lockfile.Archive{
		ID: s.id, Repository: s.Repository, Suite: s.Suite.Suite, Codename: s.Release.Codename,
		Date: s.Release.Date.Format(time.RFC3339), ExpiredAccepted: s.Expired,
		Keyring: s.keyring, Release: s.ReleaseFile, Signature: s.Signature,
	}
	if !s.Release.ValidUntil.IsZero() {
		a.ValidUntil = s.Release.ValidUntil.Format(time.RFC3339)
	}
	for _, by := range s.Signers {
		a.Signers = append(a.Signers, lockfile.Signer{Primary: by.Primary, Key: by.Key})
	}
	for _, i := range s.Indexes {
		a.Indexes = append(a.Indexes, lockfile.Index{Ref: i.Ref, Component: i.Component})
	}
	return a
}

// of returns the suites of some archives, in their order.
func (k *locking) of(list []config.Archive) []*suite {
	var found []*suite
	for _, a := range list {
		found = append(found, k.suites[a.Repo()+"/"+a.Suite])
	}
	return found
}

// packagesOf lists all packages of some suites, and by content which suite has
// each; where several have it, the first.
func packagesOf(suites []*suite) (all []archive.Package, origin map[artifact.Digest]string) {
	origin = map[artifact.Digest]string{}
	for _, s := range suites {
		for _, p := range s.packages {
			if _, ok := origin[p.SHA256]; !ok {
				origin[p.SHA256] = s.id
				all = append(all, p) // another suite may have it under another path
			}
		}
	}
	return all, origin
}

func lockPackage(p *archive.Package, from string, why string, uses ...lockfile.Use) lockfile.Package {
	return lockfile.Package{
		Name: p.Name, Version: p.Version, Architecture: p.Architecture, Source: p.Source, SourceVersion: p.SourceVersion,
		Archive: from, Path: p.Filename, Size: p.Size, SHA256: p.SHA256, For: uses, Why: why,
	}
}

// tools resolves the boot set and the tools set.
func (k *locking) tools(context.Context) error {
	c := k.config
	all, origin := packagesOf(k.of(c.BootArchives()))
	names := bootPackages
	if c.Boot.WithMemtest() {
		names = append(slices.Clone(names), memtestName)
	}
	for _, name := range names {
		p := newest(all, name, k.lock.Architecture)
		if p == nil {
			return fault.New(fault.Usage, "name an archive that has it under boot.archives; without memtest86+: boot.memtest: false", "boot set: no archive has %s", name)
		}
		k.lock.Boot = append(k.lock.Boot, lockPackage(p, origin[p.SHA256], "boots the image", lockfile.UseBoot))
	}
	all, origin = packagesOf(k.of(c.ToolArchives()))
	for _, group := range []struct {
		use   lockfile.Use
		roots []string
		what  string
	}{{lockfile.UseBuild, toolPackages, "builds the image"}, {lockfile.UseEmulator, emulatorPackages, "runs the image for isotrace boot"}} {
		chosen, err := archive.Closure(all, group.roots, k.lock.Architecture)
		if err != nil {
			return fmt.Errorf("tools set: %w", err)
		}
		for _, sel := range chosen {
			i := slices.IndexFunc(k.lock.Tools, func(p lockfile.Package) bool { return p.SHA256 == sel.Package.SHA256 })
			if i >= 0 {
				k.lock.Tools[i].For = append(k.lock.Tools[i].For, group.use)
				continue
			}
			why := group.what
			if !sel.Asked {
				why = fmt.Sprintf("needed by %s: %s", sel.NeededBy, sel.Relation)
			}
			k.lock.Tools = append(k.lock.Tools, lockPackage(sel.Package, origin[sel.Package.SHA256], why, group.use))
		}
	}
	return nil
}

func newest(all []archive.Package, name, arch string) *archive.Package {
	var best *archive.Package
	for i := range all {
		p := &all[i]
		if p.Name == name && (p.Architecture == arch || p.Architecture == "all") && (best == nil || archive.CompareVersions(p.Version, best.Version) > 0) {
			best = p
		}
	}
	return best
}

// solve lets the toolbox's apt choose the target set.
func (k *locking) solve(ctx context.Context) (err error) {
	c := k.config
	work, err := k.Store.NewWork("lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	suites := k.of(c.Archives)
	var archives []aptsolve.Archive
	for i, s := range suites {
		a, err := k.plain(s, filepath.Join(work, fmt.Sprint("index-", i)))
		if err != nil {
			return err
		}
		archives = append(archives, a)
	}
	all, origin := packagesOf(suites)
	byDigest := map[artifact.Digest]*archive.Package{}
	for i := range all {
		byDigest[all[i].SHA256] = &all[i]
	}
	solver := &solver{work: work, archives: archives, byDigest: byDigest, arch: k.lock.Architecture}
	return k.withTools(ctx, k.lock, lockfile.UseBuild, func(dir string) error {
		solver.toolbox = dir
		return k.target(ctx, solver, origin)
	})
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
	if len(request) > 0 {
		var err error
		if chosen, err = s.solve(ctx, request, c.Recommends); err != nil {
			return explainPackage(c, err)
		}
	}
	for _, p := range c.Packages {
		name, _, _ := strings.Cut(p.Name, "=")
		if k.base == nil && !slices.ContainsFunc(chosen, func(p *archive.Package) bool { return p.Name == name || provides(p, name) }) {
			return fmt.Errorf("packages: %s is not in apt's solution", name)
		}
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

// explainPackage says where in the config an unknown package stands.
func explainPackage(c *config.Config, err error) error {
	unknown, ok := errors.AsType[*aptsolve.UnknownPackageError](err)
	if !ok {
		return err
	}
	for i, p := range c.Packages {
		if p.Name == unknown.Name {
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
}

func (s *solver) solve(ctx context.Context, packages []string, recommends bool) ([]*archive.Package, error) {
	s.runs++
	scratch := filepath.Join(s.work, fmt.Sprint("apt-", s.runs))
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return nil, err
	}
	choices, err := aptsolve.Solve(ctx, aptsolve.Request{
		Toolbox: s.toolbox, Scratch: scratch, Architecture: s.arch, Archives: s.archives,
		Status: s.status, Packages: packages, Recommends: recommends,
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

// Fetcher brings locked files through an archive client. Parts of a base image
// are in the store before it is asked.
func Fetcher(client *archive.Client) fetch.Fetcher {
	return func(ctx context.Context, store *artifact.Store, items []fetch.Item, progress func(done, total int64)) error {
		var wants []archive.Want
		for _, it := range items {
			if it.Repository == fetch.ImageRepository {
				continue
			}
			w := archive.Want{Repository: it.Repository, Path: it.Path, SHA256: it.Digest, Size: it.Size}
			if it.Set == fetch.Archives {
				w.Fallback, w.Path = w.Path, path.Join(path.Dir(it.Path), "by-hash", "SHA256", string(it.Digest))
			}
			wants = append(wants, w)
		}
		return client.FetchAll(ctx, wants, store, progress)
	}
}
