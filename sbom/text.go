package sbom

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of texts, in bytes. What is longer is cut, and says so.
const (
	maxLine        = 4 << 10
	maxDescription = 64 << 10
	maxLicenceText = 1 << 20
	maxTexts       = 64 << 20 // all licence texts of a document
)

// Printable makes a name of what a tree says: one line that Validate takes,
// unless it is empty.
func Printable(s string) string { return line(s, maxWord-40) }

// line makes one line of printable UTF-8 of s: white space becomes one blank,
// anything else that is not printable U+FFFD.
func line(s string, most int) string {
	return clip(strings.Join(strings.FieldsFunc(printable(s, ""), unicode.IsSpace), " "), most)
}

// prose keeps line feeds and tabs.
func prose(s string, most int) string { return clip(printable(s, "\n\t"), most) }

// printable replaces what is not printable, blanks and those of keep apart.
// White space becomes a blank.
func printable(s, keep string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r), strings.ContainsRune(keep, r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return utf8.RuneError
		}
	}, s)
}

// clip cuts s at a rune and says how much is gone.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s… [%d bytes more]", s[:n], len(s)-n)
}

// show is an ID for an error, which is one line.
func show(id string) string { return line(id, 200) }
