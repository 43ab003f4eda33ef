package contents

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
)

const control = "Package: hello\nVersion: 1\nArchitecture: all\n"

// member is one of a data.tar that archivetest does not write.
type member struct {
	tar.Header
	body string
}

func file(name, body string) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body}
}

func link(name, to string) member {
	return member{Header: tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink, Mode: 0o644}}
}

func folder(name string) member {
	return member{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

func symlink(name, to string) member {
	return member{Header: tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink, Mode: 0o644}}
}

// with gives a member extended attributes.
func (m member) with(xattrs map[string]string) member {
	m.PAXRecords = map[string]string{}
	for name, value := range xattrs {
		m.PAXRecords["SCHILY.xattr."+name] = value
	}
	return m
}

func makeDeb(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		m.Size = int64(len(m.body))
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archivetest.Ar(
		archivetest.ArMember{Name: "debian-binary", Content: []byte("2.0\n")},
		archivetest.ArMember{Name: "control.tar"},
		archivetest.ArMember{Name: "data.tar", Content: b.Bytes()},
	)
}

func read(t testing.TB, deb []byte) (*roottree.Manifest, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(name, deb, 0o600); err != nil {
		t.Fatal(err)
	}
	return Read(name, int64(len(deb)))
}

// describe has a line an entry, without what is the same for all of its type.
func describe(m *roottree.Manifest) string {
	var b strings.Builder
	for _, e := range m.Entries {
		fmt.Fprintf(&b, "%s %s %o %d:%d", e.Path, e.Type, e.Mode, e.UID, e.GID)
		if names := e.Uname + ":" + e.Gname; names != ":" {
			fmt.Fprint(&b, " ", strings.ReplaceAll(names, "a b", `"a b"`))
		}
		if e.Type == roottree.File {
			fmt.Fprintf(&b, " %d %s", e.Size, e.SHA256.Short())
		}
		for _, x := range e.Xattrs {
			fmt.Fprintf(&b, " %s=%q", x.Name, x.Value)
		}
		if e.Target != "" {
			fmt.Fprintf(&b, " -> %s", e.Target)
		}
		if e.HardLink != "" {
			fmt.Fprintf(&b, " = %s", e.HardLink)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func short(s string) string { return artifact.HashBytes([]byte(s)).Short() }

// parsed checks that the manifest can be written and strictly read again.
func parsed(t *testing.T, m *roottree.Manifest) {
	t.Helper()
	var b bytes.Buffer
	if err := m.Write(&b); err != nil {
		t.Fatal(err)
	}
	again, err := roottree.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	if have, want := describe(again), describe(m); have != want {
		t.Errorf("read again:\n%s\nwant:\n%s", have, want)
	}
}

func TestRead(t *testing.T) {
	files := []archivetest.File{
		{Path: "DEBIAN/postinst", Content: "#!/bin/sh\n"},
		{Path: "etc/hello.conf", Content: "greeting", Mode: 0o640, GID: 42},
		{Path: "usr/bin/hello", Content: strings.Repeat("hi", 1<<17), Mode: 0o4755, UID: 7},
		{Path: "usr/bin/hi", Hardlink: "usr/bin/hello", Mode: 0o4755, UID: 7},
		{Path: "usr/lib/é/", Mode: 0o2775},
		{Path: "usr/lib/é/a b\n#=\\\x1b\xff", Content: "x"},
		{Path: "usr/lib/link", Symlink: "../../etc/a b\t=\xe9"},
		{Path: "var/empty/", Mode: 0o1700, UID: 65534},
	}
	want := ". dir 755 0:0\netc dir 755 0:0\netc/hello.conf file 640 0:42 8 " + short("greeting") + "\nusr dir 755 0:0\nusr/bin dir 755 0:0\n" +
		"usr/bin/hello file 4755 7:0 262144 " + short(strings.Repeat("hi", 1<<17)) + " = usr/bin/hello\n" +
		"usr/bin/hi file 4755 7:0 262144 " + short(strings.Repeat("hi", 1<<17)) + " = usr/bin/hello\n" +
		"usr/lib dir 755 0:0\nusr/lib/link link 777 0:0 -> ../../etc/a b\t=\xe9\nusr/lib/é dir 2775 0:0\nusr/lib/é/a b\n#=\\\x1b\xff file 644 0:0 1 " + short("x") + "\n" +
		"var dir 755 0:0\nvar/empty dir 1700 65534:0\n"
	for _, compression := range []string{"", "gz", "xz", "zst"} {
		m, err := read(t, archivetest.BuildDeb(t, control, compression, files...))
		if err != nil {
			t.Fatal(err)
		}
		if have := describe(m); have != want {
			t.Errorf("%s:\nhave %s\nwant %s", compression, have, want)
		}
		parsed(t, m)
	}
}

func TestMembers(t *testing.T) {
	capability := map[string]string{"security.capability": "\x01\x00\x00\x02\x00 \x00\n=", "user.a b": "1"}
	caps := ` security.capability="\x01\x00\x00\x02\x00 \x00\n=" user.a b="1"`
	a, b := short("a"), short("b")
	for name, c := range map[string]struct {
		members []member
		want    string
	}{
		"nothing":              {nil, ""},
		"last counts":          {[]member{file("x", "a"), file("./x", "b")}, "x file 644 0:0 1 " + b + "\n"},
		"a link at last":       {[]member{file("x", "a"), symlink("x", "y")}, "x link 777 0:0 -> y\n"},
		"a file at last":       {[]member{symlink("x", "y"), folder("x/"), file("x", "a")}, "x file 644 0:0 1 " + a + "\n"},
		"hard link":            {[]member{file("x", "a"), link("y", "./x")}, "x file 644 0:0 1 " + a + " = x\ny file 644 0:0 1 " + a + " = x\n"},
		"to a hard link":       {[]member{file("y", "a"), link("z", "y"), link("x", "z")}, "x file 644 0:0 1 " + a + " = x\ny file 644 0:0 1 " + a + " = x\nz file 644 0:0 1 " + a + " = x\n"},
		"to what was replaced": {[]member{file("x", "a"), link("y", "x"), file("x", "b")}, "x file 644 0:0 1 " + b + "\ny file 644 0:0 1 " + a + "\n"},
		"to what replaced":     {[]member{file("x", "a"), link("y", "x"), file("x", "b"), link("z", "x")}, "x file 644 0:0 1 " + b + " = x\ny file 644 0:0 1 " + a + "\nz file 644 0:0 1 " + b + " = x\n"},
		"twice a hard link":    {[]member{file("x", "a"), file("y", "b"), link("z", "x"), link("z", "y")}, "x file 644 0:0 1 " + a + "\ny file 644 0:0 1 " + b + " = y\nz file 644 0:0 1 " + b + " = y\n"},
		"same content":         {[]member{file("x", "a"), file("y", "a")}, "x file 644 0:0 1 " + a + "\ny file 644 0:0 1 " + a + "\n"},
		"attributes":           {[]member{file("x", "a").with(capability), folder("y").with(map[string]string{"user.z": ""})}, "x file 644 0:0 1 " + a + caps + "\ny dir 755 0:0 user.z=\"\"\n"},
		"attributes of a link": {[]member{file("x", "a").with(capability), link("y", "x").with(capability), link("z", "x").with(map[string]string{"user.q": "2"})},
			"x file 644 0:0 1 " + a + caps + " = x\ny file 644 0:0 1 " + a + caps + " = x\nz file 644 0:0 1 " + a + caps + " = x\n"},
		"names of owners": {[]member{
			{Header: tar.Header{Name: "a", Typeflag: tar.TypeDir, Mode: 0o755, Uname: "root", Gname: "root"}}, {Header: tar.Header{Name: "b", Typeflag: tar.TypeSymlink, Linkname: "c", Uid: 1000, Uname: "man", Gname: "a b"}},
			{tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o644, Uid: 5, Uname: "root", Gname: "games"}, "a"},
		}, "a dir 755 0:0\nb link 777 1000:0 man:\"a b\" -> c\nx file 644 5:0 root:games 1 " + a + "\n"},
		"mode and owner of a hard link": {[]member{
			{tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 5, Uname: "games"}, "a"}, link("z", "x"),
			{Header: tar.Header{Name: "y", Linkname: "z", Typeflag: tar.TypeLink, Mode: 0o640, Gid: 9, Gname: "man"}}, file("z", "b"),
		}, "x file 640 0:9 :man 1 " + a + " = x\ny file 640 0:9 :man 1 " + a + " = x\nz file 644 0:0 1 " + b + "\n"},
		"large owners": {[]member{{tar.Header{Name: "x", Typeflag: tar.TypeReg, Uid: 1<<32 - 2, Gid: 1 << 31, Mode: 0o107777}, "a"}}, "x file 7777 4294967294:2147483648 1 " + a + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := read(t, makeDeb(t, c.members...))
			if err != nil {
				t.Fatal(err)
			}
			if have := describe(m); have != c.want {
				t.Errorf("have\n%s\nwant\n%s", have, c.want)
			}
			parsed(t, m)
		})
	}
}

func TestLongestEntryCanBeParsed(t *testing.T) {
	path := strings.Repeat(strings.Repeat("\x01", 254)+"/", 16) + "x"
	m, err := read(t, makeDeb(t, file(path, "a").with(map[string]string{"user." + strings.Repeat("\x7f", 60<<10): "1"}), link("y", path), symlink("z", path)))
	if err != nil {
		t.Fatal(err)
	}
	parsed(t, m)
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		members []member
		text    string
	}{
		"hard link to nothing":     {[]member{file("x", "a"), link("y", "z")}, "y: a hard link to z, which is no file before it"},
		"hard link ahead":          {[]member{link("y", "x"), file("x", "a")}, "y: a hard link to x, which is no file before it"},
		"hard link to a folder":    {[]member{folder("x"), link("y", "x")}, "no file before it"},
		"hard link to a link":      {[]member{file("x", "a"), symlink("z", "x"), link("y", "z")}, "no file before it"},
		"hard link to what was":    {[]member{file("x", "a"), folder("x"), link("y", "x")}, "no file before it"},
		"hard link out":            {[]member{link("y", "../x")}, "leaves the archive"},
		"hard link to itself":      {[]member{file("y", "a"), link("y", "./y")}, "not valid"},
		"no owner":                 {[]member{{Header: tar.Header{Name: "x", Typeflag: tar.TypeDir, Uid: 1 << 32}}}, "x: there is no owner 4294967296:0"},
		"negative owner":           {[]member{{Header: tar.Header{Name: "x", Typeflag: tar.TypeDir, Gid: -1}}}, "x: there is no owner 0:-1"},
		"no group":                 {[]member{{Header: tar.Header{Name: "x", Typeflag: tar.TypeDir, Gid: 1<<32 - 1}}}, "there is no owner"},
		"device":                   {[]member{{Header: tar.Header{Name: "x", Typeflag: tar.TypeBlock}}}, "device node"},
		"long attributes":          {[]member{file("x", "a").with(map[string]string{"user.x": strings.Repeat("x", maxXattrs)})}, "x: more than 65536 bytes of extended attributes"},
		"many attributes":          {[]member{file("x", "a").with(many(1000))}, "x: more than 65536 bytes of extended attributes"},
		"attributes of a hardlink": {[]member{link("x", "x").with(many(1))}, "not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := read(t, makeDeb(t, c.members...)); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
		})
	}
	deb := makeDeb(t, file("x", strings.Repeat("a", 5000)))
	for name, b := range map[string][]byte{"nothing": nil, "garbage": []byte("!<arch>\nx"), "cut off": deb[:len(deb)-3000]} {
		if _, err := read(t, b); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none"), 1); err == nil {
		t.Error("no file: was read")
	}
}

func many(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprintf("user.%0100d", i)] = "1"
	}
	return m
}

func TestBoundOfNames(t *testing.T) {
	r := reader{entries: map[string]roottree.Entry{}, inodes: map[string]int{}, text: maxText - 10}
	h := &tar.Header{Typeflag: tar.TypeDir}
	if err := r.member("a23456789", h, nil); err != nil {
		t.Error(err)
	}
	if err := r.member("b2", h, nil); err == nil {
		t.Error("more than the bound was taken")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archivetest.BuildDeb(f, control, "", archivetest.File{Path: "usr/bin/x", Content: "x"}, archivetest.File{Path: "usr/bin/y", Hardlink: "usr/bin/x"}))
	f.Add(makeDeb(f, file("x", "a").with(many(1)), link("y", "x").with(many(1)), symlink("z", " ")))
	name := filepath.Join(f.TempDir(), "x.deb")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := Read(name, int64(len(b))); err == nil {
			parsed(t, m)
		}
	})
}
