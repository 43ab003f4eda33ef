package report

import (
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/policy"
	"github.com/isotrace/isotrace/provenance"
)

// dossier is all that the documents are written from.
type dossier struct {
	*provenance.Verified
	trace *provenance.Tracing
	// judgement is the policy's, nil where nobody has released the image.
	judgement *policy.Result
	// releaseKey is the id of the release manager's key; "" where nobody has released it.
	releaseKey string
	// cited are the files of the output folder by the name that pages give them: of the
	// evidence the path in there, of what stands beside it the path with ../ before it.
	cited map[string]artifact.Ref
	// order has the stages so that each comes behind those from which it takes.
	order []string
}

// Names of files that many rows cite.
const (
	lockCite  = lockfile.FileName
	intent    = config.FileName
	sumsCite  = provenance.Sums
	traceCite = provenance.TraceDir + "/trace.json"
	policyOf  = "../" + provenance.PolicyFile
)

// link names the record of a stage.
func (d *dossier) link(stage string) string {
	return provenance.LinksDir + "/" + provenance.LinkName(stage, d.Builder().KeyID())
}

// page is a document in the making.
type page struct {
	d   *dossier
	doc Document
	// at are the places of the cited files in the document, while it is not sorted.
	at map[string]int
}

func (d *dossier) page(id, title string) *page {
	return &page{d: d, at: map[string]int{}, doc: Document{Format: Format, ID: id, Title: title, Subject: d.subject(), Cites: []artifact.Ref{}, Sections: []Section{}}}
}

func (d *dossier) subject() Subject {
	iso := d.Images[0]
	return Subject{Name: d.Config.Name, Release: d.Config.Release, Image: iso.Path, SHA256: iso.Digest}
}

// section begins a table.
func (p *page) section(id, title, note string, columns ...string) {
	p.doc.Sections = append(p.doc.Sections, Section{ID: id, Title: title, Note: note, Columns: columns, Rows: []Row{}})
}

// row adds a line to the last table. What is "" is not recorded. The files that it comes
// from are named as in cited; one that is not there is none.
func (p *page) row(from []string, cells ...string) {
	for i := range cells {
		cells[i] = recorded(cells[i])
	}
	p.plain(from, cells...)
}

// plain is row for a table in which "" is meant.
func (p *page) plain(from []string, cells ...string) {
	s := &p.doc.Sections[len(p.doc.Sections)-1]
	row := Row{Cells: cells, Cites: []int{}}
	for _, name := range from {
		ref, ok := p.d.cited[name]
		if !ok {
			continue
		}
		i, ok := p.at[name]
		if !ok {
			i = len(p.doc.Cites)
			p.at[name] = i
			p.doc.Cites = append(p.doc.Cites, ref)
		}
		if !slices.Contains(row.Cites, i) {
			row.Cites = append(row.Cites, i)
		}
	}
	s.Rows = append(s.Rows, row)
}

// done sorts the cited files.
func (p *page) done() Document {
	order := make([]int, len(p.doc.Cites))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(p.doc.Cites[a].Path, p.doc.Cites[b].Path) })
	place := make([]int, len(order))
	sorted := make([]artifact.Ref, len(order))
	for to, from := range order {
		place[from], sorted[to] = to, p.doc.Cites[from]
	}
	p.doc.Cites = sorted
	for _, s := range p.doc.Sections {
		for _, r := range s.Rows {
			for i := range r.Cites {
				r.Cites[i] = place[r.Cites[i]]
			}
			slices.Sort(r.Cites)
		}
	}
	return p.doc
}

func recorded(s string) string {
	if s == "" {
		return NotRecorded
	}
	return s
}

// joined is a list in one cell.
func joined(list []string) string { return strings.Join(list, ", ") }

// from names the files that a row comes from.
func from(names ...string) []string { return names }
