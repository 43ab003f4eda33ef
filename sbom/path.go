package sbom

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Path is a file's path as bytes: Linux forbids only NUL in it. Its text form
// has a backslash and three octal digits for each byte of what is not printable
// UTF-8, and for the backslash.
type Path string

// String is the text form.
func (p Path) String() string {
	var b strings.Builder
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRuneInString(string(p[i:]))
		if r == utf8.RuneError && n < 2 || r == '\\' || !unicode.IsPrint(r) {
			for _, c := range []byte(p[i : i+n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		} else {
			b.WriteString(string(p[i : i+n]))
		}
		i += n
	}
	return b.String()
}

// MarshalText is String.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (p *Path) UnmarshalText(text []byte) error {
	var b []byte
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			b = append(b, text[i])
			continue
		}
		n := 0
		if i+3 >= len(text) {
			return fmt.Errorf("path %q ends within an escape", clip(string(text), 80))
		}
		for _, c := range text[i+1 : i+4] {
			if c < '0' || c > '7' {
				return fmt.Errorf("path %q: bad escape", clip(string(text), 80))
			}
			n = n<<3 | int(c-'0')
		}
		if n > 0xff {
			return fmt.Errorf("path %q: bad escape", clip(string(text), 80))
		}
		b = append(b, byte(n))
		i += 3
	}
	*p = Path(b)
	return nil
}

// base is the file name alone.
func (p Path) base() Path { return p[strings.LastIndexByte(string(p), '/')+1:] }

// uri is the path percent-encoded, as a relative reference.
func (p Path) uri() string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(p) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~/+@=,", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
