package report

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// maxFilesInCell bounds the paths that are written out for one package; the trace has all.
const maxFilesInCell = 20

// filed is what the trace says of a package's files.
type filed struct {
	count int
	first []string
}

// files gathers the files of the packages of the image, by index, and of actors.
func (d *dossier) files() (packages, actors map[int]*filed, err error) {
	packages, actors = map[int]*filed{}, map[int]*filed{}
	add := func(m map[int]*filed, i *int, o trace.Origin) {
		if i == nil {
			return
		}
		f := m[*i]
		if f == nil {
			f = &filed{}
			m[*i] = f
		}
		f.count++
		if len(f.first) < maxFilesInCell && o.SHA256 != "" {
			f.first = append(f.first, "/"+o.Path+" sha256:"+string(o.SHA256))
		}
	}
	err = d.trace.Each(trace.PartRoot, nil, func(o trace.Origin) bool {
		add(packages, o.Package, o)
		add(actors, o.By, o)
		return true
	})
	return packages, actors, err
}

func (f *filed) String() string {
	if f == nil {
		return "none in the root tree"
	}
	text := strings.Join(f.first, "; ")
	if f.count > len(f.first) {
		text += "; " + strconv.Itoa(f.count-len(f.first)) + " more, folders and links among them: isotrace trace --package"
	}
	return strings.TrimPrefix(text, "; ")
}

// requirements is the matrix from each requirement on.
func requirements(p *page) error {
	d := p.d
	packages, actors, err := d.files()
	if err != nil {
		return err
	}
	p.section("requirements", "Requirements", "Those that the config or its list of requirements names.", "Requirement", "Title", "Text", "Listed in", "Named by", "Packages", "Files of the project")
	for _, r := range d.trace.Requirements {
		n := 0
		for i := range d.trace.Packages {
			if serves(&d.trace.Packages[i], r.ID) != nil {
				n++
			}
		}
		named := joined(r.Places)
		if named == "" {
			named = "nothing: the requirement is not met"
		}
		p.row(from(traceCite, intent), r.ID, r.Title, r.Text, r.Source, named, strconv.Itoa(n), joined(r.Files))
	}
	p.section("matrix", "From requirement to archive key", "One row for each package that is there for a requirement, itself or because another needs it. Each file stands with its digest; the trace has those that do not fit.",
		"Requirement", "Package", "Version", "By way of", "Files in the image", "Source", ".deb, SHA-256", "Index", "Release file", "Signed by", "Record of the stage")
	for _, r := range d.trace.Requirements {
		for i := range d.trace.Packages {
			t := &d.trace.Packages[i]
			if s := serves(t, r.ID); s != nil {
				row := d.chain(i)
				p.row(row.cites, r.ID, t.ID(), t.Version, d.names(s.Path), packages[i].String(), t.Source+" "+t.SourceVersion, row.deb, row.index, row.release, row.signers, joined(row.links))
			}
		}
	}
	p.section("project", "From requirement to the project's own files", "", "Requirement", "File", "SHA-256", "Files in the image", "Record of the stage")
	files := provenance.ProjectFiles(d.Records)
	for _, r := range d.trace.Requirements {
		for _, name := range sortedKeys(files) {
			if !slices.ContainsFunc(r.Files, func(f string) bool { return name == f || strings.HasPrefix(name, f+"/") }) {
				continue
			}
			made := &filed{}
			var links []string
			for i, a := range d.trace.Actors {
				if f := actors[i]; a.Name == name && f != nil {
					made.count += f.count
					made.first = append(made.first, f.first...)
				}
			}
			for _, s := range d.order {
				if _, ok := d.Records[s].Materials[name]; ok {
					links = append(links, d.link(s))
				}
			}
			p.row(append(links, traceCite, intent), r.ID, name, string(files[name]), made.String(), joined(links))
		}
	}
	return nil
}

func serves(t *trace.Package, id string) *trace.Serves {
	if i := slices.IndexFunc(t.Requirements, func(s trace.Serves) bool { return s.ID == id }); i >= 0 {
		return &t.Requirements[i]
	}
	return nil
}

// names is a path of packages, by index.
func (d *dossier) names(path []int) string {
	var all []string
	for _, i := range path {
		all = append(all, d.trace.Packages[i].Name)
	}
	return strings.Join(all, " → ")
}

// chained is what signs for a package.
type chained struct {
	deb, index, release, signers string
	links, cites                 []string
}

// chain is that of a package of the trace.
func (d *dossier) chain(i int) chained {
	c := d.trace.PackageChain(i)
	row := chained{deb: string(c.Package.SHA256), index: refOf(c.Index), cites: from(traceCite, lockCite)}
	if c.Archive != nil {
		row.release, row.signers = refOf(&c.Archive.Release), joined(c.Archive.Signers)
		repository, _, _ := strings.Cut(c.Archive.ID, "/")
		row.cites = append(row.cites, path.Join("archives", repository, c.Archive.Release.Path))
		if c.Index != nil {
			row.cites = append(row.cites, path.Join("archives", repository, c.Index.Path))
		}
	}
	row.links = d.recordsOf(c.Package.SHA256)
	row.cites = append(row.cites, row.links...)
	return row
}

// recordsOf are the links that have a .deb among their products: of the stage that
// fetched it.
func (d *dossier) recordsOf(deb artifact.Digest) []string {
	var links []string
	for _, s := range d.order {
		for _, have := range d.Records[s].Products {
			if deb != "" && have == deb {
				links = append(links, d.link(s))
				break
			}
		}
	}
	return links
}

// packages is the matrix from each package of the lock back.
func packages(p *page) error {
	d := p.d
	at := map[string]int{} // by set and ID
	for i := range d.trace.Packages {
		at[d.trace.Packages[i].Set+" "+d.trace.Packages[i].ID()] = i
	}
	fetched := map[artifact.Digest][]string{}
	for _, s := range d.order {
		for _, have := range d.Records[s].Products {
			if links := fetched[have]; !slices.Contains(links, d.link(s)) {
				fetched[have] = append(links, d.link(s))
			}
		}
	}
	for _, set := range []struct {
		id, title, note string
		list            []lockfile.Package
	}{
		{"target", "In the image", "", d.Lock.Target},
		{"boot", "What boots it", "", d.Lock.Boot},
		{"tools", "What builds it", "Requirements are those of the image; a tool serves all of it.", d.Lock.Tools},
	} {
		p.section(set.id, set.title, set.note, "Package", "Version", "Architecture", "For", "Why", "Requirements", "By way of", "Source", ".deb, SHA-256", "Index", "Release file", "Signed by", "Record of the stage", "In the image")
		for _, l := range set.list {
			a := d.Lock.ArchiveOf(l.Archive)
			var uses, needed, ways, signers []string
			for _, u := range l.For {
				uses = append(uses, string(u))
			}
			for _, s := range a.Signers {
				signers = append(signers, s.Key)
			}
			in := "no: a tool"
			cites := append(d.packageCites(l), fetched[l.SHA256]...)
			if i, ok := at[set.id+" "+l.ID()]; ok {
				t := &d.trace.Packages[i]
				if in = "yes"; t.Gone != "" {
					in = "no: " + t.Gone
				}
				for _, s := range t.Requirements {
					needed, ways = append(needed, s.ID), append(ways, d.names(s.Path))
				}
				cites = append(cites, traceCite)
			} else if set.id != "tools" {
				in = ""
			}
			index, release := "", refOf(&a.Release)
			if i := indexFor(a, l.Path); i != nil {
				index = refOf(&i.Ref)
			}
			if l.Archive == lockfile.Project {
				index, release, signers = "none: "+l.Path+" of the project, which its config pins", "none", []string{"none: the project answers for it"}
			}
			way := joined(ways)
			if way == "" {
				way = "none"
			}
			p.row(cites, l.Name, l.Version, l.Architecture, joined(uses), l.Why, named(needed), way, l.Source+" "+l.SourceVersion, string(l.SHA256), index, release, joined(signers), joined(fetched[l.SHA256]), in)
		}
	}
	if i := d.Lock.Image; i != nil {
		p.section("base", "In the base image", "Those that dpkg has there, by name and version.", "Package", "Image, SHA-256 of its manifest")
		for _, id := range i.Packages {
			p.row(from(lockCite), id, string(i.Manifest.Digest))
		}
	}
	return nil
}
