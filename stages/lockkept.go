package stages

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/removal"
	"github.com/isotrace/isotrace/stages/install"
)

// reliance is a part of the config that cannot be served without a package.
type reliance struct {
	key   string   // of the config, as errors name it
	names []string // of packages, of which one is enough
}

// reliances are what the image relies on beside the packages that are asked for. What a
// tree must really hold, the stage kernel finds out from its bytes.
func reliances(c *config.Config) []reliance {
	list := []reliance{{"live: " + c.Live, []string{c.Live}}}
	if c.Squashfs.Verity {
		list = append(list, reliance{"squashfs.verity", []string{"libcryptsetup12"}})
	}
	return list
}

// roles are what every image needs, and what a removal must not leave it without.
var roles = []struct {
	what string
	is   func(name string) bool
}{
	{"the kernel", func(name string) bool { return strings.HasPrefix(name, "linux-image-") }},
	{"the init system", func(name string) bool {
		return slices.Contains([]string{"systemd-sysv", "sysvinit-core", "runit-init"}, name)
	}},
}

// installed are the packages of the tree before any is removed: the choice, and what else
// the base image has.
func (k *locking) installed(chosen []*archive.Package) ([]removal.Package, error) {
	var all []removal.Package
	seen := map[string]bool{}
	for _, p := range chosen {
		all = append(all, removal.Package{Name: p.Name, Version: p.Version, PreDepends: p.PreDepends, Depends: p.Depends, Provides: p.Provides})
		seen[p.Name] = true
	}
	if k.base == nil {
		return all, nil
	}
	base, err := install.Relations(bytes.NewReader(k.base.status), "base image: dpkg's status")
	if err != nil {
		return nil, err
	}
	for _, p := range base {
		if !seen[p.Name] {
			all = append(all, p)
		}
	}
	return all, nil
}

// checkKept refuses a config whose removals take what it asks for or relies on, and one
// that nothing would boot.
func (k *locking) checkKept(chosen []*archive.Package) error {
	c := k.config
	all, err := k.installed(chosen)
	if err != nil {
		return err
	}
	asked := map[string]string{}
	for i, p := range c.Packages {
		name, _, _ := strings.Cut(p.Name, "=")
		asked[name] = fmt.Sprintf("packages[%d] asks for", i)
	}
	for _, p := range k.debs {
		at := slices.IndexFunc(c.Debs, func(d config.Deb) bool { return d.SHA256 == p.SHA256 })
		asked[p.Name] = fmt.Sprintf("debs[%d] brings", at)
	}
	if err := install.Contradiction(all, c.Remove, asked); err != nil {
		return k.atRemoval(err)
	}
	for i, name := range c.Remove {
		named := func(p removal.Package) bool { return p.Name == name }
		// A base image's dpkg may know packages that are not installed any more.
		if k.base == nil && !slices.ContainsFunc(all, named) {
			return k.atRemoval(fault.New(fault.Usage, "take it out of isotrace.yaml", "remove[%d] (%s) is no package of the image: apt would not find it", i, name))
		}
	}
	lost := removal.Losses(all, c.Remove)
	for _, r := range reliances(c) {
		if err := k.checkReliance(all, lost, r); err != nil {
			return err
		}
	}
	own, err := k.ownBoot()
	if own || err != nil {
		return err
	}
	for _, r := range roles {
		if i, gone := lastOf(all, lost, r.is); gone {
			return k.atRemoval(install.Contradiction(all, c.Remove, map[string]string{all[i].Name: "is " + r.what + " that the image boots with"}))
		}
	}
	return nil
}

// lastOf tells whether all packages of a kind go, and names the first.
func lastOf(all []removal.Package, lost map[int]removal.Loss, is func(name string) bool) (first int, gone bool) {
	for i, p := range all {
		if !is(p.Name) {
			continue
		}
		if _, l := lost[i]; !l {
			return 0, false
		}
		if !gone {
			first, gone = i, true
		}
	}
	return first, gone
}

func (k *locking) checkReliance(all []removal.Package, lost map[int]removal.Loss, r reliance) error {
	is := func(name string) bool { return slices.Contains(r.names, name) }
	i, gone := lastOf(all, lost, is)
	switch {
	case gone:
		return k.atRemoval(install.Contradiction(all, k.config.Remove, map[string]string{all[i].Name: r.key + " needs"}))
	case slices.ContainsFunc(all, func(p removal.Package) bool { return is(p.Name) || p.Offers(r.names[0]) }):
		return nil
	}
	own, err := k.ownBoot()
	if own || err != nil {
		return err
	}
	return fault.New(fault.Usage, "add "+r.names[0]+" to packages", "%s: %s needs the package %s, which is neither asked for nor a dependency", config.FileName, r.key, r.names[0])
}

// atRemoval names the file of an error about its removals.
func (k *locking) atRemoval(err error) error { return fmt.Errorf("%s: %w", config.FileName, err) }

// ownBoot tells whether the project may bring the live system's programs itself, in files
// of its own: then the tree alone shows whether they are there.
func (k *locking) ownBoot() (own bool, err error) {
	c := k.config
	if len(c.Scripts)+len(c.Debs) > 0 {
		return true, nil
	}
	root, err := os.OpenRoot(k.Project.Dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, o := range c.Overlay {
		if strings.Contains(o.To, "initramfs-tools") {
			return true, nil
		}
		err := fs.WalkDir(root.FS(), config.Clean(o.From), func(name string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the build says so
			}
			if err == nil && path.Base(name) == "initramfs-tools" {
				own = true
				return fs.SkipAll
			}
			return err
		})
		if own || err != nil {
			return own, err
		}
	}
	return false, nil
}
