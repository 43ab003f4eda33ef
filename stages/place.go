package stages

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
)

// CheckPlace refuses an output folder inside of what a build reads: an overlay, from which
// the images of one build would come into those of the next, and the store, which sweeps
// itself.
func (s *Session) CheckPlace(out string) error {
	at, err := placeOf(out)
	if err != nil {
		return fault.New(fault.Usage, "name another folder with -o", "the output folder: %w", err)
	}
	refuse := func(dir, what string) error {
		real, err := placeOf(dir)
		if err != nil {
			return err
		}
		if at == real || strings.HasPrefix(at, strings.TrimSuffix(real, "/")+"/") {
			return fault.New(fault.Usage, "name another folder with -o", "the output folder %s: lies in %s", out, what)
		}
		return nil
	}
	for _, o := range s.Project.Config.Overlay {
		from := config.Clean(o.From)
		if err := refuse(filepath.Join(s.Project.Dir, from), "the overlay "+from+", and would come into the image"); err != nil {
			return err
		}
	}
	return refuse(s.Store.Root(), "the store")
}

// placeOf is where a path leads to, without links; the end of it may be missing.
func placeOf(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	for rest := ""; ; name, rest = filepath.Dir(name), filepath.Join(filepath.Base(name), rest) {
		at, err := filepath.EvalSymlinks(name)
		if err == nil {
			return filepath.Join(at, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || name == filepath.Dir(name) {
			return "", err
		}
	}
}
