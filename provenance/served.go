package provenance

import (
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

// Served is a requirement and all that is there for it.
type Served struct {
	ID string
	// Met tells that the config names it somewhere.
	Met bool
	// By are the places of the config, the packages and the project's files that serve
	// it, each with its digest, and the requirement's own words; sorted.
	By []string
}

// ServedBy lists what each requirement of a trace rests on, by the requirements' order.
func ServedBy(h *trace.Head, records map[string]stage.Record) []Served {
	var all []Served
	project := ProjectFiles(records)
	for _, r := range h.Requirements {
		s := Served{ID: r.ID, Met: len(r.Places) > 0, By: []string{"text " + r.Title + "\n" + r.Text + "\n" + r.Parent}}
		for i := range h.Packages {
			p := &h.Packages[i]
			if slices.ContainsFunc(p.Requirements, func(s trace.Serves) bool { return s.ID == r.ID }) {
				s.By = append(s.By, "package "+p.Set+" "+p.ID()+" "+string(p.SHA256)+" "+p.Gone)
			}
		}
		for _, f := range r.Files {
			s.By = append(s.By, "file "+f)
			for _, name := range sortedKeys(project) {
				if name == f || strings.HasPrefix(name, f+"/") {
					s.By = append(s.By, "file "+name+" "+string(project[name]))
				}
			}
		}
		slices.Sort(s.By)
		all = append(all, s)
	}
	return all
}
