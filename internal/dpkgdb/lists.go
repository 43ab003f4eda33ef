package dpkgdb

import (
	"errors"
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
	const name = "var/lib/dpkg/diversions"
	var three []string
	_, err := r.lines(name, func(line string) {
		if three = append(three, line); len(three) < 3 {
			return
		}
		from, ok1 := below(three[0])
		to, ok2 := below(three[1])
		d := Diversion{To: to, Package: three[2]}
		three = nil
		if d.Package == ":" {
			d.Package = ""
		} else if err := archive.ValidatePackageName(d.Package); err != nil {
			r.problem(name, "a diversion: %s", err)
			return
		}
		if !ok1 || !ok2 {
			r.problem(name, "a diversion is of no path")
			return
		}
		if _, twice := r.Diversions[from]; twice {
			r.problem(name, "%s is diverted twice", shown(from))
			return
		}
		r.Diversions[from] = d
	})
	if len(three) > 0 {
		r.problem(name, "ends within a diversion")
	}
	return err
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
