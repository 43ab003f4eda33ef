package report

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// seci has the items of DO-178B 11.15.
func seci(p *page) error {
	d := p.d
	p.section("host", "Hardware and operating system", "A build takes nothing of its host but the kernel and the processor's instructions, so that the evidence says nothing of either. Two builds with the same result on different hosts are the proof of it.", "Item", "Value")
	for _, item := range []string{"computer", "processor", "operating system", "kernel"} {
		p.row(nil, item, "")
	}
	p.row(from(lockCite), "architecture that is built for", d.Lock.Architecture)

	p.section("isotrace", "The program that builds", "", "Item", "Value")
	var params struct {
		Isotrace string `json:"isotrace"`
	}
	if err := json.Unmarshal(d.Records["sbom"].Params, &params); err != nil {
		return err
	}
	p.row(cite(params.Isotrace, d.link("sbom")), "version", params.Isotrace)
	p.row(nil, "SHA-256 of the program", "")
	for _, s := range d.order {
		p.row(from(d.link(s)), "stage "+s+", version", strconv.Itoa(d.Records[s].Version))
	}

	p.section("tools", "Development tools", "Every package of the toolbox, and of what chooses packages when a lock is made. Nothing else runs in a build but programs of the image itself.",
		"Package", "Version", "Architecture", "Used to", "SHA-256", "Source", "Archive", "Why")
	d.tools(p, lockfile.UseBuild, lockfile.UseSolve)
	p.section("programs", "Programs that stages ran", "", "Stage", "Program", "Runs", "From")
	for _, s := range d.order {
		runs := map[string]int{}
		for _, c := range d.Records[s].Commands {
			if len(c.Argv) > 0 {
				runs[c.Argv[0]]++
			}
		}
		for _, name := range sortedKeys(runs) {
			p.row(from(d.link(s)), s, name, strconv.Itoa(runs[name]), d.placeOf(s))
		}
	}
	p.section("test-environment", "Test environment", "The packages of the emulator in which isotrace boot starts the image. What a boot showed is not part of the evidence.",
		"Package", "Version", "Architecture", "Used to", "SHA-256", "Source", "Archive", "Why")
	d.tools(p, lockfile.UseEmulator)
	p.row(nil, "results of boots", "", "", "", "", "", "", "")
	p.section("qualified", "Qualified tools", "", "Tool", "Qualification")
	p.row(nil, "isotrace", "")
	return nil
}

// purposes are the uses of tools in words.
var purposes = map[lockfile.Use]string{lockfile.UseBuild: "build", lockfile.UseSolve: "choose packages", lockfile.UseEmulator: "emulate"}

// tools lists those for one of the uses.
func (d *dossier) tools(p *page, uses ...lockfile.Use) {
	for _, t := range d.Lock.Tools {
		if !slices.ContainsFunc(uses, t.Is) {
			continue
		}
		var used []string
		for _, u := range t.For {
			used = append(used, purposes[u])
		}
		p.row(d.packageCites(t), t.Name, t.Version, t.Architecture, joined(used), string(t.SHA256), t.Source+" "+t.SourceVersion, t.Archive, t.Why)
	}
}

// packageCites are the files that a locked package rests on: the lock, the index that
// names it and the Release file that names that.
func (d *dossier) packageCites(l lockfile.Package) []string {
	if l.Archive == lockfile.Project {
		return from(lockCite, intent)
	}
	a := d.Lock.ArchiveOf(l.Archive)
	cites := from(lockCite, path.Join("archives", a.Repository, a.Release.Path))
	if i := indexFor(a, l.Path); i != nil {
		cites = append(cites, path.Join("archives", a.Repository, i.Path))
	}
	return cites
}

// indexFor is the index of the component that stands in a .deb's path below pool/; the
// only one where there is one.
func indexFor(a lockfile.Archive, file string) *lockfile.Index {
	parts := strings.Split(file, "/")
	for i := range a.Indexes {
		if len(a.Indexes) == 1 || len(parts) > 1 && a.Indexes[i].Component == parts[1] {
			return &a.Indexes[i]
		}
	}
	return nil
}

// placeOf says whose programs a stage runs.
func (d *dossier) placeOf(stage string) string {
	for m := range d.Records[stage].Materials {
		if strings.HasPrefix(m, "toolbox/") {
			return "toolbox, and the image's own tree where the stage works on it"
		}
	}
	return "the image's own tree"
}

// instructions say how the build goes.
func instructions(p *page) error {
	d := p.d
	p.section("steps", "How to build it again", "The same inputs give the same bits on any Linux of the same architecture.", "Step", "Command", "Takes")
	p.row(from(intent, lockCite), "check the project out, or unpack its archive", "", config.FileName+" and "+lockCite+" with the digests of this document")
	p.row(from(lockCite), "build it", "isotrace build", "a key of the builder, and a mirror that has what the lock names")
	p.row(from(sumsCite), "compare it with this build, stage by stage", "isotrace rebuild DIR", "a key of the rebuilder")
	p.section("stages", "Stages", "In an order in which each takes what earlier ones gave.", "Stage", "Version", "Materials", "Products", "Programs run", "Parameters")
	for _, s := range d.order {
		r := d.Records[s]
		p.row(from(d.link(s)), s, strconv.Itoa(r.Version), strconv.Itoa(len(r.Materials)), strconv.Itoa(len(r.Products)), strconv.Itoa(len(r.Commands)), string(r.Params))
	}
	p.section("commands", "Programs, with their arguments", "Paths are those inside the sandbox. A stage that is not here runs none.", "Stage", "Run", "Arguments, as JSON", "Settings", "Folder")
	for _, s := range d.order {
		for i, c := range d.Records[s].Commands {
			argv, err := json.Marshal(c.Argv)
			if err != nil {
				return err
			}
			dir := c.Dir
			if dir == "" {
				dir = "/"
			}
			settings := strings.Join(c.Env, " ")
			if settings == "" {
				settings = "those of the sandbox alone"
			}
			p.row(from(d.link(s)), s, strconv.Itoa(i+1), string(argv), settings, dir)
		}
	}
	return nil
}
