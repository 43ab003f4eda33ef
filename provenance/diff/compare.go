package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/trace"
)

// Format is the version of the result's format.
const Format = 1

// Side is one of the two builds.
type Side struct {
	Name    string          `json:"name"`
	Release string          `json:"release"`
	Image   string          `json:"image"`
	SHA256  artifact.Digest `json:"sha256"`
	Builder string          `json:"builder"`
	// Released tells that a release manager signed it.
	Released bool   `json:"released"`
	Isotrace string `json:"isotrace,omitempty"`
}

// Open is something that nothing explains.
type Open struct {
	What string `json:"what"` // a stage, or PART:PATH
	Why  string `json:"why"`
}

// Size is how large something is in both builds, in bytes.
type Size struct {
	Name string `json:"name"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
}

// Result is all that differs between two builds, every list in the order in which people
// are shown it.
type Result struct {
	Format    int  `json:"format"`
	Baseline  Side `json:"baseline"`
	Candidate Side `json:"candidate"`
	// Same tells that both have the same image, for the same reasons.
	Same         bool                `json:"same"`
	Unexplained  []Open              `json:"unexplained"`
	Weaker       []Weaker            `json:"weaker"`
	Requirements []RequirementChange `json:"requirements"`
	Packages     []PackageChange     `json:"packages"` // of all sets, tools included
	Changelogs   []Changelog         `json:"changelogs"`
	Config       Config              `json:"config"`
	Project      []ProjectFile       `json:"project"`
	Lock         Lock                `json:"lock"`
	// Layout is what differs in the owner's layout.json. It says who may build, and changes
	// nothing in the image.
	Layout   []KeyChange     `json:"layout"`
	Isotrace *KeyChange      `json:"isotrace,omitempty"`
	Licences []LicenceChange `json:"licences"`
	Stages   []StageChange   `json:"stages"`
	// Direct and Indirect count the files that are explained so.
	Direct   int          `json:"direct"`
	Indirect int          `json:"indirect"`
	Owners   []OwnerCount `json:"owners"`
	// Files are left out unless they were asked for.
	Files []FileChange `json:"files,omitempty"`
	Sizes []Size       `json:"sizes"`
	// Installed are the bytes of packages' regular files that differ, by package.
	Installed []Size `json:"installed"`
}

// comparison is one at work.
type comparison struct {
	a, b    *Model
	result  *Result
	lock    Lock
	project []ProjectFile
	keys    []string // of the config, topmost, that differ
	// isotrace is the change of its version, nil where there is none.
	isotrace *KeyChange
	byFile   map[string]PackageChange // by SET/REPOSITORY/PATH
	byName   map[string]PackageChange // by SET/NAME:ARCH
	byStage  map[string]*StageChange
	trees    []string // stages that gave a root tree, in order
	// rootChanges are the root tree's changes by path.
	rootChanges map[string]*FileChange
	// placed are the project's files in both builds, by their place in the tree.
	placed  [2]map[string]placed
	removed map[*Model]map[string][]trace.Removed
}

// Compare says what differs between two builds, and why.
func Compare(a, b *Model) (*Result, error) {
	r := &Result{Format: Format, Baseline: a.side(), Candidate: b.side(), Unexplained: []Open{}, Weaker: []Weaker{}, Changelogs: []Changelog{}, Stages: []StageChange{}, Owners: []OwnerCount{}}
	c := &comparison{a: a, b: b, result: r, byFile: map[string]PackageChange{}, byName: map[string]PackageChange{}, byStage: map[string]*StageChange{}}
	var err error
	if r.Config, err = compareConfigs(a.Config, b.Config); err != nil {
		return nil, err
	}
	for _, k := range r.Config.Keys {
		c.keys = append(c.keys, top(k.Key))
	}
	c.keys = slices.Compact(c.keys)
	r.Lock, r.Project, r.Packages = compareLocks(a, b), projectFiles(a, b), packages(a, b)
	r.Layout = keyChanges(a.Layout, b.Layout)
	c.lock, c.project = r.Lock, r.Project
	if from, to := a.isotrace(), b.isotrace(); from != to {
		c.isotrace = &KeyChange{"isotrace", from, to}
		r.Isotrace = c.isotrace
	}
	c.placed = [2]map[string]placed{a.placed(), b.placed()}
	c.index()
	c.stages()
	for _, name := range order(a, b) {
		if a.Trees[name] != nil || b.Trees[name] != nil {
			c.trees = append(c.trees, name)
		}
	}
	c.files()
	c.weaker()
	r.Requirements, r.Licences = requirements(a, b), licences(a, b)
	c.sizes()
	c.unexplained()
	r.Same = len(r.Unexplained) == 0 && a.Images[0].Digest == b.Images[0].Digest && r.Lock.Same && r.Config.Lines == "" && len(r.Project) == 0 && len(r.Layout) == 0 && c.isotrace == nil &&
		!slices.ContainsFunc(r.Stages, func(s StageChange) bool { return s.State != StageSame })
	return r, nil
}

func (m *Model) side() Side {
	return Side{m.Name, m.Release, m.Images[0].Path, m.Images[0].Digest, m.Key, m.Released != "", m.isotrace()}
}

// index prepares the changes of packages to be found by what names them.
func (c *comparison) index() {
	repository := func(m *Model, id string) string { return m.Lock.ArchiveOf(id).Repository }
	for _, p := range c.result.Packages {
		for _, side := range []struct {
			m *Model
			p *Package
		}{{c.a, p.From}, {c.b, p.To}} {
			if side.p != nil && side.p.path != "" {
				c.byFile[p.Set+"/"+repository(side.m, side.p.Archive)+"/"+side.p.path] = p
			}
		}
		c.byName[p.Set+"/"+p.Name+":"+slotOf(p.Architecture, c.b.Lock.Architecture)] = p
	}
}

// changedKeys are the topmost keys of the config that differ.
func (c *comparison) changedKeys() []string { return c.keys }

func (c *comparison) isotraceCause() Cause {
	return Cause{CauseIsotrace, fmt.Sprintf("isotrace %s → %s", c.isotrace.From, c.isotrace.To)}
}

// unexplained gathers what is open: the stages first, for they say where builds part.
func (c *comparison) unexplained() {
	r := c.result
	for _, s := range r.Stages {
		switch {
		case s.State != StageUnexplained:
		case len(s.Unbacked) > 0:
			r.Unexplained = append(r.Unexplained, Open{"stage " + s.Stage, "it took other " + strings.Join(s.Unbacked, ", ") + ", though neither config nor lock nor the project's files say so"})
		default:
			r.Unexplained = append(r.Unexplained, Open{"stage " + s.Stage, "it took the same, and gave other " + some(s.Products)})
		}
	}
	for _, f := range r.Files {
		if f.Class == Unexplained {
			r.Unexplained = append(r.Unexplained, Open{f.Part + ":/" + strings.TrimPrefix(f.Path, "."), f.Change + fieldsText(f.Fields) + ": " + f.Why})
		}
	}
	for _, i := range c.images() {
		if i.From != i.To && !c.made(i.Name) {
			r.Unexplained = append(r.Unexplained, Open{i.Name, "no stage gave another"})
		}
	}
}

// image is a product's digest in both builds.
type image struct {
	Name     string
	From, To artifact.Digest
}

func (c *comparison) images() []image {
	var list []image
	byPath := func(x, y artifact.Ref) int { return strings.Compare(x.Path, y.Path) }
	was, is := slices.SortedFunc(slices.Values(c.a.Images), byPath), slices.SortedFunc(slices.Values(c.b.Images), byPath)
	union(was, is, func(r *artifact.Ref) string { return r.Path }, func(x, y *artifact.Ref) {
		if x != nil && y != nil {
			list = append(list, image{x.Path, x.Digest, y.Digest})
		}
	})
	return list
}

// made tells whether some stage gave another product of that name.
func (c *comparison) made(name string) bool {
	for _, s := range c.result.Stages {
		if slices.Contains(s.Products, s.Stage+"/"+name) {
			return true
		}
	}
	return false
}

// some are the first of many.
func some(list []string) string {
	const few = 5
	if len(list) <= few {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
}

func fieldsText(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return " in " + strings.Join(fields, ", ")
}

// Refused is the error of a comparison that leaves something unexplained.
func (r *Result) Refused() error {
	if len(r.Unexplained) == 0 {
		return nil
	}
	first := r.Unexplained[0]
	return fault.New(fault.Refused, "rebuild both from what they were locked to (isotrace rebuild), and find out where they part",
		"%s: %s: %s", r.openText(), first.What, first.Why)
}

// openText counts what is unexplained.
func (r *Result) openText() string {
	if len(r.Unexplained) == 1 {
		return "1 change is unexplained"
	}
	return fmt.Sprintf("%d changes are unexplained", len(r.Unexplained))
}

// sizes compares the products, what is large on the medium, and packages.
func (c *comparison) sizes() {
	sizes := func(m *Model) map[string]int64 {
		all := map[string]int64{}
		for _, i := range m.Images {
			all[i.Path] = i.Size
		}
		for _, at := range []string{"casper/filesystem.squashfs", "casper/initrd", "casper/vmlinuz"} {
			if o := m.origin(trace.PartMedium, at); o != nil {
				all["medium:/"+at] = o.Size
			}
		}
		for _, n := range m.installed() {
			all["installed"] += n
		}
		return all
	}
	c.result.Sizes, c.result.Installed = []Size{}, []Size{}
	was, is := sizes(c.a), sizes(c.b)
	for _, name := range keysOf(was, is) {
		c.result.Sizes = append(c.result.Sizes, Size{name, was[name], is[name]})
	}
	was, is = c.a.installed(), c.b.installed()
	for _, name := range keysOf(was, is) {
		if was[name] != is[name] {
			c.result.Installed = append(c.result.Installed, Size{name, was[name], is[name]})
		}
	}
	slices.SortStableFunc(c.result.Installed, func(x, y Size) int {
		return cmp.Or(cmp.Compare(abs(y.To-y.From), abs(x.To-x.From)), strings.Compare(x.Name, y.Name))
	})
}

func abs(n int64) int64 { return max(n, -n) }

// installed are the bytes of the root tree's regular files by owner, each inode once.
func (m *Model) installed() map[string]int64 {
	by := map[string]int64{}
	tree := m.Trees[m.Root]
	for i := range m.Files[trace.PartRoot] {
		o := &m.Files[trace.PartRoot][i]
		e, ok := tree.Lookup(o.Path)
		if ok && o.Type == roottree.File && (e.HardLink == "" || e.HardLink == o.Path) {
			by[owner(m, o)] += o.Size
		}
	}
	return by
}
