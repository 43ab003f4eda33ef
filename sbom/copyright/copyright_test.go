package copyright

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

const header = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"

// ref is the id that TestParse expects of a short name and a text.
func ref(name, text string) string {
	if text == "" {
		return refID(name, "")
	}
	return refID(name, artifact.HashBytes([]byte(text)))
}

func TestParse(t *testing.T) {
	cases := map[string]struct {
		in         string // after the header
		expression string // $ is the LicenseRef of the whole file
		licences   []string
		problems   []string
	}{
		"one": {
			"Files: *\nCopyright: me\nLicense: GPL-2+\n",
			"GPL-2.0-or-later", []string{"GPL-2.0-or-later=GPL-2+"}, nil,
		},
		"stanzas are joined, sorted and counted once": {
			"Files: *\nCopyright: x\nLicense: MIT or GPL-2\n\nFiles: a\nCopyright: x\nLicense: Apache-2\n\nFiles: b\nCopyright: x\nLicense: GPL-2.0 OR Expat\n\nFiles: c\nCopyright: x\nLicense: Apache-2.0 and Zlib\n",
			"(GPL-2.0-only OR MIT) AND Apache-2.0 AND Zlib",
			[]string{"Apache-2.0=Apache-2", "GPL-2.0-only=GPL-2", "MIT=MIT", "Zlib=Zlib"}, nil,
		},
		"a header's licence": {
			"\x00License: GPL-3+\nComment: c\n\nFiles: *\nCopyright: x\nLicense: ISC\n",
			"GPL-3.0-or-later AND ISC", []string{"GPL-3.0-or-later=GPL-3+", "ISC=ISC"}, nil,
		},
		"stand-alone texts": {
			"Files: *\nCopyright: x\nLicense: GPL-2+ or custom\n\nLicense: GPL-2+\n This is\n .\n   free.\n\nLicense: Custom\n Do as\n you like.\nComment: c\n\nLicense: ISC\n unused\n",
			"GPL-2.0-or-later OR " + ref("custom", "Do as\nyou like."),
			[]string{"GPL-2.0-or-later=GPL-2+:This is\n\n  free.", "ISC=ISC:unused", ref("custom", "Do as\nyou like.") + "=custom:Do as\nyou like."}, nil,
		},
		"texts of one name": {
			"Files: *\nCopyright: x\nLicense: custom\n a\n\nFiles: b\nCopyright: x\nLicense: custom\n b\n\nFiles: c\nCopyright: x\nLicense: custom\n\nLicense: custom\n c\n\nLicense: CUSTOM\n d\n",
			strings.Join(sorted(ref("custom", "a"), ref("custom", "b"), ref("custom", "c")), " AND "),
			sorted(ref("custom", "a")+"=custom:a", ref("custom", "b")+"=custom:b", ref("custom", "c")+"=custom:c", ref("CUSTOM", "d")+"=CUSTOM:d"),
			[]string{`line 20: the licence "CUSTOM" has another text already`},
		},
		"a text that another Files stanza has": {
			"Files: *\nCopyright: x\nLicense: custom\n\nFiles: b\nCopyright: x\nLicense: custom\n a\n",
			ref("custom", "a"), []string{ref("custom", "a") + "=custom:a"}, nil,
		},
		"a text of several licences": {
			"Files: *\nCopyright: x\nLicense: custom or MIT\n both\n",
			ref("custom", "both") + " OR MIT",
			[]string{ref("custom", "both") + "=custom:both", "MIT=MIT:both"}, nil,
		},
		"the text decides": {
			"Files: *\nCopyright: x\nLicense: MIT and GPL-3+ with Bison exception\n\nLicense: MIT\n Permission to use\n\nLicense: GPL-3+ with Bison exception\n part or all of the Bison parser skeleton\n",
			"GPL-3.0-or-later WITH Bison-exception-2.2 AND " + ref("MIT", "Permission to use"),
			[]string{"GPL-3.0-or-later WITH Bison-exception-2.2=GPL-3+ with Bison exception:part or all of the Bison parser skeleton", ref("MIT", "Permission to use") + "=MIT:Permission to use"},
			[]string{`line 5: licence "MIT": its text is that of another`},
		},
		"no text at all": {
			"Files: *\nCopyright: x\nLicense: custom\n\nFiles: b\nCopyright: x\nLicense: public-domain\n\nFiles: c\nCopyright: x\nLicense: GPL-2+ with OpenSSL exception\n",
			"LicenseRef-custom AND " + ref("GPL-2+ with OpenSSL exception", "") + " AND LicenseRef-public-domain",
			sorted("LicenseRef-custom=custom", "LicenseRef-public-domain=public-domain", ref("GPL-2+ with OpenSSL exception", "")+"=GPL-2+ with OpenSSL exception"), nil,
		},
		"commas": {
			"Files: *\nCopyright: x\nLicense: GPL-2+ or Perl, and BSD-3-clause\n",
			"(Artistic-1.0-Perl OR GPL-1.0-or-later OR GPL-2.0-or-later) AND BSD-3-Clause",
			[]string{"Artistic-1.0-Perl=Perl", "BSD-3-Clause=BSD-3-clause", "GPL-1.0-or-later=Perl", "GPL-2.0-or-later=GPL-2+"}, nil,
		},
		"and/or": {
			"Files: *\nCopyright: x\nLicense: ISC and/or GPL-3+\n",
			ref("ISC and/or GPL-3+", ""), sorted("GPL-3.0-or-later=GPL-3+", "ISC=ISC", ref("ISC and/or GPL-3+", "")+"=ISC and/or GPL-3+"),
			[]string{`line 5: licence "ISC and/or GPL-3+": neither "and" nor "or"`},
		},
		"not to be parsed": {
			"Files: *\nCopyright: x\nLicense: GPL-2 or later\n text\n",
			ref("GPL-2 or later", "text"), []string{ref("GPL-2 or later", "text") + "=GPL-2 or later:text"},
			[]string{`line 5: licence "GPL-2 or later": "later" is no licence`},
		},
		"words and no version": {
			"Files: *\nCopyright: x\nLicense: BSD 3-clause and GPL\n",
			ref("BSD 3-clause", "") + " AND LicenseRef-gpl", []string{ref("BSD 3-clause", "") + "=BSD 3-clause", "LicenseRef-gpl=GPL"},
			[]string{`line 5: licence "BSD 3-clause": a short name has no blanks`, `line 5: licence "GPL": which version is not said`},
		},
		"no licence": {
			"Files: *\nCopyright: x\n\nFiles: b\nCopyright: x\nLicense: MIT\n",
			"$ AND MIT", []string{"$=", "MIT=MIT"}, []string{"line 3: no licence is stated"},
		},
		"an empty licence": {
			"Files: *\nCopyright: x\nLicense:\n\nLicense:\n",
			"$", []string{"$="}, []string{"line 5: no licence is stated", "line 7: the field License is empty"},
		},
		"no Files stanza": {
			"License: MIT\n text of it\n",
			"$", []string{"$=", ref("MIT", "text of it") + "=MIT:text of it"}, []string{`line 3: licence "MIT": its text is that of another`},
		},
		"a name that is not there": {
			"Files: *\nCopyright: x\nLicense:\n Do as\n you like.\n",
			ref("", "Do as\nyou like."), []string{ref("", "Do as\nyou like.") + "=:Do as\nyou like."}, []string{"line 5: the licence has no short name"},
		},
		"a name on the second line": {
			"Files: *\nCopyright: x\nLicense:\n GPL-2+\n",
			"GPL-2.0-or-later", []string{"GPL-2.0-or-later=GPL-2+"}, []string{"line 5: the short name is not on the first line of the field"},
		},
		"blank lines within a stanza": {
			"Files: *\n\nCopyright: x\n\nCopyright: x\nLicense: ISC\n text\n\n and more\n",
			"ISC", []string{"ISC=ISC:text\n\nand more"},
			[]string{"line 5: a blank line parts this stanza from its field Files", "line 8: a blank line parts this stanza from its field Files", "line 11: a blank line within a field"},
		},
		"no blank lines": {
			"\x00Files: *\nCopyright: x\nLicense: ISC\nFiles: b\nLicense: Zlib\nLicense: ISC\n text\n",
			"ISC AND Zlib", []string{"ISC=ISC:text", "Zlib=Zlib"},
			[]string{"line 2: no blank line before the field Files", "line 5: no blank line before the field Files", "line 7: no blank line before the field License"},
		},
		"text that is not indented": {
			"Files: *\nCopyright: x\nLicense: ISC\n\nPermission to\nuse\n\n\nProvided\n",
			"ISC", []string{"ISC=ISC:Permission to\nuse\n\nProvided"},
			[]string{`line 7: text that is not indented: "Permission to"`},
		},
		"other stanzas and fields": {
			"Files: *\nCopyright: x\nLicense: ISC\nX-Note: n\nNote: n\n\nOrigin: there\n\nCopyright: x\nLicense: Zlib\n",
			"ISC AND Zlib", []string{"ISC=ISC", "Zlib=Zlib"},
			[]string{"line 9: a stanza without the fields Files, Copyright and License", "line 12: a stanza without the field Files"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := header + c.in
			if rest, ok := strings.CutPrefix(c.in, "\x00"); ok {
				in = strings.TrimSuffix(header, "\n") + rest
			}
			// The same, however its lines end and with a byte order mark.
			for _, text := range []string{in, strings.ReplaceAll(in, "\n", "\r\n"), "\ufeff" + in, "# comment\n" + in} {
				f, err := Parse("test", []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				whole := refID("copyright", artifact.HashBytes([]byte(text)))
				if want := strings.ReplaceAll(c.expression, "$", whole); f.Expression != want || !f.MachineReadable {
					t.Errorf("expression %s, want %s", f.Expression, want)
				}
				var licences []string
				for _, l := range f.Licences {
					s := l.ID + "=" + l.Name
					if l.ID == whole {
						s = "$="
					} else if l.Text != "" {
						s += ":" + l.Text
					}
					licences = append(licences, s)
				}
				if have, want := sorted(licences...), sorted(c.licences...); !reflect.DeepEqual(have, want) {
					t.Errorf("licences %q, want %q", have, want)
				}
				if !strings.HasPrefix(text, "#") && !reflect.DeepEqual(f.Problems, c.problems) {
					t.Errorf("problems %q, want %q", f.Problems, c.problems)
				}
				sound(t, f)
			}
		})
	}
}

func sorted(s ...string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// sound holds a File to what holds for every one.
func sound(t *testing.T, f File) {
	t.Helper()
	if f.Expression != NoAssertion {
		valid(t, f.Expression)
	}
	ids := map[string]bool{}
	total := 0
	for i, l := range f.Licences {
		valid(t, l.ID)
		if i > 0 && f.Licences[i-1].ID >= l.ID {
			t.Errorf("out of order: %s, %s", f.Licences[i-1].ID, l.ID)
		}
		if l.Text != "" && l.SHA256 == "" || l.SHA256 != "" && l.SHA256.Validate() != nil {
			t.Errorf("%s: SHA-256 %q", l.ID, l.SHA256)
		}
		total += len(l.Text)
		ids[l.ID] = true
	}
	for _, id := range strings.FieldsFunc(f.Expression, func(r rune) bool { return r == ' ' || r == '(' || r == ')' }) {
		if strings.HasPrefix(id, "LicenseRef-") && !ids[id] {
			t.Errorf("%s is not among the licences", id)
		}
	}
	if len(f.Licences) > maxLicences+1 || len(f.Problems) > maxProblems || len(f.Mentions) > maxMentions || total > maxTexts {
		t.Errorf("%d licences, %d problems, %d mentions, %d bytes of text", len(f.Licences), len(f.Problems), len(f.Mentions), total)
	}
}

func TestParseFormats(t *testing.T) {
	const body = "\n\nFiles: *\nCopyright: x\nLicense: MIT\n"
	cases := map[string]bool{
		"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/":         true,
		"Format: http://www.debian.org/doc/packaging-manuals/copyright-format/1.0":           true,
		"format: http://dep.debian.net/deps/dep5":                                            true,
		"Format: http://dep.debian.net/deps/dep5/":                                           true,
		"Format-Specification: http://wiki.debian.org/Proposals/CopyrightFormat":             true,
		"Upstream-Name: x\nFormat: http://svn.debian.org/dep5.mdwn?rev=174":                  true,
		"This was debianised by me.\n\nFormat: https://www.debian.org/copyright-format/1.0/": true,
		"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/2.0/":         false,
		"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0.1/":       false,
		"Format: PDF":      false,
		"Format:":          false,
		"Upstream-Name: x": false,
		"Upstream-Name: x\n\nFormat: http://dep.debian.net/deps/dep5": false,
	}
	for head, want := range cases {
		f, err := Parse("test", []byte(head+body))
		if err != nil {
			t.Fatal(err)
		}
		if f.MachineReadable != want || (f.Expression == "MIT") != want || strings.HasPrefix(f.Expression, "LicenseRef-copyright-") == want {
			t.Errorf("%s: %v, %s", head, f.MachineReadable, f.Expression)
		}
		sound(t, f)
	}
	f, err := Parse("test", []byte("Format: 7"+body))
	if want := []string{`line 1: the format "7" is not known`}; err != nil || !reflect.DeepEqual(f.Problems, want) {
		t.Errorf("%q, %v", f.Problems, err)
	}
}

func TestParseProse(t *testing.T) {
	const in = "This package was made by me.\n\nLicense: as below\n\n It is under the GPL, see /usr/share/common-licenses/GPL-2, and\n `/usr/share/common-licenses/LGPL-2.1'.\n See /usr/share/common-licenses/GPL-2.\n"
	f, err := Parse("test", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	digest := artifact.HashBytes([]byte(in))
	id := refID("copyright", digest)
	want := File{
		Expression: id,
		Licences:   []Licence{{ID: id, Text: in, SHA256: digest}},
		Mentions:   []string{"GPL-2", "LGPL-2.1"},
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("have %+v\nwant %+v", f, want)
	}
	sound(t, f)
}

func TestParseBytes(t *testing.T) {
	for _, in := range []string{"", " \n\t\n", "\ufeff"} {
		if f, err := Parse("test", []byte(in)); err != nil || !reflect.DeepEqual(f, File{Expression: NoAssertion}) {
			t.Errorf("%q: %+v, %v", in, f, err)
		}
	}
	f, err := Parse("test", []byte(header+"Files: *\nCopyright: Andr\xe9\nLicense: caf\xe9\n \xa9 Andr\xe9\n"))
	if err != nil || f.Licences[0].Name != "café" || f.Licences[0].Text != "© André" || !reflect.DeepEqual(f.Problems, []string{"line 1: not UTF-8: read as ISO 8859-1"}) {
		t.Errorf("%+v, %v", f, err)
	}
	f, err = Parse("test", []byte(header+"Files: *\nCopyright: x\nLicense: a\x1bb\n c\fd\x7fe\u0085\n"))
	if err != nil || f.Licences[0].Name != "a\ufffdb" || f.Licences[0].Text != "c\fd\ufffde\ufffd" {
		t.Errorf("%+v, %v", f, err)
	}
	for in, want := range map[string]string{
		"Format: x\x00":                     "usr/share: the copyright file is not text",
		"\x1f\x8b\x08\x01\x01\x02":          "usr/share: the copyright file is not text",
		"F\x00o\x00r\x00":                   "usr/share: the copyright file is not text",
		strings.Repeat(" ", maxFile) + "\n": "usr/share: a copyright file of 4194305 bytes; at most 4194304 are read",
	} {
		if f, err := Parse("usr/share", []byte(in)); err == nil || err.Error() != want || !reflect.DeepEqual(f, File{}) {
			t.Errorf("%.20q: %v", in, err)
		}
	}
}

// TestParseBounds reads files that are made to be large in one way each.
func TestParseBounds(t *testing.T) {
	fill := func(f func(i int) string) string {
		var b strings.Builder
		for i := 0; ; i++ {
			s := f(i)
			if b.Len()+len(s)+len(header) > maxFile {
				return b.String()
			}
			b.WriteString(s)
		}
	}
	cases := map[string]struct {
		in    string
		whole bool
	}{
		"names":        {fill(func(i int) string { return fmt.Sprintf("Files:*\nLicense:x%d\n\n", i) }), true},
		"alone":        {fill(func(i int) string { return fmt.Sprintf("License:x%d\n\n", i) }), true},
		"one name":     {fill(func(i int) string { return fmt.Sprintf("Files:*\nLicense:x\n %d\n\n", i) }), true},
		"many names":   {"Files:*\nLicense:" + strings.Join(numbers(600), "\n\nFiles:*\nLicense:") + "\n", false},
		"synopses":     {fill(func(i int) string { return fmt.Sprintf("Files:*\nLicense:a%d or a%d or MIT\n\n", i%50, i%49) }), false},
		"combinations": {fill(func(i int) string { return fmt.Sprintf("Files:*\nLicense:a%d or a%d\n\n", i%90, i/90%90) }), true},
		"compounds":    {"Files:*\nLicense:" + strings.Repeat("a and MIT or b, ", 200) + "and c\n " + strings.Repeat("x", maxFile/2) + "\n", false},
		"shared text":  {"Files:*\nLicense:a or " + strings.Join(numbers(600), " or ") + "\n " + strings.Repeat("x", maxFile/2) + "\n", false},
		"fields":       {fill(func(i int) string { return fmt.Sprintf("x%d:\n", i) }), true},
		"blank lines":  {"Files:*\nLicense: MIT\n" + strings.Repeat(" x\n\n", maxFile/5), false},
		"text":         {strings.Repeat("x\n", maxFile/3), true},
		"one line":     {"Files:*\nLicense: MIT " + strings.Repeat("(", maxFile/2) + "\n", false},
		"mentions":     {fill(func(i int) string { return fmt.Sprintf("/usr/share/common-licenses/x%d\n", i) }), true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f, err := Parse("test", []byte(header+c.in))
			if err != nil {
				t.Fatal(err)
			}
			if !f.MachineReadable || strings.HasPrefix(f.Expression, "LicenseRef-copyright-") != c.whole {
				t.Errorf("expression %.80s, problems %q", f.Expression, f.Problems)
			}
			if len(f.Licences) < 1000 {
				sound(t, f)
			}
		})
	}
}

// numbers returns the names of n licences.
func numbers(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("n%d", i))
	}
	return all
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "prose, see /usr/share/common-licenses/GPL-3.", header,
		"Files: *\nCopyright: x\nLicense: GPL-2+ or Artistic, and custom\n text\n .\n  more\n\nLicense: custom\n a\n\n b\n",
		"Files: *\nLicense: (MIT and/or Perl) and GPL-2+ with Autoconf exception, BSD 3\nFiles: b\nx y\nLicense:\n Z\nlicense: w\n",
		"x\n\r\nFormat: dep5\r\nLicense: Apache-2-with-LLVM-exception or CC-BY-SA-3+\n#c\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, in := range [][]byte{in, append([]byte(header), in...)} {
			a, err := Parse("fuzz", in)
			if err != nil {
				if !strings.HasSuffix(err.Error(), "is not text") && len(in) <= maxFile {
					t.Errorf("error %v", err)
				}
				continue
			}
			if b, _ := Parse("fuzz", slices.Clone(in)); !reflect.DeepEqual(a, b) {
				t.Errorf("have %+v\nthen %+v", a, b)
			}
			sound(t, a)
		}
	})
}
