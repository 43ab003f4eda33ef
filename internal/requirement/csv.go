package requirement

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/isotrace/isotrace/internal/fault"
)

const (
	utf8Hint   = "export the file as UTF-8"
	headerHint = "the first row names the columns, such as id,title,text,parent"
	quoteHint  = `quote a cell that holds a separator, a quote or a line end, and write a quote in it as ""`
)

var byteOrderMark = []byte("\ufeff")

// readCSV reads a table as RFC 4180 describes it, whose cells may also be
// separated by semicolons or tabs, and whose first row names the columns.
func (l *List) readCSV(name string, text []byte) error {
	text = bytes.TrimPrefix(text, byteOrderMark)
	if line, ok := notUTF8(text); ok {
		return fault.New(fault.Usage, utf8Hint, "%s:%d: is not UTF-8", name, line)
	}
	t, err := newTable(name, text)
	if err != nil {
		return err
	}
	if line, ok := t.tooWide(text); ok {
		return fault.New(fault.Usage, t.widthHint(), "%s:%d: row has more cells than the header row's %d", name, line, t.columns)
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.FieldsPerRecord, r.ReuseRecord = t.comma, -1, true
	for row := 0; ; row++ {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return syntaxError(name, 0, err)
		}
		filled := slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) != "" })
		if row == 0 || !filled {
			continue
		}
		line, _ := r.FieldPos(0)
		if len(cells) != t.columns {
			return fault.New(fault.Usage, t.widthHint(), "%s:%d: row has %d cells, the header row has %d", name, line, len(cells), t.columns)
		}
		q, err := t.requirement(fmt.Sprintf("%s:%d", name, line), cells)
		if err != nil {
			return err
		}
		if err := l.add(q); err != nil {
			return err
		}
	}
}

// notUTF8 returns the line of the first byte that is no UTF-8.
func notUTF8(text []byte) (line int, ok bool) {
	if utf8.Valid(text) {
		return 0, false
	}
	line = 1
	for len(text) > 0 {
		c, n := utf8.DecodeRune(text)
		if c == utf8.RuneError && n == 1 {
			break
		}
		if c == '\n' {
			line++
		}
		text = text[n:]
	}
	return line, true
}

// syntaxError names the line on which the row begins: that a quote is missing
// shows at the file's end only.
func syntaxError(name string, before int, err error) error {
	line := 0
	if p, ok := errors.AsType[*csv.ParseError](err); ok {
		line, err = p.StartLine, p.Err
	}
	return fault.New(fault.Usage, quoteHint, "%s:%d: %w", name, before+line, err)
}

func (t *table) requirement(source string, cells []string) (Requirement, error) {
	var err error
	cell := func(r role) string {
		i, ok := t.at[r]
		if !ok {
			return ""
		}
		c := fold(cells[i])
		if c.long && err == nil {
			err = fault.New(fault.Usage, "", "%s: cell %d is longer than %d bytes", source, i+1, MaxText)
		}
		return c.s
	}
	q := Requirement{ID: cell(roleID), Title: cell(roleTitle), Text: cell(roleText), Parent: cell(roleParent), Source: source}
	if q.Title == "" {
		q.Title = cell(roleChapter)
	}
	return q, err
}
