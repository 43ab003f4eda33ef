package archive

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
)

// Package is what isotrace keeps of a stanza of a Packages index. Fields that
// it does not need (descriptions, tags) stay behind: an archive has 70,000
// packages and more.
type Package struct {
	Name          string
	Version       string
	Architecture  string
	Source        string // the source package's name
	SourceVersion string
	Filename      string // below the mirror's base
	Size          int64
	InstalledSize int64 // KiB, as estimated by the packager
	SHA256        artifact.Digest
	Essential     bool
	Priority      string
	Section       string
	MultiArch     string
	PreDepends    string
	Depends       string
	Recommends    string
	Provides      string
	BuiltUsing    string // source packages of which it has parts, besides its own
}

// String names the package as dpkg does.
func (p *Package) String() string { return p.Name + ":" + p.Architecture + " " + p.Version }

// maxPackages bounds one index: about twenty times Debian's largest.
const maxPackages = 2_000_000

// ParsePackages reads a Packages index, called name in errors. Every stanza
// must have what a fetch needs: name, version, architecture, path, size and
// SHA-256.
func ParsePackages(r io.Reader, name string) ([]Package, error) {
	return parsePackages(r, name, func(*Package) bool { return true })
}

func parsePackages(r io.Reader, name string, keep func(*Package) bool) ([]Package, error) {
	rd := deb822.NewReaderLimits(r, name, deb822.Limits{Stanza: 8 << 20})
	p := packagesParser{same: map[string]string{}, keep: keep}
	for n := 0; ; n++ {
		s, err := rd.Next()
		if err == io.EOF {
			return p.all, nil
		}
		if err != nil {
			return nil, err
		}
		if n == maxPackages {
			return nil, fmt.Errorf("%s: more than %d packages", name, maxPackages)
		}
		if err := p.add(s); err != nil {
			return nil, err
		}
	}
}

type packagesParser struct {
	all  []Package
	buf  []byte
	same map[string]string // texts that many packages share
	keep func(*Package) bool
}

// add copies the stanza's fields in one allocation: the strings of a package
// are cut from one text.
func (p *packagesParser) add(s *deb822.Stanza) error {
	var pkg Package
	var source, size, installed, essential, sum string
	own := [...]struct {
		name string
		to   *string
	}{
		{"Package", &pkg.Name}, {"Version", &pkg.Version}, {"Filename", &pkg.Filename}, {"SHA256", &sum},
		{"Source", &source}, {"Pre-Depends", &pkg.PreDepends}, {"Depends", &pkg.Depends},
		{"Recommends", &pkg.Recommends}, {"Provides", &pkg.Provides}, {"Built-Using", &pkg.BuiltUsing},
	}
	type cut struct {
		to       *string
		from, at int
	}
	var cuts [len(own)]cut
	n := 0
	p.buf = p.buf[:0]
fields:
	for _, f := range s.Fields() {
		for i := range own {
			if deb822.Is(f.Name, own[i].name) {
				from := len(p.buf)
				p.buf = append(p.buf, f.Value...)
				cuts[n] = cut{own[i].to, from, len(p.buf)}
				n++
				continue fields
			}
		}
		switch {
		case deb822.Is(f.Name, "Architecture"):
			pkg.Architecture = p.share(f.Value)
		case deb822.Is(f.Name, "Priority"):
			pkg.Priority = p.share(f.Value)
		case deb822.Is(f.Name, "Section"):
			pkg.Section = p.share(f.Value)
		case deb822.Is(f.Name, "Multi-Arch"):
			pkg.MultiArch = p.share(f.Value)
		case deb822.Is(f.Name, "Size"):
			size = string(f.Value)
		case deb822.Is(f.Name, "Installed-Size"):
			installed = string(f.Value)
		case deb822.Is(f.Name, "Essential"):
			essential = p.share(f.Value)
		}
	}
	text := string(p.buf)
	for _, c := range cuts[:n] {
		*c.to = text[c.from:c.at]
	}
	if err := pkg.complete(s, source, size, installed, sum); err != nil {
		return err
	}
	pkg.Essential = essential == "yes"
	if p.keep(&pkg) {
		p.all = append(p.all, pkg)
	}
	return nil
}

func (p *packagesParser) share(b []byte) string {
	if s, ok := p.same[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(p.same) < 4096 {
		p.same[s] = s
	}
	return s
}

func (pkg *Package) complete(s *deb822.Stanza, source, size, installed, sum string) (err error) {
	if err := ValidatePackageName(pkg.Name); err != nil {
		return s.Errorf("Package", "%w", err)
	}
	if err := ValidateVersion(pkg.Version); err != nil {
		return s.Errorf("Version", "%s: %w", pkg.Name, err)
	}
	if !ValidArchitecture(pkg.Architecture) {
		return s.Errorf("Architecture", "%s: architecture %s is not valid", pkg.Name, quoteShort(pkg.Architecture))
	}
	pkg.Filename = strings.TrimPrefix(pkg.Filename, "./")
	if err := ValidatePath(pkg.Filename); err != nil {
		return s.Errorf("Filename", "%s: %w", pkg.Name, err)
	}
	if pkg.Size, err = parseSize(size); err != nil {
		return s.Errorf("Size", "%s: %w", pkg.Name, err)
	}
	if installed != "" {
		if pkg.InstalledSize, err = parseSize(installed); err != nil {
			return s.Errorf("Installed-Size", "%s: %w", pkg.Name, err)
		}
	}
	pkg.SHA256 = artifact.Digest(sum)
	if err := pkg.SHA256.Validate(); err != nil {
		return s.Errorf("SHA256", "%s: %w", pkg.Name, err)
	}
	pkg.Source, pkg.SourceVersion, err = ParseSource(source, pkg.Name, pkg.Version)
	if err != nil {
		return s.Errorf("Source", "%s: %w", pkg.Name, err)
	}
	return nil
}

// ParseSource reads a binary package's Source field, "name" or "name
// (version)"; what it leaves out is as in the binary package.
func ParseSource(field, name, version string) (source, sourceVersion string, err error) {
	if field == "" {
		return name, version, nil
	}
	source, rest, _ := strings.Cut(field, " ")
	if err := ValidatePackageName(source); err != nil {
		return "", "", err
	}
	rest = strings.TrimSpace(rest)
	if rest == "" {
		return source, version, nil
	}
	if len(rest) < 3 || rest[0] != '(' || rest[len(rest)-1] != ')' {
		return "", "", fmt.Errorf("want a version in parentheses, have %s", quoteShort(rest))
	}
	sourceVersion = rest[1 : len(rest)-1]
	return source, sourceVersion, ValidateVersion(sourceVersion)
}

// ValidatePath refuses a path that is not plainly below a mirror's base.
func ValidatePath(p string) error {
	switch {
	case p == "" || p == ".":
		return fmt.Errorf("the path is missing")
	case len(p) > 4096:
		return fmt.Errorf("the path has %d bytes; at most 4096 are allowed", len(p))
	case path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
		return fmt.Errorf("path %s is not a clean relative one", quoteShort(p))
	case !allOf(p, func(c byte) bool { return c > ' ' && c != 0x7f && c != '\\' }):
		return fmt.Errorf("path %s holds a character that is not allowed", quoteShort(p))
	}
	return nil
}

func parseSize(s string) (int64, error) {
	if s == "" || !allOf(s, isDigit) {
		return 0, fmt.Errorf("size %s is no number", quoteShort(s))
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size %s is no number", quoteShort(s))
	}
	return n, nil
}

// ReadPackages reads the text of a Packages index, compressed as its path's
// ending says, and returns those packages that keep wants.
func ReadPackages(path string, text []byte, keep func(*Package) bool) ([]Package, error) {
	r, err := indexText(path, text)
	if err != nil {
		return nil, err
	}
	return parsePackages(r, path, keep)
}

// indexText decompresses an index, as its path's ending says.
func indexText(path string, text []byte) (io.Reader, error) {
	format, _ := decompress.Format(path)
	r, err := decompress.NewReader(bytes.NewReader(text), format, maxIndex)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", path, err)
	}
	return r, nil
}
