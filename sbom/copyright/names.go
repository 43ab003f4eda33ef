package copyright

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
)

var (
	gnuName       = regexp.MustCompile(`^(agpl|gpl|lgpl|gfdl|gfdl-niv)-?v?([0-9.]+)(\+|-only|-or-later)?$`)
	versionedName = regexp.MustCompile(`^([a-z-]*[a-z0])-v?([0-9.]+)$`)
)

// families are those whose versions may be written with fewer or more .0 than
// the SPDX licence list has, after the format's "2.0.0 is 2.0 is 2". Not every
// name is one of them: OPL-1 is the Open Publication License to Debian, and
// OPL-1.0 the Open Public License to SPDX.
var families = []string{
	"afl", "apache", "artistic", "bsl", "cc-by", "cc-by-nc", "cc-by-nc-nd", "cc-by-nc-sa", "cc-by-nd", "cc-by-sa", "cc0",
	"cddl", "cpl", "efl", "epl", "eupl", "lppl", "mpl", "ofl", "osl", "python", "qpl", "zpl",
}

// aliases are names, in lower case, of the format or of one meaning, whose SPDX
// ids are spelt otherwise, and ids that SPDX has replaced by another.
var aliases = map[string]string{
	"expat":                "MIT",
	"cc0":                  "CC0-1.0",
	"cpl":                  "CPL-1.0",
	"qpl":                  "QPL-1.0",
	"boost-1.0":            "BSL-1.0",
	"openldap-2.8":         "OLDAP-2.8",
	"bsd-2-clause-freebsd": "BSD-2-Clause-Views",
	"bsd-2-clause-netbsd":  "BSD-2-Clause",
	"standardml-nj":        "SMLNJ",
}

// versionless are the names, in lower case, of licences that have several
// versions. The format takes a name alone for the lowest; those who write it
// hardly ever mean that, as the text beside it shows.
var versionless = []string{
	"afl", "agpl", "apache", "bsl", "cc-by", "cc-by-nc", "cc-by-nc-nd", "cc-by-nc-sa", "cc-by-nd", "cc-by-sa",
	"cddl", "efl", "epl", "gfdl", "gfdl-niv", "gpl", "lgpl", "lppl", "mpl", "ofl", "python", "zope", "zpl",
}

// spdxIDs returns the ids that a short name, its exception and its text stand
// for, of which one may choose; none where that is not certain.
func spdxIDs(name, exception string, text *licenceText) []string {
	lower := strings.ToLower(name)
	if base, end, ok := strings.Cut(lower, "-with-"); ok && end != "" && exception == "" {
		if ids := spdxIDs(base, end, text); ids != nil {
			return ids
		}
	}
	if exception != "" {
		id, with := spdxID(name), spdxException(exception, text)
		if id == "" || with == "" || strings.HasSuffix(id, "+") { // go-spdx refuses "AFL-2.1+ WITH …"
			return nil
		}
		return []string{id + " WITH " + with}
	}
	switch lower {
	case "perl": // "GPL-1+ or Artistic-1", says the format
		return []string{"Artistic-1.0-Perl", "GPL-1.0-or-later"}
	case "artistic", "artistic-1", "artistic-1.0":
		return artistic(lower, text)
	case "mit":
		if text.text != "" && !text.shared && !isExpat(text) {
			return nil
		}
	}
	if id := spdxID(name); id != "" {
		return []string{id}
	}
	return nil
}

// artistic returns the id of the Artistic licence, version 1. There are two of
// them, and Debian's, that comes with Perl, is not the one that SPDX has under
// the plain name. Some mean version 2 by a name without a version.
func artistic(name string, text *licenceText) []string {
	plain := text.plain()
	for _, words := range []string{"/usr/share/common-licenses/artistic", "comes with perl", "linked into this package in order to emulate"} {
		if strings.Contains(plain, words) {
			return []string{"Artistic-1.0-Perl"}
		}
	}
	if name == "artistic" && !text.shared && strings.Contains(plain, "2.0") {
		return nil
	}
	return []string{"Artistic-1.0"}
}

// isExpat tells whether a text is what SPDX calls MIT: the format warns of the
// many licences of that name.
func isExpat(text *licenceText) bool {
	plain := text.plain()
	return strings.Contains(plain, "to any person obtaining a copy of this software and associated documentation files") &&
		strings.Contains(plain, "shall be included in all copies or substantial portions of the software") &&
		!strings.Contains(plain, "except as contained in this notice")
}

// spdxID returns the id that a short name stands for by itself, or "".
func spdxID(name string) string {
	lower := strings.ToLower(name)
	if id, ok := aliases[lower]; ok {
		return id
	}
	if m := gnuName.FindStringSubmatch(lower); m != nil {
		return gnuID(m[1], m[2], m[3])
	}
	if rest, ok := strings.CutPrefix(lower, "zope-"); ok {
		lower = "zpl-" + rest
	}
	base, later := strings.CutSuffix(lower, "+")
	id := listed(base)
	if m := versionedName.FindStringSubmatch(base); id == "" && m != nil && slices.Contains(families, m[1]) {
		version := plainVersion(m[2])
		if id = listed(m[1] + "-" + version); id == "" {
			id = listed(m[1] + "-" + version + ".0")
		}
	}
	if ok, deprecated := spdxlicenses.IsDeprecatedLicense(base); id == "" && ok {
		id = deprecated
	}
	if later && id != "" {
		if !strings.ContainsAny(id, "0123456789") || strings.HasSuffix(id, "-only") || strings.HasSuffix(id, "-or-later") || strings.HasSuffix(id, "+") {
			return ""
		}
		id += "+"
	}
	return id
}

// gnuID returns the id of a licence of the GNU project, whose ids say of each
// version whether later ones will do.
func gnuID(family, version, grant string) string {
	version = plainVersion(version)
	if !strings.Contains(version, ".") {
		version += ".0"
	}
	if grant == "+" {
		grant = "-or-later"
	} else if grant == "" {
		grant = "-only"
	}
	if family == "gfdl-niv" {
		return listed("gfdl-" + version + "-no-invariants" + grant)
	}
	return listed(family + "-" + version + grant)
}

// plainVersion returns a version without its last .0s.
func plainVersion(version string) string {
	for strings.HasSuffix(version, ".0") {
		version = strings.TrimSuffix(version, ".0")
	}
	return version
}

// listed returns the id of the SPDX licence list, in its own case, or "".
func listed(id string) string {
	if ok, id := spdxlicenses.IsActiveLicense(id); ok {
		return id
	}
	return ""
}

// told are the exceptions that a name leaves open between several, or that it
// does not settle, with words that the text of just one of them has. The text
// is as (*licenceText).plain gives it.
var told = []struct{ name, id, has, lacks string }{
	{"autoconf", "Autoconf-exception-generic", "configuration script generated by autoconf, you may include it", "this exception is an additional permission"},
	{"autoconf", "Autoconf-exception-generic-3.0", "rest of that program. this exception is an additional permission under section", ""},
	{"autoconf", "Autoconf-exception-macro", "the respective autoconf macro's copyright owner gives unlimited permission", ""},
	{"autoconf", "Autoconf-exception-3.0", "autoconf configure script exception", ""},
	{"bison", "Bison-exception-2.2", "part or all of the bison parser skeleton", ""},
	{"bison", "Bison-exception-1.24", "copied by bison into a bison output file", ""},
	{"gcc", "GCC-exception-3.1", "gcc runtime library exception, version 3.1", ""},
	{"openssl", "cryptsetup-OpenSSL-exception", "under certain conditions as described in each individual source file", ""},
}

// spdxException returns the id that an exception of the name stands for, or "":
// the id itself, the only exception of the list that has the name, or the one
// whose words the text has.
func spdxException(name string, text *licenceText) string {
	name = strings.Join(strings.Fields(strings.ToLower(name)), "-")
	if ok, id := spdxlicenses.IsException(name); ok {
		return id
	}
	for _, end := range []string{"-exceptions", "-exception"} {
		name = strings.TrimSuffix(name, end)
	}
	if ok, id := spdxlicenses.IsException(name); ok {
		return id
	}
	if name == "gcc-runtime-3.1" || name == "gcc-runtime-library-3.1" {
		return "GCC-exception-3.1"
	}
	if m := versionedName.FindStringSubmatch(name); m != nil {
		if ok, id := spdxlicenses.IsException(m[1] + "-exception-" + m[2]); ok {
			return id
		}
	}
	if ids := exceptions()[name]; len(ids) == 1 {
		return ids[0]
	}
	name = strings.TrimSuffix(name, "-data")
	found := ""
	for _, t := range told {
		if t.name == name && strings.Contains(text.plain(), t.has) && (t.lacks == "" || !strings.Contains(text.plain(), t.lacks)) {
			if found != "" {
				return ""
			}
			found = t.id
		}
	}
	return found
}

// exceptions are the ids NAME-exception and NAME-exception-VERSION by their
// NAME in lower case.
var exceptions = sync.OnceValue(func() map[string][]string {
	all := map[string][]string{}
	for _, id := range spdxlicenses.GetExceptions() {
		name, version, ok := strings.Cut(strings.ToLower(id), "-exception")
		if ok && strings.Trim(version, "-0123456789.") == "" {
			all[name] = append(all[name], id)
		}
	}
	return all
})

// plain returns the text in lower case, its words a blank apart, without the
// marks of comments.
func (t *licenceText) plain() string {
	if t.flat == "" && t.text != "" {
		words := slices.DeleteFunc(strings.Fields(strings.ToLower(t.text)), func(w string) bool {
			return w == "*" || w == "#" || w == "//" || w == "dnl"
		})
		t.flat = strings.Join(words, " ")
	}
	return t.flat
}
