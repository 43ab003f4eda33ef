package diff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/trace"
)

// OwnerCount sums up the changed files of a package, or of who made them.
type OwnerCount struct {
	Owner   string `json:"owner"`
	Added   int    `json:"added"`
	Removed int    `json:"removed"`
	Changed int    `json:"changed"`
}

func (c *comparison) countFiles() {
	by := map[string]*OwnerCount{}
	for i := range c.result.Files {
		f := &c.result.Files[i]
		if by[f.Owner] == nil {
			by[f.Owner] = &OwnerCount{Owner: f.Owner}
		}
		switch n := by[f.Owner]; f.Change {
		case "added":
			n.Added++
		case "removed":
			n.Removed++
		default:
			n.Changed++
		}
		switch f.Class {
		case Direct:
			c.result.Direct++
		case Indirect:
			c.result.Indirect++
		}
	}
	for _, name := range keysOf(by, nil) {
		c.result.Owners = append(c.result.Owners, *by[name])
	}
	slices.SortStableFunc(c.result.Owners, func(x, y OwnerCount) int {
		return cmp.Or(y.Added+y.Removed+y.Changed-x.Added-x.Removed-x.Changed, strings.Compare(x.Owner, y.Owner))
	})
}

// Weaker is a file whose origin proves less than before.
type Weaker struct {
	Part string     `json:"part"`
	Path string     `json:"path"`
	From trace.Kind `json:"from,omitempty"` // "" of a file that the baseline has not
	To   trace.Kind `json:"to"`
	By   string     `json:"by,omitempty"`
	// Allowed is the config's reason for a file of unknown origin.
	Allowed string `json:"allowed,omitempty"`
}

// weaker lists files that rest on less than in the baseline, and new ones on nothing.
func (c *comparison) weaker() {
	for _, part := range trace.Parts {
		union(c.a.Files[part], c.b.Files[part], func(o *trace.Origin) string { return o.Path }, func(x, y *trace.Origin) {
			w := Weaker{Part: part}
			switch {
			case y == nil, x == nil && y.Kind != trace.Unexplained:
				return
			case x != nil && slices.Index(trace.Kinds, y.Kind) <= slices.Index(trace.Kinds, x.Kind):
				return
			case x != nil:
				w.From = x.Kind
			}
			w.Path, w.To, w.Allowed = y.Path, y.Kind, y.Allowed
			if y.By != nil {
				a := c.b.Head.Actors[*y.By]
				w.By = fmt.Sprintf("%s, in stage %s", a.Actor, a.Stage)
			}
			c.result.Weaker = append(c.result.Weaker, w)
		})
	}
	slices.SortStableFunc(c.result.Weaker, func(x, y Weaker) int {
		return slices.Index(trace.Kinds, y.To) - slices.Index(trace.Kinds, x.To)
	})
}
