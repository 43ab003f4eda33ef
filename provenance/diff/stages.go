package diff

import (
	"cmp"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
)

// The kinds of reasons.
const (
	CausePackage  = "package"
	CauseConfig   = "config"
	CauseProject  = "project"
	CauseLock     = "lock"
	CauseImage    = "base-image"
	CauseIsotrace = "isotrace"
)

// Cause is a reason for a change that lies outside of the build: in the config, the
// lock, a file of the project or isotrace.
type Cause struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

func sortCauses(list []Cause) []Cause {
	slices.SortFunc(list, func(a, b Cause) int { return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Text, b.Text)) })
	return slices.Compact(list)
}

// How a stage of two builds compares.
const (
	StageSame        = "same"        // took and gave the same
	StageUnaffected  = "unaffected"  // took other things, gave the same
	StageExplained   = "explained"   // gave other things, for it took others
	StageUnexplained = "unexplained" // gave other things, though it took the same
)

// StageChange is how a stage of two builds compares.
type StageChange struct {
	Stage string `json:"stage"`
	State string `json:"state"`
	// Inputs are what it took differently: materials, parameters, version, epoch.
	Inputs []string `json:"inputs"`
	// Products are what it gave differently.
	Products []string `json:"products"`
	// Unbacked are inputs that differ for no reason outside of the build.
	Unbacked []string `json:"unbacked,omitempty"`
	Causes   []Cause  `json:"causes"`
}

// stages compares the records of all stages, each after those that it takes from.
func (c *comparison) stages() {
	for _, name := range order(c.a, c.b) {
		was, had := c.a.Records[name]
		is, has := c.b.Records[name]
		s := &StageChange{Stage: name, Inputs: []string{}, Products: []string{}, Causes: []Cause{}}
		if had && has {
			c.inputs(s, was, is)
		} else {
			s.Inputs = []string{"the stage is in one of both builds only"}
			for _, key := range c.changedKeys() { // which stages there are the config says
				s.Causes = append(s.Causes, Cause{CauseConfig, "config " + key})
			}
			if c.isotrace != nil {
				s.Causes = append(s.Causes, c.isotraceCause())
			}
			if len(s.Causes) == 0 {
				s.Unbacked = slices.Clone(s.Inputs)
			}
		}
		for _, p := range keysOf(was.Products, is.Products) {
			if was.Products[p] != is.Products[p] {
				s.Products = append(s.Products, p)
			}
		}
		if had && has && !reflect.DeepEqual(was.Commands, is.Commands) {
			s.Products = append(s.Products, "the commands that it ran")
		}
		s.Causes = sortCauses(s.Causes)
		switch {
		case len(s.Unbacked) > 0:
			s.State = StageUnexplained
		case len(s.Products) == 0 && len(s.Inputs) == 0:
			s.State = StageSame
		case len(s.Products) == 0:
			s.State = StageUnaffected
		case len(s.Inputs) == 0:
			s.State = StageUnexplained
		default:
			s.State = StageExplained
		}
		c.byStage[name] = s
		c.result.Stages = append(c.result.Stages, *s)
	}
}

// inputs finds what a stage took differently, and why that differs.
func (c *comparison) inputs(s *StageChange, was, is stage.Record) {
	add := func(what string, causes ...Cause) {
		s.Inputs = append(s.Inputs, what)
		s.Causes = append(s.Causes, causes...)
		if len(causes) == 0 {
			s.Unbacked = append(s.Unbacked, what)
		}
	}
	if was.Version != is.Version {
		add(fmt.Sprintf("stage version %d → %d", was.Version, is.Version), Cause{CauseIsotrace, fmt.Sprintf("stage %s is version %d, was %d", s.Stage, is.Version, was.Version)})
	}
	if was.Epoch != is.Epoch {
		add("epoch", c.epochCauses()...)
	}
	for _, key := range differing(was.Params, is.Params) {
		add(strings.TrimSpace("parameters "+key), c.paramCauses(s.Stage, key)...)
	}
	for _, m := range keysOf(was.Materials, is.Materials) {
		if was.Materials[m] == is.Materials[m] {
			continue
		}
		maker, _, _ := strings.Cut(m, "/")
		switch {
		case maker == "project":
			add(m, c.projectCause(m, was.Materials[m], is.Materials[m]))
		case maker == "fetch":
			add(m, c.fetchCause(m))
		case c.byStage[maker] != nil && len(c.byStage[maker].Causes) > 0:
			add(m, c.byStage[maker].Causes...)
		default: // where it was made is where it is unexplained
			s.Inputs = append(s.Inputs, m)
		}
	}
}

func (c *comparison) epochCauses() []Cause {
	if c.a.Lock.Epoch == c.b.Lock.Epoch {
		return nil
	}
	return []Cause{{CauseLock, "the lock's epoch"}}
}

func (c *comparison) projectCause(name string, from, to artifact.Digest) Cause {
	switch name {
	case "project/" + lockfile.FileName:
		return Cause{CauseLock, lockfile.FileName}
	case "project/" + config.FileName:
		return Cause{CauseConfig, config.FileName}
	}
	return Cause{CauseProject, name + " is " + ProjectFile{From: from, To: to}.Change()}
}

// setOf are the sets of packages by the set that they are fetched in.
var setOf = map[string]string{"base": SetTarget, "target": SetTarget, "proof": SetTarget, "boot": SetBoot, "tools": SetTools}

// fetchCause is the reason why a file was fetched in one build only, or is another. The
// rule lock of verify sees to it that the lock names each.
func (c *comparison) fetchCause(material string) Cause {
	parts := strings.SplitN(material, "/", 4) // fetch/SET/REPOSITORY/PATH
	if len(parts) == 4 {
		if change, ok := c.byFile[setOf[parts[1]]+"/"+parts[2]+"/"+parts[3]]; ok {
			return change.cause()
		}
		if parts[1] == "base" && parts[2] == "image" {
			return Cause{CauseImage, "the base image"}
		}
	}
	return Cause{CauseLock, path.Base(material) + " stands elsewhere in the lock"}
}

// changed is the reason of a package of the trace, by index; nil where it is the same in
// both builds.
func (c *comparison) changed(m *Model, i int) *Cause {
	p := &m.Head.Packages[i]
	change, ok := c.byName[p.Set+"/"+p.Name+":"+slotOf(p.Architecture, m.Lock.Architecture)]
	if !ok {
		return nil
	}
	cause := change.cause()
	return &cause
}
