package sbom

import (
	"net/url"
	"slices"
	"strings"
)

// Maintainer reads a Maintainer field, "Name <address>". What is no address
// stays in the name, so that nothing is lost.
func Maintainer(field string) Party {
	s := line(field, maxLine)
	name, address := s, ""
	if i := strings.LastIndexByte(s, '<'); i >= 0 && strings.HasSuffix(s, ">") {
		name, address = strings.TrimSpace(s[:i]), strings.TrimSpace(s[i+1:len(s)-1])
	} else if !strings.ContainsAny(s, " <>") {
		name, address = "", s
	}
	if !validEmail(address) {
		name, address = s, ""
	}
	if len(name) > 1 && name[0] == '"' && name[len(name)-1] == '"' {
		name = strings.TrimSpace(name[1 : len(name)-1])
	}
	return Party{Name: name, Email: address, Organisation: isTeam(name, address)}
}

// teamWords in a maintainer's name tell a team from a person, as far as that
// can be told: Debian's field has no such distinction.
var teamWords = []string{
	"community", "developers", "force", "foundation", "group", "maintainers", "packagers", "packaging", "project", "team", "teams",
}

// teamHosts are those of Debian's lists and trackers.
var teamHosts = []string{"lists.debian.org", "alioth-lists.debian.net", "lists.alioth.debian.org", "tracker.debian.org", "packages.debian.org"}

func isTeam(name, address string) bool {
	for _, w := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r < 'a' || r > 'z' }) {
		if slices.Contains(teamWords, w) {
			return true
		}
	}
	_, host, _ := strings.Cut(strings.ToLower(address), "@")
	return strings.HasPrefix(host, "lists.") || slices.Contains(teamHosts, host)
}

// validEmail tells whether s is an address in the plain form of RFC 5322, which
// every reader of JSON Schema's email format takes.
func validEmail(s string) bool {
	local, host, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(local) > 64 || len(host) > 253 || !strings.Contains(host, ".") {
		return false
	}
	for _, atom := range strings.Split(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool {
			return !isAlnum(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
		}) {
			return false
		}
	}
	for _, label := range strings.Split(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !isAlnum(r) && r != '-' }) {
			return false
		}
	}
	return true
}

func isAlnum(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// webURL returns s where it is an address that a browser may be sent to, else
// "".
func webURL(s string) string {
	if s == "" || len(s) > maxLine || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>\\^`{|}", r) }) {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil {
		return ""
	}
	switch u.Scheme {
	case "http", "https", "ftp":
		return s
	}
	return ""
}

// known tells whether anything at all is.
func (p Party) known() bool { return p.Name != "" || p.Email != "" || p.URL != "" }

// reachable tells whether there is what TR-03183-2 asks for: an email address
// or, in its place, a URL.
func (p Party) reachable() bool { return p.Email != "" || p.URL != "" }

// Reachable tells whether the documents say how to write to the party.
func (p Party) Reachable() bool { return p.clean().reachable() }

// clean bounds the fields, and drops an address that is none.
func (p Party) clean() Party {
	p.Name, p.URL = line(p.Name, maxLine), webURL(p.URL)
	if !validEmail(p.Email) {
		p.Email = ""
	}
	return p
}

// label is a name that is never empty where the party is known.
func (p Party) label() string {
	switch {
	case p.Name != "":
		return p.Name
	case p.Email != "":
		return p.Email
	default:
		return p.URL
	}
}
