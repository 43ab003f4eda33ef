// Package copyright reads the copyright file of a Debian package,
// usr/share/doc/PACKAGE/copyright, into the licence facts of an SBOM.
//
// A machine-readable file follows copyright-format 1.0, the former DEP-5. Its
// licence expressions become SPDX ones: "and", "or" and "with" are kept, the
// comma's precedence is spelt out in parentheses, and a short name becomes an
// SPDX id where the format, the SPDX licence list or the text beside the name
// settles what it means. Everything else becomes a LicenseRef.
//
// Any other file is prose. What it names, in which combination and for which
// part is not told by a program without guessing, so all that is said of it is
// one LicenseRef for its whole text.
//
// # LicenseRefs
//
// The format makes short names of one's own unique within one file alone:
// "custom" of one package is not that of another. An id is therefore
// LicenseRef-NAME-DIGITS, where NAME is for people: the short name in lower case,
// with what an SPDX idstring cannot hold replaced. DIGITS are the first 16 of
// the SHA-256 over the name in lower case, a line feed and the SHA-256 of the text.
// The same name and text give the same id in every file; the same name with
// another text gives another. The digits are left out only where there is no
// text and the name stands in the id as it is.
package copyright

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/isotrace/isotrace/internal/artifact"
)

// NoAssertion is the Expression of a file that says nothing.
const NoAssertion = "NOASSERTION"

// Bounds of what is read. Of Debian 12, the largest file has 2 MiB.
const (
	maxFile     = 4 << 20 // bytes of a file
	maxTexts    = 8 << 20 // bytes of all the texts of a File: a file in ISO 8859-1 doubles in UTF-8
	maxLicences = 4096    // of a File, and operands of its Expression
	maxProblems = 64      // of a File
	maxMentions = 64      // of a File
)

// File is what a copyright file says.
type File struct {
	// MachineReadable tells that the file has a Format field with a URI of
	// copyright-format 1.0 or of one of its drafts.
	MachineReadable bool
	// Expression is an SPDX licence expression that the file as a whole
	// states: that of every Files stanza and of the header, each once, sorted
	// and joined by AND. It is NoAssertion for a file of blanks.
	Expression string
	// Licences are those named in the file, by ID, each once. A licence of a
	// stand-alone stanza that no Files stanza refers to is here alone.
	Licences []Licence
	// Mentions are the file names below /usr/share/common-licenses that the
	// text refers to, sorted. A mention of GPL-2 tells neither whether a later
	// version will do nor what it applies to.
	Mentions []string
	// Problems are what was not understood, in the order of the file and each
	// with its line. The Expression does not claim it: it has a LicenseRef
	// there.
	Problems []string
}

// Licence is a licence of a File.
type Licence struct {
	// ID is an SPDX licence id, such an id WITH an exception's, or a
	// LicenseRef.
	ID string
	// Name is the short name as the file has it; empty where it has none.
	Name string
	// Text is what the file has under the name: the licence, a notice or a
	// pointer to a licence elsewhere. Where the name has no text of its own it
	// is the text of the field that names it, together with others. It is
	// empty where the file has none, and where the texts of a File would have
	// more than 8 MiB.
	Text string
	// SHA256 is that of the whole text; empty where the file has none. For the
	// LicenseRef of a whole file it is the SHA-256 of the file.
	SHA256 artifact.Digest
}

// Parse reads the text of a copyright file; name stands in errors. A file that
// is not as the format wants it gives what can be said truly, and Problems.
// Errors are left for a file of more than 4 MiB and for one that is no text.
func Parse(name string, text []byte) (File, error) {
	if len(text) > maxFile {
		return File{}, fmt.Errorf("%s: a copyright file of %d bytes; at most %d are read", name, len(text), maxFile)
	}
	s, isUTF8, ok := decode(text)
	if !ok {
		return File{}, fmt.Errorf("%s: the copyright file is not text", name)
	}
	f := File{Mentions: mentions(s)}
	if strings.TrimSpace(s) == "" {
		f.Expression = NoAssertion
		return f, nil
	}
	c := newCollector(licenceText{text: s, digest: artifact.HashBytes(text)})
	if !isUTF8 {
		c.problems.add(1, "not UTF-8: read as ISO 8859-1")
	}
	stanzas, known, err := read(name, s, &c.problems)
	if err != nil {
		return File{}, err
	}
	if f.MachineReadable = known; known {
		f.Expression = c.expression(stanzas)
	} else {
		f.Expression = c.whole()
	}
	f.Licences = c.sorted()
	f.Problems = c.problems.list()
	return f, nil
}

// decode returns the text in UTF-8, without a byte order mark, and with control
// characters but those of spacing replaced. Text that is not in UTF-8 is taken
// for ISO 8859-1, as Debian's old files are. It is not ok where it is no text.
func decode(b []byte) (s string, isUTF8, ok bool) {
	b = []byte(strings.TrimPrefix(string(b), "\ufeff"))
	isUTF8 = utf8.Valid(b)
	var out strings.Builder
	out.Grow(len(b))
	controls := 0
	put := func(r rune) {
		if (r < ' ' && !strings.ContainsRune("\t\n\v\f\r", r)) || (r >= 0x7f && r < 0xa0) {
			controls++
			r = utf8.RuneError
		}
		out.WriteRune(r)
	}
	if isUTF8 {
		for _, r := range string(b) {
			put(r)
		}
	} else {
		for _, c := range b {
			put(rune(c))
		}
	}
	return out.String(), isUTF8, !slices.Contains(b, 0) && controls*32 <= len(b)
}

var commonLicence = regexp.MustCompile(`/usr/share/common-licenses/([A-Za-z0-9.+-]{0,40}[A-Za-z0-9])`)

// mentions returns the names below /usr/share/common-licenses in s.
func mentions(s string) []string {
	seen := map[string]bool{}
	for len(seen) < maxMentions {
		m := commonLicence.FindStringSubmatchIndex(s)
		if m == nil {
			break
		}
		seen[s[m[2]:m[3]]] = true
		s = s[m[1]:]
	}
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
