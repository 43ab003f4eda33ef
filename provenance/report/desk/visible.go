package desk

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/isotrace/isotrace/internal/printable"
)

// visible rewrites JSON so that no text in it has a control character, line feeds and
// tabulators aside, or one that changes the order of what stands around it: each is
// spelt out instead. No text that an outsider chose gets past it.
func visible(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		switch b := text[i]; {
		case b == '\\' && i+1 < len(text):
			r, n := escaped(text[i:])
			if n > 2 && printable.Hidden(r) || r == '\r' || r == '\b' || r == '\f' {
				out = append(out, spelt(r)...)
			} else {
				out = append(out, text[i:i+n]...)
			}
			i += n
		case b < utf8.RuneSelf:
			if b == 0x7f {
				out = append(out, spelt(rune(b))...)
			} else {
				out = append(out, b)
			}
			i++
		default:
			r, n := utf8.DecodeRune(text[i:])
			if printable.Hidden(r) {
				out = append(out, spelt(r)...)
			} else {
				out = append(out, text[i:i+n]...)
			}
			i += n
		}
	}
	return out
}

// escaped reads one escape of a JSON text.
func escaped(text []byte) (r rune, n int) {
	switch text[1] {
	case 'u':
		if len(text) >= 6 {
			if v, err := strconv.ParseUint(string(text[2:6]), 16, 16); err == nil {
				return rune(v), 6
			}
		}
	case 'r':
		return '\r', 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	}
	return rune(text[1]), 2
}

// spelt is what stands for a character in a JSON text.
func spelt(r rune) string {
	if r < utf8.RuneSelf {
		return fmt.Sprintf(`\\x%02x`, r)
	}
	return fmt.Sprintf(`\\u%04x`, r)
}
