package stages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/baseimage"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/base"
	"github.com/isotrace/isotrace/stages/fetch"
	"github.com/isotrace/isotrace/stages/install"
)

// basePrefix marks a keyring of the base image, as against one of the project.
const basePrefix = lockfile.BasePrefix

// baseSystem is what a base image says of itself while a lock is made.
type baseSystem struct {
	status   []byte   // dpkg's
	packages []string // NAME:ARCH=VERSION
	sources  []archive.Source
	archives []config.Archive  // the suites of the sources
	keys     map[string][]byte // by signed-by, with its prefix
}

// openBase copies the base image into the store, unpacks it and reads what
// dpkg and apt have there.
func (k *locking) openBase(ctx context.Context) (err error) {
	c := k.config
	img, err := baseimage.Open(ctx, c.Base, k.Project.Dir, k.lock.Architecture, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, img.Close()) }()
	if err := k.takeSignature(img); err != nil {
		return err
	}
	locked := img.Locked
	for _, b := range locked.Blobs() {
		if err := img.Copy(ctx, k.Store, b); err != nil {
			return err
		}
	}
	k.lock.Image = &locked
	g := &stage.Graph{}
	lock := stage.Material{Ref: artifact.Ref{Path: "base image", Digest: locked.Manifest.Digest}}
	items := Items(&lockfile.Lock{Image: &locked})
	fetched := g.Add(fetch.Stage(lock, nil, items, haveAll))
	tree := g.Add(base.Image(fetched.Set(fetch.Base), locked.Manifest.Digest)).Tree("root")
	runner := &stage.Runner{Store: k.Store, Progress: k.Progress, Journal: k.Journal, Limits: limitsOf(k.config)}
	return runner.WithTree(ctx, g, tree, func(dir string) (err error) {
		if k.base, err = readBase(dir); err != nil {
			return err
		}
		k.lock.Image.Packages = k.base.packages
		k.Mirrors.Base = k.base.sources
		return nil
	})
}

// takeSignature finds the signature of the key that the config names.
func (k *locking) takeSignature(img *baseimage.Image) (err error) {
	name := k.config.Base.SignedBy
	if name == "" {
		return nil
	}
	root, err := os.OpenRoot(k.Project.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	text, err := regular.Read(root, config.Clean(name), 1<<16)
	if err != nil {
		return fault.New(fault.Usage, "base.signed-by is the file of a public key, below the project's folder", "base.signed-by: %w", err)
	}
	key, err := provenance.ParsePublicKey(name, text)
	if err != nil {
		return err
	}
	why := "there is none"
	for _, s := range img.Signatures {
		if err := provenance.CheckImageSignature(key, s.Payload, s.Value, provenance.SignedDigests(&img.Locked)...); err != nil {
			why = err.Error()
			continue
		}
		img.TakeSignature(s)
		img.Locked.Signature.Key = artifact.Ref{Path: config.Clean(name), Digest: artifact.HashBytes(text), Size: int64(len(text))}
		return nil
	}
	return fault.New(fault.Refused, "have it signed with cosign sign --key, or name another key", "base image sha256:%s: no signature of key %.8s (%s): %s", img.Locked.Manifest.Digest, key.KeyID(), name, why)
}

// haveAll stands for a fetcher where everything is in the store.
func haveAll(context.Context, *artifact.Store, []fetch.Item, func(done, total int64)) error {
	return nil
}

// readBase reads what dpkg and apt have in the tree of a base image.
func readBase(dir string) (_ *baseSystem, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	b := &baseSystem{keys: map[string][]byte{}}
	if b.status, err = regular.Read(root, "var/lib/dpkg/status", 256<<20); err != nil {
		return nil, fault.New(fault.Usage, "the base must be a Debian or Ubuntu system", "base image: %w", err)
	}
	if b.packages, err = install.Installed(root); err != nil {
		return nil, fmt.Errorf("base image: %w", err)
	}
	for _, id := range b.packages {
		if err := lockfile.ValidateID(id); err != nil {
			return nil, fmt.Errorf("base image: %w", err)
		}
	}
	if b.sources, err = archive.ReadSources(dir); err != nil {
		return nil, fmt.Errorf("base image: %w", err)
	}
	return b, b.readArchives(root)
}

// readArchives takes the suites and keys of apt's sources in the image.
func (b *baseSystem) readArchives(root *os.Root) error {
	for _, s := range b.sources {
		if !slices.Contains(s.Types, "deb") {
			continue
		}
		signedBy, err := b.keysOf(root, s)
		if err != nil {
			return fmt.Errorf("base image: %s:%d: %w", s.File, s.Line, err)
		}
		for _, uri := range s.URIs {
			repository, err := archive.RepositoryOf(uri)
			if err != nil {
				return fmt.Errorf("base image: %s:%d: %w", s.File, s.Line, err)
			}
			for _, name := range s.Suites {
				a := config.Archive{Repository: repository, Suite: name, Components: s.Components, SignedBy: signedBy}
				i := slices.IndexFunc(b.archives, func(have config.Archive) bool { return have.Repository == repository && have.Suite == name })
				if i < 0 {
					b.archives = append(b.archives, a)
					continue
				}
				for _, c := range s.Components {
					if !slices.Contains(b.archives[i].Components, c) {
						b.archives[i].Components = append(slices.Clone(b.archives[i].Components), c)
					}
				}
			}
		}
	}
	return nil
}

// keysOf reads the keys that apt in the image would accept for a source: those
// it names, or else all that apt trusts.
func (b *baseSystem) keysOf(root *os.Root, s archive.Source) (string, error) {
	if len(s.Key) > 0 {
		name := basePrefix + "/" + s.File
		b.keys[name] = s.Key
		return name, nil
	}
	files := slices.DeleteFunc(slices.Clone(s.SignedBy), func(f string) bool { return !path.IsAbs(f) })
	if len(files) == 0 {
		for _, pattern := range []string{"etc/apt/trusted.gpg", "etc/apt/trusted.gpg.d/*.gpg", "etc/apt/trusted.gpg.d/*.asc"} {
			found, err := fs.Glob(root.FS(), pattern)
			if err != nil {
				return "", err
			}
			files = append(files, found...)
		}
	}
	var all []byte
	for _, f := range files {
		text, err := regular.Read(root, strings.TrimPrefix(f, "/"), 4<<20)
		if err != nil {
			return "", err
		}
		binary, err := archive.Dearmor(f, text)
		if err != nil {
			return "", err
		}
		all = append(all, binary...)
	}
	if len(all) == 0 {
		return "", errors.New("apt trusts no key for it")
	}
	name := basePrefix + "/" + strings.TrimPrefix(files[0], "/")
	if len(files) > 1 {
		name = basePrefix + "/etc/apt/trusted.gpg.d"
	}
	b.keys[name] = all
	return name, nil
}
