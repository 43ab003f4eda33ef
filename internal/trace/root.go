package trace

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
)

// Deb is a .deb that is at hand: its place among the packages, and what it
// installs.
type Deb struct {
	Package int
	List    *roottree.Manifest
}

// Turn is one stage's turn at the root tree.
type Turn struct {
	Stage string
	*stage.Changes
}

// Root is what is known of the root tree.
type Root struct {
	Tree *roottree.Manifest
	DB   *dpkgdb.DB
	// Owners are the tree's accounts and groups.
	Owners Owners
	Debs   []Deb // of what is installed, in the order of the packages
	// Installer is the stage that installs packages.
	Installer string
	// Turns are those of the stages, the last first.
	Turns []Turn
	// Owner finds the package, by index, that dpkg has under ID NAME:ARCH=VERSION.
	Owner func(id string) (int, bool)
	// Allow returns the config's reason to accept a file that nothing explains.
	Allow func(path string) string
}

// Tracer gathers what a trace says.
type Tracer struct {
	Head   Head
	actors map[Actor]int
	// root are the root tree's origins by path, for what is copied from it.
	root map[string]Origin
	// byContent are the paths of the root tree's regular files by content.
	byContent map[artifact.Digest]string
	programs  map[string]int // package by base name of a program
	boot      map[artifact.Digest]bootFile
}

// NewTracer begins a trace.
func NewTracer(name, release string, archives []Suite, packages []Package) *Tracer {
	return &Tracer{
		Head: Head{
			Format: Format, Name: name, Release: release, Archives: archives, Packages: packages, Actors: []Actor{}, Parts: []Part{},
			Findings: []Finding{}, Requirements: []Requirement{}, Removed: []Removed{},
		},
		actors: map[Actor]int{}, root: map[string]Origin{}, byContent: map[artifact.Digest]string{},
		programs: map[string]int{}, boot: map[artifact.Digest]bootFile{},
	}
}

func (t *Tracer) finding(rule, path, format string, args ...any) {
	t.Head.Findings = append(t.Head.Findings, Finding{Rule: rule, Path: path, Text: fmt.Sprintf(format, args...)})
}

// actor returns the index of an actor; those that are programs get the package
// that brings the program.
func (t *Tracer) actor(stageName string, a stage.Actor) *int {
	key := Actor{Stage: stageName, Actor: a}
	i, ok := t.actors[key]
	if !ok {
		i = len(t.Head.Actors)
		t.actors[key] = i
		full := key
		switch a.Kind {
		case stage.ByProgram:
			if p, ok := t.programs[a.Name]; ok {
				full.Package = &p
			}
		case stage.ByPackage:
			for p := range t.Head.Packages {
				if t.Head.Packages[p].Name == a.Name && t.Head.Packages[p].Set == "target" {
					full.Package = &p
					break
				}
			}
		}
		t.Head.Actors = append(t.Head.Actors, full)
	}
	return &i
}

// rootTracer decides on the root tree.
type rootTracer struct {
	*Tracer
	*Root
	claims *Claims
	listed map[string][]int // packages by path, as dpkg lists them
}

// Root traces the root tree and returns its origins, by path.
func (t *Tracer) Root(r *Root) ([]Origin, error) {
	x := &rootTracer{Tracer: t, Root: r, claims: NewClaims(r.Tree, r.DB.Diversions, r.Owners), listed: map[string][]int{}}
	for _, p := range r.DB.Problems {
		t.finding("dpkg-database", p.Path, "%s", p.Text)
	}
	if err := x.list(); err != nil {
		return nil, err
	}
	for _, d := range r.Debs {
		if err := x.claims.Add(d, x.Head.Packages[d.Package].Name); err != nil {
			return nil, err
		}
	}
	x.findPrograms()
	origins := make([]Origin, 0, len(r.Tree.Entries))
	for i := range r.Tree.Entries {
		o := x.origin(&r.Tree.Entries[i])
		origins = append(origins, o)
		t.root[o.Path] = o
		if o.Type == roottree.File && o.Size > 0 {
			if _, ok := t.byContent[o.SHA256]; !ok {
				t.byContent[o.SHA256] = o.Path
			}
		}
	}
	x.removed()
	return origins, nil
}

// findPrograms takes down whose the programs are that a stage may run by name: by the
// package's .deb, or by dpkg's list where the .deb is not at hand.
func (x *rootTracer) findPrograms() {
	folders := []string{"usr/local/sbin", "usr/sbin", "usr/bin"} // the first one counts
	rank := map[string]int{}
	note := func(at string, pkg int) {
		dir, name := path.Split(at)
		r := slices.Index(folders, strings.TrimSuffix(dir, "/"))
		if r < 0 {
			return
		}
		if was, ok := rank[name]; !ok || r < was {
			rank[name], x.programs[name] = r, pkg
		}
	}
	for at, claims := range x.claims.at {
		if claims[0].Entry.Type != roottree.Dir {
			note(at, claims[0].Package)
		}
	}
	for at, owners := range x.listed {
		if len(x.claims.At(at)) == 0 {
			note(at, owners[0])
		}
	}
}

// list takes down which paths dpkg counts as whose.
func (x *rootTracer) list() error {
	for i := range x.DB.Packages {
		p := &x.DB.Packages[i]
		owner, ok := x.Owner(p.ID())
		if !ok {
			x.finding("dpkg-database", "var/lib/dpkg/status", "package %s is installed, but neither the lock nor the base image has it", p.ID())
			continue
		}
		for _, f := range p.Files {
			at, err := x.claims.Place(f, p.Name)
			if err != nil {
				x.finding("dpkg-database", f, "%s", err)
				continue
			}
			x.listed[at] = append(x.listed[at], owner)
		}
	}
	return nil
}

func (x *rootTracer) origin(e *roottree.Entry) Origin {
	o := Origin{Path: e.Path, Type: e.Type, SHA256: e.SHA256, Size: e.Size, Target: e.Target}
	if holders := x.claims.Holders(e); len(holders) > 0 {
		o.Kind, o.Package, o.Others = Archive, &holders[0], holders[1:]
		x.preferArchive(&o)
		return o
	}
	stageName, by, wrote := x.lastTurn(e.Path)
	if c, ok := x.owner(e.Path); ok {
		o.Package, o.Was = &c.Package, WasOf(c.Entry, e)
		x.changed(&o, e, stageName, by, wrote)
		return o
	}
	if !wrote {
		o.Kind = Unexplained
		o.Allowed = x.Allow(e.Path)
		return o
	}
	x.made(&o, stageName, by)
	return o
}

// preferArchive has an entry that is in several .debs, such as a folder, be of one that
// an archive signs for. What only a .deb of the project has is the project's.
func (x *rootTracer) preferArchive(o *Origin) {
	own := func(pkg int) bool { return x.Head.Packages[pkg].Origin == Overlay }
	if !own(*o.Package) {
		return
	}
	if i := slices.IndexFunc(o.Others, func(pkg int) bool { return !own(pkg) }); i >= 0 {
		other := o.Others[i]
		o.Others[i] = *o.Package
		o.Package = &other
		slices.Sort(o.Others)
		return
	}
	stageName, by, wrote := x.lastTurn(o.Path)
	if o.Type == roottree.Dir && wrote && !isPackageManager(by) {
		o.Package, o.Others = nil, nil // it was there before
		x.made(o, stageName, by)
		return
	}
	if !wrote || !isPackageManager(by) {
		stageName = x.Installer
	}
	p := &x.Head.Packages[*o.Package]
	o.Kind, o.By = Overlay, x.actor(stageName, stage.Actor{Kind: stage.ByOverlay, Name: p.Archive + "/" + p.Path})
}

// owner is the claim that dpkg upholds; a later package may have taken a path over.
func (x *rootTracer) owner(at string) (Claim, bool) {
	claims := x.claims.At(at)
	for _, c := range claims {
		if slices.Contains(x.listed[at], c.Package) {
			return c, true
		}
	}
	if len(claims) > 0 {
		return claims[0], true
	}
	return Claim{}, false
}

// lastTurn finds who changed a path last.
func (x *rootTracer) lastTurn(at string) (string, stage.Actor, bool) {
	for _, turn := range x.Turns {
		if a, ok := turn.Changed[at]; ok {
			return turn.Stage, a, true
		}
	}
	return "", stage.Actor{}, false
}

// changed decides on a path that a .deb has, but not like this.
func (x *rootTracer) changed(o *Origin, e *roottree.Entry, stageName string, by stage.Actor, wrote bool) {
	o.Kind = Modified
	switch {
	case !wrote:
		o.Kind, o.Allowed = Unexplained, x.Allow(e.Path)
		return
	case by.Kind == stage.ByOverlay:
		o.Kind = Overlay
	case by.Kind == stage.ByLayer:
		// The image's builder changed it: by a layer, not by a package.
		o.Kind = Base
	case isPackageManager(by) && !x.DB.Overrides[e.Path]:
		// dpkg unpacks what is in the .deb and nothing else.
		o.Kind, o.Allowed = Unexplained, x.Allow(e.Path)
	}
	o.By = x.actor(stageName, by)
}

// made decides on a path that no .deb has.
func (x *rootTracer) made(o *Origin, stageName string, by stage.Actor) {
	o.By = x.actor(stageName, by)
	switch by.Kind {
	case stage.ByPackage:
		o.Kind = Generated
	case stage.ByProgram:
		o.Kind = Generated
		if isPackageManager(by) && !ownOfPackageManager(o.Path) {
			o.Kind, o.Allowed = Unexplained, x.Allow(o.Path)
		}
	case stage.ByScript, stage.ByOverlay:
		o.Kind = Overlay
	case stage.BySetting, stage.ByStage:
		o.Kind = Stage
	case stage.ByPass:
		o.Kind = Modified
		o.Was = &Was{By: x.before(o.Path, stageName)}
		if o.Was.By == nil {
			o.Kind, o.Was = Stage, nil
		}
	case stage.ByLayer:
		o.Kind = Base
		if owners := x.listed[o.Path]; len(owners) > 0 {
			o.Package = &owners[0]
		}
	default:
		o.Kind = Unexplained
	}
}

// before is who changed a path before a pass did, in the stage's own turn or an
// earlier one.
func (x *rootTracer) before(at, stageName string) *int {
	past := false
	for _, turn := range x.Turns {
		who, ok := turn.Before[at]
		if past {
			who, ok = turn.Changed[at]
		}
		past = past || turn.Stage == stageName
		if past && ok && who.Kind != stage.ByPass {
			return x.actor(turn.Stage, who)
		}
	}
	return nil
}

func isPackageManager(a stage.Actor) bool {
	return a.Kind == stage.ByProgram && (a.Name == "dpkg" || a.Name == "apt-get")
}

// ownOfPackageManager tells what dpkg and apt write besides the packages' files:
// their databases, that of debconf, which apt asks to read questions beforehand,
// and a conffile's other version beside it.
func ownOfPackageManager(p string) bool {
	for _, dir := range []string{"var/lib/dpkg/", "var/lib/apt/", "var/cache/apt/", "var/cache/debconf/"} {
		if strings.HasPrefix(p, dir) {
			return true
		}
	}
	return strings.HasSuffix(p, ".dpkg-dist") || strings.HasSuffix(p, ".dpkg-old") || strings.HasSuffix(p, ".dpkg-new")
}

// removed lists the packages' files that the image lacks.
func (x *rootTracer) removed() {
	for _, d := range x.Debs {
		name := x.Head.Packages[d.Package].Name
		for i := range d.List.Entries {
			e := &d.List.Entries[i]
			if e.Type == roottree.Dir {
				continue
			}
			at, err := x.claims.Place(e.Path, name)
			if err != nil {
				continue // claim has said so
			}
			if _, there := x.Tree.Lookup(at); there {
				continue
			}
			x.Head.Removed = append(x.Head.Removed, Removed{Path: at, Package: d.Package, By: x.remover(at)})
		}
	}
	slices.SortFunc(x.Head.Removed, func(a, b Removed) int {
		if n := strings.Compare(a.Path, b.Path); n != 0 {
			return n
		}
		return a.Package - b.Package
	})
}

// remover is who took a path away: it, or a folder above it.
func (x *rootTracer) remover(at string) *int {
	for _, turn := range x.Turns {
		for p := at; p != "."; p = path.Dir(p) {
			if a, ok := turn.Removed[p]; ok {
				return x.actor(turn.Stage, a)
			}
		}
	}
	return nil
}
