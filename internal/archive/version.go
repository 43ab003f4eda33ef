package archive

import (
	"fmt"
	"strings"
)

// CompareVersions orders two Debian versions by deb-version(7): it returns a
// negative number when a is older than b, 0 when they are equal, else a
// positive one. Any text has a place in the order; ValidateVersion tells
// whether it is a version.
func CompareVersions(a, b string) int {
	ae, au, ar := splitVersion(a)
	be, bu, br := splitVersion(b)
	if c := compareNumbers(ae, be); c != 0 {
		return c
	}
	if c := comparePart(au, bu); c != 0 {
		return c
	}
	return comparePart(ar, br)
}

// ValidateVersion refuses what deb-version(7) does not allow.
func ValidateVersion(v string) error {
	epoch, upstream, revision := splitVersion(v)
	if len(v) > 512 {
		return fmt.Errorf("version has %d characters; at most 512 are allowed", len(v))
	}
	if upstream == "" {
		return fmt.Errorf("version %q has no upstream part", v)
	}
	if strings.HasPrefix(v, ":") || !allOf(epoch, isDigit) || len(epoch) > 10 {
		return fmt.Errorf("version %q: the epoch is no number", v)
	}
	if !allOf(upstream, func(c byte) bool { return isAlnum(c) || strings.IndexByte(".+-~:", c) >= 0 }) {
		return fmt.Errorf("version %q holds a character that is not allowed", v)
	}
	if !allOf(revision, func(c byte) bool { return isAlnum(c) || strings.IndexByte(".+~", c) >= 0 }) {
		return fmt.Errorf("version %q holds a character that is not allowed in its revision", v)
	}
	return nil
}

func splitVersion(v string) (epoch, upstream, revision string) {
	epoch, upstream, ok := strings.Cut(v, ":")
	if !ok {
		epoch, upstream = "", v
	}
	if i := strings.LastIndexByte(upstream, '-'); i >= 0 {
		upstream, revision = upstream[:i], upstream[i+1:]
	}
	return epoch, upstream, revision
}

// comparePart compares runs of non-digits by order and runs of digits as
// numbers, in turn.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := order(a) - order(b); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		i, j := digits(a), digits(b)
		if c := compareNumbers(a[:i], b[:j]); c != 0 {
			return c
		}
		a, b = a[i:], b[j:]
	}
	return 0
}

// order sorts ~ before the end of a part, the end (and a digit) before
// letters, and letters before all else.
func order(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isAlpha(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func digits(s string) int {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return i
		}
	}
	return len(s)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isAlnum(c byte) bool { return isDigit(c) || isAlpha(c) }

func allOf(s string, f func(byte) bool) bool {
	for i := range len(s) {
		if !f(s[i]) {
			return false
		}
	}
	return true
}
