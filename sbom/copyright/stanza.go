package copyright

import (
	"io"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/artifact"
)

// licenceText is a text and its SHA-256; empty both where there is none.
type licenceText struct {
	text   string
	digest artifact.Digest
	shared bool   // it is of several licences together
	flat   string // what plain returns, once it was called
}

// statement is what a stanza says of licences.
type statement struct {
	line     int
	alone    bool // a stand-alone License stanza: it says what a name means, of no file
	missing  bool // a Files stanza without a License field
	synopsis string
	text     licenceText
}

// reader gathers the statements of a machine-readable file.
type reader struct {
	p     *problems
	lines []int32 // of the file, by those that deb822 read
	all   []statement
	open  int // one more than the index of the Files stanza just before that lacks its License field
}

// read returns the statements of a machine-readable file, and whether it is
// one. Of a file that is not there are no problems but that of its format.
func read(name, text string, p *problems) ([]statement, bool, error) {
	var found problems
	repaired := repair(text, &found)
	r := &reader{p: &found, lines: repaired.lines}
	rd := deb822.NewReaderLimits(strings.NewReader(repaired.text.String()), name, deb822.Limits{Stanza: 4 * maxFile, Fields: maxFields})
	for header := true; ; header = false {
		s, err := rd.Next()
		if err == io.EOF && header {
			return nil, false, nil
		}
		if err == io.EOF {
			p.merge(&found)
			return r.all, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		if header {
			format, ok := s.Lookup("Format")
			if !ok {
				format, ok = s.Lookup("Format-Specification")
			}
			if !ok {
				return nil, false, nil
			}
			if !knownFormat(format) {
				p.add(r.line(s.Line), "the format %s is not known", quote(format))
				return nil, false, nil
			}
		}
		r.stanza(s, header)
	}
}

func (r *reader) line(read int) int { return int(r.lines[read-1]) }

func (r *reader) stanza(s *deb822.Stanza, header bool) {
	st := statement{line: r.line(s.Line)}
	licence := field(s, "License")
	if licence != nil {
		st.line = r.line(licence.Line)
		st.synopsis, st.text = synopsis(string(licence.Value))
		if st.synopsis == "" && st.text.text != "" && !strings.Contains(st.text.text, "\n") {
			r.p.add(st.line, "the short name is not on the first line of the field")
			st.synopsis, st.text = st.text.text, licenceText{}
		}
	}
	st.missing = st.synopsis == "" && st.text.text == ""
	_, files := s.Lookup("Files")
	_, copyright := s.Lookup("Copyright")
	open := r.open
	r.open = 0
	switch {
	case header && !files:
		if st.missing {
			return // the header need not state any
		}
	case files:
		if licence == nil {
			r.open = len(r.all) + 1
		}
	case copyright && open > 0:
		r.p.add(st.line, "a blank line parts this stanza from its field Files")
		if st.missing {
			r.open = open
		} else {
			r.all[open-1] = st
		}
		return
	case copyright:
		r.p.add(st.line, "a stanza without the field Files")
	case licence != nil:
		st.alone = true
	default:
		r.p.add(st.line, "a stanza without the fields Files, Copyright and License")
		return
	}
	r.all = append(r.all, st)
}

func field(s *deb822.Stanza, name string) *deb822.Field {
	fields := s.Fields()
	for i := range fields {
		if deb822.Is(fields[i].Name, name) {
			return &fields[i]
		}
	}
	return nil
}

// knownFormat tells whether the Format field names version 1.0 or a draft,
// whose URIs are many. In another version the short names may mean other
// licences.
func knownFormat(value string) bool {
	value = strings.ToLower(value)
	if _, version, ok := strings.Cut(value, "/copyright-format/"); ok {
		return version == "1.0" || strings.HasPrefix(version, "1.0/")
	}
	for _, draft := range []string{"dep5", "dep-5", "copyright-format", "copyrightformat"} {
		if strings.Contains(value, draft) {
			return true
		}
	}
	return false
}

// synopsis parts the value of a License field into its first line and its text,
// which is without the one blank that each line begins with and has empty lines
// for those of a dot.
func synopsis(value string) (string, licenceText) {
	first, rest, _ := strings.Cut(value, "\n")
	first = strings.TrimSpace(first)
	if first == "." {
		first = ""
	}
	lines := strings.Split(rest, "\n")
	for i, line := range lines {
		line = strings.TrimRight(line, " \t")
		if line != "" {
			line = line[1:]
		}
		if strings.TrimLeft(line, " \t") == "." {
			line = ""
		}
		lines[i] = line
	}
	text := strings.Trim(strings.Join(lines, "\n"), "\n")
	if strings.TrimSpace(text) == "" {
		return first, licenceText{}
	}
	return first, licenceText{text: text, digest: artifact.HashBytes([]byte(text))}
}
