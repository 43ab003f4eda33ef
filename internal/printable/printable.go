// Package printable shows texts that outsiders chose: names in archives and images
// are whatever their makers wanted.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is a text without what a terminal would take for a command, or show in
// another order than it stands. Line feeds and tabulators stay.
func Text(s string) string {
	return escape(s, func(r rune) bool { return r != '\n' && r != '\t' && Hidden(r) })
}

// Line is Text without line feeds and tabulators, too.
func Line(s string) string { return escape(s, Hidden) }

// Hidden tells what is a command, or changes the order of what stands around it.
func Hidden(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

func escape(s string, hidden func(rune) bool) string {
	bad := func(r rune) bool { return r == utf8.RuneError || hidden(r) }
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1, r < utf8.RuneSelf && bad(r):
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case bad(r) && r != utf8.RuneError:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
