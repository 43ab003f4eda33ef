package sbom

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
)

// Bounds of a document.
const (
	maxComponents   = 500_000
	maxDependencies = 5_000_000
	maxWord         = 1 << 10 // bytes of a name, a version, an id
	maxPath         = 16 << 10
	maxList         = 100_000 // of a component's own: requirements, paths, sources, layers
)

// Validate refuses a document that the writers could not write truly: without
// what names a component, with two of one ID, with a dependency on none, or
// beyond the bounds. Texts are not looked at: they are cut and made printable
// when they are written.
func (d *Document) Validate() error {
	if d.Format != Format {
		return fmt.Errorf("sbom: format %d, this isotrace has %d", d.Format, Format)
	}
	if n := len(d.Packages) + len(d.Sources) + len(d.Found) + len(d.Files); n > maxComponents {
		return fmt.Errorf("sbom: %d components; at most %d are allowed", n, maxComponents)
	}
	if err := d.Epoch.Validate(); err != nil {
		return fmt.Errorf("sbom: %w", err)
	}
	if err := word("version", d.Version); err != nil {
		return fmt.Errorf("sbom: isotrace: %w", err)
	}
	dependencies := 0
	check := func(id string, deps []Dependency, err error) error {
		if err == nil && dependencies > maxDependencies-len(deps) {
			err = fmt.Errorf("more than %d dependencies", maxDependencies)
		}
		dependencies += len(deps)
		if err != nil {
			return fmt.Errorf("sbom: %s: %w", show(id), err)
		}
		return nil
	}
	if err := check("product", nil, d.Product.validate()); err != nil {
		return err
	}
	for i := range d.Packages {
		p := &d.Packages[i]
		if err := check(p.ID(), p.Dependencies, p.validate()); err != nil {
			return err
		}
	}
	for i := range d.Sources {
		if err := check(d.Sources[i].ID(), nil, d.Sources[i].validate()); err != nil {
			return err
		}
	}
	if d.System != nil {
		if err := check("system", nil, d.System.validate()); err != nil {
			return err
		}
	}
	if d.Base != nil {
		if err := check("base image", nil, d.Base.validate()); err != nil {
			return err
		}
	}
	for i := range d.Found {
		f := &d.Found[i]
		if err := check(f.ID(), f.Dependencies, f.validate()); err != nil {
			return err
		}
	}
	for i := range d.Files {
		if err := check(d.Files[i].ID(), nil, d.Files[i].validate()); err != nil {
			return err
		}
	}
	return d.validateRest()
}

func (d *Document) validateRest() error {
	seen := map[string]bool{}
	if len(d.Licences) > maxComponents || len(d.Findings) > maxComponents {
		return fmt.Errorf("sbom: more than %d licences or findings", maxComponents)
	}
	for _, l := range d.Licences {
		if len(l.ID) > maxWord || !validLicence(l.ID, false) || seen[l.ID] {
			return fmt.Errorf("sbom: licence %q: listed twice, or no id", clip(l.ID, 80))
		}
		seen[l.ID] = true
		if err := digest("text", l.SHA256); err != nil {
			return fmt.Errorf("sbom: licence %s: %w", l.ID, err)
		}
	}
	clear(seen)
	for _, f := range d.Findings {
		if err := word("id", f.ID); err != nil {
			return fmt.Errorf("sbom: finding: %w", err)
		}
		if seen[f.ID] || len(f.Components) > maxList {
			return fmt.Errorf("sbom: finding %s: listed twice, or on more than %d components", f.ID, maxList)
		}
		seen[f.ID] = true
	}
	return nil
}

func (p *Product) validate() error {
	if len(p.References) > maxList {
		return fmt.Errorf("more than %d references", maxList)
	}
	for _, r := range p.References {
		if !validReferenceType(r.Type) {
			return fmt.Errorf("reference type %q is not one of CycloneDX 1.6", clip(r.Type, 80))
		}
		if err := first(reference(r.URL), r.Hashes.validate()); err != nil {
			return err
		}
	}
	if p.Location != "" {
		if err := reference(p.Location); err != nil {
			return err
		}
	}
	return first(word("name", p.Name), word("version", p.Version), size(p.Size), p.Hashes.validate(), p.Licence.validate(), oneOf("completeness", p.Completeness, completenesses))
}

func (p *Package) validate() error {
	if err := first(archive.ValidatePackageName(p.Name), archive.ValidateVersion(p.Version),
		SourceID{p.Source, p.SourceVersion}.validate()); err != nil {
		return err
	}
	if !archive.ValidArchitecture(p.Architecture) {
		return fmt.Errorf("architecture %q is not valid", clip(p.Architecture, 80))
	}
	if len(p.Requirements) > maxList || len(p.BuiltUsing)+len(p.StaticBuiltUsing) > maxList {
		return fmt.Errorf("more than %d requirements or sources", maxList)
	}
	for _, l := range [][]SourceID{p.BuiltUsing, p.StaticBuiltUsing} {
		for _, s := range l {
			if err := s.validate(); err != nil {
				return fmt.Errorf("built using: %w", err)
			}
		}
	}
	if p.Deb != nil {
		if err := first(archive.ValidatePath(p.Deb.Path), size(p.Deb.Size), p.Deb.Hashes.validate(), digest("release", p.Deb.Release)); err != nil {
			return err
		}
	}
	return first(p.Distro.validate(), size(p.InstalledSize), digest("layer", p.Layer), p.Licence.validate(), kinds(p.Dependencies),
		oneOf("set", p.Set, []Set{Target, Boot, Tools}), oneOf("from", p.From, []Origin{FromArchive, FromBase, FromProject}),
		oneOf("mark", p.Mark, []Mark{"", Auto, Manual}), oneOf("completeness", p.Completeness, completenesses),
		oneOf("executable", p.Executable, answers))
}

func (d Distro) validate() error {
	return first(word("distro", d.ID), optional("distro version", d.Version), optional("codename", d.Codename))
}

func (s SourceID) validate() error {
	return first(archive.ValidatePackageName(s.Name), archive.ValidateVersion(s.Version))
}

func (s *Source) validate() error {
	if len(s.Files) > maxList {
		return fmt.Errorf("more than %d files", maxList)
	}
	errs := []error{s.SourceID.validate(), s.Distro.validate()}
	if s.Directory != "" {
		errs = append(errs, archive.ValidatePath(s.Directory))
	}
	for _, f := range s.Files {
		errs = append(errs, archive.ValidatePath(f.Name), size(f.Size), f.Hashes.validate())
	}
	return first(errs...)
}

func (b *BaseImage) validate() error {
	if len(b.Layers) > maxList {
		return fmt.Errorf("more than %d layers", maxList)
	}
	errs := []error{word("reference", b.Reference), b.Manifest.Validate(), digest("config", b.Config)}
	for _, l := range b.Layers {
		errs = append(errs, l.Digest.Validate(), size(l.Size))
	}
	return first(errs...)
}

func (f *Found) validate() error {
	if len(f.Paths) == 0 || len(f.Paths) > maxList {
		return fmt.Errorf("seen at %d paths; want 1 to %d", len(f.Paths), maxList)
	}
	for _, p := range f.Paths {
		if err := p.validate(); err != nil {
			return err
		}
	}
	return first(word("type", f.Type), word("name", f.Name), optional("version", f.Version), word("found by", f.FoundBy), kinds(f.Dependencies),
		f.Hashes.validate(), f.Licence.validate(), f.Nature.validate(), oneOf("completeness", f.Completeness, completenesses))
}

func (f *File) validate() error {
	if len(f.Requirements) > maxList {
		return fmt.Errorf("more than %d requirements", maxList)
	}
	if f.Hashes.SHA256 == "" {
		return errors.New("has no SHA-256")
	}
	return first(word("tree", f.Tree), f.Path.validate(), size(f.Size), word("origin", f.Origin), f.Hashes.validate(), f.Licence.validate(), f.Nature.validate())
}

func (n Nature) validate() error {
	return first(oneOf("executable", n.Executable, answers), oneOf("archive", n.Archive, answers), oneOf("structured", n.Structured, answers))
}

func (h Hashes) validate() error {
	for _, s := range h.list() {
		if len(s.value) != s.digits || strings.ContainsFunc(s.value, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) {
			return fmt.Errorf("%s %q: want %d lower-case hexadecimal digits", s.spdx, clip(s.value, 80), s.digits)
		}
	}
	return nil
}

func (l Licensing) validate() error {
	return first(checkExpression(l.Declared, nil), checkExpression(l.Concluded, nil), digest("licence file", l.FileSHA256))
}

func (p Path) validate() error {
	if p == "" || len(p) > maxPath || strings.HasPrefix(string(p), "/") || strings.ContainsRune(string(p), 0) {
		return fmt.Errorf("%q is no path relative to a tree", clip(p.String(), 80))
	}
	return nil
}

var (
	completenesses = []Completeness{"", Complete, Incomplete, Undetermined}
	answers        = []Answer{"", Yes, No}
)

func kinds(list []Dependency) error {
	for _, d := range list {
		if err := oneOf("dependency", d.Kind, []Kind{PreDepends, Depends, Recommends}); err != nil {
			return err
		}
	}
	return nil
}

func oneOf[T ~string](what string, s T, known []T) error {
	for _, k := range known {
		if s == k {
			return nil
		}
	}
	return fmt.Errorf("%s %q is not known", what, clip(string(s), 80))
}

// word refuses what cannot name a thing: nothing, too much, or what does not
// print.
func word(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is missing", what)
	}
	return optional(what, s)
}

func optional(what, s string) error {
	if len(s) > maxWord || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%s %q: want at most %d bytes of printable UTF-8", what, clip(s, 80), maxWord)
	}
	return nil
}

// first returns the first error there is, as errors are one line.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func size(n int64) error {
	if n < 0 {
		return fmt.Errorf("size %d is negative", n)
	}
	return nil
}

func digest(what string, d artifact.Digest) error {
	if d == "" {
		return nil
	}
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// reference refuses what is no URI reference of printable ASCII.
func reference(s string) error {
	if s == "" || len(s) > maxLine || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>\\^`{|}", r)
	}) {
		return fmt.Errorf("%q is no URI", clip(s, 80))
	}
	return nil
}
