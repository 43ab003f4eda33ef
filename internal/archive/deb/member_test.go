package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
)

type content struct {
	tar.Header
	body string
}

func file(name, body string) content {
	return content{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, body}
}

func makeTar(t testing.TB, members ...content) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, m := range members {
		m.Size = int64(len(m.body))
		err := tw.WriteHeader(&m.Header)
		if err == nil {
			_, err = io.WriteString(tw, m.body)
		}
		if err != nil {
			t.Fatalf("write %q: %v", m.Name, err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func makeDeb(t testing.TB, own, data []content) []byte {
	t.Helper()
	return archivetest.Ar(
		archivetest.ArMember{Name: "debian-binary", Content: []byte("2.0\n")},
		archivetest.ArMember{Name: "control.tar.gz", Content: archivetest.Compress(t, "gz", makeTar(t, own...))},
		archivetest.ArMember{Name: "data.tar", Content: makeTar(t, data...)},
	)
}

func TestCheckMember(t *testing.T) {
	const reg, dir, sym, hard = tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	long := strings.Repeat("x", 256)
	cases := map[string]struct {
		kind       byte
		name, link string
		want, text string
	}{
		"file":                     {reg, "./usr/bin/a", "", "usr/bin/a", ""},
		"file not clean":           {reg, "usr//./bin/a", "", "usr/bin/a", ""},
		"dots in a name":           {reg, "./a..b/...", "", "a..b/...", ""},
		"backslash":                {reg, `..\a`, "", `..\a`, ""},
		"not UTF-8":                {reg, "\xff", "", "\xff", ""},
		"root":                     {dir, "./", "", ".", ""},
		"folder":                   {dir, "./usr/", "", "usr", ""},
		"link outward":             {sym, "l", "../../etc", "l", ""},
		"absolute link":            {sym, "l", "/etc/passwd", "l", ""},
		"hard link":                {hard, "h", "./a", "h", ""},
		"longest component":        {reg, long[1:], "", long[1:], ""},
		"empty":                    {reg, "", "", "", "the path is empty"},
		"absolute":                 {reg, "/etc/passwd", "", "", "the path is absolute"},
		"absolute twice":           {dir, "//etc", "", "", "the path is absolute"},
		"parent":                   {reg, "../a", "", "", "leaves the archive"},
		"parent within":            {reg, "a/../b", "", "", "leaves the archive"},
		"parent last":              {dir, "a/..", "", "", "leaves the archive"},
		"parent after dot":         {dir, "./..", "", "", "leaves the archive"},
		"NUL":                      {reg, "a\x00b", "", "", "holds a NUL"},
		"long path":                {reg, strings.Repeat("abc/", 1025), "", "", "the path is too long"},
		"long component":           {reg, "a/" + long, "", "", "component that is too long"},
		"deep":                     {reg, strings.Repeat("d/", 128) + "f", "", "", "too deep"},
		"deepest":                  {reg, strings.Repeat("d/", 127) + "f", "", strings.Repeat("d/", 127) + "f", ""},
		"root as file":             {reg, ".", "", "", "the root is no folder"},
		"root as link":             {sym, "./", "etc", "", "the root is no folder"},
		"link without target":      {sym, "l", "", "", "target of the symbolic link"},
		"link with NUL":            {sym, "l", "a\x00", "", "target of the symbolic link"},
		"link with long target":    {sym, "l", strings.Repeat("x", 4097), "", "target of the symbolic link"},
		"hard link outside":        {hard, "h", "../a", "", `hard link "h": member "../a" refused: the path leaves`},
		"hard link absolute":       {hard, "h", "/a", "", "the path is absolute"},
		"hard link without target": {hard, "h", "", "", "the path is empty"},
		"hard link to itself":      {hard, "h", "./h", "", "target of the hard link"},
		"hard link to the root":    {hard, "h", ".", "", "target of the hard link"},
		"hard link as root":        {hard, ".", "a", "", "target of the hard link"},
		"character device":         {tar.TypeChar, "dev/null", "", "", "is a device node"},
		"block device":             {tar.TypeBlock, "dev/sda", "", "", "is a device node"},
		"FIFO":                     {tar.TypeFifo, "pipe", "", "", "is a FIFO"},
		"sparse":                   {tar.TypeGNUSparse, "f", "", "", "is a sparse file"},
		"contiguous":               {tar.TypeCont, "f", "", "", "unknown type '7'"},
		"global header":            {tar.TypeXGlobalHeader, "g", "", "", "unknown type 'g'"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := CheckMember(&tar.Header{Typeflag: c.kind, Name: c.name, Linkname: c.link})
			if c.text == "" {
				if err != nil || got != c.want {
					t.Errorf("%q, error %v, want %q", got, err, c.want)
				}
			} else if !errors.Is(err, ErrMember) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%q, error %v, want %q", got, err, c.text)
			}
		})
	}
	for name, h := range map[string]tar.Header{
		"sparse":        {Typeflag: reg, Name: "f", PAXRecords: map[string]string{"GNU.sparse.realsize": "1"}},
		"negative size": {Typeflag: reg, Name: "f", Size: -1},
	} {
		if _, err := CheckMember(&h); !errors.Is(err, ErrMember) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestPathTricks(t *testing.T) {
	own := []content{file("control", control)}
	for name, c := range map[string]struct {
		member content
		text   string
	}{
		"absolute":  {file("/etc/passwd", ""), "the path is absolute"},
		"parent":    {file("./usr/../../etc/passwd", ""), "leaves the archive"},
		"hard link": {content{Header: tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/shadow"}}, "the path is absolute"},
		"device":    {content{Header: tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock}}, "is a device node"},
	} {
		t.Run(name, func(t *testing.T) {
			paths, err := readAll(makeDeb(t, own, []content{file("first", ""), c.member, file("last", "")}), Limits{})
			if !errors.Is(err, ErrMember) || !strings.Contains(err.Error(), "data.tar: ") || !strings.Contains(err.Error(), c.text) || len(paths) != 1 {
				t.Errorf("%q, error %v, want %q", paths, err, c.text)
			}
			if _, err := readAll(makeDeb(t, append([]content{c.member}, own...), nil), Limits{}); !errors.Is(err, ErrMember) || !strings.Contains(err.Error(), "control.tar.gz: ") {
				t.Errorf("in control.tar: %v", err)
			}
		})
	}
}

func TestControlRefuses(t *testing.T) {
	var many []content
	for i := range maxControlFiles {
		many = append(many, file(strings.Repeat("f", 1+i/26)+string(rune('a'+i%26)), ""))
	}
	own := func(text string) []content { return []content{file("./control", text)} }
	cases := map[string]struct {
		members []content
		text    string
	}{
		"nothing":           {nil, "there is no control file"},
		"other files":       {[]content{file("postinst", "")}, "there is no control file"},
		"empty":             {own(""), "the control file is empty"},
		"blank":             {own("\n \n"), "the control file is empty"},
		"no name":           {own("Version: 1\nArchitecture: all\n"), "no field Package"},
		"no version":        {own("Package: a\nArchitecture: all\nVersion:\n"), "no field Version"},
		"no architecture":   {own("Package: a\nVersion: 1\n"), "no field Architecture"},
		"two stanzas":       {own(control + "\n" + control), "more than one stanza"},
		"garbage":           {own("Package\n"), "control: line 1: want a field"},
		"garbage after":     {own(control + "\ngarbage\n"), "more than one stanza"},
		"field twice":       {own(control + "package: evil\n"), "stands twice in a stanza"},
		"control twice":     {append(own(control), file("control", control)), `"control" stands twice`},
		"script twice":      {append(own(control), file("postinst", "1"), file("./postinst", "2")), `"postinst" stands twice`},
		"below a folder":    {append(own(control), file("d/postinst", "")), "no plain file at the top"},
		"control is a link": {[]content{{Header: tar.Header{Name: "control", Typeflag: tar.TypeSymlink, Linkname: "x"}}}, "no plain file at the top"},
		"hard link":         {append(own(control), content{Header: tar.Header{Name: "postinst", Typeflag: tar.TypeLink, Linkname: "control"}}), "no plain file at the top"},
		"too many files":    {append(own(control), many...), "more than 1024 files"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := readAll(makeDeb(t, c.members, nil), Limits{}); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
		})
	}
}

func FuzzDeb(f *testing.F) {
	for _, format := range []string{"", "gz", "xz", "zst"} {
		f.Add(archivetest.BuildDeb(f, control, format, archivetest.File{Path: "usr/bin/a", Content: "1"}, archivetest.File{Path: "l", Symlink: "usr"}))
	}
	f.Add(makeDeb(f, []content{file("control", control)}, []content{file("../a", "")}))
	f.Add([]byte("!<arch>\n"))
	limits := Limits{Uncompressed: 1 << 16, Ratio: 100, Members: 32, Control: 1 << 16}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := open(b, limits)
		if err != nil {
			return
		}
		if c, err := d.Control(); err == nil {
			if c.Get("Package") == "" || c.Get("Version") == "" || c.Get("Architecture") == "" {
				t.Errorf("passed: fields %q", c.Fields)
			}
			for _, s := range c.Files {
				if got, ok := c.File(s.Name); !ok || got.Name != s.Name || strings.Contains(s.Name, "/") {
					t.Errorf("passed: file %q", s.Name)
				}
			}
			c.Scripts()
			c.Conffiles()
		}
		var members int
		var size int64
		err = d.Walk(func(p string, _ *tar.Header, r io.Reader) error {
			if p != path.Clean(p) || path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../") {
				t.Errorf("passed: path %q", p)
			}
			n, err := io.Copy(io.Discard, r)
			members, size = members+1, size+n
			return err
		})
		if members > limits.Members || size > limits.Uncompressed {
			t.Errorf("%d members of %d bytes, error %v", members, size, err)
		}
	})
}
