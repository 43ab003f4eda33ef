package provenance

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb"
	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

// claims are the .debs as they are, to hold the trace of the root tree against.
type claims struct {
	head       *trace.Head
	tree       *roottree.Manifest
	diversions map[string]dpkgdb.Diversion // those of the tree's dpkg
	debs       []debContent                // of the target, in the order of the head's packages
	have       *trace.Claims
}

// debContent is what a .deb was found to hold.
type debContent struct {
	trace.Deb
	// scripts are the names of its maintainer scripts, divert what those that call
	// dpkg-divert say.
	scripts []string
	divert  string
	// images are the files of GRUB that an image has in another form, by path.
	images map[string][]byte
}

func newClaims(head *trace.Head, tree *roottree.Manifest, diversions map[string]dpkgdb.Diversion, owners trace.Owners, debs []debContent) (*claims, error) {
	c := &claims{head: head, tree: tree, diversions: diversions, debs: debs, have: trace.NewClaims(tree, diversions, owners)}
	for _, d := range debs {
		if err := c.have.Add(d.Deb, head.Packages[d.Package].Name); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// scriptsOf takes down what of a .deb's maintainer scripts the trace can name.
func (d *debContent) scriptsOf(c *deb.Control) {
	for _, s := range c.Scripts() {
		d.scripts = append(d.scripts, s.Name)
		if text := withoutComments(string(s.Content)); strings.Contains(text, "dpkg-divert") {
			d.divert += text
		}
	}
}

// withoutComments leaves out the lines of a script that are no more than comments, among
// them the first, which names a shell.
func withoutComments(script string) string {
	var b strings.Builder
	for line := range strings.Lines(script) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// namesFile tells whether a text has the name of a file, and not just as a part of
// another word: "su" is in "usual".
func namesFile(text, name string) bool {
	part := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._+-", c) >= 0
	}
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		at := from + i
		end := at + len(name)
		if (at == 0 || !part(text[at-1])) && (end == len(text) || !part(text[end])) {
			return true
		}
		from = at + 1
	}
}

func (c *claims) id(i int) string { return c.head.Packages[i].ID() }

// judge says what is wrong with the origin of a path of the root tree; "" for nothing.
// What a .deb holds for the path decides: whether the file is the .deb's, whether it was
// changed and from what, and that nobody else is said to have made it.
func (c *claims) judge(o *trace.Origin) string {
	e, ok := c.tree.Lookup(o.Path)
	if !ok {
		return "is in no manifest"
	}
	holders, all := c.have.Holders(&e), c.have.At(o.Path)
	switch {
	case len(holders) > 0:
		return c.held(o, holders)
	case o.Kind == trace.Archive, o.Kind == trace.Overlay && o.Package != nil && o.Was == nil:
		return fmt.Sprintf("is said to be in %s, which does not hold it so", c.id(*o.Package))
	case len(all) > 0:
		return c.changed(o, &e, all)
	case o.Package != nil && o.Kind != trace.Base:
		return fmt.Sprintf("is said to be %s from what %s has, which does not have it", o.Kind, c.id(*o.Package))
	case o.Was != nil && (o.Kind != trace.Modified || o.Was.By == nil || !c.onlyBy(o.Was)):
		return "is said to have been another file before, which no .deb has"
	}
	return ""
}

// held judges a path that .debs have just as it is.
func (c *claims) held(o *trace.Origin, holders []int) string {
	kind, among := trace.Archive, slices.Clone(holders)
	among = slices.DeleteFunc(among, func(i int) bool { return c.head.Packages[i].Origin != trace.Archive })
	if len(among) == 0 { // the project's own alone
		if kind, among = trace.Overlay, holders; o.Type == roottree.Dir && o.Package == nil && o.Kind != trace.Archive {
			return "" // a folder that was there before
		}
	}
	switch {
	case o.Kind != kind || o.Was != nil:
		return fmt.Sprintf("is in %s as it is, and is said to be %s", c.id(among[0]), o.Kind)
	case o.Package == nil || !slices.Contains(among, *o.Package):
		return fmt.Sprintf("is said to be in %s, which does not hold it so", c.named(o.Package))
	}
	others := append(slices.Clone(o.Others), *o.Package)
	slices.Sort(others)
	slices.Sort(holders)
	if !slices.Equal(others, holders) {
		return "is said to be in other packages than those that hold it so"
	}
	return ""
}

// changed judges a path that .debs have otherwise.
func (c *claims) changed(o *trace.Origin, e *roottree.Entry, all []trace.Claim) string {
	switch {
	case !slices.Contains([]trace.Kind{trace.Modified, trace.Overlay, trace.Base, trace.Unexplained}, o.Kind), o.Package == nil, o.Was == nil:
		return fmt.Sprintf("is in %s, but not as it is, and is said to be %s", c.id(all[0].Package), o.Kind)
	case !slices.ContainsFunc(all, func(k trace.Claim) bool { return k.Package == *o.Package && equalWas(o.Was, trace.WasOf(k.Entry, e)) }):
		return fmt.Sprintf("is said to have been %s in %s, which has it otherwise", wasText(o.Was), c.id(*o.Package))
	}
	return ""
}

func (c *claims) named(i *int) string {
	if i == nil {
		return "a package"
	}
	return c.id(*i)
}

// onlyBy tells whether nothing but a maker is named of what was before.
func (c *claims) onlyBy(w *trace.Was) bool { return equalWas(w, &trace.Was{By: w.By}) }

func equalWas(a, b *trace.Was) bool { return wasText(a) == wasText(b) }

func wasText(w *trace.Was) string {
	text, err := json.Marshal(w)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// removed compares the files that the trace says were removed with those of the .debs
// that the tree lacks.
func (c *claims) removed() []Problem {
	type key struct {
		path string
		pkg  int
	}
	lacks := map[key]bool{}
	for _, d := range c.debs {
		for i := range d.List.Entries {
			e := &d.List.Entries[i]
			if e.Type == roottree.Dir {
				continue
			}
			at, err := c.have.Place(e.Path, c.head.Packages[d.Package].Name)
			if err != nil {
				continue // newClaims has said so
			}
			if _, there := c.tree.Lookup(at); !there {
				lacks[key{at, d.Package}] = true
			}
		}
	}
	const file = TraceDir + "/" + trace.HeadFile
	var problems []Problem
	for _, r := range c.head.Removed {
		k := key{r.Path, r.Package}
		if !lacks[k] {
			problems = append(problems, Problem{file, fmt.Sprintf("/%s is said to be removed from what %s has, and is not", r.Path, c.id(r.Package))})
		}
		delete(lacks, k)
	}
	for k := range lacks {
		problems = append(problems, Problem{file, fmt.Sprintf("/%s is in %s, and neither in the image nor said to be removed", k.path, c.id(k.pkg))})
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Detail, b.Detail) })
	return problems
}

// diverted judges the diversions that moved a file of a .deb. The database of them is
// itself a file that nothing vouches for: a diversion counts only as dpkg-divert makes it,
// and as the scripts of the package that diverts say.
func (c *claims) diverted(lines map[string]trace.Origin) []Problem {
	targets := map[string]string{}
	for _, from := range sortedKeys(c.diversions) {
		to := c.diversions[from].To
		if other, twice := targets[to]; twice {
			return []Problem{{"/" + dpkgdb.DiversionsFile, fmt.Sprintf("/%s and /%s are diverted to one place", other, from)}}
		}
		targets[to] = from
	}
	var problems []Problem
	for _, from := range sortedKeys(c.diversions) {
		if !c.have.Diverted(from) {
			continue
		}
		if wrong := c.diversion(from, targets, lines); wrong != "" {
			problems = append(problems, Problem{"/" + dpkgdb.DiversionsFile, fmt.Sprintf("/%s is diverted to /%s: %s", from, c.diversions[from].To, wrong)})
		}
	}
	return problems
}

func (c *claims) diversion(from string, targets map[string]string, lines map[string]trace.Origin) string {
	d := c.diversions[from]
	if _, chained := c.diversions[d.To]; chained || targets[from] != "" {
		return "one of the two is diverted otherwise, too, which dpkg-divert refuses"
	}
	at, err := c.have.Place(from, d.Package)
	if err != nil {
		return err.Error()
	}
	to, err := c.have.Place(d.To, d.Package)
	if err != nil {
		return err.Error()
	}
	for _, k := range c.have.At(to) {
		if k.Entry.Path != from && k.Entry.Type != roottree.Dir {
			return fmt.Sprintf("%s has a file there", c.id(k.Package))
		}
	}
	i := slices.IndexFunc(c.debs, func(k debContent) bool { return c.head.Packages[k.Package].Name == d.Package })
	if d.Package != "" && i >= 0 {
		if !namesFile(c.debs[i].divert, path.Base(from)) {
			return fmt.Sprintf("no script of %s does so", c.id(c.debs[i].Package))
		}
		return ""
	}
	// Whoever diverted it was no package of an archive's: no more is what stands in its place.
	if o, ok := lines[at]; ok && (o.Kind == trace.Generated || o.Kind == trace.Modified) {
		return fmt.Sprintf("no package of an archive did so, and what stands in its place is said to be %s", o.Kind)
	}
	return ""
}

// actors checks that the maintainer scripts that are said to have written something are
// in their packages' .debs. inBase tells whether the base image came with a package of a
// name, whose scripts may have run in another version.
func (c *claims) actors(inBase func(name string) bool) []Problem {
	scripts := map[string][]string{}
	for _, d := range c.debs {
		name := c.head.Packages[d.Package].Name
		scripts[name] = append(scripts[name], d.scripts...)
	}
	var problems []Problem
	for _, a := range c.head.Actors {
		if a.Kind == stage.ByPackage && !slices.Contains(scripts[a.Name], a.Script) && !inBase(a.Name) {
			problems = append(problems, Problem{TraceDir + "/" + trace.HeadFile, fmt.Sprintf("%s is said to have written files, and no .deb of that name has a %s", a.Actor, a.Script)})
		}
	}
	return problems
}
