package stages

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/requirement"
	"github.com/isotrace/isotrace/internal/stage"
)

// RequirementUse is a requirement, and what the config has for it.
type RequirementUse struct {
	ID string `json:"id"`
	// What the project's list says of it.
	Title  string `json:"title,omitempty"`
	Text   string `json:"text,omitempty"`
	Parent string `json:"parent,omitempty"`
	Source string `json:"source,omitempty"` // FILE:LINE
	// Entries of the config that name it, such as packages[3]: openssh-server,
	// in the config's order.
	Entries []string `json:"entries"`
}

// Requirements returns every requirement that the list has or the config names,
// by ID. The list is nil where the project has none.
func Requirements(c *config.Config, list *requirement.List) []RequirementUse {
	var all []RequirementUse
	index := map[string]int{}
	if list != nil {
		for i, r := range list.All() {
			index[r.ID] = i
			all = append(all, RequirementUse{ID: r.ID, Title: r.Title, Text: r.Text, Parent: r.Parent, Source: r.Source, Entries: []string{}})
		}
	}
	for _, e := range c.Entries() {
		for _, id := range e.Requirements {
			i, ok := index[id]
			if !ok {
				i = len(all)
				index[id] = i
				all = append(all, RequirementUse{ID: id})
			}
			if name := e.String(); !slices.Contains(all[i].Entries, name) {
				all[i].Entries = append(all[i].Entries, name)
			}
		}
	}
	slices.SortFunc(all, func(a, b RequirementUse) int { return requirement.CompareIDs(a.ID, b.ID) })
	return all
}

// Unmet returns the IDs of the requirements that no entry of the config names,
// nor any that refines them.
func Unmet(all []RequirementUse) []string {
	index := make(map[string]int, len(all))
	for i, r := range all {
		index[r.ID] = i
	}
	met := make([]bool, len(all))
	for i, r := range all {
		if len(r.Entries) == 0 {
			continue
		}
		for ok := true; ok && !met[i]; i, ok = index[all[i].Parent] {
			met[i] = true
		}
	}
	var unmet []string
	for i, r := range all {
		if !met[i] {
			unmet = append(unmet, r.ID)
		}
	}
	return unmet
}

// Requirements reads the list of requirements that the config names, and holds
// the config to it. Where it names none, the list is nil.
func (p *Project) Requirements() (list *requirement.List, text []byte, err error) {
	name := p.Config.RequirementsFile
	if name == "" {
		return nil, nil, nil
	}
	if text, err = p.readList(config.Clean(name)); err != nil {
		return nil, nil, config.ErrorAt(p.ConfigText, "requirements-file", "paths in the config are relative to the project's folder", "%s: %w", name, unwrapPath(err))
	}
	if list, err = requirement.Read(config.Clean(name), text); err != nil {
		return nil, nil, err
	}
	for _, e := range p.Config.Entries() {
		for i, id := range e.Requirements {
			if _, ok := list.Lookup(id); ok {
				continue
			}
			hint := "list it there, or name one that is listed"
			if near, ok := list.Nearest(id); ok {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			return nil, nil, config.ErrorAt(p.ConfigText, fmt.Sprintf("%s.requirements[%d]", e.Path, i), hint, "%s does not list %s", name, id)
		}
	}
	return list, text, nil
}

func (p *Project) readList(name string) (_ []byte, err error) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	st, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fault.New(fault.Usage, "", "is not a regular file")
	}
	return regular.Read(root, name, requirement.MaxSize)
}

// collectRequirements copies the list into the store, as it was read.
func (p *Project) collectRequirements(store *artifact.Store, m *Materials) error {
	list, text, err := p.Requirements()
	if list == nil || err != nil {
		return err
	}
	ref, err := store.Add(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	ref.Path = RecordPath(config.Clean(p.Config.RequirementsFile))
	m.Requirements, m.RequirementList = &stage.Material{Ref: ref}, list
	return nil
}

// maxNamed bounds how many names a line of progress has.
const maxNamed = 10

// tellUnmet says, once a session, which listed requirements nothing is there for.
func (s *Session) tellUnmet(list *requirement.List) {
	if list == nil || s.Progress == nil || s.unmetTold {
		return
	}
	s.unmetTold = true
	if unmet := Unmet(Requirements(s.Project.Config, list)); len(unmet) > 0 {
		s.Progress.Line("requirements", "named by no entry of the config: "+someOf(unmet))
	}
}

// someOf joins the first of some names.
func someOf(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}
