package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	textdiff "github.com/rogpeppe/go-internal/diff"
	"go.yaml.in/yaml/v3"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/provenance"
)

// KeyChange is a value that differs; "" on the side that does not have it.
type KeyChange struct {
	Key  string `json:"key"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Config is what differs in isotrace.yaml.
type Config struct {
	Keys []KeyChange `json:"keys"`
	// Lines is a unified diff of the text; "" where it is the same.
	Lines string `json:"lines,omitempty"`
}

// compareConfigs needs texts that config.Parse took.
func compareConfigs(a, b []byte) (Config, error) {
	c := Config{Keys: []KeyChange{}}
	var flat [2]map[string]string
	for i, text := range [][]byte{a, b} {
		var root yaml.Node
		if err := yaml.Unmarshal(text, &root); err != nil {
			return c, fmt.Errorf("%s: %w", config.FileName, err)
		}
		flat[i] = map[string]string{}
		for _, n := range root.Content {
			flatten(flat[i], "", n, 0)
		}
	}
	c.Keys = keyChanges(flat[0], flat[1])
	if !bytes.Equal(a, b) {
		c.Lines = string(textdiff.Diff("baseline/"+config.FileName, a, "candidate/"+config.FileName, b))
	}
	return c, nil
}

// maxDepth bounds how deep a config nests; its types allow less.
const maxDepth = 32

// flatten gives each value a name: a list's items by what names them, so that one more
// in the middle does not rename the rest.
func flatten(to map[string]string, at string, n *yaml.Node, depth int) {
	if depth > maxDepth {
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if at != "" {
				key = at + "." + key
			}
			flatten(to, key, n.Content[i+1], depth+1)
		}
	case yaml.SequenceNode:
		seen := map[string]int{}
		for _, item := range n.Content {
			name := itemName(item)
			if seen[name]++; seen[name] > 1 {
				name += fmt.Sprintf(" (%d)", seen[name])
			}
			key := at + "[" + name + "]"
			if item.Kind == yaml.ScalarNode {
				to[key] = item.Value
				continue
			}
			to[key] = name
			flatten(to, key, item, depth+1)
		}
	case yaml.ScalarNode:
		to[at] = n.Value
	}
}

// naming are the keys that name an item of a list, the first that it has.
var naming = []string{"name", "suite", "to", "from", "path", "file", "id"}

func itemName(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	for _, key := range naming {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Kind == yaml.MappingNode && n.Content[i].Value == key && n.Content[i+1].Kind == yaml.ScalarNode {
				return n.Content[i+1].Value
			}
		}
	}
	return ""
}

func keyChanges(a, b map[string]string) []KeyChange {
	list := []KeyChange{}
	for _, key := range keysOf(a, b) {
		from, had := a[key]
		to, has := b[key]
		if from != to || had != has {
			list = append(list, KeyChange{key, from, to})
		}
	}
	return list
}

// keysOf are the keys of two maps, sorted.
func keysOf[V any](a, b map[string]V) []string {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// top is the key of the config that a value stands below.
func top(key string) string {
	if i := strings.IndexAny(key, ".["); i >= 0 {
		return key[:i]
	}
	return key
}

// Lock is what differs in isotrace.lock, packages aside.
type Lock struct {
	// Same tells that the two locks are one text.
	Same bool        `json:"same"`
	Keys []KeyChange `json:"keys"`
}

func compareLocks(a, b *Model) Lock {
	return Lock{bytes.Equal(a.LockText, b.LockText), keyChanges(lockFacts(a.Lock), lockFacts(b.Lock))}
}

// lockFacts are the lock's words but for packages and sources.
func lockFacts(l *lockfile.Lock) map[string]string {
	facts := map[string]string{"epoch": l.Epoch.Time().Format("2006-01-02T15:04:05Z"), "architecture": l.Architecture}
	for _, a := range l.Archives {
		at := "archives[" + a.ID + "]"
		facts[at] = a.ID
		facts[at+".date"] = a.Date
		facts[at+".release"] = string(a.Release.Digest)
		facts[at+".keyring"] = string(a.Keyring.Digest)
		if a.ExpiredAccepted {
			facts[at+".expired-accepted"] = "true"
		}
		for name, value := range map[string]string{"older-accepted": a.OlderAccepted, "changed-accepted": a.ChangedAccepted} {
			if value != "" {
				facts[at+"."+name] = value
			}
		}
		var signers []string
		for _, s := range a.Signers {
			signers = append(signers, s.Key)
		}
		facts[at+".signers"] = strings.Join(signers, " ")
	}
	if i := l.Image; i != nil {
		facts["image"] = "sha256:" + string(i.Manifest.Digest)
		facts["image.layers"] = fmt.Sprint(len(i.Layers))
		facts["image.signed"] = "no"
		if i.Signature != nil {
			facts["image.signed"] = "by " + string(i.Signature.Key.Digest)
		}
	}
	for _, s := range []struct {
		name  string
		count int
	}{{"sources", len(l.Sources)}, {"sources-missing", len(l.SourcesMissing)}} {
		if s.count > 0 {
			facts[s.name] = fmt.Sprint(s.count)
		}
	}
	return facts
}

// ProjectFile is a file of the project that a stage took, and that differs.
type ProjectFile struct {
	Path string          `json:"path"` // as records call it
	From artifact.Digest `json:"from,omitempty"`
	To   artifact.Digest `json:"to,omitempty"`
	// Requirements are those that the file serves, in either build.
	Requirements []string `json:"requirements,omitempty"`
}

// Change is what became of the file.
func (f ProjectFile) Change() string {
	switch {
	case f.From == "":
		return "added"
	case f.To == "":
		return "removed"
	}
	return "changed"
}

// own are the files that every project has: they are compared by what they say.
var own = map[string]bool{"project/" + config.FileName: true, "project/" + lockfile.FileName: true}

func projectFiles(a, b *Model) []ProjectFile {
	list := []ProjectFile{}
	was, is := provenance.ProjectFiles(a.Records), provenance.ProjectFiles(b.Records)
	for _, name := range keysOf(was, is) {
		if own[name] || was[name] == is[name] {
			continue
		}
		f := ProjectFile{Path: name, From: was[name], To: is[name]}
		for _, m := range []*Model{a, b} {
			for _, r := range m.Head.Requirements {
				serves := slices.ContainsFunc(r.Files, func(at string) bool { return name == at || strings.HasPrefix(name, at+"/") })
				if serves && !slices.Contains(f.Requirements, r.ID) {
					f.Requirements = append(f.Requirements, r.ID)
				}
			}
		}
		slices.Sort(f.Requirements)
		list = append(list, f)
	}
	return list
}

// RequirementChange is a requirement that differs.
type RequirementChange struct {
	ID     string `json:"id"`
	Title  string `json:"title,omitempty"`
	Change string `json:"change"` // one of the words below
	// What serves it in one build only.
	From []string `json:"from,omitempty"`
	To   []string `json:"to,omitempty"`
}

// What becomes of requirements, in the order in which people are shown it.
const (
	NotMet      = "no longer met"
	Dropped     = "gone"
	Added       = "new"
	AddedUnmet  = "new, not met"
	Met         = "met now"
	ServedOther = "served by others"
)

var requirementChanges = []string{NotMet, Dropped, AddedUnmet, Added, Met, ServedOther}

func requirements(a, b *Model) []RequirementChange {
	list := []RequirementChange{}
	was, is := provenance.ServedBy(a.Head, a.Records), provenance.ServedBy(b.Head, b.Records)
	titles := map[string]string{}
	for _, m := range []*Model{a, b} {
		for _, r := range m.Head.Requirements {
			titles[r.ID] = r.Title
		}
	}
	byID := func(x, y provenance.Served) int { return strings.Compare(x.ID, y.ID) }
	slices.SortStableFunc(was, byID)
	slices.SortStableFunc(is, byID)
	union(was, is, func(s *provenance.Served) string { return s.ID }, func(x, y *provenance.Served) {
		var c RequirementChange
		switch {
		case x == nil && !y.Met:
			c = RequirementChange{ID: y.ID, Change: AddedUnmet}
		case x == nil:
			c = RequirementChange{ID: y.ID, Change: Added}
		case y == nil:
			c = RequirementChange{ID: x.ID, Change: Dropped}
		default:
			c = RequirementChange{ID: x.ID, Change: ServedOther, From: missing(x.By, y.By), To: missing(y.By, x.By)}
			switch {
			case x.Met && !y.Met:
				c.Change = NotMet
			case y.Met && !x.Met:
				c.Change = Met
			case len(c.From)+len(c.To) == 0:
				return
			}
		}
		c.Title = titles[c.ID]
		list = append(list, c)
	})
	slices.SortStableFunc(list, func(x, y RequirementChange) int {
		return cmp.Or(slices.Index(requirementChanges, x.Change)-slices.Index(requirementChanges, y.Change), strings.Compare(x.ID, y.ID))
	})
	return list
}

// missing are the lines of one list that another has not.
func missing(from, in []string) []string {
	var list []string
	for _, s := range from {
		if !slices.Contains(in, s) {
			list = append(list, s)
		}
	}
	return list
}
