package diff

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/changelog"
	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// Bounds of what is read and kept.
const (
	maxChangelog = 64 << 20 // bytes of one, decompressed
	maxEntries   = 100      // of one source package
)

// Changelog is what a source package says of the way from one version to another.
type Changelog struct {
	Source string `json:"source"`
	From   string `json:"from"`
	To     string `json:"to"`
	// Packages are those of the comparison that are built from it.
	Packages []string `json:"packages"`
	// Undone tells that the candidate has the older version: the entries are of changes
	// that it lacks.
	Undone bool `json:"undone,omitempty"`
	// State is one of the words below.
	State   string            `json:"state"`
	News    []changelog.Entry `json:"news,omitempty"`
	Entries []changelog.Entry `json:"entries,omitempty"`
	// More tells that there are more entries than are kept.
	More bool `json:"more,omitempty"`
}

// What came of looking for a changelog.
const (
	ChangelogRead      = "read"
	ChangelogAway      = "changelog not at hand"
	ChangelogSilent    = "changelog has no entries between"
	ChangelogDefective = "changelog cannot be read"
)

// DebFile is an open .deb.
type DebFile interface {
	io.ReaderAt
	io.Closer
}

// OpenDeb opens a .deb of a lock; the error has fs.ErrNotExist where it is not at hand.
type OpenDeb func(p lockfile.Package) (DebFile, int64, error)

// AddChangelogs reads, out of the newer .debs, what changed in the packages that went up
// or down.
func (r *Result) AddChangelogs(ctx context.Context, a, b *Model, open OpenDeb) error {
	groups := map[string]*Changelog{}
	members := map[string][]reading{}
	for _, p := range r.Packages {
		if p.Change != Up && p.Change != Down {
			continue
		}
		key := p.From.Source + " " + p.From.SourceVersion + " " + p.To.SourceVersion
		if p.From.Source != p.To.Source || p.From.SourceVersion == p.To.SourceVersion { // built anew, or of another source
			key += " " + p.Name
		}
		newer, m, older := p.To, b, p.From
		if p.Change == Down {
			newer, m, older = p.From, a, p.To
		}
		g := groups[key]
		if g == nil {
			g = &Changelog{Source: newer.Source, From: p.From.SourceVersion, To: p.To.SourceVersion, Undone: p.Change == Down, State: ChangelogAway}
			if g.From == g.To {
				g.From, g.To = p.From.Version, p.To.Version
			}
			groups[key] = g
		}
		if !slices.Contains(g.Packages, p.Name) {
			g.Packages = append(g.Packages, p.Name)
		}
		members[key] = append(members[key], reading{g: g, m: m, set: p.Set, name: p.Name, older: older, newer: newer})
	}
	for _, key := range keysOf(groups, nil) {
		g := groups[key]
		for _, x := range members[key] {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if g.State == ChangelogRead {
				break
			}
			if err := x.read(open); err != nil {
				return err
			}
		}
		slices.Sort(g.Packages)
		r.Changelogs = append(r.Changelogs, *g)
	}
	slices.SortStableFunc(r.Changelogs, func(x, y Changelog) int {
		return cmp.Or(strings.Compare(x.Source, y.Source), archive.CompareVersions(x.To, y.To), strings.Compare(x.Packages[0], y.Packages[0]))
	})
	return nil
}

// reading is of one package's .deb.
type reading struct {
	g            *Changelog
	m            *Model
	set, name    string
	older, newer *Package
}

// locked finds a package's .deb in the lock.
func (m *Model) locked(set, name, version string) (lockfile.Package, bool) {
	for _, p := range map[string][]lockfile.Package{SetTarget: m.Lock.Target, SetBoot: m.Lock.Boot, SetTools: m.Lock.Tools}[set] {
		if p.Name == name && (version == "" || p.Version == version) {
			return p, true
		}
	}
	return lockfile.Package{}, false
}

// read takes the entries out of a .deb. A folder of documents may be another package's.
func (x *reading) read(open OpenDeb) error {
	p, ok := x.m.locked(x.set, x.name, x.newer.Version)
	for hops := 0; ok && hops < 2; hops++ {
		to, err := x.readDeb(open, p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case errors.Is(err, errDeb):
			x.g.State = ChangelogDefective
			return nil
		case err != nil:
			return err
		}
		if x.g.State == ChangelogAway {
			x.g.State = ChangelogSilent
		}
		if to == "" {
			return nil
		}
		p, ok = x.m.locked(x.set, to, "")
	}
	return nil
}

// errDeb is in the error of a .deb that is defective: a comparison goes on without it.
var errDeb = errors.New("cannot be read")

// readDeb returns the package whose folder of documents the package has for its own.
func (x *reading) readDeb(open OpenDeb, p lockfile.Package) (to string, err error) {
	f, size, err := open(p)
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.Path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if have, _, err := artifact.HashReader(io.NewSectionReader(f, 0, size)); err != nil || have != p.SHA256 {
		return "", errors.Join(fmt.Errorf("%s: its SHA-256 is %q, the lock says %s: %w", p.Path, have, p.SHA256, errDeb), err)
	}
	d, err := deb.Open(f, size, deb.Limits{})
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", p.Path, errDeb, err)
	}
	folder := "usr/share/doc/" + p.Name
	err = d.Walk(func(at string, h *tar.Header, r io.Reader) error {
		switch {
		case at == folder && h.Typeflag == tar.TypeSymlink:
			to = path.Base(h.Linkname)
		case path.Dir(at) == folder && h.Typeflag == tar.TypeReg:
			return x.readFile(path.Base(at), p.Architecture, r)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", p.Path, errDeb, err)
	}
	return to, nil
}

// readFile reads a changelog by its name in the folder of documents. That of a package
// that was built anew without a new source has the package's versions, others have the
// source's.
func (x *reading) readFile(name, arch string, r io.Reader) error {
	format, base := decompress.Format(name)
	from, to := x.older.SourceVersion, x.newer.SourceVersion
	list := &x.g.Entries
	switch base {
	case "changelog.Debian", "changelog":
	case "changelog.Debian." + arch:
		from, to = x.older.Version, x.newer.Version
	case "NEWS.Debian", "NEWS":
		list = &x.g.News
	default:
		return nil
	}
	plain, err := decompress.NewReader(r, format, maxChangelog)
	if err != nil {
		return err
	}
	return changelog.Read(plain, func(e changelog.Entry) bool {
		if changelog.Between(e.Version, from, to) && !slices.ContainsFunc(*list, func(have changelog.Entry) bool { return have.Version == e.Version }) {
			if len(*list) == maxEntries {
				x.g.More = true
				return false
			}
			*list = append(*list, e)
			x.g.State = ChangelogRead
		}
		return true
	})
}
