package trace

import (
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/dpkgdb"
)

// Asked is what the config says of a package by name.
type Asked struct {
	Name         string // without a version
	Place        string // such as packages[3]
	Requirements []string
}

// Needs fills in which installed packages each one really depends on, which the
// config asks for, and which requirements they serve: a package that is there
// for another serves what that one does.
func (t *Tracer) Needs(db *dpkgdb.DB, owner func(id string) (int, bool), asked []Asked) {
	var installed []*dpkgdb.Package
	index := map[*dpkgdb.Package]int{}
	byName := map[string][]*dpkgdb.Package{} // and by what is provided
	for i := range db.Packages {
		p := &db.Packages[i]
		k, ok := owner(p.ID())
		if !ok {
			continue // reported with the files
		}
		installed, index[p] = append(installed, p), k
		byName[p.Name] = append(byName[p.Name], p)
		provided, err := archive.ParseDependency(p.Provides)
		if err != nil {
			t.finding("dpkg-database", "var/lib/dpkg/status", "%s: Provides: %s", p.ID(), err)
		}
		for _, v := range provided {
			if v[0].Name != p.Name {
				byName[v[0].Name] = append(byName[v[0].Name], p)
			}
		}
	}
	for _, p := range installed {
		needs := map[int]bool{}
		for _, field := range []string{p.PreDepends, p.Depends} {
			relations, err := archive.ParseDependency(field)
			if err != nil {
				t.finding("dpkg-database", "var/lib/dpkg/status", "%s: Depends: %s", p.ID(), err)
				continue
			}
			for _, alternatives := range relations {
				for _, r := range alternatives {
					for _, q := range byName[r.Name] {
						if q != p && (q.Name != r.Name || r.Holds(q.Version)) {
							needs[index[q]] = true
						}
					}
				}
			}
		}
		list := make([]int, 0, len(needs))
		for k := range needs {
			list = append(list, k)
		}
		slices.Sort(list)
		t.Head.Packages[index[p]].Needs = list
	}
	for _, a := range asked {
		for _, p := range byName[a.Name] {
			if p.Name != a.Name && len(byName[a.Name]) > 1 {
				continue
			}
			pkg := &t.Head.Packages[index[p]]
			pkg.Asked = append(pkg.Asked, a.Place+": "+a.Name)
			for _, id := range a.Requirements {
				t.serve(id, index[p])
			}
		}
	}
	for i := range t.Head.Packages {
		slices.SortFunc(t.Head.Packages[i].Requirements, func(a, b Serves) int { return strings.Compare(a.ID, b.ID) })
	}
}

// serve lets all that a package needs serve a requirement, each by a shortest path.
func (t *Tracer) serve(id string, from int) {
	type step struct {
		pkg  int
		path []int
	}
	queue := []step{{from, []int{from}}}
	seen := map[int]bool{from: true}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		p := &t.Head.Packages[s.pkg]
		i := slices.IndexFunc(p.Requirements, func(have Serves) bool { return have.ID == id })
		switch {
		case i < 0:
			p.Requirements = append(p.Requirements, Serves{ID: id, Path: s.path})
		case len(p.Requirements[i].Path) > len(s.path):
			p.Requirements[i].Path = s.path
		}
		for _, n := range p.Needs {
			if !seen[n] {
				seen[n] = true
				queue = append(queue, step{n, append(slices.Clone(s.path), n)})
			}
		}
	}
}
