package requirement

import (
	"strings"
	"unicode"
)

// role is what a column or an attribute is to a requirement.
type role int

const (
	roleID role = iota
	roleTitle
	roleChapter // a heading of the document: a title where there is no other
	roleText
	roleParent
	roles // their number
)

// names are those of columns and attributes, folded by foldName, the one to be
// preferred first. The ones that begin with reqif are of the prostep ivip ReqIF
// Implementation Guide.
var names = map[role][]string{
	roleID:      {"reqifforeignid", "reqifidentifier", "id", "identifier", "requirementid", "reqid", "uid", "objectidentifier", "foreignid"},
	roleTitle:   {"reqifname", "title", "name", "summary"},
	roleChapter: {"reqifchaptername", "chaptername", "heading", "objectheading"},
	roleText:    {"reqiftext", "text", "requirementtext", "objecttext", "statement", "reqifdescription", "description", "requirement"},
	roleParent:  {"parent", "parentid", "refines", "derivedfrom", "satisfies", "tracesto"},
}

// usage is the role of one name, and its place among the names of that role.
type usage struct {
	role role
	rank int
}

var usages = func() map[string]usage {
	m := map[string]usage{}
	for r, list := range names {
		for i, n := range list {
			m[n] = usage{r, i}
		}
	}
	return m
}()

// maxName is the length in bytes up to which a name is looked at.
const maxName = 256

// usageOf returns what a column or attribute of that name is used for, if for
// anything.
func usageOf(name string) (usage, bool) {
	if len(name) > maxName {
		return usage{}, false
	}
	u, ok := usages[foldName(name)]
	return u, ok
}

// foldName drops case and all but letters and digits: "Req. ID" and "REQ_ID"
// are the same.
func foldName(name string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return -1
		}
		return unicode.ToLower(c)
	}, name)
}
