package diff

import (
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

// How a file's change is explained.
const (
	// Direct is by what the file itself comes from: its package, the project's file.
	Direct = "direct"
	// Indirect is by the inputs of the stage that made it, all of which it may rest on.
	Indirect = "indirect"
	// Unexplained is by nothing.
	Unexplained = "unexplained"
)

// FileChange is a file, folder or link that differs.
type FileChange struct {
	Part   string `json:"part"`
	Path   string `json:"path"`
	Change string `json:"change"` // added, removed or changed
	// Fields are what of it differs, where both builds have it.
	Fields []string   `json:"fields,omitempty"`
	From   trace.Kind `json:"from,omitempty"` // origin
	To     trace.Kind `json:"to,omitempty"`
	// Owner is the package it is of, or who made it.
	Owner string `json:"owner"`
	// Class is how it is explained: by Causes, or by the inputs of Stage.
	Class  string  `json:"class"`
	Causes []Cause `json:"causes,omitempty"`
	Stage  string  `json:"stage,omitempty"`
	// Why says why nothing explains it.
	Why string `json:"why,omitempty"`
	was *trace.Origin
	is  *trace.Origin
}

// holders are the stages that decide what a part holds.
var holders = map[string]string{
	trace.PartInitrd: "kernel", trace.PartBIOS: "bootparts", trace.PartEFI: "bootparts", trace.PartESP: "bootparts",
	trace.PartMedium: "livetree", trace.PartDisk: "diskboot",
}

// files compares all parts, the root tree first: others copy from it.
func (c *comparison) files() {
	c.rootChanges = map[string]*FileChange{}
	was, is := c.a.Trees[c.a.Root], c.b.Trees[c.b.Root]
	union(was.Entries, is.Entries, func(e *roottree.Entry) string { return e.Path }, func(x, y *roottree.Entry) {
		f := &FileChange{Part: trace.PartRoot, Change: "changed"}
		switch {
		case x == nil:
			f.Path, f.Change = y.Path, "added"
		case y == nil:
			f.Path, f.Change = x.Path, "removed"
		default:
			f.Path = x.Path
			for _, d := range roottree.Compare(&roottree.Manifest{Entries: []roottree.Entry{*x}}, &roottree.Manifest{Entries: []roottree.Entry{*y}}, roottree.CompareOptions{}) {
				f.Fields = append(f.Fields, d.Field)
			}
			if len(f.Fields) == 0 {
				return
			}
		}
		c.explainRoot(f)
		c.rootChanges[f.Path] = f
		c.add(f)
	})
	for _, part := range trace.Parts {
		if part == trace.PartRoot {
			continue
		}
		union(c.a.Files[part], c.b.Files[part], func(o *trace.Origin) string { return o.Path }, func(x, y *trace.Origin) {
			f := &FileChange{Part: part, Change: "changed"}
			switch {
			case x == nil:
				f.Path, f.Change = y.Path, "added"
			case y == nil:
				f.Path, f.Change = x.Path, "removed"
			default:
				f.Path = x.Path
				if f.Fields = originFields(x, y); len(f.Fields) == 0 {
					return
				}
			}
			c.explainPart(f)
			c.add(f)
		})
	}
	c.countFiles()
}

func originFields(x, y *trace.Origin) []string {
	var fields []string
	for _, f := range []struct {
		name  string
		equal bool
	}{{"type", x.Type == y.Type}, {"size", x.Size == y.Size}, {"sha256", x.SHA256 == y.SHA256}, {"link target", x.Target == y.Target}} {
		if !f.equal {
			fields = append(fields, f.name)
		}
	}
	return fields
}

func (c *comparison) add(f *FileChange) {
	f.Causes = sortCauses(f.Causes)
	c.result.Files = append(c.result.Files, *f)
}

// origins takes down where both builds have a file from.
func (c *comparison) origins(f *FileChange) {
	f.was, f.is = c.a.origin(f.Part, f.Path), c.b.origin(f.Part, f.Path)
	f.Owner = "nobody"
	if f.was != nil {
		f.From, f.Owner = f.was.Kind, owner(c.a, f.was)
	}
	if f.is != nil {
		f.To, f.Owner = f.is.Kind, owner(c.b, f.is)
	}
}

// owner is the package a file is of, or who made it.
func owner(m *Model, o *trace.Origin) string {
	switch {
	case o.Package != nil && o.Kind != trace.Overlay:
		return m.Head.Packages[*o.Package].Name
	case o.By != nil && m.Head.Actors[*o.By].Package != nil:
		return m.Head.Packages[*m.Head.Actors[*o.By].Package].Name
	case o.By != nil:
		return m.Head.Actors[*o.By].String()
	}
	return "nobody"
}

// sides are the builds in which a file is, and its origin there.
func (c *comparison) sides(f *FileChange, do func(m, other *Model, o *trace.Origin)) {
	if f.was != nil {
		do(c.a, c.b, f.was)
	}
	if f.is != nil {
		do(c.b, c.a, f.is)
	}
}

// direct gathers the reasons that lie in what the file itself comes from.
func (c *comparison) direct(f *FileChange) {
	c.sides(f, func(m, _ *Model, o *trace.Origin) {
		if o.Package != nil && o.Kind != trace.Overlay { // the project's file is what it is, whatever it replaced
			for _, i := range append([]int{*o.Package}, o.Others...) {
				if cause := c.changed(m, i); cause != nil {
					f.Causes = append(f.Causes, *cause)
				}
			}
		}
		if o.Kind != trace.Archive && o.By != nil {
			c.actorCauses(f, m, *o.By)
			if o.Was != nil && o.Was.By != nil && o.Kind != trace.Overlay {
				c.actorCauses(f, m, *o.Was.By)
			}
		}
	})
	if len(f.Causes) > 0 {
		f.Class = Direct
	}
}

// actorCauses are the reasons that lie in who made a file.
func (c *comparison) actorCauses(f *FileChange, m *Model, i int) {
	a := m.Head.Actors[i]
	if a.Package != nil {
		if cause := c.changed(m, *a.Package); cause != nil {
			f.Causes = append(f.Causes, *cause)
		}
	}
	switch a.Kind {
	case stage.ByOverlay, stage.ByScript:
		for _, p := range c.project {
			if p.Path == a.Name {
				f.Causes = append(f.Causes, Cause{CauseProject, p.Path + " is " + p.Change()})
			}
		}
		to := "/" + f.Path
		if was, is := c.placed[0][to], c.placed[1][to]; was != is && a.Kind == stage.ByOverlay {
			f.Causes = append(f.Causes, placedCause(to, was, is))
		}
	case stage.BySetting:
		for _, key := range append([]string{a.Name}, settings[a.Name]...) {
			if slices.Contains(c.changedKeys(), key) {
				f.Causes = append(f.Causes, Cause{CauseConfig, "config " + key})
			}
		}
	case stage.ByLayer:
		if !hasLayer(c.a, a.Name) || !hasLayer(c.b, a.Name) {
			f.Causes = append(f.Causes, Cause{CauseImage, "the base image"})
		}
	}
}

// settings are further keys of the config that a setting applies.
var settings = map[string][]string{
	"locale": {"locales", "keyboard"}, "users": {"root-password-hash"}, "hostname": {"name"},
}

func hasLayer(m *Model, digest string) bool {
	if m.Lock.Image == nil {
		return false
	}
	for _, l := range m.Lock.Image.Layers {
		if string(l.Digest) == strings.TrimPrefix(digest, "sha256:") {
			return true
		}
	}
	return false
}

// byStageInputs explains a file by what a stage took differently, where that rests on
// something outside of the build.
func (c *comparison) byStageInputs(f *FileChange, name string) {
	s := c.byStage[name]
	switch {
	case s == nil:
		f.Class, f.Why = Unexplained, "no stage is known to have made it"
	case len(s.Inputs) == 0:
		f.Class, f.Why = Unexplained, "stage "+name+" took the same in both builds"
	case len(s.Causes) == 0:
		f.Class, f.Why = Unexplained, "stage "+name+" took "+s.Inputs[0]+", which is itself unexplained"
	default:
		f.Class, f.Stage = Indirect, name
	}
}

// sameArchive tells that both builds have the file from a .deb, and none of these changed.
func (f *FileChange) sameArchive() bool {
	return f.was != nil && f.is != nil && f.was.Kind == trace.Archive && f.is.Kind == trace.Archive
}

func (c *comparison) explainRoot(f *FileChange) {
	c.origins(f)
	c.direct(f)
	switch {
	case f.Class != "":
		return
	case f.sameArchive():
		f.Class, f.Why = Unexplained, "it is of the same .deb in both builds"
		return
	}
	if c.dpkgInfo(f); f.Class != "" {
		return
	}
	if f.was == nil || f.is == nil {
		if c.removedOnce(f); f.Class != "" {
			return
		}
	}
	c.byStageInputs(f, c.arose(f.Path))
}

// removedOnce explains a file of a package that has it in both builds, while in one
// somebody removed it.
func (c *comparison) removedOnce(f *FileChange) {
	m, o, lacks := c.a, f.was, c.b
	if o == nil {
		m, o, lacks = c.b, f.is, c.a
	}
	if o.Kind != trace.Archive {
		return
	}
	name := m.Head.Packages[*o.Package].Name
	for _, r := range c.removals(lacks)[f.Path] {
		if lacks.Head.Packages[r.Package].Name != name || r.By == nil {
			continue
		}
		if c.actorCauses(f, lacks, *r.By); len(f.Causes) > 0 {
			f.Class = Direct
			return
		}
		c.byStageInputs(f, lacks.Head.Actors[*r.By].Stage)
		return
	}
	f.Class, f.Why = Unexplained, "package "+name+" is the same in both builds, and nobody is known to have removed it"
}

// removals are the packages' files that a build's image lacks, by path.
func (c *comparison) removals(m *Model) map[string][]trace.Removed {
	if c.removed == nil {
		c.removed = map[*Model]map[string][]trace.Removed{}
		for _, m := range []*Model{c.a, c.b} {
			by := map[string][]trace.Removed{}
			for _, r := range m.Head.Removed {
				by[r.Path] = append(by[r.Path], r)
			}
			c.removed[m] = by
		}
	}
	return c.removed[m]
}

// dpkgInfo explains what dpkg keeps of a package's .deb, and which follows that alone.
func (c *comparison) dpkgInfo(f *FileChange) {
	base := path.Base(f.Path)
	if path.Dir(f.Path) != "var/lib/dpkg/info" || path.Ext(base) == "" {
		return
	}
	byDpkg := true
	c.sides(f, func(m, _ *Model, o *trace.Origin) {
		byDpkg = byDpkg && o.Kind == trace.Generated && o.By != nil && m.Head.Actors[*o.By].Kind == stage.ByProgram
	})
	if !byDpkg {
		return
	}
	name, _, _ := strings.Cut(strings.TrimSuffix(base, path.Ext(base)), ":")
	for _, p := range c.result.Packages {
		if p.Set == SetTarget && p.Name == name {
			f.Class, f.Causes = Direct, append(f.Causes, p.cause())
			return
		}
	}
	f.Class, f.Why = Unexplained, "dpkg has it from the .deb of "+name+", which is the same in both builds"
}

// arose is the stage in whose tree a path came to differ for good.
func (c *comparison) arose(at string) string {
	stageName, differed := "", false
	for _, name := range c.trees {
		x, y := c.a.Trees[name], c.b.Trees[name]
		if x == nil || y == nil {
			continue
		}
		was, had := x.Lookup(at)
		is, has := y.Lookup(at)
		differs := had != has || had && len(roottree.Compare(&roottree.Manifest{Entries: []roottree.Entry{was}}, &roottree.Manifest{Entries: []roottree.Entry{is}}, roottree.CompareOptions{})) > 0
		if differs && !differed {
			stageName = name
		}
		if differed = differs; !differs {
			stageName = ""
		}
	}
	return stageName
}

func (c *comparison) explainPart(f *FileChange) {
	c.origins(f)
	copied := false
	c.sides(f, func(_, _ *Model, o *trace.Origin) {
		at, ok := strings.CutPrefix(o.Of, trace.PartRoot+":")
		if root := c.rootChanges[at]; ok && root != nil {
			f.Causes, f.Class, f.Stage, f.Why, copied = append(f.Causes, root.Causes...), root.Class, root.Stage, root.Why, true
		}
	})
	if copied {
		return
	}
	if c.direct(f); f.Class != "" {
		return
	}
	if f.sameArchive() && f.was.Of == f.is.Of {
		f.Class, f.Why = Unexplained, "it is of the same .deb in both builds"
		return
	}
	name := holders[f.Part] // decides what there is; what it is decides who made it
	c.sides(f, func(m, _ *Model, o *trace.Origin) {
		if f.was != nil && f.is != nil && o.By != nil && o.Of == "" && o.Kind != trace.Archive {
			name = m.Head.Actors[*o.By].Stage
		}
	})
	c.byStageInputs(f, name)
}
