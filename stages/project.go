package stages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/requirement"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/customise"
)

// Project is a folder with a config, perhaps a lock, and the files that the
// config names.
type Project struct {
	Dir    string
	Config *config.Config
	// ConfigText and LockText are the files as they stand.
	ConfigText, LockText []byte
	// Lock is nil where there is none yet.
	Lock *lockfile.Lock
	// LayoutText is the owner's layout, nil where there is none.
	LayoutText []byte
}

// OpenProject reads the config and the lock of the folder dir.
func OpenProject(dir string) (*Project, error) {
	p, err := OpenProjectConfig(dir)
	if err != nil {
		return nil, err
	}
	p.LayoutText, err = regular.ReadFile(filepath.Join(dir, provenance.LayoutFile), provenance.MaxLayout)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	p.LockText, err = regular.ReadFile(filepath.Join(dir, lockfile.FileName), lockfile.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.Lock, err = lockfile.Decode(lockfile.FileName, p.LockText)
	return p, err
}

// OpenProjectConfig reads the config alone.
func OpenProjectConfig(dir string) (*Project, error) {
	p := &Project{Dir: dir}
	var err error
	p.ConfigText, err = regular.ReadFile(filepath.Join(dir, config.FileName), config.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Usage, "isotrace init writes one; -C names the project's folder", "%s: there is no %s", dir, config.FileName)
	}
	if err != nil {
		return nil, err
	}
	p.Config, err = config.Parse(config.FileName, p.ConfigText)
	return p, err
}

// RecordPath is the name that records use for a file of the project.
func RecordPath(p string) string { return "project/" + path.Clean(filepath.ToSlash(p)) }

// Materials are the project's files, by what they are for.
type Materials struct {
	Lock, Config stage.Material
	Overlay      []customise.File
	OverlayFiles []stage.Material
	Scripts      []stage.Material
	Preseed      []stage.Material
	// Debs are package files, MemoryTests programs for the medium.
	Debs, MemoryTests []stage.Material
	Menu              *stage.Material
	// Dockerfile of the base image and BaseKey of its signer, nil where the config names none.
	Dockerfile, BaseKey *stage.Material
	// Requirements is the project's list, and RequirementList what it says; both
	// are nil where there is none.
	Requirements    *stage.Material
	RequirementList *requirement.List
}

// Bounds of what a project brings into an image.
const (
	maxOverlayFile  = 8 << 30
	maxOverlayFiles = 200_000
)

// Collect copies the project's files into the store.
func (p *Project) Collect(ctx context.Context, store *artifact.Store) (*Materials, error) {
	m := &Materials{}
	for _, f := range []struct {
		name string
		text []byte
		to   *stage.Material
	}{{lockfile.FileName, p.LockText, &m.Lock}, {config.FileName, p.ConfigText, &m.Config}} {
		ref, err := store.Add(strings.NewReader(string(f.text)), int64(len(f.text)))
		if err != nil {
			return nil, err
		}
		ref.Path = RecordPath(f.name)
		*f.to = stage.Material{Ref: ref}
	}
	if err := p.collectRequirements(store, m); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return nil, err
	}
	c := &collector{store: store, root: root, seen: map[string]bool{}}
	err = errors.Join(c.all(ctx, p.Config, m), root.Close())
	return m, err
}

// collector reads through an os.Root: no link leads out of the project.
type collector struct {
	store *artifact.Store
	root  *os.Root
	files int
	seen  map[string]bool
}

func (c *collector) all(ctx context.Context, cfg *config.Config, m *Materials) error {
	for _, list := range []struct {
		sources []config.Source
		to      *[]stage.Material
	}{{cfg.Scripts, &m.Scripts}, {cfg.Preseed, &m.Preseed}} {
		for _, s := range list.sources {
			mat, _, err := c.file(config.Clean(s.From))
			if err != nil {
				return err
			}
			*list.to = append(*list.to, mat)
		}
	}
	for _, one := range []struct {
		name string
		to   **stage.Material
	}{{cfg.Boot.Menu, &m.Menu}, {cfg.Base.Dockerfile, &m.Dockerfile}, {cfg.Base.SignedBy, &m.BaseKey}} {
		if one.name == "" {
			continue
		}
		mat, _, err := c.file(config.Clean(one.name))
		if err != nil {
			return err
		}
		*one.to = &mat
	}
	for i, d := range cfg.Debs {
		mat, err := c.pinned(d.File, d.SHA256)
		if err != nil {
			return debFault(i, err)
		}
		m.Debs = append(m.Debs, mat)
	}
	for i, t := range cfg.Boot.MemoryTests {
		mat, err := c.pinned(t.File, t.SHA256)
		if err != nil {
			return fmt.Errorf("%s: boot.memory-tests[%d]: %w", config.FileName, i, err)
		}
		m.MemoryTests = append(m.MemoryTests, mat)
	}
	for _, o := range cfg.Overlay {
		if err := c.overlay(ctx, o, m); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) file(name string) (_ stage.Material, _ fs.FileInfo, err error) {
	f, err := regular.Open(c.root, name)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = fmt.Errorf("%s: %w", name, e.Err)
	}
	if err != nil {
		return stage.Material{}, nil, fault.New(fault.Usage, "paths in the config are relative to the project's folder", "%w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return stage.Material{}, nil, err
	}
	ref, err := c.store.Add(f, maxOverlayFile)
	if err != nil {
		return stage.Material{}, nil, fmt.Errorf("%s: %w", name, err)
	}
	ref.Path = RecordPath(name)
	return stage.Material{Ref: ref}, st, nil
}

// pinned copies a file that is pinned by its digest.
func (c *collector) pinned(name string, want artifact.Digest) (m stage.Material, err error) {
	name = config.Clean(name)
	m, _, err = c.file(name)
	if err != nil {
		return m, err
	}
	if m.Digest != want {
		return m, fault.New(fault.Refused, "find out who changed it; if it is meant, write its new sha256 into "+config.FileName,
			"%s: its SHA-256 is %s, %s says %s", name, m.Digest, config.FileName, want)
	}
	return m, nil
}

func unwrapPath(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// overlay adds one entry of the config: a file, or a folder with all below it.
func (c *collector) overlay(ctx context.Context, o config.Overlay, m *Materials) error {
	from := config.Clean(o.From)
	return fs.WalkDir(c.root.FS(), from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fault.New(fault.Usage, "paths in the config are relative to the project's folder", "overlay %s: %w", name, unwrapPath(err))
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if !utf8.ValidString(name) {
			return fault.New(fault.Usage, "rename it, or have a script make it: records are JSON, which holds no other names", "overlay %q: its name is not UTF-8", name)
		}
		if d.IsDir() {
			return nil
		}
		if c.files++; c.files > maxOverlayFiles {
			return fault.New(fault.Usage, "", "overlay: more than %d files", maxOverlayFiles)
		}
		to := path.Clean(o.To)
		if name != from {
			to = path.Join(to, strings.TrimPrefix(name, from+"/"))
			if from == "." {
				to = path.Join(o.To, name)
			}
		} else if strings.HasSuffix(o.To, "/") {
			to = path.Join(o.To, path.Base(name))
		}
		f := customise.File{To: to, UID: o.UID, GID: o.GID}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			if f.Link, err = c.root.Readlink(name); err != nil {
				return err
			}
			if !utf8.ValidString(f.Link) {
				return fault.New(fault.Usage, "have a script make the link: records are JSON, which holds no other names", "overlay %q: its target %q is not UTF-8", name, f.Link)
			}
			f.LinkOf = RecordPath(name)
		case d.Type().IsRegular():
			mat, st, err := c.file(name)
			if err != nil {
				return err
			}
			f.Material = mat.Path
			// Only the owner's execute bit counts: a checkout under another umask
			// has other bits.
			if f.Mode = 0o644; st.Mode()&0o100 != 0 {
				f.Mode = 0o755
			}
			if o.Mode != "" {
				mode, err := strconv.ParseUint(o.Mode, 8, 12)
				if err != nil {
					return err
				}
				f.Mode = uint32(mode)
			}
			if !c.seen[mat.Path] {
				c.seen[mat.Path] = true
				m.OverlayFiles = append(m.OverlayFiles, mat)
			}
		default:
			return fault.New(fault.Usage, "an overlay has files, folders and symbolic links", "overlay %s: is neither", name)
		}
		m.Overlay = append(m.Overlay, f)
		return nil
	})
}

// Keyring reads the keys that may sign an archive of the config.
func (p *Project) Keyring(signedBy string) (_ *archive.Keyring, _ []byte, err error) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	name := config.Clean(signedBy)
	b, err := regular.Read(root, name, 4<<20)
	if err != nil {
		return nil, nil, fault.New(fault.Usage, "export the archive's keys there, such as those of the package debian-archive-keyring", "signed-by %s: %w", name, unwrapPath(err))
	}
	k, err := archive.ReadKeyring(name, b)
	return k, b, err
}

// ReleasesDir is the folder beside the lock that keeps the archives' signed
// Release files: mirrors keep only the newest.
const ReleasesDir = lockfile.FileName + ".d"

// releases are the signed Release files of a lock, by their path in ReleasesDir.
func releases(l *lockfile.Lock) map[string]artifact.Ref {
	files := map[string]artifact.Ref{}
	for _, a := range l.Archives {
		files[a.Repository+"/"+a.Release.Path] = a.Release
		if a.Signature != nil {
			files[a.Repository+"/"+a.Signature.Path] = *a.Signature
		}
	}
	return files
}

// copyReleases brings the project's Release files into the store. What is not
// there is left to the mirrors.
func (s *Session) copyReleases() (err error) {
	root, err := os.OpenRoot(s.Project.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for name, ref := range releases(s.Project.Lock) {
		if s.Store.Has(ref.Digest) {
			continue
		}
		name = ReleasesDir + "/" + name
		b, err := regular.Read(root, name, ref.Size)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := addChecked(s.Store, artifact.Ref{Path: name, Digest: ref.Digest}, b); err != nil {
			return err
		}
	}
	return nil
}
