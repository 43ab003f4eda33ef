package deb

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
)

func TestWritePlain(t *testing.T) {
	for _, length := range []int{0, 1, 1 << 16} {
		for _, format := range []string{"", "gz", "xz", "zst"} {
			packed := archivetest.BuildDeb(t, control, format,
				archivetest.File{Path: "DEBIAN/postinst", Content: strings.Repeat("#", length)},
				archivetest.File{Path: "usr/bin/hello", Content: strings.Repeat("h", length), Mode: 0o4755, UID: 7})
			d, err := open(packed, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(t.TempDir(), "plain.deb")
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			at, err := d.WritePlain(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			again, err := open(b, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if again.data.name != "data.tar" || again.data.offset != at || len(b) != int(at+again.data.size+again.data.size%2) {
				t.Errorf("%q, %d: %+v of %d bytes, data.tar said to be at %d", format, length, again.data, len(b), at)
			}
			was, err := d.Control()
			if err != nil {
				t.Fatal(err)
			}
			if is, err := again.Control(); err != nil || !reflect.DeepEqual(was, is) {
				t.Errorf("%q, %d: control %+v, %v; want %+v", format, length, is, err, was)
			}
			want, err := readAll(packed, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if have, err := readAll(b, Limits{}); err != nil || !slices.Equal(have, want) {
				t.Errorf("%q, %d: files %q, %v; want %q", format, length, have, err, want)
			}
		}
	}
	d, err := open(archivetest.BuildDeb(t, control, "xz", archivetest.File{Path: "zeros", Content: strings.Repeat("0", 1<<20)}), Limits{Uncompressed: 1 << 19})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "bomb.deb"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WritePlain(f); err == nil {
		t.Error("more data than the limit was written")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
