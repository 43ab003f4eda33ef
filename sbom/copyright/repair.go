package copyright

import (
	"strings"
)

// maxFields bounds the fields of one stanza; the format has 11.
const maxFields = 64

// repaired is a copyright file as deb822 reads it.
type repaired struct {
	text  strings.Builder
	lines []int32 // the line of the file that each line of text is from
}

func (r *repaired) put(line int, parts ...string) {
	for _, s := range parts {
		r.text.WriteString(s)
	}
	r.text.WriteByte('\n')
	r.lines = append(r.lines, int32(line))
}

// repair makes of a copyright file, which people write by hand, what the reader
// of deb822 takes: it indents text that is not, closes blank lines within a
// field, parts stanzas that lack the blank line between them, and leaves out
// comments, fields that stand twice and text before the first field. Each is a
// problem, comments apart. A field with nothing on its first line gets the dot
// there that the format has for an empty line, as a reader of deb822 takes the
// two for the same.
func repair(text string, p *problems) *repaired {
	r := &repairer{p: p, out: &repaired{}}
	r.out.text.Grow(len(text) + len(text)/16)
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\r"), "\r", " ")
		r.line(n, line)
	}
	return r.out
}

type repairer struct {
	p   *problems
	out *repaired

	fields  map[string]bool // of the stanza, in lower case; nil before the first
	blank   bool            // the lines just before were blank
	leaving bool            // the field's lines are left out
	outside bool            // the line before was text outside a field
	bare    bool            // the line before was text that is not indented
}

func (r *repairer) line(n int, line string) {
	name, value, isField := cutField(line)
	indented := line != "" && (line[0] == ' ' || line[0] == '\t')
	outside, bare := r.outside, r.bare
	r.outside, r.bare = false, false
	switch {
	case strings.Trim(line, " \t") == "":
		r.blank, r.outside, r.bare = true, outside, bare
	case line[0] == '#':
		r.outside, r.bare = outside, bare
	case isField:
		r.field(n, name, value)
	case r.fields == nil:
		if !outside {
			r.p.add(n, "text before the first field: %s", quote(line))
		}
		r.outside = true
	case r.leaving:
		r.blank = false
	default:
		if !indented && !bare {
			r.p.add(n, "text that is not indented: %s", quote(line))
		} else if r.blank && !bare {
			r.p.add(n, "a blank line within a field")
		}
		r.bare = !indented
		if r.blank {
			r.out.put(n, " .")
		}
		r.blank = false
		if !indented {
			line = " " + line
		}
		r.out.put(n, line)
	}
}

func (r *repairer) field(n int, name, value string) {
	lower := strings.ToLower(name)
	first := r.fields == nil
	parted := first || r.blank
	r.blank, r.leaving = false, false
	if !parted && r.opens(lower) {
		r.p.add(n, "no blank line before the field %s", name)
		parted = true
	}
	if parted {
		r.fields = map[string]bool{}
		if !first {
			r.out.put(n)
		}
	}
	switch {
	case r.fields[lower]:
		r.p.add(n, "the field %s stands twice in a stanza", name)
		r.leaving = true
		return
	case len(r.fields) == maxFields:
		r.p.add(n, "a stanza of more than %d fields", maxFields)
		r.leaving = true
		return
	}
	r.fields[lower] = true
	if strings.Trim(value, " \t") == "" {
		value = " ."
	}
	r.out.put(n, name, ":", value)
}

// opens tells whether a field, in lower case, cannot be of the stanza before
// it, and so opens another.
func (r *repairer) opens(field string) bool {
	switch field {
	case "files":
		return r.fields["files"] || r.fields["format"]
	case "license":
		return r.fields["license"]
	}
	return false
}

// cutField parts a line into a field's name and value. The name has letters,
// digits and dashes: with what else deb822 allows, a good deal of prose would
// be fields. A URL is not one.
func cutField(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	if !ok || name == "" || strings.HasPrefix(value, "//") {
		return "", "", false
	}
	for i := range len(name) {
		c := name[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || (name[i] != '-' && (name[i] < '0' || name[i] > '9'))) {
			return "", "", false
		}
	}
	return name, value, true
}
