package archive

import (
	"fmt"
	"strings"
)

// Operator is the comparison of a version relation.
type Operator string

// The operators of deb-control's relations. The obsolete < and > mean <= and
// >= and are read as these.
const (
	Earlier        Operator = "<<"
	EarlierOrEqual Operator = "<="
	Equal          Operator = "="
	LaterOrEqual   Operator = ">="
	Later          Operator = ">>"
)

// Relation names a package, perhaps of an architecture and with a bound on its
// version.
type Relation struct {
	Name         string
	Architecture string // the qualifier after the colon: any, native or an architecture
	Operator     Operator
	Version      string
}

// Holds tells whether a version fits the relation's bound.
func (r Relation) Holds(version string) bool {
	if r.Operator == "" {
		return true
	}
	c := CompareVersions(version, r.Version)
	switch r.Operator {
	case Earlier:
		return c < 0
	case EarlierOrEqual:
		return c <= 0
	case Equal:
		return c == 0
	case LaterOrEqual:
		return c >= 0
	case Later:
		return c > 0
	}
	return false
}

// String writes the relation as a dependency field would.
func (r Relation) String() string {
	s := r.Name
	if r.Architecture != "" {
		s += ":" + r.Architecture
	}
	if r.Operator != "" {
		s += " (" + string(r.Operator) + " " + r.Version + ")"
	}
	return s
}

// Alternatives are relations of which one is enough.
type Alternatives []Relation

// String writes the alternatives as a dependency field would.
func (a Alternatives) String() string {
	parts := make([]string, len(a))
	for i, r := range a {
		parts[i] = r.String()
	}
	return strings.Join(parts, " | ")
}

// maxRelations bounds the relations of one field; the largest Provides of
// Debian's archive has some thousands.
const maxRelations = 65536

// ParseDependency reads a field such as Depends: all of the result must hold.
// An empty field gives nothing.
func ParseDependency(field string) ([]Alternatives, error) {
	var all []Alternatives
	count := 0
	for clause := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(clause) == "" {
			// dpkg takes a comma at the end.
			continue
		}
		var alts Alternatives
		for text := range strings.SplitSeq(clause, "|") {
			r, err := ParseRelation(text)
			if err != nil {
				return nil, err
			}
			if count++; count > maxRelations {
				return nil, fmt.Errorf("dependency field has more than %d relations", maxRelations)
			}
			alts = append(alts, r)
		}
		all = append(all, alts)
	}
	return all, nil
}

// ParseRelation reads one relation, such as "libc6:any (>= 2.36)".
func ParseRelation(text string) (Relation, error) {
	var r Relation
	bad := func(what string) (Relation, error) {
		return Relation{}, fmt.Errorf("relation %s: %s", quoteShort(strings.TrimSpace(text)), what)
	}
	name, rest := text, ""
	if i := strings.IndexAny(text, "([<"); i >= 0 {
		name, rest = text[:i], strings.TrimSpace(text[i:])
	}
	name, arch, qualified := strings.Cut(strings.TrimSpace(name), ":")
	if err := ValidatePackageName(name); err != nil {
		return bad(err.Error())
	}
	if qualified && !ValidArchitecture(arch) {
		return bad("the architecture is not valid")
	}
	r.Name, r.Architecture = name, arch
	if rest == "" {
		return r, nil
	}
	if rest[0] != '(' {
		return bad("architecture lists and build profiles stand in source packages only")
	}
	if rest[len(rest)-1] != ')' {
		return bad("the version is not closed by a parenthesis")
	}
	rest = strings.TrimSpace(rest[1 : len(rest)-1])
	n := 0
	for n < len(rest) && strings.IndexByte("<=>", rest[n]) >= 0 {
		n++
	}
	switch op := rest[:n]; op {
	case "<<", "<=", "=", ">=", ">>":
		r.Operator = Operator(op)
	case "<", ">":
		r.Operator = Operator(op + "=")
	default:
		return bad("the version has no operator that is known")
	}
	r.Version = strings.TrimSpace(rest[n:])
	if err := ValidateVersion(r.Version); err != nil {
		return bad(err.Error())
	}
	return r, nil
}

// ValidatePackageName holds a name to Debian policy 5.6.1, and takes the one
// letter and upper case that older archives have.
func ValidatePackageName(name string) error {
	if name == "" {
		return fmt.Errorf("a package name is missing")
	}
	if len(name) > 255 || !isAlnum(name[0]) ||
		!allOf(name, func(c byte) bool { return isAlnum(c) || c == '+' || c == '-' || c == '.' || c == '_' }) {
		return fmt.Errorf("package name %s is not valid", quoteShort(name))
	}
	return nil
}

// ValidArchitecture tells whether s may be the name of an architecture.
func ValidArchitecture(s string) bool {
	return s != "" && len(s) <= 64 && isAlnum(s[0]) &&
		allOf(s, func(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'z' || c == '-' })
}

func quoteShort(s string) string {
	if len(s) > 60 {
		return fmt.Sprintf("%q…", s[:60])
	}
	return fmt.Sprintf("%q", s)
}
