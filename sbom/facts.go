package sbom

import (
	"slices"
	"strconv"
	"strings"
)

// The namespace of our facts. docs/formats/sbom.md lists them.
const ours = "isotrace:"

// facts builds a list of facts, and leaves out what has no value.
type facts struct{ list []fact }

func (f *facts) add(name, value string) *facts {
	if value = line(value, maxLine); value != "" {
		f.list = append(f.list, fact{ours + name, value})
	}
	return f
}

func (f *facts) number(name string, n int64) *facts {
	if n == 0 {
		return f
	}
	return f.add(name, strconv.FormatInt(n, 10))
}

// all adds one fact for each value, sorted and each once.
func (f *facts) all(name string, values []string) *facts {
	values = slices.Clone(values)
	slices.Sort(values)
	for _, v := range slices.Compact(values) {
		f.add(name, v)
	}
	return f
}

func (f *facts) sources(name string, list []SourceID) *facts {
	var values []string
	for _, s := range list {
		values = append(values, s.Name+"="+s.Version)
	}
	return f.all(name, values)
}

func (f *facts) licensing(l Licensing) *facts {
	return f.add("licence:file", l.File.String()).add("licence:file-sha256", string(l.FileSHA256))
}

// described are the facts with those that every component has in common: what
// TR-03183-2 asks for, under the names of BSI's property taxonomy, and why what
// is not known is not.
func (c *component) described(more ...fact) []fact {
	all := append(slices.Clone(c.facts), more...)
	add := func(name, value string) {
		if value != "" {
			all = append(all, fact{name, value})
		}
	}
	answer := func(name string, a Answer, yes, no string) {
		switch a {
		case Yes:
			add(name, yes)
		case No:
			add(name, no)
		}
	}
	add("bsi:component:filename", c.fileName)
	answer("bsi:component:executable", c.nature.Executable, "executable", "non-executable")
	answer("bsi:component:archive", c.nature.Archive, "archive", "no archive")
	answer("bsi:component:structured", c.nature.Structured, "structured", "unstructured")
	for _, f := range fields {
		if !c.has(f) {
			add(ours+"unknown:"+string(f), c.why(f))
		}
	}
	slices.SortStableFunc(all, func(a, b fact) int { return strings.Compare(a.name, b.name) })
	return all
}
