package report

import (
	"path"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// changesOf counts the files of each package that are not as its .deb has them.
func (d *dossier) changesOf() (map[int]int, error) {
	n := map[int]int{}
	err := d.trace.Each(trace.PartRoot, nil, func(o trace.Origin) bool {
		if o.Package != nil && o.Kind != trace.Archive {
			n[*o.Package]++
		}
		return true
	})
	return n, err
}

func previouslyDeveloped(p *page) error {
	d := p.d
	changes, err := d.changesOf()
	if err != nil {
		return err
	}
	p.section("packages", "Packages of others", "What the image and its boot loaders are made of, unchanged unless the last column says otherwise.", "Package", "Version", "Source", "From", "Archive", "SHA-256", "Licence", "Part", "Files not as the package has them")
	for i := range d.trace.Packages {
		t := &d.trace.Packages[i]
		if t.Gone == "" {
			p.row(d.chain(i).cites, t.ID(), t.Version, t.Source+" "+t.SourceVersion, string(t.Origin), t.Archive, string(t.SHA256), t.Licence, t.Set, strconv.Itoa(changes[i]))
		}
	}
	p.section("gone", "Locked, and not in the image", "", "Package", "Version", "Why not")
	for i := range d.trace.Packages {
		if t := &d.trace.Packages[i]; t.Gone != "" {
			p.row(from(traceCite, lockCite), t.ID(), t.Version, t.Gone)
		}
	}
	if i := d.Lock.Image; i != nil {
		p.section("image", "Base image", "", "Part", "SHA-256", "Bytes")
		p.row(from(lockCite), "manifest", string(i.Manifest.Digest), strconv.FormatInt(i.Manifest.Size, 10))
		for n, l := range i.Layers {
			p.row(from(lockCite), "layer "+strconv.Itoa(n+1), string(l.Digest), strconv.FormatInt(l.Size, 10))
		}
	}
	return nil
}

func licences(p *page) error {
	d := p.d
	texts := path.Join(provenance.SbomDir, "licences.jsonl.zst")
	p.section("expressions", "Licences", "As SPDX expressions, read from the packages' copyright files. LicenseRef- names stand for texts that SPDX has no name for; the bill of materials has them.", "Licence", "Packages", "Names")
	for _, g := range collect(d.installed(), func(t *trace.Package) string { return t.Licence }) {
		names := make([]string, len(g.of))
		for i, t := range g.of {
			names[i] = t.Name
		}
		p.row(from(traceCite, texts), licence(g.key), strconv.Itoa(len(names)), joined(names))
	}
	p.section("packages", "Packages", "", "Package", "Version", "Source", "Licence")
	for _, t := range d.installed() {
		p.row(from(traceCite, texts), t.ID(), t.Version, t.Source+" "+t.SourceVersion, licence(t.Licence))
	}
	return nil
}

// licence is an expression, or "" where the evidence knows none.
func licence(s string) string {
	if s == "NOASSERTION" || s == "NONE" {
		return ""
	}
	return s
}

// changed lists what stands in no package as it is.
func changed(p *page) error {
	d := p.d
	for _, k := range []struct {
		kind        trace.Kind
		title, note string
	}{
		{trace.Unexplained, "Of unknown origin", "The config accepts them, with the reason."},
		{trace.Modified, "Modified", "Files of a package or of the base image that something changed later."},
		{trace.Overlay, "The project's own", "Files that the project put there, or that a script of it wrote."},
		{trace.Stage, "Made by isotrace", ""},
		{trace.Generated, "Generated", "Written by a package's maintainer script, or by a program that a stage ran."},
		{trace.Base, "Of the base image", "No .deb of their packages is at hand, or has them otherwise."},
	} {
		p.section(string(k.kind), k.title, k.note, "File", "Part", "SHA-256", "Package", "By", "In stage", "What changed")
		for _, part := range trace.Parts {
			err := d.trace.Each(part, []byte(`"`+string(k.kind)+`"`), func(o trace.Origin) bool {
				if o.Kind == k.kind {
					d.changedRow(p, part, o)
				}
				return true
			})
			if err != nil {
				return err
			}
		}
	}
	p.section("removed", "Of packages, and removed", "", "File", "Package", "By")
	for _, r := range d.trace.Removed {
		by := ""
		if r.By != nil {
			by = d.trace.Actors[*r.By].String()
		}
		p.row(from(traceCite), r.Path, d.trace.Packages[r.Package].ID(), by)
	}
	return nil
}

func (d *dossier) changedRow(p *page, part string, o trace.Origin) {
	owner, by, stage, digest := "none", "", "", string(o.SHA256)
	cites := from(path.Join(provenance.TraceDir, part+".jsonl.zst"))
	if o.Package != nil {
		owner = d.trace.Packages[*o.Package].ID()
	}
	if o.By != nil {
		a := d.trace.Actors[*o.By]
		by, stage = a.String(), a.Stage
		cites = append(cites, d.link(a.Stage))
	}
	if digest == "" {
		digest = "none: " + string(o.Type)
	}
	what := o.Allowed
	if o.Was != nil {
		what = difference(o)
	} else if what == "" {
		what = "new"
	}
	p.row(cites, o.Path, part, digest, owner, by, stage, what)
}

// difference says how a file was before.
func difference(o trace.Origin) string {
	var was []string
	w := o.Was
	for _, v := range []struct{ name, value string }{{"type", string(w.Type)}, {"mode", w.Mode}, {"sha256", string(w.SHA256)}, {"target", w.Target}} {
		if v.value != "" {
			was = append(was, v.name+" was "+v.value)
		}
	}
	for _, v := range []struct {
		name string
		id   *uint32
	}{{"uid", w.UID}, {"gid", w.GID}} {
		if v.id != nil {
			was = append(was, v.name+" was "+strconv.FormatUint(uint64(*v.id), 10))
		}
	}
	if len(was) == 0 {
		return "as it was written, by another before"
	}
	return strings.Join(was, ", ")
}
