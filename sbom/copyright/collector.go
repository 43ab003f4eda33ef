package copyright

import (
	"slices"
	"strings"
)

// collector gathers the licences of a file.
type collector struct {
	problems problems
	file     licenceText // the whole file

	texts    map[string]*licenceText // by the names that they are under
	licences map[string]Licence      // by ID
	terms    map[string]term         // of License fields that were read
	bytes    int                     // of the licences' texts
	noted    map[string]bool         // problems of names
	overflow bool                    // there are more than maxLicences
}

func newCollector(file licenceText) *collector {
	return &collector{
		file:  file,
		texts: map[string]*licenceText{}, licences: map[string]Licence{},
		terms: map[string]term{}, noted: map[string]bool{},
	}
}

// sorted returns the licences by ID.
func (c *collector) sorted() []Licence {
	all := make([]Licence, 0, len(c.licences))
	for _, l := range c.licences {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Licence) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// add notes a licence, and that of the whole file beyond the bound. The first
// name and the first text of an id stay.
func (c *collector) add(id, name string, text *licenceText) {
	l, known := c.licences[id]
	switch {
	case !known && len(c.licences) >= maxLicences && text != &c.file:
		c.overflow = true
		return
	case !known:
		l = Licence{ID: id, Name: name}
	case l.SHA256 != "":
		return
	}
	l.SHA256 = text.digest
	if c.bytes+len(text.text) <= maxTexts {
		l.Text = text.text
		c.bytes += len(text.text)
	}
	c.licences[id] = l
}

// whole returns the LicenseRef of the whole file, for what it does not say in a
// way that can be told.
func (c *collector) whole() string {
	id := refID("copyright", c.file.digest)
	c.add(id, "", &c.file)
	return id
}

// ref returns the LicenseRef of a short name and its text.
func (c *collector) ref(name string, text *licenceText) term {
	id := refID(name, text.digest)
	c.add(id, name, text)
	return leaf(id)
}

// expression joins what the statements say of the package's files.
func (c *collector) expression(all []statement) string {
	c.gather(all)
	var terms []term
	size := 0
	said := map[string]bool{}
	for i := range all {
		var t term
		switch st := &all[i]; {
		case !st.missing:
			t = c.statement(st)
		case st.alone:
			c.problems.add(st.line, "the field License is empty")
		default:
			c.problems.add(st.line, "no licence is stated")
			t = leaf(c.whole())
		}
		if s := t.String(); !all[i].alone && !said[s] {
			said[s] = true
			terms = append(terms, t)
			size += t.size
		}
		if size > maxLicences || c.overflow {
			break
		}
	}
	if size > maxLicences || c.overflow {
		c.problems.add(1, "more than %d licences: not all of them are told apart", maxLicences)
		terms = nil
	}
	if len(terms) == 0 {
		return c.whole()
	}
	return combine(and, terms).String()
}

// gather finds the texts that names have. A stand-alone stanza goes before the
// License field of a Files stanza, and the first of each before the others.
func (c *collector) gather(all []statement) {
	for _, alone := range []bool{true, false} {
		for i := range all {
			st := &all[i]
			if st.alone != alone || st.text.text == "" {
				continue
			}
			k := key(st.synopsis)
			if before, ok := c.texts[k]; !ok {
				c.texts[k] = &st.text
			} else if alone && before.digest != st.text.digest {
				c.problems.add(st.line, "the licence %s has another text already", quote(st.synopsis))
			}
		}
	}
}

// key is a short name or a License field's first line, as it is looked up:
// names hold in whatever case.
func key(name string) string { return strings.ToLower(strings.Join(strings.Fields(name), " ")) }

// statement returns what a License field says.
func (c *collector) statement(st *statement) term {
	text := &st.text
	if other, ok := c.texts[key(st.synopsis)]; text.text == "" && ok {
		text = other
	}
	k := key(st.synopsis) + "\n" + string(text.digest)
	if t, ok := c.terms[k]; ok {
		return t
	}
	t := c.field(st, text)
	c.terms[k] = t
	return t
}

func (c *collector) field(st *statement, text *licenceText) term {
	if st.synopsis == "" {
		c.problems.add(st.line, "the licence has no short name")
		return c.ref("", text)
	}
	cl, err := parseSynopsis(st.synopsis)
	if err != nil {
		c.problems.add(st.line, "licence %s: %v", quote(st.synopsis), err)
		return c.ref(st.synopsis, text)
	}
	t := c.clause(&cl, st.line, text)
	if cl.unclear() {
		c.problems.add(st.line, "licence %s: neither \"and\" nor \"or\"", quote(st.synopsis))
		return c.ref(st.synopsis, text)
	}
	return t
}

// clause returns the expression of a clause of a field that has the text.
func (c *collector) clause(cl *clause, line int, text *licenceText) term {
	if cl.op == "" {
		return c.named(cl, line, text)
	}
	op := cl.op
	if op == either {
		op = or // its licences are named; the caller drops the expression
	}
	shared := *text
	shared.shared = true
	var terms []term
	for i := range cl.clauses {
		d := &cl.clauses[i]
		of := &shared
		if own, ok := c.texts[key(d.String())]; d.op == "" && ok {
			of = own
		}
		terms = append(terms, c.clause(d, line, of))
	}
	return combine(op, terms)
}

// named returns the expression of a single short name and its exception.
func (c *collector) named(cl *clause, line int, text *licenceText) term {
	name := cl.String()
	if strings.Contains(cl.name, " ") {
		c.note(line, name, "a short name has no blanks")
	}
	ids := spdxIDs(cl.name, cl.exception, text)
	if len(ids) == 0 {
		switch lower := strings.ToLower(cl.name); {
		case slices.Contains(versionless, lower):
			c.note(line, name, "which version is not said")
		case lower == "mit" && cl.exception == "":
			c.note(line, name, "its text is that of another")
		}
		return c.ref(name, text)
	}
	var terms []term
	for _, id := range ids {
		c.add(id, name, text)
		terms = append(terms, leaf(id))
	}
	return combine(or, terms)
}

// note notes a problem of a short name, once.
func (c *collector) note(line int, name, what string) {
	if k := name + "\n" + what; !c.noted[k] {
		c.noted[k] = true
		c.problems.add(line, "licence %s: %s", quote(name), what)
	}
}

// String writes a short name with its exception.
func (c *clause) String() string {
	if c.exception == "" {
		return c.name
	}
	return c.name + " with " + c.exception
}
