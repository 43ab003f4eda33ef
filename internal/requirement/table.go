package requirement

import (
	"bytes"
	"encoding/csv"
	"fmt"

	"github.com/isotrace/isotrace/internal/fault"
)

const (
	maxColumns = 256
	maxHeader  = 64 << 10 // bytes of the header row
)

// table is what the header row says.
type table struct {
	comma   rune
	columns int
	at      map[role]int // column
	twice   string       // a name of use that two columns have
}

// newTable reads the header row with each of the separators, and takes the one
// that shows most columns of use.
func newTable(name string, text []byte) (*table, error) {
	header, before := firstRow(text)
	if len(header) == 0 {
		return nil, fault.New(fault.Usage, headerHint, "%s: is empty", name)
	}
	line := before + 1
	if len(header) > maxHeader {
		return nil, fault.New(fault.Usage, "", "%s:%d: header row is longer than %d bytes", name, line, maxHeader)
	}
	var best *table
	var first error
	for _, comma := range []rune{',', ';', '\t'} {
		r := csv.NewReader(bytes.NewReader(header))
		r.Comma = comma
		cells, err := r.Read()
		if err != nil {
			if first == nil {
				first = syntaxError(name, before, err)
			}
			continue
		}
		t := newColumns(comma, cells)
		if best == nil || len(t.at) > len(best.at) {
			best = t
		}
	}
	if best == nil {
		return nil, first
	}
	if _, ok := best.at[roleID]; !ok {
		return nil, fault.New(fault.Usage, headerHint, "%s:%d: no column is named id", name, line)
	}
	if best.twice != "" {
		return nil, fault.New(fault.Usage, "", "%s:%d: two columns are named %s", name, line, quote(best.twice))
	}
	if best.columns > maxColumns {
		return nil, fault.New(fault.Usage, "", "%s:%d: more than %d columns", name, line, maxColumns)
	}
	return best, nil
}

// newColumns finds the columns of use; of several with the same role, the one
// whose name is preferred.
func newColumns(comma rune, cells []string) *table {
	t := &table{comma: comma, columns: len(cells), at: map[role]int{}}
	ranks := map[role]int{}
	for i, c := range cells {
		u, ok := usageOf(c)
		if !ok {
			continue
		}
		rank, taken := ranks[u.role]
		if taken && rank == u.rank {
			t.twice = c
		}
		if !taken || u.rank < rank {
			ranks[u.role], t.at[u.role] = u.rank, i
		}
	}
	return t
}

// firstRow returns the first line that is not empty, on to a line end outside
// quotes, and the number of lines before it. Of a long one it returns no more
// than shows that it is.
func firstRow(text []byte) (row []byte, before int) {
	for {
		rest, ok := bytes.CutPrefix(text, []byte("\n"))
		if !ok {
			rest, ok = bytes.CutPrefix(text, []byte("\r\n"))
		}
		if !ok {
			break
		}
		text = rest
		before++
	}
	quoted := false
	for i, c := range text {
		if c == '"' {
			quoted = !quoted
		}
		if c == '\n' && !quoted || i == maxHeader {
			return text[:i+1], before
		}
	}
	return text, before
}

// tooWide looks for a row with more cells than the header row, before
// encoding/csv makes room for each of them: a row may have one a byte. It stops
// where encoding/csv will, at a quote that is out of place.
func (t *table) tooWide(text []byte) (line int, ok bool) {
	const start, bare, quoted, closed = 0, 1, 2, 3
	state, cells, line := start, 1, 1
	for _, c := range text {
		switch {
		case c == '"' && state == start, c == '"' && state == closed:
			state = quoted
		case c == '"' && state == quoted:
			state = closed
		case c == '"':
			return 0, false
		case c == '\n':
			line++
			if state != quoted {
				state, cells = start, 1
			}
		case state == quoted, c == '\r' && state == closed:
		case rune(c) == t.comma:
			state = start
			if cells++; cells > t.columns {
				return line, true
			}
		case state == closed:
			return 0, false
		default:
			state = bare
		}
	}
	return 0, false
}

func (t *table) widthHint() string {
	return fmt.Sprintf("cells are separated by %q; quote one that holds it", t.comma)
}
