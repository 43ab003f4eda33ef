package stages

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/stages/disk"
)

// The packages that isotrace itself needs, from the archives of each set.
var (
	// toolPackages run in the toolbox of a build.
	toolPackages = []string{"dosfstools", "grub-common", "mtools", "squashfs-tools", "xorriso"}
	// solverPackages choose packages, for a lock.
	solverPackages = []string{"apt", "base-files", "coreutils", "dpkg", "libc-bin"}
	// emulatorPackages run the image.
	emulatorPackages = []string{"base-files", "bash", "coreutils", "libc-bin", "ovmf", "qemu-system-x86", "seabios"}
	// bootPackages hold what firmware starts; nothing that they depend on is needed.
	bootPackages = []string{"grub-pc-bin", "grub-efi-amd64-bin"}
	memtestName  = "memtest86+"
	// signedPackages hold what Secure Boot starts.
	signedPackages = []string{"shim-signed", "grub-efi-amd64-signed"}
	// verityPackage makes the hash tree of a squashfs.
	verityPackage = "cryptsetup-bin"
	// diskPackages make disks: mke2fs loads the library where it is to read an archive,
	// and no dependency says so. It has another name since Debian 13.
	diskPackages = []string{"e2fsprogs"}
	diskArchive  = []string{"libarchive13t64", "libarchive13"}
	qcow2Package = "qemu-utils"
	// oldestMke2fs is the first mke2fs that gives the same bytes each time.
	oldestMke2fs = "1.47.1"
	// minimal is a bootstrapped base.
	minimal = []string{"?essential", "?priority(required)", "apt"}
)

// suite is an archive that a lock is made from.
type suite struct {
	*archive.Suite
	id       string
	keyring  artifact.Ref
	packages []archive.Package
	sources  []archive.SourcePackage // where the config asks for them
}

// locking is a lock in the making.
type locking struct {
	*Session
	config *config.Config // with the base image's archives, where it names none
	client *archive.Client
	suites map[string]*suite
	lock   *lockfile.Lock
	base   *baseSystem
	// debs are the package files of the project, in the config's order.
	debs []archive.Package
}

// Lock resolves the project's config into exact content.
func (s *Session) Lock(ctx context.Context) (_ *lockfile.Lock, err error) {
	c := *s.Project.Config
	if err := c.CheckPasswords(s.Project.ConfigText); err != nil {
		return nil, err
	}
	k := &locking{Session: s, config: &c, suites: map[string]*suite{}, lock: &lockfile.Lock{Format: lockfile.Format, Architecture: c.Architecture}}
	if k.lock.Intent, err = c.Intent(); err != nil {
		return nil, err
	}
	requirements, _, err := s.Project.Requirements()
	if err != nil {
		return nil, err
	}
	s.tellUnmet(requirements)
	steps := []lockStep{{"archives", k.archives}, {"tools", k.tools}, {"solve", k.solve}}
	if c.Base.IsImage() {
		steps = append([]lockStep{{"base", k.openBase}}, steps...)
	}
	if c.Sources {
		steps = append(steps, lockStep{"sources", k.sources})
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

func (k *locking) bytes(name string) func(done, total int64) {
	return func(done, total int64) {
		if k.Progress != nil {
			k.Progress.Bytes(name, done, total)
		}
	}
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
	if err := k.checkBefore(); err != nil {
		return err
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
		Sources: slices.Contains(k.sourceSuites(), s),
	}, k.Store, k.bytes("archives"))
	if err != nil {
		return err
	}
	if s.packages, err = s.Packages(k.Store); err != nil {
		return err
	}
	s.sources, err = s.Sources(k.Store)
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
		ID: s.id, Repository: s.Repository, Suite: s.Suite.Suite, Codename: s.Release.Codename, Origin: s.Release.Origin,
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
	for _, i := range s.SourceIndexes {
		a.SourceIndexes = append(a.SourceIndexes, lockfile.Index{Ref: i.Ref, Component: i.Component})
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
	names := slices.Clone(bootPackages)
	if c.Boot.WithMemtest() {
		names = append(names, memtestName)
	}
	if c.Boot.SecureBoot {
		names = append(names, signedPackages...)
	}
	for _, name := range names {
		p := newest(all, name, k.lock.Architecture)
		if p == nil {
			return fault.New(fault.Usage, "name an archive that has it under boot.archives; boot.memtest and boot.secure-boot say whether memtest86+ and signed boot loaders are wanted", "boot set: no archive has %s", name)
		}
		k.lock.Boot = append(k.lock.Boot, lockPackage(p, origin[p.SHA256], "boots the image", lockfile.UseBoot))
	}
	all, origin = packagesOf(k.of(c.ToolArchives()))
	build := slices.Clone(toolPackages)
	if c.Squashfs.Verity {
		build = append(build, verityPackage)
	}
	if disks := c.DiskFormats(); len(disks) > 0 {
		names, err := diskTools(all, k.lock.Architecture, slices.Contains(disks, disk.QCOW2))
		if err != nil {
			return err
		}
		build = append(build, names...)
	}
	for _, group := range []struct {
		use   lockfile.Use
		roots []string
		what  string
	}{
		{lockfile.UseBuild, build, "builds the image"},
		{lockfile.UseSolve, solverPackages, "chooses packages for isotrace lock"},
		{lockfile.UseEmulator, emulatorPackages, "runs the image for isotrace boot"},
	} {
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

// diskTools are the packages that make disks.
func diskTools(all []archive.Package, arch string, qcow2 bool) ([]string, error) {
	const hint = "name an archive that has it under tools.archives, such as Debian 13's"
	names := slices.Clone(diskPackages)
	if p := newest(all, diskPackages[0], arch); p == nil || archive.CompareVersions(p.Version, oldestMke2fs) < 0 {
		return nil, fault.New(fault.Usage, hint, "tools set: no archive has %s %s or later, which makes disks the same each time", diskPackages[0], oldestMke2fs)
	}
	i := slices.IndexFunc(diskArchive, func(name string) bool { return newest(all, name, arch) != nil })
	if i < 0 {
		return nil, fault.New(fault.Usage, hint, "tools set: no archive has %s", diskArchive[0])
	}
	names = append(names, diskArchive[i])
	if qcow2 {
		names = append(names, qcow2Package)
	}
	return names, nil
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
