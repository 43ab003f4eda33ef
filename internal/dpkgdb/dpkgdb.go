// Package dpkgdb reads dpkg's database in a root tree: what is installed, which
// paths are whose, and which were diverted or given other owners.
package dpkgdb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/archive/deb822"
)

// DB is the database of one tree.
type DB struct {
	// Packages are those that are installed, by ID.
	Packages []Package
	// Diversions by the path that is diverted, below the root.
	Diversions map[string]Diversion
	// Overrides are the paths, below the root, whose mode and owner
	// dpkg-statoverride sets.
	Overrides map[string]bool
	// Problems say what of the database cannot be as dpkg left it, by path.
	Problems []Problem
}

// Package is a stanza of dpkg's status.
type Package struct {
	Name, Architecture, Version string
	Source, SourceVersion       string
	Maintainer, Homepage        string
	Section, Priority           string
	Summary                     string // first line of the description
	InstalledSize               int64  // KiB
	Essential, Auto             bool
	PreDepends, Depends         string
	Recommends, Provides        string
	BuiltUsing, StaticBuilt     string
	MultiArch                   string
	Conffiles                   map[string]string // path below the root: MD5
	// Files are the paths below the root that dpkg counts as the package's, sorted.
	Files []string
	// MD5 of the files by path, as the package has them; it may lack some.
	MD5 map[string]string
}

// ID is NAME:ARCH=VERSION.
func (p *Package) ID() string { return p.Name + ":" + p.Architecture + "=" + p.Version }

// Diversion moves a path of all packages but one out of the way.
type Diversion struct {
	To string // below the root
	// Package may keep the path; "" where the administrator diverted it.
	Package string
}

// Problem is a finding about one file of the database.
type Problem struct{ Path, Text string }

// Bounds of a database.
const (
	maxStatus   = 256 << 20 // bytes
	maxList     = 64 << 20
	maxPackages = 200_000
	maxPaths    = 20_000_000
	maxLine     = 8 << 10
)

const infoDir = "var/lib/dpkg/info"

// Read reads the database of the tree at root. What is missing or odd in it and
// can be told apart is a Problem; an error is a database that cannot be used.
func Read(root *os.Root) (*DB, error) {
	db := &DB{Diversions: map[string]Diversion{}, Overrides: map[string]bool{}}
	if err := db.status(root); err != nil {
		return nil, fmt.Errorf("dpkg's database: %w", err)
	}
	auto, err := autoInstalled(root)
	if err != nil {
		return nil, fmt.Errorf("apt's list of automatic packages: %w", err)
	}
	paths := 0
	for i := range db.Packages {
		p := &db.Packages[i]
		p.Auto = auto[p.Name+":"+p.Architecture]
		if err := db.lists(root, p); err != nil {
			return nil, fmt.Errorf("dpkg's database: %w", err)
		}
		if paths += len(p.Files); paths > maxPaths {
			return nil, fmt.Errorf("dpkg's database: more than %d paths", maxPaths)
		}
	}
	if err := db.diversions(root); err != nil {
		return nil, fmt.Errorf("dpkg's database: %w", err)
	}
	if err := db.overrides(root); err != nil {
		return nil, fmt.Errorf("dpkg's database: %w", err)
	}
	slices.SortFunc(db.Problems, func(a, b Problem) int { return strings.Compare(a.Path+"\x00"+a.Text, b.Path+"\x00"+b.Text) })
	return db, nil
}

func (db *DB) problem(path, format string, args ...any) {
	const most = 1000
	if len(db.Problems) < most {
		db.Problems = append(db.Problems, Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
}

func (db *DB) status(root *os.Root) error {
	const name = "var/lib/dpkg/status"
	return stanzas(root, name, func(s *deb822.Stanza) error {
		if !strings.HasSuffix(s.Get("Status"), " ok installed") {
			return nil
		}
		if len(db.Packages) == maxPackages {
			return fmt.Errorf("more than %d packages", maxPackages)
		}
		p := Package{
			Name: s.Get("Package"), Architecture: s.Get("Architecture"), Version: s.Get("Version"),
			Maintainer: s.Get("Maintainer"), Homepage: s.Get("Homepage"), Section: s.Get("Section"), Priority: s.Get("Priority"),
			Essential: s.Get("Essential") == "yes", PreDepends: s.Get("Pre-Depends"), Depends: s.Get("Depends"),
			Recommends: s.Get("Recommends"), Provides: s.Get("Provides"), BuiltUsing: s.Get("Built-Using"),
			StaticBuilt: s.Get("Static-Built-Using"), MultiArch: s.Get("Multi-Arch"), Conffiles: map[string]string{},
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
		if _, err := fmt.Sscan(s.Get("Installed-Size"), &p.InstalledSize); err != nil || p.InstalledSize < 0 {
			if s.Get("Installed-Size") != "" {
				db.problem(name, "%s: its Installed-Size is no size", p.ID())
			}
			p.InstalledSize = 0
		}
		for line := range strings.Lines(s.Get("Conffiles")) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			if at, ok := below(f[0]); ok {
				p.Conffiles[at] = f[1]
			} else {
				db.problem(name, "%s: its conffile %q is no path", p.ID(), f[0])
			}
		}
		for _, f := range []*string{&p.Maintainer, &p.Homepage, &p.Section, &p.Priority, &p.Summary} {
			if clean := printable(*f); clean != *f {
				db.problem(name, "%s: a field holds control characters", p.ID())
				*f = clean
			}
		}
		db.Packages = append(db.Packages, p)
		return nil
	}, func() error {
		slices.SortFunc(db.Packages, func(a, b Package) int { return strings.Compare(a.ID(), b.ID()) })
		for i := 1; i < len(db.Packages); i++ {
			if a, b := &db.Packages[i-1], &db.Packages[i]; a.Name == b.Name && a.Architecture == b.Architecture {
				return fmt.Errorf("%s: package %s stands in it twice", name, b.Name)
			}
		}
		return nil
	})
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

func stanzas(root *os.Root, name string, each func(*deb822.Stanza) error, end func() error) (err error) {
	f, err := open(root, name, maxStatus)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := deb822.NewReaderLimits(io.LimitReader(f, maxStatus), name, deb822.Limits{Stanza: 8 << 20})
	for {
		s, err := r.Next()
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

func open(root *os.Root, name string, limit int64) (*os.File, error) {
	st, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, limit)
	}
	return root.Open(name)
}

// lines calls each with every line of a file of the tree, and tells whether
// there is such a file.
func lines(root *os.Root, name string, each func(line string)) (there bool, err error) {
	f, err := open(root, name, maxList)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 4096), maxLine)
	for s.Scan() {
		each(s.Text())
	}
	if err := s.Err(); err != nil {
		return true, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}

func autoInstalled(root *os.Root) (map[string]bool, error) {
	auto := map[string]bool{}
	err := stanzas(root, "var/lib/apt/extended_states", func(s *deb822.Stanza) error {
		if s.Get("Auto-Installed") == "1" {
			auto[s.Get("Package")+":"+s.Get("Architecture")] = true
		}
		return nil
	}, func() error { return nil })
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return auto, err
}

// lists reads INFO/PACKAGE.list and .md5sums; a package that may stand beside
// one of another architecture has its own in its files' names.
func (db *DB) lists(root *os.Root, p *Package) error {
	base := infoDir + "/" + p.Name
	if _, err := root.Lstat(base + ".list"); errors.Is(err, fs.ErrNotExist) {
		base += ":" + p.Architecture
	}
	there, err := lines(root, base+".list", func(line string) {
		if line == "/." {
			return
		}
		at, ok := below(line)
		if !ok {
			db.problem(base+".list", "%q is no path", line)
			return
		}
		p.Files = append(p.Files, at)
	})
	if err != nil {
		return err
	}
	if !there {
		db.problem(base+".list", "is missing: which files are %s's is not known", p.ID())
	}
	slices.Sort(p.Files)
	p.Files = slices.Compact(p.Files)
	_, err = lines(root, base+".md5sums", func(line string) {
		sum, name, ok := strings.Cut(line, "  ")
		at, valid := below("/" + name)
		if !ok || !valid || len(sum) != 32 {
			db.problem(base+".md5sums", "cannot read %q", line)
			return
		}
		if p.MD5 == nil {
			p.MD5 = map[string]string{}
		}
		p.MD5[at] = sum
	})
	return err
}

// below turns an absolute path into one below the root.
func below(p string) (string, bool) {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsRune(p, 0) {
		return "", false
	}
	return p[1:], true
}

// diversions reads the database of dpkg-divert(1): three lines each, the last
// ":" for the administrator.
func (db *DB) diversions(root *os.Root) error {
	const name = "var/lib/dpkg/diversions"
	var three []string
	_, err := lines(root, name, func(line string) {
		if three = append(three, line); len(three) < 3 {
			return
		}
		from, ok1 := below(three[0])
		to, ok2 := below(three[1])
		d := Diversion{To: to, Package: strings.TrimPrefix(three[2], ":")}
		three = nil
		if !ok1 || !ok2 {
			db.problem(name, "a diversion is of no path")
			return
		}
		db.Diversions[from] = d
	})
	if len(three) > 0 {
		db.problem(name, "ends within a diversion")
	}
	return err
}

// overrides reads the database of dpkg-statoverride(1): owner, group, mode, path.
func (db *DB) overrides(root *os.Root) error {
	const name = "var/lib/dpkg/statoverride"
	_, err := lines(root, name, func(line string) {
		f := strings.SplitN(line, " ", 4)
		if len(f) < 4 {
			db.problem(name, "cannot read %q", line)
			return
		}
		if at, ok := below(f[3]); ok {
			db.Overrides[at] = true
		} else {
			db.problem(name, "%q is no path", f[3])
		}
	})
	return err
}
