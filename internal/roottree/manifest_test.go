package roottree

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

var (
	empty = artifact.HashBytes(nil)
	sum   = artifact.HashBytes([]byte("content"))
)

func sample() *Manifest {
	return &Manifest{Entries: []Entry{
		{Path: " blank", Type: File, Mode: 0o600, SHA256: empty},
		{Path: "#comment", Type: Dir, Mode: 0o755},
		{Path: ".", Type: Dir, Mode: 0o755},
		{Path: "a", Type: File, Mode: 0o4755, UID: 1, GID: 4294967295, Size: 7, SHA256: sum, HardLink: "a"},
		{Path: "a b/c\nd", Type: Fifo, Mode: 0o644},
		{Path: "a\\134=b", Type: Socket, Mode: 0o1777},
		{Path: "b", Type: File, Mode: 0o4755, UID: 1, GID: 4294967295, Size: 7, SHA256: sum, HardLink: "a", Xattrs: []Xattr{
			{Name: "security.capability", Value: []byte("\x01\x00\x00\x02")}, {Name: "user. =#\xff", Value: []byte{}},
		}},
		{Path: "dev/null", Type: Char, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "dev/sda", Type: Block, Mode: 0o660, GID: 6, Major: 8},
		{Path: "link", Type: Link, Mode: 0o777, Target: "../a b\n\\é"},
		{Path: "pat*?[", Type: Dir},
		{Path: "tab\t\x01\x7f", Type: Dir},
		{Path: "é/…", Type: Dir, Mode: 0o7777},
		{Path: "\xff\xfe", Type: Link, Mode: 0o777, Target: "\xff"},
	}}
}

func text(t testing.TB, m *Manifest) string {
	t.Helper()
	var b strings.Builder
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestManifestRoundTrip(t *testing.T) {
	for name, m := range map[string]*Manifest{"sample": sample(), "empty": {}} {
		t.Run(name, func(t *testing.T) {
			s := text(t, m)
			got, err := Parse(strings.NewReader(s))
			if err != nil {
				t.Fatalf("%v in\n%s", err, s)
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("have %+v\nwant %+v", got, m)
			}
			if m.Digest() != artifact.HashBytes([]byte(s)) {
				t.Errorf("digest %s", m.Digest())
			}
		})
	}
}

func TestManifestText(t *testing.T) {
	have := text(t, sample())
	for _, want := range []string{
		"#mtree v2.0\n. type=dir mode=0755 uid=0 gid=0\n./\\040blank type=file mode=0600 uid=0 gid=0 size=0 sha256digest=" + string(empty) + "\n",
		"\n./\\043comment type=dir mode=0755 uid=0 gid=0\n# hardlink=./a\n./a type=file",
		"\n./a\\134134\\075b type=socket mode=01777 uid=0 gid=0\n",
		"\n# hardlink=./a\n./a type=file mode=04755 uid=1 gid=4294967295 size=7 sha256digest=" + string(sum) + "\n",
		"\n# hardlink=./a xattr.security.capability=AQAAAg xattr.user.\\040\\075\\043\\377=\n./b type=file mode=04755 uid=1",
		"\n# device=linux,1,3\n./dev/null type=char mode=0666 uid=0 gid=0\n",
		"\n./link type=link mode=0777 uid=0 gid=0 link=../a\\040b\\012\\\\\\303\\251\n",
		"\n./pat\\052\\077\\133 type=dir mode=0 uid=0 gid=0\n",
	} {
		if !strings.Contains(have, want) {
			t.Errorf("%q is not in\n%s", want, have)
		}
	}
}

// TestOlderManifest: evidence of before holds the older form, and UUIDs follow from it.
func TestOlderManifest(t *testing.T) {
	m := &Manifest{Entries: []Entry{
		{Path: ".", Type: Dir, Mode: 0o755},
		{Path: "a*", Type: File, Mode: 0o4755, UID: 1, Size: 7, SHA256: sum, HardLink: "a*", Xattrs: []Xattr{{Name: "user.x", Value: []byte("1")}}},
		{Path: "null", Type: Char, Mode: 0o1666, Major: 1, Minor: 3},
	}}
	was := "#mtree\n. type=dir mode=0755 uid=0 gid=0\n./a* type=file mode=4755 uid=1 gid=0 size=7 sha256digest=" + string(sum) +
		" hardlink=./a* xattr.user.x=MQ\n./null type=char mode=1666 uid=0 gid=0 device=linux,1,3\n"
	have, err := Parse(strings.NewReader(was))
	if err != nil || !reflect.DeepEqual(have, m) {
		t.Errorf("have %+v, %v\nwant %+v", have, err, m)
	}
	if m.Identity() != artifact.HashBytes([]byte(was)) || m.Digest() == m.Identity() {
		t.Errorf("identity %s, digest %s", m.Identity(), m.Digest())
	}
	for name, mixed := range map[string]string{
		"older header, newer lines": "#mtree\n# device=linux,1,3\n./null type=char mode=0666 uid=0 gid=0\n",
		"newer header, older lines": "#mtree v2.0\n./null type=char mode=0666 uid=0 gid=0 device=linux,1,3\n",
		"a comment of nothing":      "#mtree v2.0\n#\n. type=dir mode=0755 uid=0 gid=0\n",
		"a comment of a line":       "#mtree v2.0\n# type=dir mode=0755 uid=0 gid=0\n.\n",
		"two comments":              "#mtree v2.0\n# xattr.a=MQ\n# xattr.b=MQ\n. type=dir mode=0755 uid=0 gid=0\n",
		"a comment at the end":      "#mtree v2.0\n. type=dir mode=0755 uid=0 gid=0\n# xattr.a=MQ\n",
		"a mode of four digits":     "#mtree v2.0\n. type=dir mode=1755 uid=0 gid=0\n",
	} {
		if m, err := Parse(strings.NewReader(mixed)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestManifestLookup(t *testing.T) {
	m := sample()
	for _, want := range m.Entries {
		if got, ok := m.Lookup(want.Path); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v", want.Path, got)
		}
	}
	for _, path := range []string{"", "a b", "zz"} {
		if e, ok := m.Lookup(path); ok {
			t.Errorf("%q: %+v", path, e)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const dir = " type=dir mode=0755 uid=0 gid=0"
	const link = " type=link mode=0777 uid=0 gid=0 link="
	file := " type=file mode=0644 uid=0 gid=0 size=7 sha256digest=" + string(sum)
	cases := map[string]struct{ in, text string }{
		"nothing":               {"", "line 1: want #mtree"},
		"no header":             {"." + dir + "\n", "line 1: want #mtree"},
		"header cut off":        {"#mtree", "line 1: want #mtree"},
		"header of another end": {"#mtree\r\n." + dir + "\n", "line 1: want #mtree"},
		"another comment":       {"#mtree v3.0\n", "line 1: want #mtree"},
		"unsorted":              {"#mtree\n./b" + dir + "\n./a" + dir + "\n", "line 3: out of order"},
		"unsorted as bytes":     {"#mtree\n./a/b" + dir + "\n./a\\055b" + dir + "\n", "line 3: not written as"},
		"root folder twice":     {"#mtree v2.0\n." + dir + "\n." + dir + "\n", "line 3: out of order"},
		"root folder later":     {"#mtree v2.0\n./\\043" + dir + "\n." + dir + "\n", "line 3: out of order"},
		"duplicate":             {"#mtree\n./a" + dir + "\n./a" + file + "\n", "line 3: out of order"},
		"last line cut off":     {"#mtree\n." + dir + "\n./a type=dir mode=0755 uid=0 gid=1", "the last line is cut off"},
		"carriage return":       {"#mtree\n." + dir + "\r\n", `line 2: gid: `},
		"empty line":            {"#mtree\n\n", `"" is no path`},
		"garbage":               {"#mtree\n\x00\xff\n", "is no path of a tree"},
		"path only":             {"#mtree\n./a\n", `type "" is not known`},
		"absolute path":         {"#mtree\n/a" + dir + "\n", "is no path of a tree"},
		"path of dots":          {"#mtree\n./a/../b" + dir + "\n", "is no path of a tree"},
		"hidden dots":           {"#mtree\n./\\056\\056/b" + dir + "\n", "is no path of a tree"},
		"path not clean":        {"#mtree\n./a//b" + dir + "\n", "is no path of a tree"},
		"path with slash":       {"#mtree\n./a/" + dir + "\n", "is no path of a tree"},
		"hidden NUL":            {"#mtree\n./a\\000" + dir + "\n", "is no path of a tree"},
		"long path":             {"#mtree\n./" + strings.Repeat("x", 4097) + dir + "\n", "is no path of a tree"},
		"needless escape":       {"#mtree\n./\\141" + dir + "\n", "not written as"},
		"missing escape":        {"#mtree\n./é" + dir + "\n", "not written as"},
		"cut escape":            {"#mtree\n./a\\04" + dir + "\n", "ends within an escape"},
		"bad escape":            {"#mtree\n./a\\s00" + dir + "\n", "bad escape"},
		"large escape":          {"#mtree\n./a\\777" + dir + "\n", "bad escape"},
		"two blanks":            {"#mtree\n. " + dir + "\n", "want word=value"},
		"blank at end":          {"#mtree\n." + dir + " \n", "want word=value"},
		"unknown word":          {"#mtree\n." + dir + " time=0\n", "time: not known"},
		"unknown type":          {"#mtree\n. type=door mode=0755 uid=0 gid=0\n", `type "door" is not known`},
		"order of words":        {"#mtree\n. type=dir uid=0 mode=0755 gid=0\n", "not written as"},
		"missing word":          {"#mtree\n. type=dir mode=0755 uid=0\n", "not written as"},
		"word twice":            {"#mtree\n." + dir + " gid=0\n", "not written as"},
		"size of a folder":      {"#mtree\n." + dir + " size=0\n", "not written as"},
		"short mode":            {"#mtree\n. type=dir mode=755 uid=0 gid=0\n", "not written as"},
		"mode of a file type":   {"#mtree\n. type=dir mode=40755 uid=0 gid=0\n", "mode: too large"},
		"mode not octal":        {"#mtree\n. type=dir mode=0999 uid=0 gid=0\n", "mode: "},
		"large uid":             {"#mtree\n. type=dir mode=0755 uid=4294967296 gid=0\n", "uid: "},
		"negative gid":          {"#mtree\n. type=dir mode=0755 uid=0 gid=-1\n", "gid: "},
		"negative size":         {"#mtree\n./a" + strings.Replace(file, "size=7", "size=-7", 1) + "\n", "size: negative"},
		"padded size":           {"#mtree\n./a" + strings.Replace(file, "size=7", "size=07", 1) + "\n", "not written as"},
		"short digest":          {"#mtree\n./a" + file[:len(file)-1] + "\n", "sha256digest: "},
		"prefixed digest":       {"#mtree\n./a" + strings.Replace(file, "digest=", "digest=sha256:", 1) + "\n", "not written as"},
		"no digest":             {"#mtree\n./a type=file mode=0644 uid=0 gid=0 size=7\n", "not written as"},
		"device of a file":      {"#mtree\n./a" + file + " device=linux,1,3\n", "not written as"},
		"device of another":     {"#mtree\n./a type=char mode=0644 uid=0 gid=0 device=freebsd,1,3\n", "device: "},
		"device and more":       {"#mtree\n./a type=char mode=0644 uid=0 gid=0 device=linux,1,3,4\n", "not written as"},
		"hard link outside":     {"#mtree\n./a" + file + " hardlink=./../a\n", "hardlink: no path of a tree"},
		"hard link absolute":    {"#mtree\n./a" + file + " hardlink=/a\n", "hardlink: no path of a tree"},
		"target not escaped":    {"#mtree\n./a" + link + "a=b\n", "not written as"},
		"bad base64":            {"#mtree\n." + dir + " xattr.user.a=!\n", "xattr.user.a: "},
		"padded base64":         {"#mtree\n." + dir + " xattr.user.a=QQ==\n", "xattr.user.a: "},
		"slack in base64":       {"#mtree\n." + dir + " xattr.user.a=QR\n", "not written as"},
		"xattrs unsorted":       {"#mtree\n." + dir + " xattr.user.b=QQ xattr.user.a=QQ\n", `xattr "user.a" is out of order`},
		"xattr twice":           {"#mtree\n." + dir + " xattr.user.a=QQ xattr.user.a=QQ\n", `xattr "user.a" is out of order`},
		"long line":             {"#mtree\n./a" + link + strings.Repeat("x", maxLine) + "\n", "too long"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if m, err := Parse(strings.NewReader(c.in)); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, error %v, want %q", m, err, c.text)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	all := CompareOptions{NoOwners: true, NoXattrs: true, NoHardLinks: true}
	edit := func(path string, f func(*Entry)) *Manifest {
		m := sample()
		for i := range m.Entries {
			if m.Entries[i].Path == path {
				f(&m.Entries[i])
			}
		}
		return m
	}
	without := func(from, to int) *Manifest {
		m := sample()
		m.Entries = append(m.Entries[:from:from], m.Entries[to:]...)
		return m
	}
	cases := map[string]struct {
		want, got *Manifest
		opts      CompareOptions
		text      string
	}{
		"same":              {sample(), sample(), CompareOptions{}, ""},
		"nothing":           {&Manifest{}, &Manifest{}, CompareOptions{}, ""},
		"missing":           {sample(), without(3, 4), CompareOptions{}, "a: missing"},
		"extra":             {without(3, 4), sample(), CompareOptions{}, "a: extra"},
		"missing at ends":   {sample(), without(1, 14), all, "#comment: missing"},
		"extra at end":      {without(12, 14), sample(), CompareOptions{}, "é/…: extra; \xff\xfe: extra"},
		"type alone":        {sample(), edit("#comment", func(e *Entry) { e.Type, e.Mode = Fifo, 1 }), CompareOptions{}, "#comment: type is fifo, want dir"},
		"mode":              {sample(), edit(".", func(e *Entry) { e.Mode = 0o4700 }), CompareOptions{}, ".: mode is 4700, want 0755"},
		"owners":            {sample(), edit("a", func(e *Entry) { e.UID, e.GID = 2, 3 }), CompareOptions{}, "a: uid is 2, want 1; a: gid is 3, want 4294967295"},
		"owners left out":   {sample(), edit("a", func(e *Entry) { e.UID, e.GID, e.Mode = 2, 3, 0 }), CompareOptions{NoOwners: true}, ""},
		"target":            {sample(), edit("\xff\xfe", func(e *Entry) { e.Target = "x" }), all, "\xff\xfe: link target is x, want \xff"},
		"device":            {sample(), edit("dev/sda", func(e *Entry) { e.Minor = 1 }), all, "dev/sda: device is 8,1, want 8,0"},
		"content":           {sample(), edit("a", func(e *Entry) { e.SHA256 = empty }), all, "a: sha256 is " + string(empty) + ", want " + string(sum)},
		"size":              {sample(), edit("a", func(e *Entry) { e.Size = 8 }), all, "a: size is 8, want 7"},
		"hard link":         {sample(), edit("b", func(e *Entry) { e.HardLink = "" }), CompareOptions{}, "b: hard link is , want a"},
		"hard link ignored": {sample(), edit("b", func(e *Entry) { e.HardLink = "" }), CompareOptions{NoHardLinks: true}, ""},
		"xattr value":       {sample(), edit("b", func(e *Entry) { e.Xattrs[1].Value = []byte("1") }), CompareOptions{}, "b: xattrs is"},
		"xattr gone":        {sample(), edit("b", func(e *Entry) { e.Xattrs = nil }), CompareOptions{}, "b: xattrs is none, want security.capability=01000002"},
		"xattrs ignored":    {sample(), edit("b", func(e *Entry) { e.Xattrs = nil }), CompareOptions{NoXattrs: true}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var have []string
			for _, d := range Compare(c.want, c.got, c.opts) {
				have = append(have, d.String())
			}
			got := strings.Join(have, "; ")
			if got != c.text && (c.text == "" || !strings.HasPrefix(got, c.text)) {
				t.Errorf("have %q\nwant %q", got, c.text)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(text(f, sample())))
	f.Add([]byte("#mtree\n"))
	f.Add([]byte("#mtree v2.0\n# device=linux,1,3 xattr.a=MQ\n./n\\052 type=char mode=01666 uid=0 gid=0\n"))
	f.Add([]byte("#mtree\n. type=dir mode=0755 uid=0 gid=0 xattr.=\n./a\\040b type=link mode=0777 uid=0 gid=0 link=\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Parse(bytes.NewReader(in))
		if err != nil {
			return
		}
		var again strings.Builder
		first, _, _ := bytes.Cut(in, []byte("\n"))
		if err := m.write(&again, form(first)); err != nil || again.String() != string(in) {
			t.Errorf("have %q, %v\nwant %q", again.String(), err, in)
		}
		if ds := Compare(m, m, CompareOptions{}); ds != nil {
			t.Errorf("differs from itself: %v", ds)
		}
		for i, e := range m.Entries {
			if e.Path != "." && !validPath(e.Path) || i > 0 && m.Entries[i-1].Path >= e.Path {
				t.Errorf("passed: %q", e.Path)
			}
		}
	})
}
