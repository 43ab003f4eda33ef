package stages

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
)

// SaveLock writes the lock, and before it the Release files that it rests on. Those of the
// lock before stand until then; a folder with anything else in it is refused.
func (s *Session) SaveLock(l *lockfile.Lock) (err error) {
	text, err := l.Encode()
	if err != nil {
		return err
	}
	dir := filepath.Join(s.Project.Dir, ReleasesDir)
	if err := checkReleases(s.Project.Dir); err != nil {
		return err
	}
	if err := sweepReleases(dir); err != nil {
		return err
	}
	work, err := os.MkdirTemp(s.Project.Dir, filepath.Base(besideName(dir))+"*")
	if err != nil {
		return artifact.ExplainWrite(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	made, old := filepath.Join(work, "new"), filepath.Join(work, aside)
	if err := os.Mkdir(made, 0o755); err != nil {
		return err
	}
	for name, ref := range releases(l) {
		b, err := regular.ReadFile(s.Store.Path(ref.Digest), ref.Size)
		if err != nil {
			return err
		}
		at := filepath.Join(made, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := artifact.WriteBytes(at, 0o644, b); err != nil {
			return err
		}
	}
	had := true
	if err := os.Rename(dir, old); errors.Is(err, fs.ErrNotExist) {
		had = false
	} else if err != nil {
		return err
	}
	err = os.Rename(made, dir)
	if err == nil {
		if err = artifact.WriteBytes(filepath.Join(s.Project.Dir, lockfile.FileName), 0o644, text); err == nil {
			return nil
		}
		err = errors.Join(err, os.Rename(dir, made))
	}
	if had {
		err = errors.Join(err, os.Rename(old, dir))
	}
	return err
}

// sweepReleases puts back what a killed process had set aside.
func sweepReleases(dir string) error {
	drafts, err := draftsBeside(dir)
	if err != nil {
		return err
	}
	for _, draft := range drafts {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(filepath.Join(draft, aside), dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := os.RemoveAll(draft); err != nil {
			return err
		}
	}
	return nil
}

// checkReleases refuses a folder beside the lock that holds anything but Release files, by
// their places in an archive.
func checkReleases(project string) (err error) {
	root, err := os.OpenRoot(project)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if _, err := root.Lstat(ReleasesDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	const maxDepth = 16
	var look func(dir string, depth int) error
	look = func(dir string, depth int) error {
		entries, err := regular.ReadDir(root, dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			switch {
			case e.IsDir() && depth < maxDepth:
				if err := look(name, depth+1); err != nil {
					return err
				}
			case !e.Type().IsRegular() || !slices.Contains([]string{"InRelease", "Release", "Release.gpg"}, e.Name()):
				return fault.New(fault.Usage, fmt.Sprintf("move it elsewhere: isotrace lock replaces %s", ReleasesDir), "%q: is no Release file of an archive", name)
			}
		}
		return nil
	}
	return look(ReleasesDir, 0)
}
