// Package stage is the contract of a pipeline stage and the runner that holds
// stages to it: declared inputs in, declared outputs out, a record of both.
package stage

import (
	"context"
	"fmt"
	"path"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Kind is what an artefact is made of.
type Kind string

// The kinds of artefact.
const (
	KindFile Kind = "file" // one regular file
	KindSet  Kind = "set"  // regular files, each with a path
	KindTree Kind = "tree" // a folder with owners, modes, links and xattrs; its digest is that of its mtree manifest
)

// Stage is a function from declared inputs to declared outputs.
type Stage struct {
	Name string
	// Version changes whenever the same inputs would give other outputs.
	Version int
	// Takes and Gives say for the docs, in a few words, what goes in and out.
	Takes, Gives string
	// Params is everything else that decides the outputs. It is marshalled as
	// JSON into the stage's key and its link.
	Params any
	// Inputs are outputs of other stages.
	Inputs []Input
	// After are outputs that it does not take and that are to be made before it
	// runs: what a build waits for longest gets the processors first.
	After []Handle
	// Materials are files from outside the graph, such as an overlay's.
	Materials []Material
	// Outputs are what the stage gives.
	Outputs []Output
	// Run makes the outputs. It sees nothing but what Work hands it.
	Run func(context.Context, *Work) error
}

// Input names an output of another stage for the stage that takes it.
type Input struct {
	Name string
	From Handle
}

// Material is a file from outside the graph. Ref.Path is the name that the
// record uses; Source is where it is read on this host, which no record shows.
type Material struct {
	artifact.Ref
	Source string
}

// Output declares one product of a stage.
type Output struct {
	Name string
	Kind Kind
}

// Handle stands for an output that may not be built yet.
type Handle interface{ handle() ref }

// NameOf is the name of the output that a handle stands for.
func NameOf(h Handle) string { return h.handle().name }

// MakerOf names the stage that gives what a handle stands for.
func MakerOf(h Handle) string { return h.handle().stage }

// KindOf is what a handle stands for is made of.
func KindOf(h Handle) Kind { return h.handle().kind }

type ref struct {
	stage, name string
	kind        Kind
}

func (r ref) handle() ref    { return r }
func (r ref) String() string { return path.Join(r.stage, r.name) }

// File, Set and Tree are handles of their kind, so that wiring a tree where a
// file belongs does not compile.
type (
	File struct{ ref }
	Set  struct{ ref }
	Tree struct{ ref }
)

// Node is a stage that has been added to a graph.
type Node struct{ stage *Stage }

// File returns the handle of a file output. It panics when the stage declares
// none of that name: the wiring is code, not input.
func (n Node) File(name string) File { return File{n.out(name, KindFile)} }

// Set returns the handle of a set output.
func (n Node) Set(name string) Set { return Set{n.out(name, KindSet)} }

// Tree returns the handle of a tree output.
func (n Node) Tree(name string) Tree { return Tree{n.out(name, KindTree)} }

func (n Node) out(name string, kind Kind) ref {
	for _, o := range n.stage.Outputs {
		if o.Name == name && o.Kind == kind {
			return ref{stage: n.stage.Name, name: name, kind: kind}
		}
	}
	panic(fmt.Sprintf("stage %s declares no %s output %q", n.stage.Name, kind, name))
}

// Graph holds the stages in the order in which they were added, which is a
// topological order: a handle exists only after its stage was added.
type Graph struct{ stages []*Stage }

// Add puts s into the graph. It panics on a name used twice.
func (g *Graph) Add(s Stage) Node {
	for _, have := range g.stages {
		if have.Name == s.Name {
			panic(fmt.Sprintf("stage %s stands in the graph twice", s.Name))
		}
	}
	g.stages = append(g.stages, &s)
	return Node{stage: &s}
}

// Stages returns the stages in order.
func (g *Graph) Stages() []*Stage { return g.stages }
