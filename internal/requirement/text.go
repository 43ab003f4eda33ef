package requirement

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// folder makes one line of what is added: white space becomes single blanks
// between words, and control characters, which have no business in a report or
// on a terminal, become U+FFFD.
type folder struct {
	b    strings.Builder
	gap  bool // white space is due before the next character
	long bool // more than MaxText bytes were added
}

func (f *folder) add(s string) {
	for _, c := range s {
		if f.long {
			return
		}
		if unicode.IsSpace(c) {
			f.gap = true
			continue
		}
		if unicode.IsControl(c) {
			c = utf8.RuneError
		}
		need := utf8.RuneLen(c)
		if f.gap && f.b.Len() > 0 {
			need++
		}
		if f.b.Len()+need > MaxText {
			f.long = true
			return
		}
		if f.gap && f.b.Len() > 0 {
			f.b.WriteByte(' ')
		}
		f.gap = false
		f.b.WriteRune(c)
	}
}

// space separates what is added next from what was.
func (f *folder) space() { f.gap = true }

// text is text made by a folder; a long one is cut off.
type text struct {
	s    string
	long bool
}

func (f *folder) text() text { return text{f.b.String(), f.long} }

func fold(s string) text {
	var f folder
	f.add(s)
	return f.text()
}

const maxQuote = 80

// quote quotes a value for an error, and cuts it off where it is long.
func quote(s string) string {
	if len(s) > maxQuote {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(s[:maxQuote], ""))
	}
	return fmt.Sprintf("%q", s)
}

// shorten cuts off a long text.
func shorten(s string) string {
	if len(s) <= maxQuote {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuote], "") + "…"
}
