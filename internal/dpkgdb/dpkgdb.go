// Package dpkgdb reads dpkg's database in a root tree: what is installed, which
// paths are whose, and which were diverted or given other owners.
package dpkgdb

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/regular"
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
	Conffiles                   map[string]string // path below the root: MD5, or "" where dpkg has none
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
	maxLists    = 1 << 30 // bytes of all lists together
	maxPackages = 200_000
	maxPaths    = 5_000_000 // in the packages' lists of files and of sums
	maxLine     = 8 << 10
	maxProblems = 1000
	maxShown    = 200 // characters of a line that a problem shows
)

// reader is a database while it is read.
type reader struct {
	*DB
	root  *os.Root
	bytes int64 // of lists that may still come
	paths int   // that may still come
}

// Read reads the database of the tree at root. What is missing or odd in it and
// can be told apart is a Problem; an error is a database that cannot be used.
func Read(root *os.Root) (*DB, error) {
	r := &reader{DB: &DB{Diversions: map[string]Diversion{}, Overrides: map[string]bool{}}, root: root, bytes: maxLists, paths: maxPaths}
	if err := r.read(); err != nil {
		return nil, fmt.Errorf("dpkg's database: %w", err)
	}
	slices.SortFunc(r.Problems, func(a, b Problem) int { return strings.Compare(a.Path+"\x00"+a.Text, b.Path+"\x00"+b.Text) })
	return r.DB, nil
}

func (r *reader) read() error {
	if err := r.status(); err != nil {
		return err
	}
	auto, err := r.autoInstalled()
	if err != nil {
		return err
	}
	for i := range r.Packages {
		p := &r.Packages[i]
		p.Auto = auto[p.Name+":"+p.Architecture]
		if err := r.lists(p); err != nil {
			return err
		}
		if r.paths < 0 {
			return fmt.Errorf("more than %d paths", maxPaths)
		}
	}
	if err := r.diversions(); err != nil {
		return err
	}
	return r.overrides()
}

func (r *reader) problem(path, format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
}

// shown is a line of the database as a problem quotes it.
func shown(line string) string { return fmt.Sprintf("%.*q", maxShown, line) }

func (r *reader) open(name string, limit int64) (*os.File, error) {
	st, err := r.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", name)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, limit)
	}
	return regular.Open(r.root, name)
}

// lines calls each with every line of a file of the tree, and tells whether
// there is such a file. A line ends in a line feed, and in nothing else.
func (r *reader) lines(name string, each func(line string)) (there bool, err error) {
	f, err := r.open(name, min(maxList, r.bytes))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return true, r.scan(f, name, each)
}

// scan calls each with every line of a file.
func (r *reader) scan(f io.Reader, name string, each func(line string)) error {
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 4096), maxLine)
	s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n := bytes.IndexByte(data, '\n') + 1
		if n == 0 && atEOF {
			n = len(data)
		}
		if n == 0 {
			return 0, nil, nil
		}
		return n, data[:n], nil
	})
	for s.Scan() && r.paths >= 0 {
		line, whole := strings.CutSuffix(s.Text(), "\n")
		if !whole {
			r.problem(name, "its last line has no end")
		}
		r.bytes -= int64(len(line)) + 1
		each(line)
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
