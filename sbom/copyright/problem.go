package copyright

import (
	"fmt"
	"slices"
)

// problems gathers what was not understood.
type problems struct {
	all  []problem
	more int
}

type problem struct {
	line int
	text string
}

// add notes a problem of a line, counted from 1. Beyond the bound they are
// only counted.
func (p *problems) add(line int, format string, args ...any) {
	if len(p.all) == maxProblems-1 {
		p.more++
		return
	}
	p.all = append(p.all, problem{line, fmt.Sprintf(format, args...)})
}

// merge adds those of q.
func (p *problems) merge(q *problems) {
	for _, o := range q.all {
		p.add(o.line, "%s", o.text)
	}
	p.more += q.more
}

// list returns the problems in the order of their lines.
func (p *problems) list() []string {
	slices.SortStableFunc(p.all, func(a, b problem) int { return a.line - b.line })
	var all []string
	for _, q := range p.all {
		all = append(all, fmt.Sprintf("line %d: %s", q.line, q.text))
	}
	if p.more > 0 {
		all = append(all, fmt.Sprintf("and %d more", p.more))
	}
	return all
}

// quote writes what a file says into a problem, shortened to what a line holds.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return fmt.Sprintf("%q…", string(r[:most]))
	}
	return fmt.Sprintf("%q", s)
}
