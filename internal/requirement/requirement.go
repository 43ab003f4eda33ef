// Package requirement reads a project's own list of requirements, from CSV or
// ReqIF, so that the identifiers in its config can be looked up and shown with
// their text. docs/formats/requirements.md says what is read from each format.
package requirement

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/fault"
)

// The bounds of a list.
const (
	MaxSize         = 64 << 20 // bytes of a file, and of what a .reqifz holds
	MaxRequirements = 200_000  // of a list, and objects of a ReqIF file
	MaxText         = 64 << 10 // bytes of a text or a title
	MaxNesting      = 64       // requirements that refine each other, and places of a ReqIF hierarchy
)

// Requirement is one entry of a list. Title and Text are one line of UTF-8
// without control characters, and may be empty; markup of the reader's format
// is not escaped in them.
type Requirement struct {
	ID    string
	Title string
	Text  string
	// Parent is the ID of the requirement that this one refines, or "". It may
	// be of another list.
	Parent string
	// Source is where the entry stands: FILE:LINE of a CSV file,
	// FILE:IDENTIFIER of a ReqIF file.
	Source string
}

// List is a list of requirements; no two have the same ID, and none refines
// itself, not even by way of others.
type List struct {
	all     []Requirement
	byID    map[string]int
	leftOut []string
}

// All returns the requirements by ID, numbers within IDs in their order: HLR-9
// comes before HLR-10.
func (l *List) All() []Requirement { return slices.Clone(l.all) }

// Lookup returns the requirement of that ID and whether there is one.
func (l *List) Lookup(id string) (Requirement, bool) {
	i, ok := l.byID[id]
	if !ok {
		return Requirement{}, false
	}
	return l.all[i], true
}

// LeftOut returns where a ReqIF file has objects that were not taken for
// requirements, in the order of the file: headings, and objects without an
// identifier among others that have one.
func (l *List) LeftOut() []string { return slices.Clone(l.leftOut) }

// idForm is what internal/config takes for a requirement's identifier.
var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$`)

// ValidID tells whether a config may name a requirement so: up to 64 of the
// ASCII letters, digits and . _ : / - and a letter or digit first.
func ValidID(id string) bool { return idForm.MatchString(id) }

const idHint = "up to 64 letters, digits and . _ : / - such as HLR-12"

// Read reads a list from a file's text, in the format that the file's name ends
// in: .csv, .tsv, .reqif or .reqifz. The name stands in errors, which are of
// class Usage, and in the requirements' sources.
func Read(name string, text []byte) (*List, error) {
	if len(text) > MaxSize {
		return nil, fault.New(fault.Usage, "", "%s: longer than %d bytes", name, MaxSize)
	}
	l := &List{byID: map[string]int{}}
	var err error
	switch strings.ToLower(path.Ext(name)) {
	case ".csv", ".tsv":
		err = l.readCSV(name, text)
	case ".reqif":
		err = l.readReqIF(name, text)
	case ".reqifz":
		err = l.readReqIFZ(name, text)
	default:
		err = fault.New(fault.Usage, "a list's name ends in .csv, .tsv, .reqif or .reqifz", "%s: is of no format that lists of requirements have", name)
	}
	if err != nil {
		return nil, err
	}
	if len(l.all) == 0 {
		return nil, fault.New(fault.Usage, "want the project's requirements, with their identifiers", "%s: lists no requirement", name)
	}
	l.sort()
	if err := l.checkParents(); err != nil {
		return nil, err
	}
	return l, nil
}

// add appends a requirement.
func (l *List) add(r Requirement) error {
	if r.ID == "" {
		return fault.New(fault.Usage, idHint, "%s: has no identifier", r.Source)
	}
	if !ValidID(r.ID) {
		return fault.New(fault.Usage, idHint, "%s: %s is not an identifier", r.Source, quote(r.ID))
	}
	if r.Parent != "" && !ValidID(r.Parent) {
		return fault.New(fault.Usage, "one identifier, of the requirement that this one refines", "%s: %s: parent %s is not an identifier", r.Source, r.ID, quote(r.Parent))
	}
	if i, ok := l.byID[r.ID]; ok {
		return fault.New(fault.Usage, "give every requirement an identifier of its own", "%s: %s is listed twice, first at %s", r.Source, r.ID, l.all[i].Source)
	}
	if len(l.all) == MaxRequirements {
		return fault.New(fault.Usage, "", "%s: more than %d requirements", r.Source, MaxRequirements)
	}
	l.byID[r.ID] = len(l.all)
	l.all = append(l.all, r)
	return nil
}

func (l *List) sort() {
	slices.SortFunc(l.all, func(a, b Requirement) int { return CompareIDs(a.ID, b.ID) })
	for i, r := range l.all {
		l.byID[r.ID] = i
	}
}

// checkParents refuses circles, which a reader who follows parents would never
// leave, and chains that are longer than MaxNesting. It looks at each
// requirement once.
func (l *List) checkParents() error {
	const unknown, onPath = 0, -1
	level := make([]int, len(l.all)) // or the number of requirements from here up
	var path []int
	for i := range l.all {
		path = path[:0]
		at, up := i, true
		for up && level[at] == unknown {
			level[at] = onPath
			path = append(path, at)
			if up = l.all[at].Parent != ""; up {
				at, up = l.index(l.all[at].Parent)
			}
		}
		above := 0
		if up {
			if level[at] == onPath {
				return fault.New(fault.Usage, "a requirement refines one of a higher level", "%s: %s refines itself, directly or by way of others", l.all[at].Source, l.all[at].ID)
			}
			above = level[at]
		}
		for _, at := range slices.Backward(path) {
			above++
			if above > MaxNesting {
				return fault.New(fault.Usage, "", "%s: %s stands below more than %d others", l.all[at].Source, l.all[at].ID, MaxNesting-1)
			}
			level[at] = above
		}
	}
	return nil
}

func (l *List) index(id string) (int, bool) {
	i, ok := l.byID[id]
	return i, ok
}
