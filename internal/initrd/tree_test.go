package initrd

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/isotrace/isotrace/internal/roottree"
)

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.Copy(w, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// flip turns a bit, counted in bytes from the end.
func flip(b []byte, fromEnd int) []byte {
	b = bytes.Clone(b)
	b[len(b)-fromEnd] ^= 0x10
	return b
}

func TestTree(t *testing.T) {
	dir := func(name string) part { return part{name: name, mode: folder | 0o755} }
	file := func(name, data string) part { return part{name: name, mode: regular | 0o644, data: data} }
	linked := func(name, data string, ino uint32) part {
		return part{name: name, mode: regular | 0o644, data: data, ino: ino, links: 3}
	}
	line := func(name, data, more string) string {
		return "./" + name + " type=file mode=0644 uid=0 gid=0 size=" + string(rune('0'+len(data))) + " sha256digest=" + string(hash(data)) + more + "\n"
	}
	const folderLine = " type=dir mode=0755 uid=0 gid=0\n"
	for name, c := range map[string]struct {
		parts []part
		want  string // the manifest, or the error
	}{
		"all types": {[]part{
			{name: ".", mode: folder | 0o700, uid: 1, gid: 2}, {name: "./link", mode: symlink | 0o644, data: "to\x00", uid: 3},
			{name: "/null", mode: char | 0o666, major: 1, minor: 3}, {name: "sda", mode: block | 0o660, gid: 6, major: 8},
			{name: "pipe", mode: fifo | 0o600, major: 9}, {name: "sock", mode: socket | 0o7777},
			{name: "set", mode: regular | 0o4755, uid: 4294967295, data: "x", nuls: 9}, {name: "sum", mode: regular, magic: "070702", data: "ab", check: 'a' + 'b'},
		}, ". type=dir mode=0700 uid=1 gid=2\n./link type=link mode=0777 uid=3 gid=0 link=to\n" +
			"./null type=char mode=0666 uid=0 gid=0 device=linux,1,3\n./pipe type=fifo mode=0600 uid=0 gid=0\n" +
			"./sda type=block mode=0660 uid=0 gid=6 device=linux,8,0\n" +
			"./set type=file mode=4755 uid=4294967295 gid=0 size=1 sha256digest=" + string(hash("x")) + "\n" +
			"./sock type=socket mode=7777 uid=0 gid=0\n./sum type=file mode=0000 uid=0 gid=0 size=2 sha256digest=" + string(hash("ab")) + "\n"},
		"sorted by path, bytewise": {[]part{file("b", ""), dir("a"), file("a/c", ""), file("a-", "")},
			"./a" + folderLine + line("a-", "", "") + line("a/c", "", "") + line("b", "", "")},
		"the later replaces":      {[]part{file("f", "one"), file("f", "two!")}, line("f", "two!", "")},
		"file for link":           {[]part{{name: "f", mode: symlink, data: "x"}, file("f", "1")}, line("f", "1", "")},
		"link for file":           {[]part{file("f", "1"), {name: "f", mode: symlink, data: "x"}}, "./f type=link mode=0777 uid=0 gid=0 link=x\n"},
		"folder for file":         {[]part{file("f", "1"), dir("f"), file("f/g", "")}, "./f" + folderLine + line("f/g", "", "")},
		"file for empty folder":   {[]part{dir("f"), file("f", "1")}, line("f", "1", "")},
		"folder for folder":       {[]part{{name: "d", mode: folder}, file("d/f", ""), dir("d")}, "./d" + folderLine + line("d/f", "", "")},
		"a device keeps numbers":  {[]part{{name: "d", mode: char, major: 1}, {name: "d", mode: char | 0o600, major: 2}}, "./d type=char mode=0600 uid=0 gid=0 device=linux,1,0\n"},
		"no folder named":         {[]part{file("a/b/c", "")}, line("a/b/c", "", "")},
		"file for full folder":    {[]part{dir("f"), file("f/g", ""), file("f", "1")}, `"f": malformed initramfs image: stands in the place of a folder`},
		"link for full folder":    {[]part{file("f/g", ""), {name: "f", mode: symlink, data: "x"}}, "stands in the place of a folder"},
		"root is a file":          {[]part{file(".", "")}, "stands in the place of a folder"},
		"below a link":            {[]part{{name: "bin", mode: symlink, data: "usr/bin"}, file("bin/sh", "")}, `"bin/sh": malformed initramfs image: stands below`},
		"far below a file":        {[]part{file("a", ""), file("a/b/c", "")}, "stands below what is no folder"},
		"hard links, data last":   {[]part{linked("b", "", 1), linked("c", "", 1), linked("a", "data", 1)}, line("a", "data", " hardlink=./a") + line("b", "data", " hardlink=./a") + line("c", "data", " hardlink=./a")},
		"hard links, data first":  {[]part{linked("a", "data", 1), linked("b", "", 1)}, line("a", "data", " hardlink=./a") + line("b", "data", " hardlink=./a")},
		"two groups":              {[]part{linked("a", "", 1), linked("b", "", 2), linked("c", "x", 1), linked("d", "y", 2)}, line("a", "x", " hardlink=./a") + line("b", "y", " hardlink=./b") + line("c", "x", " hardlink=./a") + line("d", "y", " hardlink=./b")},
		"one name of several":     {[]part{linked("a", "x", 1)}, line("a", "x", "")},
		"no links, one inode":     {[]part{file("a", "x"), file("b", "y")}, line("a", "x", "") + line("b", "y", "")},
		"written through a link":  {[]part{linked("a", "", 1), linked("b", "x", 1), file("a", "new")}, line("a", "new", " hardlink=./a") + line("b", "new", " hardlink=./a")},
		"the group's first is no": {[]part{linked("a", "x", 1), dir("a"), linked("b", "", 1)}, `a hard link to "a", which cannot be`},
		"a link to itself":        {[]part{linked("a", "x", 1), linked("a", "", 1)}, `a hard link to "a", which cannot be`},
		"linked devices":          {[]part{{name: "d", mode: char, major: 1, ino: 1, links: 2}, {name: "e", mode: char | 0o600, major: 2, ino: 1, links: 2}}, "./d type=char mode=0000 uid=0 gid=0 device=linux,1,0\n./e type=char mode=0000 uid=0 gid=0 device=linux,1,0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, cpio(c.parts...), Limits{})
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Fatalf("have %v\nwant %s", err, c.want)
				}
				return
			}
			var b strings.Builder
			if err := got[0].Tree.Write(&b); err != nil {
				t.Fatal(err)
			}
			older, err := roottree.Parse(strings.NewReader("#mtree\n" + c.want))
			if err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			if err := older.Write(&want); err != nil {
				t.Fatal(err)
			}
			if b.String() != want.String() || len(got) != 1 {
				t.Errorf("have %swant %s", b.String(), want.String())
			}
		})
	}
}

// TestLinksEndWithTheTrailer: the same numbers in another archive are another
// file's.
func TestLinksEndWithTheTrailer(t *testing.T) {
	one := func(name, data string) []byte {
		return cpio(part{name: name, mode: regular, data: data, ino: 1, links: 2})
	}
	got, err := read(t, append(one("a", "x"), one("b", "y")...), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"x", "y"} {
		if e := got[i].Tree.Entries[0]; e.SHA256 != hash(want) || e.HardLink != "" {
			t.Errorf("have %+v", e)
		}
	}
}
