package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
)

const control = "Package: hello\nVersion: 1:2.10-3\nArchitecture: amd64\nDepends: libc6 (>= 2.36),\n libhello\n"

func open(b []byte, limits Limits) (*Deb, error) {
	return Open(bytes.NewReader(b), int64(len(b)), limits)
}

// readAll does all that a reader of packages does, and returns the paths.
func readAll(b []byte, limits Limits) ([]string, error) {
	d, err := open(b, limits)
	if err != nil {
		return nil, err
	}
	if _, err := d.Control(); err != nil {
		return nil, err
	}
	var paths []string
	err = d.Walk(func(path string, _ *tar.Header, r io.Reader) error {
		paths = append(paths, path)
		_, err := io.Copy(io.Discard, r)
		return err
	})
	return paths, err
}

func TestDeb(t *testing.T) {
	files := []archivetest.File{
		{Path: "DEBIAN/postinst", Content: "#!/bin/sh\n"},
		{Path: "DEBIAN/config", Content: "#!/bin/sh\nexit 0\n"},
		{Path: "DEBIAN/conffiles", Content: "/etc/hello.conf\nremove-on-upgrade /etc/old\n\n", Mode: 0o644},
		{Path: "etc/hello.conf", Content: "greeting"},
		{Path: "usr/bin/hello", Content: strings.Repeat("hi", 1<<16), Mode: 0o4755, UID: 7},
		{Path: "usr/bin/hi", Hardlink: "usr/bin/hello"},
		{Path: "usr/lib/é", Symlink: "../../etc"},
		{Path: "var/empty/", Mode: 0o700},
	}
	for _, format := range []string{"", "gz", "xz", "zst"} {
		t.Run(format, func(t *testing.T) {
			d, err := open(archivetest.BuildDeb(t, control, format, files...), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			c, err := d.Control()
			if err != nil {
				t.Fatal(err)
			}
			if c.Get("Package") != "hello" || c.Get("version") != "1:2.10-3" || c.Get("DEPENDS") != "libc6 (>= 2.36),\n libhello" || c.Get("Source") != "" {
				t.Errorf("fields %q", c.Fields)
			}
			var names []string
			for _, f := range c.Files {
				names = append(names, f.Name)
			}
			if want := []string{"conffiles", "config", "md5sums", "postinst"}; !slices.Equal(names, want) {
				t.Errorf("files %q, want %q", names, want)
			}
			if s := c.Scripts(); len(s) != 2 || s[0].Name != "config" || s[1].Mode != 0o755 || string(s[1].Content) != "#!/bin/sh\n" {
				t.Errorf("scripts %+v", s)
			}
			if _, ok := c.File("preinst"); ok {
				t.Error("there is a preinst")
			}
			if have := c.Conffiles(); !slices.Equal(have, []string{"/etc/hello.conf"}) {
				t.Errorf("conffiles %q", have)
			}
			var have []string
			err = d.Walk(func(path string, h *tar.Header, r io.Reader) error {
				b, err := io.ReadAll(r)
				if path == "usr/bin/hello" && (h.Mode != 0o4755 || h.Uid != 7 || string(b) != files[4].Content) {
					t.Errorf("%+v with %d bytes", h, len(b))
				}
				have = append(have, path+h.Linkname)
				return err
			})
			want := []string{".", "etc", "etc/hello.conf", "usr", "usr/bin", "usr/bin/hello", "usr/bin/hi./usr/bin/hello", "usr/lib", "usr/lib/é../../etc", "var", "var/empty"}
			if err != nil || !slices.Equal(have, want) {
				t.Errorf("have %q, %v\nwant %q", have, err, want)
			}
		})
	}
}

func TestDebAtTheSameTime(t *testing.T) {
	d, err := open(archivetest.BuildDeb(t, control, "zst", archivetest.File{Path: "f", Content: strings.Repeat("x", 1<<18)}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			tr, err := d.Data()
			if err != nil {
				t.Error(err)
				return
			}
			for {
				if _, err = tr.Next(); err != nil {
					break
				}
			}
			if c, cerr := d.Control(); err != io.EOF || cerr != nil || c.Get("Package") != "hello" {
				t.Errorf("%v, %v", err, cerr)
			}
		})
	}
	group.Wait()
}

func TestWalkStops(t *testing.T) {
	d, err := open(archivetest.BuildDeb(t, control, "gz", archivetest.File{Path: "f"}), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	reason, visits := errors.New("enough"), 0
	err = d.Walk(func(string, *tar.Header, io.Reader) error { visits++; return reason })
	if err != reason || visits != 1 {
		t.Errorf("%d visits, error %v", visits, err)
	}
}

func TestOpen(t *testing.T) {
	gz := func(b []byte) []byte { return archivetest.Compress(t, "gz", b) }
	version := archivetest.ArMember{Name: "debian-binary", Content: []byte("2.0\n")}
	own := archivetest.ArMember{Name: "control.tar.gz", Content: gz(makeTar(t, file("./control", control)))}
	data := archivetest.ArMember{Name: "data.tar.gz", Content: gz(makeTar(t, file("./f", "1")))}
	other := archivetest.ArMember{Name: "_gpgorigin", Content: []byte("odd")}
	rename := func(m archivetest.ArMember, name string) archivetest.ArMember { m.Name = name; return m }
	fill := func(m archivetest.ArMember, content string) archivetest.ArMember {
		m.Content = []byte(content)
		return m
	}
	good := archivetest.Ar(version, own, data)
	edit := func(at int, s string) []byte {
		b := bytes.Clone(good)
		copy(b[at:], s)
		return b
	}
	const header = 8 // of the first member
	cases := map[string]struct {
		deb  []byte
		text string // "" where it is good
	}{
		"good":                    {good, ""},
		"GNU names":               {archivetest.Ar(rename(version, "debian-binary/"), rename(own, "control.tar.gz/"), data), ""},
		"later version":           {archivetest.Ar(fill(version, "2.7\nmore\n"), own, data), ""},
		"underscores":             {archivetest.Ar(version, other, own, other, other, data), ""},
		"more after data":         {archivetest.Ar(version, own, data, rename(other, "signature"), other), ""},
		"not compressed":          {archivetest.Ar(version, fill(rename(own, "control.tar"), string(makeTar(t, file("control", control)))), data), ""},
		"last byte not padded":    {bytes.TrimSuffix(archivetest.Ar(version, own, data, fill(other, "odd")), []byte("\n")), ""},
		"empty":                   {nil, "is no ar archive"},
		"short":                   {good[:7], "is no ar archive"},
		"magic":                   {edit(0, "!<thin>\n"), "is no ar archive"},
		"another format":          {[]byte("PK\x03\x04 and so on"), "is no ar archive"},
		"magic alone":             {good[:8], "does not begin with debian-binary"},
		"cut within header":       {good[:8+30], "ends within a member's header"},
		"cut within member":       {good[:8+62], `member "debian-binary" is cut off`},
		"cut within data":         {good[:len(good)-3], `member "data.tar.gz" is cut off`},
		"cut before data":         {archivetest.Ar(version, own), "no data.tar after control.tar"},
		"cut before control":      {archivetest.Ar(version), "no control.tar after debian-binary"},
		"trailing bytes":          {append(bytes.Clone(good), "trailing"...), "ends within a member's header"},
		"damaged header":          {edit(header+58, "xx"), "a member's header is damaged"},
		"size is no number":       {edit(header+48, "4x"), "the size is no number"},
		"size is negative":        {edit(header+48, "-4"), "the size is no number"},
		"size is missing":         {edit(header+48, "          "), "the size is no number"},
		"size past the end":       {edit(header+48, "9999999999"), "is cut off"},
		"too many members":        {archivetest.Ar(append([]archivetest.ArMember{version, own, data}, slices.Repeat([]archivetest.ArMember{other}, 14)...)...), "more than 16 members"},
		"no version":              {archivetest.Ar(own, data), "does not begin with debian-binary"},
		"underscore first":        {archivetest.Ar(other, version, own, data), "does not begin with debian-binary"},
		"version last":            {archivetest.Ar(own, data, version), "does not begin with debian-binary"},
		"version 1":               {archivetest.Ar(fill(version, "1.0\n"), own, data), `format version "1.0"`},
		"version 20":              {archivetest.Ar(fill(version, "20\n"), own, data), `format version "20"`},
		"empty version":           {archivetest.Ar(fill(version, ""), own, data), `format version ""`},
		"long version":            {archivetest.Ar(fill(version, "2.0\n"+strings.Repeat("x", 61)), own, data), "does not begin with debian-binary"},
		"data before control":     {archivetest.Ar(version, data, own), "no control.tar after debian-binary"},
		"something else between":  {archivetest.Ar(version, rename(other, "extra"), own, data), "no control.tar after debian-binary"},
		"something before data":   {archivetest.Ar(version, own, rename(other, "extra"), data), "no data.tar after control.tar"},
		"two data":                {archivetest.Ar(version, own, data, data), "data.tar.gz stands twice"},
		"two data, another kind":  {archivetest.Ar(version, own, data, other, rename(data, "data.tar.xz")), "data.tar.xz stands twice"},
		"two control":             {archivetest.Ar(version, own, own, data), "no data.tar after control.tar"},
		"control again":           {archivetest.Ar(version, own, data, rename(own, "control.tar")), "control.tar stands twice"},
		"name that begins alike":  {archivetest.Ar(version, rename(own, "control.tarball"), data), "no control.tar after debian-binary"},
		"unknown compression":     {archivetest.Ar(version, own, rename(data, "data.tar.lzma")), "data.tar.lzma: malformed package: the compression is not supported"},
		"compressed twice":        {archivetest.Ar(version, own, rename(data, "data.tar.gz.gz")), "the compression is not supported"},
		"control of another kind": {archivetest.Ar(version, rename(own, "control.tar.bz2"), data), "control.tar.bz2: malformed package: the compression is not supported"},
		"compression is a lie":    {archivetest.Ar(version, own, rename(data, "data.tar.xz")), "data.tar.xz: "},
		"no tar":                  {archivetest.Ar(version, fill(own, string(gz([]byte(strings.Repeat("x", 1024))))), data), "control.tar.gz: "},
		"data cut off":            {archivetest.Ar(version, own, fill(data, string(data.Content[:len(data.Content)-5]))), "data.tar.gz: unexpected EOF"},
		"control cut off":         {archivetest.Ar(version, fill(own, string(own.Content[:len(own.Content)-5])), data), "control.tar.gz: unexpected EOF"},
		"checksum":                {archivetest.Ar(version, own, fill(data, string(data.Content[:len(data.Content)-8])+"evil"+string(data.Content[len(data.Content)-4:]))), "data.tar.gz: gzip: invalid checksum"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			paths, err := readAll(c.deb, Limits{})
			if c.text == "" {
				if err != nil || !slices.Equal(paths, []string{"f"}) {
					t.Errorf("%q, error %v", paths, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
		})
	}
	if _, err := Open(bytes.NewReader(good), int64(len(good))+100, Limits{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a size that is not the file's: %v", err)
	}
	if _, err := open(edit(0, "x"), Limits{}); !errors.Is(err, ErrFormat) {
		t.Errorf("%v is not of the format", err)
	}
}

func TestLimits(t *testing.T) {
	large := archivetest.File{Path: "zeros", Content: strings.Repeat("\x00", 70<<20)}
	bomb := archivetest.BuildDeb(t, control, "zst", large)
	small := archivetest.BuildDeb(t, control, "gz", archivetest.File{Path: "a", Content: strings.Repeat("x", 4096)}, archivetest.File{Path: "b"})
	wide := archivetest.BuildDeb(t, control, "xz", archivetest.File{Path: "DEBIAN/templates", Content: strings.Repeat("\x00", 1<<20)})
	cases := map[string]struct {
		deb    []byte
		limits Limits
		want   error
	}{
		"defaults":          {small, Limits{}, nil},
		"ratio":             {bomb, Limits{Ratio: 1}, decompress.ErrLimit},
		"ratio within":      {bomb, Limits{Ratio: 1 << 20}, nil},
		"data":              {small, Limits{Uncompressed: 4096}, decompress.ErrLimit},
		"data within":       {small, Limits{Uncompressed: 64 << 10}, nil},
		"data before ratio": {bomb, Limits{Uncompressed: 1 << 20, Ratio: 1 << 20}, decompress.ErrLimit},
		"members":           {small, Limits{Members: 2}, ErrMember},
		"members within":    {small, Limits{Members: 3}, nil},
		"control":           {wide, Limits{Control: 1 << 20}, decompress.ErrLimit},
		"control within":    {wide, Limits{Control: 2 << 20}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := readAll(c.deb, c.limits); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	for _, c := range []struct {
		limits           Limits
		compressed, want int64
	}{
		{Limits{}, 0, 64 << 20},
		{Limits{}, 1 << 20, 64<<20 + 1000<<20},
		{Limits{}, 1 << 30, 16 << 30},
		{Limits{}, 1<<63 - 1, 16 << 30},
		{Limits{Uncompressed: 10}, 5, 10},
		{Limits{Ratio: 1<<63 - 1}, 5, 16 << 30},
	} {
		if got := c.limits.withDefaults().data(c.compressed); got != c.want {
			t.Errorf("%+v of %d: %d, want %d", c.limits, c.compressed, got, c.want)
		}
	}
}

// TestUpperCaseName: dpkg and apt take a package's name in lower case.
func TestUpperCaseName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.deb")
	b := archivetest.BuildDeb(t, "pacKage: UpperCase_App\nVersion: 1.0A\nArchitecture: all\n", "gz")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	entry, err := IndexEntry(file, artifact.Ref{Path: "debs/x.deb", Size: int64(len(b))})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(entry, "Package: uppercase_app\nVersion: 1.0A\n") {
		t.Errorf("have %q", entry)
	}
}
