package copyright

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of the first line of a License field.
const (
	maxSynopsis = 4096 // bytes
	maxDepth    = 8    // parentheses within parentheses
)

// operator joins licences, as SPDX writes it.
type operator string

const (
	and operator = "AND"
	or  operator = "OR"
	// either is "and/or", and the comma of a list that names no operator or
	// several: whether one has to heed all of the licences is not said.
	either operator = "and/or"
)

// clause is the first line of a License field, parsed: a name, perhaps with an
// exception, or clauses and what joins them.
type clause struct {
	name      string
	exception string // as it follows "with"
	op        operator
	clauses   []clause
}

// unclear tells whether the clause has an operator that is not clear.
func (c *clause) unclear() bool {
	return c.op == either || slices.ContainsFunc(c.clauses, func(d clause) bool { return d.unclear() })
}

// parseSynopsis reads the first line of a License field. "and" goes before
// "or"; both go last where a comma stands before them. Parentheses, which are
// SPDX's, are read, and so is a list such as "A, B and C". A name of several
// words is one name, which the format does not allow.
func parseSynopsis(s string) (clause, error) {
	if len(s) > maxSynopsis {
		return clause{}, fmt.Errorf("longer than %d bytes", maxSynopsis)
	}
	p := &parser{words: words(s)}
	c, err := p.list(0)
	if err == nil && p.at < len(p.words) {
		err = errors.New("a parenthesis closes that none opens")
	}
	return c, err
}

// words parts a synopsis at blanks, and at commas and parentheses, which are
// words of their own.
func words(s string) []string {
	for _, mark := range []string{",", "(", ")"} {
		s = strings.ReplaceAll(s, mark, " "+mark+" ")
	}
	return strings.Fields(s)
}

type parser struct {
	words []string
	at    int
}

// peek returns the next word in lower case, or "" at the end.
func (p *parser) peek() string {
	if p.at == len(p.words) {
		return ""
	}
	return strings.ToLower(p.words[p.at])
}

// joint is what stands between two clauses.
type joint struct {
	comma bool
	op    operator // empty for a comma alone
}

func (p *parser) list(depth int) (clause, error) {
	var clauses []clause
	var joints []joint
	for {
		c, err := p.clause(depth)
		if err != nil {
			return clause{}, err
		}
		clauses = append(clauses, c)
		j, ok, err := p.joint()
		if err != nil {
			return clause{}, err
		}
		if !ok {
			return group(clauses, joints), nil
		}
		joints = append(joints, j)
	}
}

func (p *parser) joint() (j joint, ok bool, _ error) {
	if p.peek() == "," {
		j.comma = true
		p.at++
	}
	switch p.peek() {
	case "and":
		j.op = and
	case "or":
		j.op = or
	case "and/or", "or/and":
		j.op = either
	default:
		return j, j.comma, nil
	}
	p.at++
	switch p.peek() {
	case "later", "newer", "higher", "greater", "above", "any":
		return j, false, fmt.Errorf("%q is no licence", p.words[p.at])
	}
	return j, true, nil
}

// group gives the joints their precedence.
func group(clauses []clause, joints []joint) clause {
	var ops []operator
	bare := false
	for _, j := range joints {
		if j.op == "" {
			bare = true
		} else if !slices.Contains(ops, j.op) {
			ops = append(ops, j.op)
		}
	}
	switch {
	case len(clauses) == 1:
		return clauses[0]
	case slices.Contains(ops, either) || (bare && len(ops) != 1):
		return clause{op: either, clauses: clauses}
	case len(ops) == 1: // what a comma alone stands for, too
		return clause{op: ops[0], clauses: clauses}
	}
	return split(clauses, joints, []joint{{true, or}, {true, and}, {false, or}, {false, and}})
}

// split parts the clauses at the joints of the first level, and the parts at
// those of the levels after it.
func split(clauses []clause, joints, levels []joint) clause {
	if len(clauses) == 1 {
		return clauses[0]
	}
	c := clause{op: levels[0].op}
	from := 0
	for i := range clauses {
		if i == len(joints) || joints[i] == levels[0] {
			c.clauses = append(c.clauses, split(clauses[from:i+1], joints[from:i], levels[1:]))
			from = i + 1
		}
	}
	if len(c.clauses) == 1 {
		return c.clauses[0]
	}
	return c
}

func (p *parser) clause(depth int) (clause, error) {
	if p.peek() == "(" {
		if depth == maxDepth {
			return clause{}, fmt.Errorf("more than %d parentheses within each other", maxDepth)
		}
		p.at++
		c, err := p.list(depth + 1)
		if err != nil {
			return clause{}, err
		}
		if p.peek() != ")" {
			return clause{}, errors.New("a parenthesis is not closed")
		}
		p.at++
		return c, nil
	}
	c := clause{name: p.name()}
	if c.name == "" {
		return clause{}, errors.New("a short name is missing")
	}
	if p.peek() != "with" {
		return c, nil
	}
	p.at++
	if c.exception = p.name(); c.exception == "" {
		return clause{}, errors.New("the exception's name is missing")
	}
	if p.peek() == "with" {
		return clause{}, errors.New("a licence has two exceptions")
	}
	return c, nil
}

// name reads the words of a name.
func (p *parser) name() string {
	from := p.at
	for {
		switch p.peek() {
		case "", ",", "(", ")", "and", "or", "and/or", "or/and", "with":
			return strings.Join(p.words[from:p.at], " ")
		}
		p.at++
	}
}
