package lockfile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
)

func (l *Lock) validate() error {
	if err := l.Epoch.Validate(); err != nil {
		return err
	}
	if err := l.Intent.Validate(); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	archives := map[string]bool{}
	for _, a := range l.Archives {
		if archives[a.ID] || a.ID != a.Repository+"/"+a.Suite {
			return fmt.Errorf("archive %q: listed twice or misnamed", a.ID)
		}
		archives[a.ID] = true
		for _, r := range a.Files() {
			if err := validateFile(r); err != nil {
				return fmt.Errorf("archive %s: %w", a.ID, err)
			}
		}
		if err := a.Keyring.Digest.Validate(); err != nil {
			return fmt.Errorf("archive %s: keyring: %w", a.ID, err)
		}
	}
	uses := map[string][]Use{"target": {UseBase, UseInstall, UseProof}, "boot": {UseBoot}, "tools": {UseBuild, UseSolve, UseEmulator}}
	for _, set := range []struct {
		name string
		list []Package
	}{{"target", l.Target}, {"boot", l.Boot}, {"tools", l.Tools}} {
		for i, p := range set.list {
			if err := p.validate(archives, uses[set.name]); err != nil {
				return fmt.Errorf("%s: package %s: %w", set.name, p.Name, err)
			}
			if i > 0 && l.slot(set.list[i-1].Name, set.list[i-1].Architecture) == l.slot(p.Name, p.Architecture) {
				return fmt.Errorf("%s: package %s: listed twice", set.name, p.Name)
			}
		}
	}
	if l.Image != nil {
		for _, d := range l.Image.Blobs() {
			if err := d.Digest.Validate(); err != nil {
				return fmt.Errorf("image: %w", err)
			}
		}
		if s := l.Image.Signature; s != nil {
			if err := s.Key.Digest.Validate(); err != nil {
				return fmt.Errorf("image: signature: %w", err)
			}
		}
		for _, id := range l.Image.Packages {
			if err := ValidateID(id); err != nil {
				return fmt.Errorf("image: %w", err)
			}
		}
	}
	if err := l.validateProofs(); err != nil {
		return err
	}
	return l.validateSources()
}

func validateFile(r artifact.Ref) error {
	if err := archive.ValidatePath(r.Path); err != nil {
		return err
	}
	if err := r.Digest.Validate(); err != nil {
		return fmt.Errorf("%s: %w", r.Path, err)
	}
	if r.Size < 0 {
		return fmt.Errorf("%s: size %d", r.Path, r.Size)
	}
	return nil
}

// ValidateID refuses what is not NAME:ARCH=VERSION.
func ValidateID(id string) error {
	name, arch, version := SplitID(id)
	err := archive.ValidatePackageName(name)
	if err == nil {
		err = archive.ValidateVersion(version)
	}
	if err == nil && !archive.ValidArchitecture(arch) {
		err = fmt.Errorf("architecture %q is not valid", arch)
	}
	if err != nil {
		return fmt.Errorf("package %.200q: %w", id, err)
	}
	return nil
}

// validateProofs: what proves a package of the base image is that package, and
// nothing else. That the target set does not replace it is so because no package
// stands in a set twice.
func (l *Lock) validateProofs() error {
	inBase := map[string]bool{}
	if l.Image != nil {
		for _, id := range l.Image.Packages {
			inBase[id] = true
		}
	}
	for _, p := range l.Target {
		switch {
		case !p.Is(UseProof):
		case len(p.For) > 1:
			return fmt.Errorf("target: package %s: is for proof, and for something else too", p.Name)
		case !inBase[p.ID()]:
			return fmt.Errorf("target: package %s: is for proof, but the base image does not have %s", p.Name, p.ID())
		}
	}
	return nil
}

func (p Package) validate(archives map[string]bool, uses []Use) error {
	if err := archive.ValidatePackageName(p.Name); err != nil {
		return err
	}
	if err := archive.ValidateVersion(p.Version); err != nil {
		return err
	}
	if err := archive.ValidatePath(p.Path); err != nil {
		return err
	}
	if err := p.SHA256.Validate(); err != nil {
		return err
	}
	if p.Size <= 0 {
		return fmt.Errorf("size %d", p.Size)
	}
	if p.Archive == Project {
		if len(p.For) != 1 || p.Is(UseProof) || !slices.Contains(uses, p.For[0]) || !slices.Contains(uses, UseInstall) {
			return errors.New("is a file of the project, which is only ever installed")
		}
		return nil
	}
	if !archives[p.Archive] {
		return fmt.Errorf("archive %q is not in the lock", p.Archive)
	}
	if len(p.For) == 0 {
		return errors.New("does not say what it is for")
	}
	for _, u := range p.For {
		if !slices.Contains(uses, u) {
			return fmt.Errorf("is for %q, which its set is not", u)
		}
	}
	return nil
}
