package diff

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"text/tabwriter"
)

// Formats are those that Write knows, for people.
var Formats = []string{"text", "markdown", "html"}

// Write writes the result for people, in one of Formats.
func (r *Result) Write(w io.Writer, format string, o Options) error {
	d := r.document(o)
	switch format {
	case "text":
		return d.text(w)
	case "markdown":
		_, err := io.WriteString(w, d.markdown())
		return err
	case "html":
		return page.Execute(w, d)
	}
	return fmt.Errorf("format %q is not known", format)
}

func (d document) text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", d.Title)
	for _, f := range d.Facts {
		fmt.Fprintf(&b, "%-10s %s\n", f[0], f[1])
	}
	fmt.Fprintf(&b, "result     %s\n", d.Verdict)
	for _, s := range d.Sections {
		if err := s.text(&b, ""); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s section) text(b *strings.Builder, indent string) error {
	title := s.Title
	if indent == "" {
		title = strings.ToUpper(title)
	}
	fmt.Fprintf(b, "\n%s%s\n", indent, title)
	if s.Note != "" {
		fmt.Fprintf(b, "%s%s\n", indent, s.Note)
	}
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	for _, row := range s.Rows {
		if s.Long {
			fmt.Fprintf(b, "%s  %s: %s\n", indent, oneLine(row[0]), oneLine(row[1]))
			for i, cell := range row[2:] {
				fmt.Fprintf(b, "%s    %-10s %s\n", indent, s.Columns[i+2], oneLine(cell))
			}
			continue
		}
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = oneLine(c)
		}
		fmt.Fprintf(t, "%s  %s\n", indent, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if s.Text != "" {
		for line := range strings.Lines(s.Text) {
			b.WriteString(strings.TrimRight(indent+"  "+strings.TrimRight(line, "\n"), " ") + "\n")
		}
	}
	for _, below := range s.Below {
		if err := below.text(b, indent+"  "); err != nil {
			return err
		}
	}
	return nil
}

// oneLine keeps a cell from being taken for two.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (d document) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n**%s**\n\n", escape(d.Title), escape(d.Verdict))
	for _, f := range d.Facts {
		fmt.Fprintf(&b, "- %s: %s\n", escape(f[0]), escape(f[1]))
	}
	for _, s := range d.Sections {
		s.markdown(&b, "##")
	}
	return b.String()
}

func (s section) markdown(b *strings.Builder, level string) {
	fmt.Fprintf(b, "\n%s %s\n", level, escape(s.Title))
	if s.Note != "" {
		fmt.Fprintf(b, "\n%s\n", escape(s.Note))
	}
	if len(s.Rows) > 0 {
		b.WriteString("\n")
		line := func(cells []string) {
			for _, c := range cells {
				b.WriteString("| " + escape(c) + " ")
			}
			b.WriteString("|\n")
		}
		line(s.Columns)
		b.WriteString(strings.Repeat("|---", len(s.Columns)) + "|\n")
		for _, row := range s.Rows {
			line(row)
		}
	}
	if s.Text != "" {
		b.WriteString("\n")
		for line := range strings.Lines(s.Text) {
			b.WriteString(strings.TrimRight("    "+strings.TrimRight(line, "\n"), " ") + "\n")
		}
	}
	for _, below := range s.Below {
		below.markdown(b, level+"#")
	}
}

// special are the characters that Markdown, or the HTML in it, would take for its own.
var special = func() *strings.Replacer {
	var pairs []string
	for _, c := range "\\`*_{}[]()#+!|~@" {
		pairs = append(pairs, string(c), "\\"+string(c))
	}
	return strings.NewReplacer(append(pairs, "&", "&amp;", "<", "&lt;", ">", "&gt;", "://", "&#58;//")...)
}()

// escape makes one line of text of what packages and projects wrote.
func escape(s string) string { return special.Replace(oneLine(s)) }

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))
