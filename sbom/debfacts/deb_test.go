package debfacts

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/sbom"
)

const copyright = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: somebody\nLicense: ISC\n"

const control = `Package: hello
Version: 1:2.10-3+b1
Architecture: amd64
Source: hello-src (1:2.10-3)
Maintainer: A Team <team@example.org>
Installed-Size: 280
Section: utils
Priority: optional
Essential: yes
Homepage: https://example.org/
Pre-Depends: libc6 (>= 2.36),
 libhello
Depends: a | b
Recommends: c
Provides: greeter (= 1)
Built-Using: glibc (= 2.41-12)
Static-Built-Using: busybox (= 1:1.37-1), rustc (= 1.85-1)
Description: a greeting
 and more
`

// debFile writes a .deb.
func debFile(t *testing.T, control, format string, files ...archivetest.File) (string, artifact.Ref) {
	t.Helper()
	b := archivetest.BuildDeb(t, control, format, files...)
	file := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return file, artifact.Ref{Path: "debian/pool/x.deb", Digest: artifact.HashBytes(b), Size: int64(len(b))}
}

func TestReadControl(t *testing.T) {
	file, ref := debFile(t, control, "xz", archivetest.File{Path: "usr/bin/hello", Content: "x", Mode: 0o755})
	a, err := readControl(file, ref)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	strong := sha512.Sum512(b)
	want := sbom.Package{
		Name: "hello", Version: "1:2.10-3+b1", Architecture: "amd64", Source: "hello-src", SourceVersion: "1:2.10-3", Section: "utils", Priority: "optional",
		Essential: true, Maintainer: "A Team <team@example.org>", Homepage: "https://example.org/", Summary: "a greeting", InstalledSize: 280, From: sbom.FromArchive,
		Deb: &sbom.Deb{Path: ref.Path, Size: ref.Size, Hashes: sbom.Hashes{SHA256: string(ref.Digest), SHA512: hex.EncodeToString(strong[:])}},
	}
	if !reflect.DeepEqual(a.Package, want) {
		t.Errorf("have %+v\nwant %+v", a.Package, want)
	}
	if a.Needs != (sbom.Needs{PreDepends: "libc6 (>= 2.36), libhello", Depends: "a | b", Recommends: "c", Provides: "greeter (= 1)"}) {
		t.Errorf("needs %+v", a.Needs)
	}
	if a.BuiltUsing != "glibc (= 2.41-12)" || a.StaticBuiltUsing != "busybox (= 1:1.37-1), rustc (= 1.85-1)" {
		t.Errorf("built using %q, %q", a.BuiltUsing, a.StaticBuiltUsing)
	}
	for _, bad := range []string{
		"Package: ../x\nVersion: 1\nArchitecture: all\n", "Package: x\nVersion: 1 2\nArchitecture: all\n", "Package: x\nVersion: 1\nArchitecture: ../y\n",
		"Package: x\nVersion: 1\nArchitecture: all\nSource: y (\x1b)\n", "Version: 1\nArchitecture: all\n",
	} {
		file, ref := debFile(t, bad, "gz")
		if _, err := readControl(file, ref); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestWrite(t *testing.T) {
	const name = "Package: hello\nVersion: 1\nArchitecture: all\n"
	doc := "usr/share/doc/hello/copyright"
	for _, c := range []struct {
		what  string
		files []archivetest.File
		want  Data
	}{
		{"a file", []archivetest.File{{Path: doc, Content: copyright}}, Data{Copyright: []byte(copyright)}},
		{"a program", []archivetest.File{{Path: doc, Content: "x"}, {Path: "usr/bin/x", Content: "x", Mode: 0o755}}, Data{Copyright: []byte("x"), Executable: true}},
		{"a library", []archivetest.File{{Path: "usr/lib/x.so", Content: "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x03\x00>\x00"}, {Path: doc, Content: "x"}},
			Data{Copyright: []byte("x"), Executable: true}},
		{"no library", []archivetest.File{{Path: "usr/lib/x.so", Content: "ELF"}, {Path: "usr/lib/empty"}, {Path: doc, Content: "x"}}, Data{Copyright: []byte("x")}},
		{"nothing", nil, Data{Problem: "the .deb has no copyright file"}},
		{"another's", []archivetest.File{{Path: "usr/share/doc/hello2/copyright", Content: "x"}}, Data{Problem: "the .deb has no copyright file"}},
		{"a linked folder", []archivetest.File{{Path: "usr/share/doc/hello", Symlink: "libhello"}}, Data{Link: "usr/share/doc/libhello/copyright"}},
		{"an absolute link", []archivetest.File{{Path: "usr/share/doc/hello", Symlink: "/usr/share/doc/libhello/"}}, Data{Link: "usr/share/doc/libhello/copyright"}},
		{"a linked file", []archivetest.File{{Path: doc, Symlink: "../libhello/copyright"}}, Data{Link: "usr/share/doc/libhello/copyright"}},
		{"out of the tree", []archivetest.File{{Path: doc, Symlink: strings.Repeat("../", 30) + "etc/shadow"}}, Data{Link: "etc/shadow"}},
		{"a hard link", []archivetest.File{{Path: "usr/share/doc/hello/a", Content: "x"}, {Path: doc, Hardlink: "usr/share/doc/hello/a"}}, Data{Link: "usr/share/doc/hello/a"}},
		{"too long", []archivetest.File{{Path: doc, Content: strings.Repeat("x", MaxCopyright+1)}}, Data{Problem: "the copyright file has more than 4194304 bytes"}},
	} {
		file, ref := debFile(t, name, "zst", c.files...)
		to := filepath.Join(t.TempDir(), "deb")
		if err := Write(file, ref, true, to); err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		got, err := Read(to)
		if err != nil || got.Package.Name != "hello" || fmt.Sprintf("%+v", got.Data) != fmt.Sprintf("%+v", c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.what, got, err, c.want)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad")
	for _, text := range []string{"", "{", `{"more":1}`, strings.Repeat(" ", maxDeb+1) + "{}"} {
		if err := os.WriteFile(bad, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(bad); err == nil {
			t.Errorf("%.20q was read", text)
		}
	}
}
