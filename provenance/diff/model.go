// Package diff compares two builds by their evidence: what changed, and why. What
// neither config, nor lock, nor a file of the project explains is said to be so.
// docs/formats/diff.md describes the result.
package diff

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// Model is what a comparison knows of a build.
type Model struct {
	Name, Release string
	// Images are the products, the ISO first.
	Images []artifact.Ref
	// Key is the builder's, by id, and Released the digest of the release's sums; ""
	// where nobody has released it.
	Key      string
	Released artifact.Digest
	Config   []byte // isotrace.yaml
	Lock     *lockfile.Lock
	LockText []byte
	Layout   map[string]string       // what the owner's layout says, by key
	Records  map[string]stage.Record // by stage
	Head     *trace.Head
	Files    map[string][]trace.Origin // by part, in order of paths
	// Trees are the root tree as each stage gave it, and Root is the stage whose tree
	// the image has.
	Trees map[string]*roottree.Manifest
	Root  string
}

// Load reads a model from evidence that holds.
func Load(v *provenance.Verified) (_ *Model, err error) {
	m := &Model{
		Name: v.Config.Name, Release: v.Config.Release, Images: v.Images, Key: v.Builder().KeyID(),
		Config: v.ConfigText(), Lock: v.Lock, LockText: v.LockText(), Layout: layoutFacts(v.Layout()), Records: v.Records, Files: map[string][]trace.Origin{},
	}
	if m.Released, err = v.ReleaseSums(); err != nil {
		return nil, err
	}
	if m.Trees, m.Root, err = v.Trees(); err != nil {
		return nil, err
	}
	t, err := v.OpenTrace()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	m.Head = &t.Head
	for _, part := range trace.Parts {
		if err := t.Each(part, nil, func(o trace.Origin) bool { m.Files[part] = append(m.Files[part], o); return true }); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// isotrace is the version of the program that built it, as the bill of materials has it.
func (m *Model) isotrace() string {
	var p struct {
		Isotrace string `json:"isotrace"`
	}
	if json.Unmarshal(m.Records["sbom"].Params, &p) != nil {
		return ""
	}
	return p.Isotrace
}

// origin finds a path of a part.
func (m *Model) origin(part, path string) *trace.Origin {
	list := m.Files[part]
	i, ok := slices.BinarySearchFunc(list, path, func(o trace.Origin, p string) int { return strings.Compare(o.Path, p) })
	if !ok {
		return nil
	}
	return &list[i]
}

// order lists the stages of two builds so that each comes after those it takes from.
func order(a, b *Model) []string {
	after := map[string]map[string]bool{}
	for _, m := range []*Model{a, b} {
		for name, r := range m.Records {
			if after[name] == nil {
				after[name] = map[string]bool{}
			}
			for material := range r.Materials {
				if maker, _, _ := strings.Cut(material, "/"); maker != name {
					after[name][maker] = true
				}
			}
		}
	}
	var list []string
	done := map[string]bool{}
	for len(list) < len(after) {
		var next []string
		for name, makers := range after {
			ready := !done[name]
			for maker := range makers {
				ready = ready && (done[maker] || after[maker] == nil)
			}
			if ready {
				next = append(next, name)
			}
		}
		if len(next) == 0 { // a circle: verify refuses one
			for name := range after {
				if !done[name] {
					next = append(next, name)
				}
			}
		}
		slices.Sort(next)
		for _, name := range next {
			done[name] = true
		}
		list = append(list, next...)
	}
	return list
}

// union walks two sorted lists; do gets what has the same key, nil where one lacks it.
func union[T any](a, b []T, key func(*T) string, do func(a, b *T)) {
	for len(a) > 0 || len(b) > 0 {
		var x, y *T
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = cmp.Compare(key(&a[0]), key(&b[0]))
		}
		if order <= 0 {
			x, a = &a[0], a[1:]
		}
		if order >= 0 {
			y, b = &b[0], b[1:]
		}
		do(x, y)
	}
}
