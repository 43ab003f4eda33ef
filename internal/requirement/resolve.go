package requirement

import "github.com/isotrace/isotrace/internal/fault"

// addTo adds the document's requirements to a list: its objects but headings.
// Where some object has an attribute for its identifier, those that have none
// are prose, and left out too; where none has, all go by the IDENTIFIERs that a
// tool gave them.
func (d *document) addTo(l *List, name string) error {
	byIdentifier := make(map[string]int, len(d.objects))
	found := make([]*Requirement, len(d.objects)) // nil for what is none
	named := false
	for i, o := range d.objects {
		if _, ok := byIdentifier[o.identifier]; ok {
			return fault.New(fault.Usage, "", "%s:%s: two objects have this IDENTIFIER", name, o.identifier)
		}
		byIdentifier[o.identifier] = i
		q, err := d.requirement(o, name)
		if err != nil {
			return err
		}
		found[i] = q
		named = named || q != nil && q.ID != ""
	}
	for i, q := range found {
		source := name + ":" + d.objects[i].identifier
		switch {
		case q == nil || q.ID == "" && named:
			found[i] = nil
			l.leftOut = append(l.leftOut, source)
		case q.ID == "":
			if q.ID = d.objects[i].identifier; !ValidID(q.ID) {
				return fault.New(fault.Usage, "give requirements an attribute ReqIF.ForeignID, such as HLR-12", "%s: has no identifier that a config could name", source)
			}
		}
	}
	d.refine(byIdentifier, found)
	for _, q := range found {
		if q == nil {
			continue
		}
		if err := l.add(*q); err != nil {
			return err
		}
	}
	return nil
}

// refine gives each requirement the one around its place as its parent.
func (d *document) refine(byIdentifier map[string]int, found []*Requirement) {
	// A place stands behind the one around it, so that one walk is enough.
	nearest := make([]*Requirement, len(d.places)) // of a place and those around it
	for i, p := range d.places {
		if p.parent >= 0 {
			nearest[i] = nearest[p.parent]
		}
		at, ok := byIdentifier[p.object]
		if !ok || found[at] == nil {
			continue
		}
		q, above := found[at], nearest[i]
		if above != nil && q.Parent == "" {
			q.Parent = above.ID
		}
		nearest[i] = q
	}
}

// requirement makes a requirement of an object, whose ID is "" where it has no
// attribute for one, or nil of a heading: an object with a chapter's name, but no
// identifier, name or text.
func (d *document) requirement(o object, name string) (*Requirement, error) {
	q := &Requirement{Source: name + ":" + o.identifier}
	chosen, err := d.choose(o, q.Source)
	if err != nil {
		return nil, err
	}
	for _, v := range chosen {
		if v.long {
			return nil, fault.New(fault.Usage, "", "%s: %s is longer than %d bytes", q.Source, quote(d.definitions[v.definition]), MaxText)
		}
	}
	q.ID, q.Title, q.Text = chosen[roleID].s, chosen[roleTitle].s, chosen[roleText].s
	chapter := chosen[roleChapter].s
	if chapter != "" && q.ID == "" && q.Title == "" && q.Text == "" {
		return nil, nil
	}
	if q.Title == "" {
		q.Title = chapter
	}
	return q, nil
}

// choose returns the object's values by their roles; of several with the same
// role, the one whose name is preferred.
func (d *document) choose(o object, source string) (chosen [roles]value, err error) {
	var ranks [roles]int
	for _, v := range o.values {
		name := d.definitions[v.definition]
		u, ok := usageOf(name)
		if !ok {
			continue
		}
		taken := chosen[u.role].s != ""
		if taken && ranks[u.role] == u.rank {
			return chosen, fault.New(fault.Usage, "", "%s: has two values of %s", source, quote(name))
		}
		if !taken || u.rank < ranks[u.role] {
			chosen[u.role], ranks[u.role] = v, u.rank
		}
	}
	return chosen, nil
}
