package sbom

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// originGenerated is the trace's word for what a package's script wrote.
const originGenerated = "generated"

func productOf(d *Document) *component {
	p := &d.Product
	location := p.Location
	if location == "" {
		location = Path(p.FileName).uri()
	}
	purl := genericPURL(p.Name, p.Version)
	return &component{
		class: classProduct, id: "product", ref: purl, purl: purl,
		kind: anApplication, // scanners refuse documents with two operating systems
		name: p.Name, version: p.Version, description: line(p.Title, maxDescription), creator: p.Creator.clean(), hashes: p.Hashes, licence: p.Licence,
		nature:   Nature{Executable: Yes, Archive: Yes, Structured: Yes},
		fileName: line(p.FileName, maxLine), location: location, origin: "relative to the document",
		facts: new(facts).number("size", p.Size).
			add("source-date-epoch", d.Epoch.String()).licensing(p.Licence).list,
		completeness: or(p.Completeness),
		unknown:      p.Unknown,
		defaults: map[Field]string{
			FieldLicence:      "not stated for the image as a whole: see its components",
			FieldDependencies: "not known: the trace does not explain every file",
		},
	}
}

// systemOf is the distribution, from which scanners learn whose flaws to look for.
func systemOf(d *Distro) *component {
	id := strings.ToLower(d.ID)
	purl := genericPURL(id, cmp.Or(d.Version, d.Codename))
	return &component{
		class: classSystem, id: "system", ref: ours + "system", purl: purl, kind: aSystem,
		name: id, version: cmp.Or(d.Version, d.Codename), completeness: Undetermined,
		facts: new(facts).add("codename", d.Codename).list,
		defaults: map[Field]string{
			"":           "a distribution, as the root tree's os-release names it: an identified component, whose packages are components of their own",
			FieldVersion: "not known: os-release has no version, as in a distribution that is always in the making",
		},
	}
}

func packageOf(p *Package) *component {
	c := &component{
		id: p.ID(), kind: debPurpose(p.Section), name: p.Name, version: p.Version,
		description: line(p.Summary, maxDescription), homepage: p.Homepage,
		purl: debPURL(p.Distro, p.Name, p.Version, p.Architecture, SourceID{p.Source, p.SourceVersion}),
		cpe:  debCPE(p.Name, p.Version), creator: Maintainer(p.Maintainer), licence: p.Licence,
		completeness: p.Completeness, unknown: p.Unknown,
		// A .deb is an ar archive whose control part names its content.
		nature: Nature{Executable: p.Executable, Archive: Yes, Structured: Yes},
	}
	c.ref = c.purl
	switch p.Set {
	case Target:
		c.class = classPackage
	case Boot:
		c.class, c.ref = classBoot, c.purl+"#boot"
	case Tools:
		c.class, c.ref = classTool, c.purl+"#tools"
	}
	f := new(facts).add("set", string(p.Set)).add("from", string(p.From)).add("layer", prefixed(string(p.Layer))).
		add("architecture", p.Architecture).add("section", p.Section).add("priority", p.Priority).add("mark", string(p.Mark)).
		number("installed-size", p.InstalledSize).add("source", p.Source+"="+p.SourceVersion).
		sources("built-using", p.BuiltUsing).sources("static-built-using", p.StaticBuiltUsing).
		all("requirement", p.Requirements).licensing(p.Licence)
	if p.Essential {
		f.add("essential", string(Yes))
	}
	if p.Homepage != "" && webURL(p.Homepage) == "" {
		f.add("homepage", p.Homepage)
	}
	if p.Deb != nil {
		c.hashes, c.fileName, c.location = p.Deb.Hashes, path.Base(p.Deb.Path), Path(p.Deb.Path).uri()
		c.origin = "below the mirror's base, archive " + line(p.Deb.Archive, maxLine)
		if p.From == FromProject {
			c.origin = "below the project's folder"
		}
		f.number("size", p.Deb.Size).add("archive", p.Deb.Archive).add("archive:path", p.Deb.Path).add("archive:suite", p.Deb.Suite).
			add("archive:codename", p.Deb.Codename).add("archive:release-sha256", string(p.Deb.Release))
	} else if p.From == FromBase {
		why := "not known: came with the base image"
		if p.Layer != "" {
			why += " layer sha256:" + string(p.Layer)
		}
		c.defaults = map[Field]string{FieldFileName: why, FieldSHA512: why}
	}
	c.facts = f.list
	return c
}

// debPurpose is what the section tells; CycloneDX wants application where
// nothing does.
func debPurpose(section string) purpose {
	area, name, ok := strings.Cut(section, "/")
	if !ok {
		area, name = "", section
	}
	switch {
	case area == "non-free-firmware":
		return aFirmware
	case name == "libs", name == "oldlibs", name == "libdevel":
		return aLibrary
	}
	return anApplication
}

// pair is a source package and the way a binary package was made of it.
type pair struct {
	to  SourceID
	how string
}

// sources are those the package was made of, each way once and in order.
func (p *Package) sources() []pair {
	all := []pair{{SourceID{p.Source, p.SourceVersion}, bySource}}
	for _, s := range p.BuiltUsing {
		all = append(all, pair{s, byBuiltUsing})
	}
	for _, s := range p.StaticBuiltUsing {
		all = append(all, pair{s, byStaticBuiltUsing})
	}
	rest := all[1:]
	slices.SortFunc(rest, func(a, b pair) int { return strings.Compare(a.how+" "+a.to.ID(), b.how+" "+b.to.ID()) })
	return slices.Compact(all)
}

func sourceOf(s *Source) *component {
	c := &component{
		class: classSource, id: s.ID(), kind: aSource, name: s.Name, version: s.Version, homepage: s.Homepage,
		purl:    debPURL(s.Distro, s.Name, s.Version, "source", s.SourceID),
		creator: Maintainer(s.Maintainer), completeness: Undetermined, unknown: s.Unknown, source: s,
		facts: new(facts).add("archive:path", s.Directory).list,
		defaults: map[Field]string{
			"":                "a source package is several files: an identified component (TR-03183-2 3.2.4)",
			FieldSupplier:     "not known: its Sources index was not read",
			FieldCreator:      "not known: its Sources index was not read",
			FieldLicence:      "stated for the packages that are built from it",
			FieldDependencies: "not known: what it needs to be built was not looked at",
		},
	}
	c.ref = c.purl
	return c
}

func baseOf(b *BaseImage) []*component {
	purl := ociPURL(b)
	image := &component{
		class: classBase, id: "base", ref: purl, purl: purl, kind: aContainer, name: line(b.Reference, maxLine), version: "sha256:" + string(b.Manifest),
		hashes: Hashes{SHA256: string(b.Manifest)}, completeness: Complete, unknown: b.Unknown,
		nature: Nature{Executable: Yes, Archive: Yes, Structured: Yes},
		facts:  new(facts).add("config", prefixed(string(b.Config))).list,
		defaults: map[Field]string{
			FieldSupplier: "not known: the image's manifest names no supplier",
			FieldCreator:  "not known: the image's manifest names no creator",
			FieldFileName: "an image is named by its digest, not by a file",
			FieldLicence:  "not stated for the image as a whole: see its packages",
			FieldSHA512:   "not known: images are named by SHA-256",
		},
	}
	all, seen := []*component{image}, map[string]*component{}
	for i, l := range b.Layers {
		if c := seen[string(l.Digest)]; c != nil { // such as one that changes nothing
			c.facts = append(c.facts, fact{ours + "layer-number", strconv.Itoa(i + 1)})
			continue
		}
		c := &component{
			class: classLayer, id: "layer/" + string(l.Digest), ref: "sha256:" + string(l.Digest), kind: aLayer,
			name: "layer-" + l.Digest.Short(), version: "sha256:" + string(l.Digest),
			hashes: Hashes{SHA256: string(l.Digest)}, completeness: Undetermined,
			nature:   Nature{Executable: Yes, Archive: Yes, Structured: Yes},
			facts:    new(facts).number("layer-number", int64(i)+1).number("size", l.Size).add("media-type", l.MediaType).list,
			defaults: map[Field]string{"": "not known: a layer of the base image " + image.version},
		}
		seen[string(l.Digest)] = c
		image.depends = append(image.depends, edge{c, Depends})
		all = append(all, c)
	}
	return all
}

func foundOf(f *Found) *component {
	c := &component{
		class: classFound, id: f.ID(), name: f.Name, version: f.Version, purl: validPURL(f.PURL), kind: aLibrary,
		creator: f.Creator.clean(), hashes: f.Hashes, licence: f.Licence, nature: f.Nature, completeness: f.Completeness, unknown: f.Unknown,
		facts: new(facts).add("found-type", f.Type).add("found-by", f.FoundBy).add("in", f.In).licensing(f.Licence).list,
		defaults: map[Field]string{
			"":              "not known: " + f.FoundBy + " tells nothing of it",
			FieldIdentifier: "not known: " + f.FoundBy + " gives no package URL that is valid",
			FieldSHA512:     "not known: seen as part of other files",
		},
	}
	if f.Type == "firmware" {
		c.kind = aFirmware
	}
	c.ref = c.purl
	if c.ref == "" {
		c.ref = ours + "found/" + Path(f.Type+"/"+f.Name).uri() + "@" + Path(f.Version).uri()
	}
	c.ref += "#" + f.place().uri()
	if c.completeness == "" {
		c.completeness = Undetermined
	}
	paths := slices.Clone(f.Paths)
	slices.Sort(paths)
	for _, p := range slices.Compact(paths) {
		c.places = append(c.places, "/"+p.String())
	}
	if len(c.places) == 1 {
		c.fileName = f.place().base().String()
	}
	return c
}

func fileOf(d *Document, f *File) *component {
	c := &component{
		class: classFile, id: f.ID(), ref: ours + "file/" + Path(f.Tree).uri() + "/" + f.Path.uri(), kind: aFile,
		name: "/" + f.Path.String(), fileName: f.Path.base().String(),
		// TR-03183-2 takes the time of a file without a version; an image's
		// files all have the epoch.
		version: d.Epoch.Time().Format(time.RFC3339),
		hashes:  f.Hashes, licence: f.Licence, nature: f.Nature, completeness: Undetermined, unknown: f.Unknown,
		location: f.Path.uri(), origin: "in the image's tree " + f.Tree,
		places: []string{"/" + f.Path.String()},
		facts: new(facts).add("tree", f.Tree).add("size", strconv.FormatInt(f.Size, 10)).add("origin", f.Origin).add("reason", f.Reason).add("by", f.By).
			all("requirement", f.Requirements).licensing(f.Licence).list,
		defaults: map[Field]string{
			FieldSupplier:     "not known: made in the build, and nobody is recorded as its maker",
			FieldCreator:      "not known: made in the build, and nobody is recorded as its maker",
			FieldLicence:      "not stated: a file of no package",
			FieldDependencies: "not known: what a file needs is not recorded",
		},
	}
	switch f.Origin {
	case "overlay", "stage", "modified":
		c.creator = d.Product.Creator.clean()
	case "base":
		c.defaults[FieldSupplier] = "not known: came with the base image, and no package owns it"
		c.defaults[FieldCreator] = c.defaults[FieldSupplier]
	}
	return c
}

func prefixed(digest string) string {
	if digest == "" {
		return ""
	}
	return "sha256:" + digest
}

func or(c Completeness) Completeness {
	if c == "" {
		return Undetermined
	}
	return c
}
