package main

import (
	"bytes"
	"io"

	show "github.com/isotrace/isotrace/internal/printable"
)

// printable is a text without what a terminal would take for a command, or show in
// another order than it stands.
func printable(s string) string { return show.Text(s) }

// line is printable for what stands within a line: a name with a line feed in it must not
// look like two lines.
func line(s string) string { return show.Line(s) }

// writePrintable lets text write for people.
func writePrintable(w io.Writer, text func(io.Writer) error) error {
	var b bytes.Buffer
	if err := text(&b); err != nil {
		return err
	}
	_, err := io.WriteString(w, printable(b.String()))
	return err
}
