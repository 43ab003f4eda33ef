package stages

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/aptsolve"
	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// projectDebs reads the package files of the project, each as the config pins it, and
// makes an archive of them for apt, with its index in the folder dir.
func (k *locking) projectDebs(dir string) (_ []aptsolve.Archive, err error) {
	if len(k.config.Debs) == 0 {
		return nil, nil
	}
	root, err := os.OpenRoot(k.Project.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	c := &collector{store: k.Store, root: root}
	var index strings.Builder
	for i, d := range k.config.Debs {
		mat, err := c.pinned(d.File, d.SHA256)
		if err != nil {
			return nil, debFault(i, err)
		}
		ref := artifact.Ref{Path: config.Clean(d.File), Digest: mat.Digest, Size: mat.Size}
		entry, err := deb.IndexEntry(k.Store.Path(ref.Digest), ref)
		if err != nil {
			return nil, debFault(i, fmt.Errorf("%s: %w", d.File, err))
		}
		list, err := archive.ParsePackages(strings.NewReader(entry), d.File)
		if err != nil {
			return nil, debFault(i, err)
		}
		p := list[0]
		if p.Architecture != k.lock.Architecture && p.Architecture != "all" {
			return nil, debFault(i, fault.New(fault.Usage, "take the one for "+k.lock.Architecture, "%s: is of architecture %s", d.File, p.Architecture))
		}
		if have := slices.IndexFunc(k.debs, func(q archive.Package) bool { return q.Name == p.Name }); have >= 0 {
			return nil, debFault(i, fault.New(fault.Usage, "list one of them", "%s and %s are both of package %s", k.debs[have].Filename, d.File, p.Name))
		}
		k.debs = append(k.debs, p)
		index.WriteString(entry)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "Packages")
	return []aptsolve.Archive{{ID: lockfile.Project, Packages: []string{file}}}, artifact.WriteBytes(file, 0o644, []byte(index.String()))
}

func debFault(i int, err error) error { return fmt.Errorf("%s: debs[%d]: %w", config.FileName, i, err) }

// checkDebs refuses a choice that leaves a package file of the project out: apt takes
// another where an archive has the same version, and none where the base image has it.
func (k *locking) checkDebs(chosen []*archive.Package) error {
	for i := range k.debs {
		p := &k.debs[i]
		if !slices.ContainsFunc(chosen, func(c *archive.Package) bool { return c.SHA256 == p.SHA256 }) {
			return debFault(i, fault.New(fault.Usage, "give the file's package a version of its own",
				"%s: apt does not choose it: the base image or an archive has %s %s too", p.Filename, p.Name, p.Version))
		}
	}
	return nil
}
