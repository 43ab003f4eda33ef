package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/removal"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

// gone says of the lock's packages that are not installed why that is.
func (r *run) gone(db *dpkgdb.DB, turns []trace.Turn) {
	var all []removal.Package
	installed, index := map[string]bool{}, map[string]int{}
	for i := range db.Packages {
		p := &db.Packages[i]
		installed[p.ID()] = true
		all = append(all, removal.Package{Name: p.Name, Version: p.Version, PreDepends: p.PreDepends, Depends: p.Depends, Provides: p.Provides})
	}
	for _, a := range r.absent {
		index[a.ID] = len(all)
		all = append(all, removal.Package{Name: a.Name, Version: a.Version, PreDepends: a.Needs.PreDepends, Depends: a.Needs.Depends, Provides: a.Needs.Provides})
	}
	lost := removal.Losses(all, r.params.Remove)
	for i := range r.tracer.Head.Packages {
		p := &r.tracer.Head.Packages[i]
		if p.Set != "target" || installed[p.ID()] {
			continue
		}
		k, known := index[p.ID()]
		l, taken := lost[k]
		named := slices.Index(r.params.Remove, p.Name)
		switch by, later := removedLater(p, turns, r.params.Installer); {
		case later:
			p.Gone = "removed by " + by.String()
		case len(r.params.Remove) == 0:
			p.Gone = "a script of the project has removed it"
		case named >= 0:
			p.Gone = fmt.Sprintf("remove[%d]: %s", named, p.Name)
		case known && taken:
			p.Gone = fmt.Sprintf("remove[%d]: %s", l.Remove, l)
		case known:
			p.Gone = "nothing that is left needs it"
		default:
			p.Gone = "went with what remove names (" + strings.Join(r.params.Remove, ", ") + ")"
		}
	}
}

// removedLater says who took dpkg's list of the package's files away after packages were
// installed.
func removedLater(p *trace.Package, turns []trace.Turn, installer string) (by stage.Actor, ok bool) {
	for _, t := range turns {
		if t.Stage == installer {
			break
		}
		for _, name := range []string{p.Name, p.Name + ":" + p.Architecture} {
			if by, ok := t.Changes.Removed["var/lib/dpkg/info/"+name+".list"]; ok {
				return by, true
			}
		}
	}
	return by, false
}
