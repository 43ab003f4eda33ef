package provenance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// laid makes a folder of files; a name that ends in "/" is a folder, a text that begins
// with "→" a link's target.
func laid(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "→"); ok {
			err = os.Symlink(to, at)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(at, 0o755)
		} else {
			err = os.WriteFile(at, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sumsOf(names ...string) string {
	var text strings.Builder
	for _, n := range names {
		fmt.Fprintf(&text, "%064x  %s\n", 1, n)
	}
	return text.String()
}

func TestInspectOutput(t *testing.T) {
	built := map[string]string{
		"x.iso": "", "evidence/SHA256SUMS": sumsOf("../x.iso", "isotrace.lock", "links/iso.12345678.link"), "evidence/SHA256SUMS.sig": "",
		"evidence/isotrace.lock": "", "evidence/links/iso.12345678.link": "", "evidence/links/iso.87654321.link": "",
		"journal/times.json": `{"host":{},"stages":{}}`, "journal/iso.log": "",
	}
	release := map[string]string{
		"SHA256SUMS": sumsOf("x.iso", "evidence/SHA256SUMS", "release/policy.json", "x.iso.sig"), "SHA256SUMS.sigstore.json": "", "x.iso.sig": "", "x.iso.sig.raw": "",
		"release/policy.json": "",
	}
	for name, c := range map[string]struct {
		like, and map[string]string
		foreign   string
		released  bool
	}{
		"nothing":                         {},
		"built":                           {like: built},
		"booted, reported, written":       {like: built, and: map[string]string{"boot/a": "", "report/b": "", "loads/c": "", ".isotrace-draft-1/x": ""}},
		"released":                        {like: built, and: release, released: true},
		"signed":                          {like: built, and: map[string]string{"x.iso.sig": "", "x.iso.sigstore.json": ""}, released: true},
		"killed while it was built first": {like: map[string]string{"journal/times.json": `{"host":{},"stages":{}}`, ".isotrace-draft-1/x": ""}},
		"a project":                       {like: map[string]string{"isotrace.yaml": "", "keys/builder.key": "", "release/notes": ""}, foreign: "isotrace.yaml keys release"},
		"folders of the same names":       {like: map[string]string{"release/notes": "", "evidence/photo": "", "journal/monday.md": "", "SHA256SUMS": sumsOf("photo")}, foreign: "SHA256SUMS evidence journal release"},
		"a journal of somebody else's":    {like: map[string]string{"journal/server.log": ""}, foreign: "journal"},
		"more in it":                      {like: built, and: map[string]string{"notes": "", "evidence/notes": "", "evidence/links/notes": "", "journal/notes": "", "y.iso": "", "y.iso.sig": ""}, foreign: "evidence/links/notes evidence/notes journal/notes notes y.iso y.iso.sig"},
		"more in a release":               {like: built, and: map[string]string{"SHA256SUMS": release["SHA256SUMS"], "release/policy.json": "", "release/notes": "", "release/sub/x": ""}, foreign: "release/notes release/sub/x", released: true},
		"a link in it":                    {like: built, and: map[string]string{"evidence/isotrace.lock": "→/etc/passwd"}, foreign: "evidence/isotrace.lock"},
		"a link for the image":            {like: built, and: map[string]string{"x.iso": "→/etc/passwd"}, foreign: "x.iso"},
		"sums of another release":         {like: built, and: map[string]string{"SHA256SUMS": sumsOf("x.iso")}, foreign: "SHA256SUMS"},
		"evidence that names no image":    {like: map[string]string{"evidence/SHA256SUMS": sumsOf("photo"), "evidence/photo": ""}, foreign: "evidence"},
		"boot without evidence":           {like: map[string]string{"boot/vmlinuz": ""}, foreign: "boot"},
	} {
		files := map[string]string{}
		for _, m := range []map[string]string{c.like, c.and} {
			for n, text := range m {
				files[n] = text
			}
		}
		o, err := InspectOutput(laid(t, files))
		if err != nil || strings.Join(o.Foreign, " ") != c.foreign || o.Released != c.released {
			t.Errorf("%s: foreign %q, released %v, %v", name, o.Foreign, o.Released, err)
		}
	}
}
