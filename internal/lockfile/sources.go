package lockfile

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
)

// Source is a source package.
type Source struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	Archive string `yaml:"archive"` // ID
	// For are the packages that were built from it or have parts of it
	// (Built-Using), as NAME:ARCH=VERSION.
	For []string `yaml:"for"`
	// Files are the .dsc and what it names.
	Files []artifact.Ref `yaml:"files"`
}

// MissingSource is a source package that no Sources index of the archives has.
type MissingSource struct {
	Name    string   `yaml:"name"`
	Version string   `yaml:"version"`
	For     []string `yaml:"for"`
}

// ID names the source package by its name and version, between which is a blank.
func (s Source) ID() string { return s.Name + " " + s.Version }

// ID names it as that of a Source does.
func (m MissingSource) ID() string { return m.Name + " " + m.Version }

func (l *Lock) sortSources() {
	slices.SortFunc(l.Sources, func(a, b Source) int {
		return cmp.Or(strings.Compare(a.ID(), b.ID()), strings.Compare(a.Archive, b.Archive))
	})
	slices.SortFunc(l.SourcesMissing, func(a, b MissingSource) int { return strings.Compare(a.ID(), b.ID()) })
	for _, s := range l.Sources {
		slices.Sort(s.For)
		slices.SortFunc(s.Files, func(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) })
	}
	for _, m := range l.SourcesMissing {
		slices.Sort(m.For)
	}
}

func (l *Lock) validateSources() error {
	if len(l.Sources)+len(l.SourcesMissing) == 0 {
		return nil
	}
	packages := map[string]bool{}
	for _, id := range l.withSources() {
		packages[id] = true
	}
	repositories := map[string]string{}
	for _, a := range l.Archives {
		repositories[a.ID] = a.Repository
	}
	seen := map[string]bool{}
	files := map[string]artifact.Ref{}
	for _, s := range l.Sources {
		if err := validateSource(s.Name, s.Version, s.For, packages); err != nil {
			return fmt.Errorf("sources: %.200s: %w", s.Name, err)
		}
		repository, ok := repositories[s.Archive]
		if !ok {
			return fmt.Errorf("sources: %s: archive %.200q is not in the lock", s.Name, s.Archive)
		}
		in := s.ID() + " " + s.Archive
		if seen[in] {
			return fmt.Errorf("sources: %s: listed twice", s.Name)
		}
		seen[in], seen[s.ID()] = true, true
		if err := s.validateFiles(repository, files); err != nil {
			return fmt.Errorf("sources: %s: %w", s.Name, err)
		}
	}
	for _, m := range l.SourcesMissing {
		if err := validateSource(m.Name, m.Version, m.For, packages); err != nil {
			return fmt.Errorf("sources-missing: %.200s: %w", m.Name, err)
		}
		if seen[m.ID()] {
			return fmt.Errorf("sources-missing: %s: listed twice", m.Name)
		}
		seen[m.ID()] = true
	}
	if without := l.WithoutSource(); len(without) > 0 {
		return fmt.Errorf("sources: there is none of %s", without[0])
	}
	return nil
}

func validateSource(name, version string, users []string, packages map[string]bool) error {
	if err := archive.ValidatePackageName(name); err != nil {
		return err
	}
	if err := archive.ValidateVersion(version); err != nil {
		return err
	}
	if len(users) == 0 {
		return errors.New("does not say what it is for")
	}
	for i, id := range users {
		if !packages[id] {
			return fmt.Errorf("is for %.200q, which is neither in the image nor boots it", id)
		}
		if i > 0 && users[i-1] == id { // Decode takes sorted ones only
			return fmt.Errorf("is for %s twice", id)
		}
	}
	return nil
}

// validateFiles also holds files of several source packages, such as the same
// upstream's, to one content a path.
func (s Source) validateFiles(repository string, files map[string]artifact.Ref) error {
	descriptions := 0
	for i, f := range s.Files {
		if err := validateFile(f); err != nil {
			return err
		}
		if i > 0 && s.Files[i-1].Path == f.Path {
			return fmt.Errorf("%s: listed twice", f.Path)
		}
		if strings.HasSuffix(f.Path, ".dsc") {
			descriptions++
		}
		at := repository + "/" + f.Path
		if have, ok := files[at]; ok && have != f {
			return fmt.Errorf("%s: another source package has it with other content", f.Path)
		}
		files[at] = f
	}
	if descriptions != 1 {
		return fmt.Errorf("want one .dsc, have %d", descriptions)
	}
	return nil
}

// withSources are the packages whose sources belong to the image: those in it
// and those that boot it.
func (l *Lock) withSources() []string {
	ids := map[string]bool{}
	for _, id := range l.Installed() {
		ids[id] = true
	}
	for _, p := range l.Boot {
		ids[p.ID()] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// WithoutSource returns the packages of the image, and of what boots it, of
// whose source package the lock says neither where it is nor that it is missing.
func (l *Lock) WithoutSource() []string {
	told := map[string]bool{} // by package, and by source and package
	tell := func(source string, users []string) {
		for _, id := range users {
			told[id], told[source+" "+id] = true, true
		}
	}
	for _, s := range l.Sources {
		tell(s.ID(), s.For)
	}
	for _, m := range l.SourcesMissing {
		tell(m.ID(), m.For)
	}
	own := map[string]string{} // sources by package; what the base image alone has says nothing of its own
	for _, p := range slices.Concat(l.Target, l.Boot) {
		own[p.ID()] = p.Source + " " + p.SourceVersion
	}
	return slices.DeleteFunc(l.withSources(), func(id string) bool {
		if source, ok := own[id]; ok {
			return told[source+" "+id]
		}
		return told[id]
	})
}
