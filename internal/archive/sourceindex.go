package archive

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

// SourcePackage is what isotrace keeps of a stanza of a Sources index.
type SourcePackage struct {
	Name    string
	Version string
	// Files are the .dsc and what it names, by their paths below the mirror's
	// base, sorted.
	Files []artifact.Ref
}

// String names the source package as archives do.
func (p *SourcePackage) String() string { return p.Name + " " + p.Version }

// The bounds of one Sources index, about twenty times what Debian has.
const (
	maxSourcePackages = 1_000_000
	maxSourceFiles    = 1000 // of one source package
)

// ParseSourceIndex reads a Sources index, called name in errors. Every stanza
// must have what a fetch needs: name, version, folder, and of each file its
// name, size and SHA-256.
func ParseSourceIndex(r io.Reader, name string) ([]SourcePackage, error) {
	rd := deb822.NewReaderLimits(r, name, deb822.Limits{Stanza: 8 << 20})
	var all []SourcePackage
	for {
		s, err := rd.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(all) == maxSourcePackages {
			return nil, fmt.Errorf("%s: more than %d source packages", name, maxSourcePackages)
		}
		p, err := parseSourcePackage(s)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

func parseSourcePackage(s *deb822.Stanza) (SourcePackage, error) {
	p := SourcePackage{Name: s.Get("Package"), Version: s.Get("Version")}
	if err := ValidatePackageName(p.Name); err != nil {
		return p, s.Errorf("Package", "%w", err)
	}
	if err := ValidateVersion(p.Version); err != nil {
		return p, s.Errorf("Version", "%s: %w", p.Name, err)
	}
	dir := strings.TrimPrefix(s.Get("Directory"), "./")
	if err := ValidatePath(dir); err != nil {
		return p, s.Errorf("Directory", "%s: %w", p.Name, err)
	}
	const field = "Checksums-Sha256"
	text, err := s.Require(field)
	if err != nil {
		return p, err
	}
	sums, err := parseSums(text)
	if err != nil {
		return p, s.Errorf(field, "%s: %w", p.Name, err)
	}
	if len(sums) > maxSourceFiles {
		return p, s.Errorf(field, "%s: more than %d files", p.Name, maxSourceFiles)
	}
	descriptions := 0
	for name, f := range sums {
		if strings.Contains(name, "/") {
			return p, s.Errorf(field, "%s: %s is no file of the package's folder", p.Name, quoteShort(name))
		}
		if strings.HasSuffix(name, ".dsc") {
			descriptions++
		}
		p.Files = append(p.Files, artifact.Ref{Path: path.Join(dir, name), Digest: f.SHA256, Size: f.Size})
	}
	if descriptions != 1 {
		return p, s.Errorf(field, "%s: want one .dsc, have %d", p.Name, descriptions)
	}
	slices.SortFunc(p.Files, func(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) })
	return p, nil
}

// Sources reads the suite's Sources indexes, in their order.
func (s *Suite) Sources(content Content) ([]SourcePackage, error) {
	var all []SourcePackage
	for _, i := range s.SourceIndexes {
		sources, err := i.Sources(content)
		if err != nil {
			return nil, err
		}
		all = append(all, sources...)
	}
	return all, nil
}

// Sources reads the Sources index and checks that it is whole.
func (i Index) Sources(content Content) (_ []SourcePackage, err error) {
	r, err := i.Open(content)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	sources, err := ParseSourceIndex(r, i.Ref.Path)
	if err != nil {
		return nil, fault.New(fault.Refused, "", "%w", err)
	}
	return sources, nil
}

// ReadSourceIndex reads the text of a Sources index, compressed as its path's
// ending says.
func ReadSourceIndex(path string, text []byte) ([]SourcePackage, error) {
	r, err := indexText(path, text)
	if err != nil {
		return nil, err
	}
	return ParseSourceIndex(r, path)
}
