package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
)

// JSON writes a document as docs/formats/report.schema.json has it.
func JSON(d Document) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(d)
	return b.Bytes(), err
}

// CSV writes a document as RFC 4180 has it, its tables one behind the other: each row
// begins with the id of its section, and a section begins with a row of its columns. The
// last cell of a row names the files that it comes from, with their SHA-256.
func CSV(d Document) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	for _, s := range d.Sections {
		head := append([]string{"section"}, s.Columns...)
		if err := w.Write(append(head, "evidence")); err != nil {
			return nil, err
		}
		for _, r := range s.Rows {
			line := []string{s.ID}
			for _, c := range r.Cells {
				line = append(line, harmless(c))
			}
			var cites []string
			for _, i := range r.Cites {
				cites = append(cites, d.Cites[i].Path+" sha256:"+string(d.Cites[i].Digest))
			}
			if err := w.Write(append(line, recorded(strings.Join(cites, "; ")))); err != nil {
				return nil, err
			}
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// harmless has a spreadsheet take a cell as text: what begins as a formula does gets an
// apostrophe before it.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
