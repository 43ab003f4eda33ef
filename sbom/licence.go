package sbom

import (
	"errors"
	"fmt"
	"strings"
)

// noAssertion is SPDX's word for what is not said.
const noAssertion = "NOASSERTION"

// Bounds of a licence expression.
const (
	maxExpression = 1 << 20 // bytes
	maxNesting    = 1 << 10 // parentheses within each other
)

const licenceRef = "LicenseRef-"

// IsLicenceRef tells a licence of the document's own from one of SPDX's list.
func IsLicenceRef(id string) bool { return strings.HasPrefix(id, licenceRef) }

// CheckExpression refuses what is no SPDX licence expression. Empty and
// NOASSERTION are some.
func CheckExpression(s string) error { return checkExpression(s, nil) }

// checkExpression tells whether s is formed as Annex D of SPDX 2.3 wants it;
// whether the list has its ids is not looked at, as each version of the list has
// others. It calls ref with each LicenseRef.
func checkExpression(s string, ref func(string)) error {
	if len(s) > maxExpression {
		return fmt.Errorf("a licence expression of %d bytes; at most %d are allowed", len(s), maxExpression)
	}
	if s == "" || s == noAssertion || s == "NONE" {
		return nil
	}
	depth, operand, exception, simple := 0, true, false, false // operand: one is due; simple: a licence stands just before
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, " ") {
		n := strings.IndexAny(s, " ()")
		switch {
		case n == 0:
			n = 1
		case n < 0:
			n = len(s)
		}
		word := s[:n]
		s = s[n:]
		switch {
		case word == "(" && operand && !exception:
			if depth++; depth > maxNesting {
				return fmt.Errorf("a licence expression with more than %d parentheses within each other", maxNesting)
			}
		case word == ")" && !operand && depth > 0:
			depth--
			simple = false
		case !operand && (word == "AND" || word == "OR"):
			operand, simple = true, false
		case simple && word == "WITH":
			operand, exception, simple = true, true, false
		case operand && validLicence(word, exception):
			if strings.HasPrefix(word, licenceRef) && ref != nil {
				ref(word)
			}
			operand, exception, simple = false, false, !exception
		default:
			return fmt.Errorf("no SPDX licence expression: %q is out of place", clip(word, 80))
		}
	}
	if operand || depth > 0 {
		return errors.New("no SPDX licence expression: it ends too early")
	}
	return nil
}

// validLicence tells whether s may be a licence's id, or that of an exception.
func validLicence(s string, exception bool) bool {
	switch s {
	case "AND", "OR", "WITH", noAssertion, "NONE":
		return false
	}
	s, own := strings.CutPrefix(s, licenceRef)
	if !exception && !own {
		s = strings.TrimSuffix(s, "+")
	}
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !isAlnum(r) && r != '.' && r != '-' })
}

// expression is the one to show, whether it is concluded, and whether there is
// one.
func (l Licensing) expression() (s string, concluded, ok bool) {
	if said(l.Concluded) {
		return l.Concluded, true, true
	}
	return l.Declared, false, said(l.Declared)
}

// said tells whether an expression names a licence.
func said(expression string) bool {
	return expression != "" && expression != noAssertion && expression != "NONE"
}
