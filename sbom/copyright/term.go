package copyright

import (
	"slices"
	"strings"
)

// term is an SPDX licence expression in normal form: operands are sorted, each
// once, and groups of another operator stand in parentheses.
type term struct {
	op    operator // empty for a licence alone
	parts []string
	size  int // licences in it
}

func leaf(id string) term { return term{parts: []string{id}, size: 1} }

func (t term) String() string { return strings.Join(t.parts, " "+string(t.op)+" ") }

// combine joins terms, of which there is at least one.
func combine(op operator, terms []term) term {
	t := term{op: op}
	sizes := map[string]int{}
	for _, u := range terms {
		switch {
		case len(u.parts) == 1:
			sizes[u.parts[0]] = u.size
		case u.op == op:
			for _, part := range u.parts {
				sizes[part] = strings.Count(part, " "+string(and)+" ") + strings.Count(part, " "+string(or)+" ") + 1
			}
		default:
			sizes["("+u.String()+")"] = u.size
		}
	}
	for part, size := range sizes {
		t.parts = append(t.parts, part)
		t.size += size
	}
	if len(t.parts) == 1 {
		return terms[0]
	}
	slices.Sort(t.parts)
	return t
}
