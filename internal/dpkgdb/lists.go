package dpkgdb

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
)

const infoDir = "var/lib/dpkg/info"

// lists reads INFO/PACKAGE.list and .md5sums; a package that may stand beside
// one of another architecture has its own in its files' names.
func (r *reader) lists(p *Package) error {
	base, other := infoDir+"/"+p.Name, infoDir+"/"+p.Name+":"+p.Architecture
	if p.MultiArch == "same" {
		base, other = other, base
	}
	if _, err := r.root.Lstat(base + ".list"); errors.Is(err, fs.ErrNotExist) {
		if _, err := r.root.Lstat(other + ".list"); err == nil {
			base = other
		}
	}
	there, err := r.lines(base+".list", func(line string) {
		if line == "/." {
			return
		}
		at, ok := below(line)
		if !ok {
			r.problem(base+".list", "%s is no path", shown(line))
			return
		}
		r.paths--
		p.Files = append(p.Files, at)
	})
	if err != nil {
		return err
	}
	if !there {
		r.problem(base+".list", "is missing: which files are %s's is not known", p.ID())
	}
	slices.Sort(p.Files)
	p.Files = slices.Compact(p.Files)
	_, err = r.lines(base+".md5sums", func(line string) {
		sum, name, ok := strings.Cut(line, "  ")
		at, valid := below("/" + strings.TrimPrefix(name, "./"))
		if !ok || !valid || !isMD5(sum) {
			r.problem(base+".md5sums", "cannot read %s", shown(line))
			return
		}
		if p.MD5 == nil {
			p.MD5 = map[string]string{}
		}
		r.paths--
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
func (r *reader) diversions() error {
	three := &diversionLines{reader: r}
	_, err := r.lines(DiversionsFile, three.line)
	three.end()
	return err
}

// DiversionsFile is the database of dpkg-divert(1) below the root.
const DiversionsFile = "var/lib/dpkg/diversions"

// ReadDiversions reads the text of that file alone. What is odd in it is a problem.
func ReadDiversions(text io.Reader) (map[string]Diversion, []Problem, error) {
	r := &reader{DB: &DB{Diversions: map[string]Diversion{}}, bytes: maxLists, paths: maxPaths}
	three := &diversionLines{reader: r}
	err := r.scan(text, DiversionsFile, three.line)
	three.end()
	return r.Diversions, r.Problems, err
}

// diversionLines are the lines of a diversion that have come.
type diversionLines struct {
	*reader
	three []string
}

func (l *diversionLines) end() {
	if len(l.three) > 0 {
		l.problem(DiversionsFile, "ends within a diversion")
	}
}

func (l *diversionLines) line(line string) {
	if l.three = append(l.three, line); len(l.three) < 3 {
		return
	}
	from, ok1 := below(l.three[0])
	to, ok2 := below(l.three[1])
	d := Diversion{To: to, Package: l.three[2]}
	l.three = nil
	if d.Package == ":" {
		d.Package = ""
	} else if err := archive.ValidatePackageName(d.Package); err != nil {
		l.problem(DiversionsFile, "a diversion: %s", err)
		return
	}
	if !ok1 || !ok2 {
		l.problem(DiversionsFile, "a diversion is of no path")
		return
	}
	if _, twice := l.Diversions[from]; twice {
		l.problem(DiversionsFile, "%s is diverted twice", shown(from))
		return
	}
	l.Diversions[from] = d
}

// overrides reads the database of dpkg-statoverride(1): owner, group, mode, path.
func (r *reader) overrides() error {
	const name = "var/lib/dpkg/statoverride"
	_, err := r.lines(name, func(line string) {
		f := strings.SplitN(line, " ", 4)
		if len(f) < 4 {
			r.problem(name, "cannot read %s", shown(line))
			return
		}
		if at, ok := below(f[3]); ok {
			r.Overrides[at] = true
		} else {
			r.problem(name, "%s is no path", shown(f[3]))
		}
	})
	return err
}
