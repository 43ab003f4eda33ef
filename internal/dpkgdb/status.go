package dpkgdb

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/deb822"
)

// status reads dpkg's status: a stanza for each package that it knows.
func (r *reader) status() error {
	const name = "var/lib/dpkg/status"
	return r.stanzas(name, func(s *deb822.Stanza) error {
		if !r.isInstalled(name, s) {
			return nil
		}
		if len(r.Packages) == maxPackages {
			return fmt.Errorf("more than %d packages", maxPackages)
		}
		p := Package{
			Name: s.Get("Package"), Architecture: s.Get("Architecture"), Version: s.Get("Version"),
			Maintainer: s.Get("Maintainer"), Homepage: s.Get("Homepage"), Section: s.Get("Section"), Priority: s.Get("Priority"),
			Essential: s.Get("Essential") == "yes", PreDepends: folded(s, "Pre-Depends"), Depends: folded(s, "Depends"),
			Recommends: folded(s, "Recommends"), Provides: folded(s, "Provides"), BuiltUsing: folded(s, "Built-Using"),
			StaticBuilt: folded(s, "Static-Built-Using"), MultiArch: s.Get("Multi-Arch"), Conffiles: map[string]string{},
		}
		p.Summary, _, _ = strings.Cut(s.Get("Description"), "\n")
		if err := archive.ValidatePackageName(p.Name); err != nil {
			return s.Errorf("Package", "%w", err)
		}
		if err := archive.ValidateVersion(p.Version); err != nil {
			return s.Errorf("Version", "%s: %w", p.Name, err)
		}
		if !archive.ValidArchitecture(p.Architecture) {
			return s.Errorf("Architecture", "%s: is not valid", p.Name)
		}
		var err error
		if p.Source, p.SourceVersion, err = archive.ParseSource(s.Get("Source"), p.Name, p.Version); err != nil {
			return s.Errorf("Source", "%s: %w", p.Name, err)
		}
		if size := s.Get("Installed-Size"); size != "" {
			if n, err := strconv.ParseUint(size, 10, 63); err == nil {
				p.InstalledSize = int64(n)
			} else {
				r.problem(name, "%s: its Installed-Size is no size", p.ID())
			}
		}
		for line := range strings.Lines(s.Get("Conffiles")) {
			if path, sum, ok := conffile(line); ok {
				p.Conffiles[path] = sum
			} else {
				r.problem(name, "%s: its conffile %s cannot be read", p.ID(), shown(strings.TrimSpace(line)))
			}
		}
		for _, f := range []*string{
			&p.Maintainer, &p.Homepage, &p.Section, &p.Priority, &p.Summary, &p.MultiArch,
			&p.PreDepends, &p.Depends, &p.Recommends, &p.Provides, &p.BuiltUsing, &p.StaticBuilt,
		} {
			if clean := printable(*f); clean != *f {
				r.problem(name, "%s: a field holds control characters", p.ID())
				*f = clean
			}
		}
		r.Packages = append(r.Packages, p)
		return nil
	}, func() error {
		slices.SortFunc(r.Packages, func(a, b Package) int { return strings.Compare(a.ID(), b.ID()) })
		for i := 1; i < len(r.Packages); i++ {
			if a, b := &r.Packages[i-1], &r.Packages[i]; a.Name == b.Name && a.Architecture == b.Architecture {
				return fmt.Errorf("%s: package %s stands in it twice", name, b.Name)
			}
		}
		return nil
	})
}

// isInstalled goes by the last of the Status field's three words, as dpkg does.
// A package that is neither there nor gone is a problem.
func (r *reader) isInstalled(name string, s *deb822.Stanza) bool {
	words := strings.Fields(strings.ToLower(s.Get("Status")))
	if len(words) == 3 {
		switch words[2] {
		case "installed":
			return true
		case "not-installed", "config-files":
			return false
		}
	}
	r.problem(name, "%s: its status is %s, and it does not count as installed", shown(s.Get("Package")), shown(s.Get("Status")))
	return false
}

// folded is the value of a field that may go over several lines, in one.
func folded(s *deb822.Stanza, field string) string {
	return strings.ReplaceAll(s.Get(field), "\n", "")
}

// conffile reads a line of Conffiles: path, MD5 and, it may be, words on what
// has become of it. The path may hold blanks.
func conffile(line string) (at, sum string, ok bool) {
	line = strings.TrimSpace(line)
	for _, word := range []string{" obsolete", " remove-on-upgrade", " obsolete"} {
		line = strings.TrimSuffix(line, word)
	}
	i := strings.LastIndexByte(line, ' ')
	if i < 0 {
		return "", "", false
	}
	if sum = line[i+1:]; sum == "newconffile" { // dpkg's word for one that it never put there
		sum = ""
	} else if !isMD5(sum) {
		return "", "", false
	}
	at, ok = below(line[:i])
	return at, sum, ok
}

func isMD5(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 32
}

// printable replaces what no terminal should be sent.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0xfffd {
			return '�'
		}
		return r
	}, s)
}

func (r *reader) stanzas(name string, each func(*deb822.Stanza) error, end func() error) (err error) {
	f, err := r.open(name, maxStatus)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	rd := deb822.NewReaderLimits(io.LimitReader(f, maxStatus), name, deb822.Limits{Stanza: 8 << 20})
	for {
		s, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return end()
		}
		if err != nil {
			return err
		}
		if err := each(s); err != nil {
			return err
		}
	}
}

// autoInstalled has the packages, as NAME:ARCH, that nobody asked for. apt
// writes those of architecture all down under the machine's own.
func (r *reader) autoInstalled() (map[string]bool, error) {
	auto := map[string]bool{}
	err := r.stanzas("var/lib/apt/extended_states", func(s *deb822.Stanza) error {
		if s.Get("Auto-Installed") == "1" {
			auto[s.Get("Package")+":"+s.Get("Architecture")] = true
			auto[s.Get("Package")+":all"] = true
		}
		return nil
	}, func() error { return nil })
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return auto, err
}
