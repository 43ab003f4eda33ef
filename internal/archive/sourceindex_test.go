package archive

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

const sourceStanza = `Package: hello
Format: 3.0 (quilt)
Binary: hello, hello-dbg
Architecture: any
Version: 1:2.10-3
Package-List:
 hello deb devel optional arch=any
Directory: ./pool/main/h/hello
Checksums-Sha256:
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 hello_2.10.orig.tar.gz.asc
 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9 1 hello_2.10-3.dsc
 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b 22 hello_2.10.orig.tar.gz
 d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35 333 hello_2.10-3.debian.tar.xz
Extra-Source-Only: yes
`

func TestParseSourceIndex(t *testing.T) {
	have, err := ParseSourceIndex(strings.NewReader("\n"+sourceStanza+"\n\n"+strings.Replace(sourceStanza, "1:2.10-3\n", "1:2.10-2\n", 1)), "Sources")
	if err != nil {
		t.Fatal(err)
	}
	want := SourcePackage{Name: "hello", Version: "1:2.10-3", Files: []artifact.Ref{
		{Path: "pool/main/h/hello/hello_2.10-3.debian.tar.xz", Digest: "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35", Size: 333},
		{Path: "pool/main/h/hello/hello_2.10-3.dsc", Digest: "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9", Size: 1},
		{Path: "pool/main/h/hello/hello_2.10.orig.tar.gz", Digest: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", Size: 22},
		{Path: "pool/main/h/hello/hello_2.10.orig.tar.gz.asc", Digest: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Size: 0},
	}}
	if len(have) != 2 || !reflect.DeepEqual(have[0], want) || have[1].Version != "1:2.10-2" || have[0].String() != "hello 1:2.10-3" {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
	if have, err := ParseSourceIndex(strings.NewReader(""), "Sources"); err != nil || len(have) != 0 {
		t.Errorf("empty index: %v, %v", have, err)
	}
}

func TestParseSourceIndexRefuses(t *testing.T) {
	const dsc = " 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9 1 hello_2.10-3.dsc\n"
	many := dsc
	for i := range maxSourceFiles {
		many += fmt.Sprintf(" 6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b 1 f%d\n", i)
	}
	for name, c := range map[string]struct{ old, new, text string }{
		"no name":         {"Package: hello\n", "", "line 1: Package: a package name is missing"},
		"name":            {"Package: hello", "Package: ../hello", "line 1: Package"},
		"no version":      {"Version: 1:2.10-3\n", "", "Version: hello"},
		"version":         {"Version: 1:2.10-3", "Version: x:1", "line 5: Version: hello"},
		"no folder":       {"Directory: ./pool/main/h/hello\n", "", "Directory: hello: the path is missing"},
		"folder out":      {"./pool", "./../pool", "line 8: Directory: hello: path"},
		"folder absolute": {"./pool", "/pool", "line 8: Directory: hello: path"},
		"no sums":         {"Checksums-Sha256:", "Files:", "has no field Checksums-Sha256"},
		"no files":        {sourceStanza[strings.Index(sourceStanza, " e3b0"):strings.Index(sourceStanza, "Extra")], "", "Checksums-Sha256"},
		"no description":  {dsc, "", "hello: want one .dsc, have 0"},
		"two":             {"hello_2.10.orig.tar.gz\n", "other.dsc\n", "hello: want one .dsc, have 2"},
		"file out":        {" hello_2.10.orig.tar.gz\n", " ../x.tar.gz\n", "not a clean relative one"},
		"file below":      {" hello_2.10.orig.tar.gz\n", " x/y.tar.gz\n", `"x/y.tar.gz" is no file of the package's folder`},
		"control":         {" hello_2.10.orig.tar.gz\n", " a\x1bb\n", "a character that is not allowed"},
		"digest":          {"6b86b2", "6B86B2", "sha256"},
		"size":            {" 22 ", " -1 ", `size "-1" is no number`},
		"huge":            {" 22 ", " 99999999999999999999 ", "is no number"},
		"words":           {" 22 ", " ", "want a digest, a size and a path"},
		"file twice":      {"hello_2.10.orig.tar.gz\n", "hello_2.10-3.dsc\n", "is listed twice, with different content"},
		"many files":      {dsc, many, "hello: more than 1000 files"},
		"field twice":     {"Architecture: any", "version: 3", "stands twice"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(sourceStanza, c.old, c.new, 1)
			if text == sourceStanza {
				t.Fatal("the test changes nothing")
			}
			if _, err := ParseSourceIndex(strings.NewReader(text), "Sources"); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %q", err, c.text)
			}
		})
	}
}

func FuzzParseSourceIndex(f *testing.F) {
	f.Add(sourceStanza)
	f.Add(sourceStanza + "\n\n# x\n" + sourceStanza)
	f.Add("Package: a1\nVersion: 1\nDirectory: d\nChecksums-Sha256:\n x 1 y.dsc\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseSourceIndex(strings.NewReader(text), "Sources")
		if err != nil {
			return
		}
		for _, p := range all {
			if p.Name == "" || p.Version == "" || len(p.Files) == 0 || len(p.Files) > maxSourceFiles {
				t.Fatalf("passed: %+v", p)
			}
			for i, f := range p.Files {
				if ValidatePath(f.Path) != nil || f.Size < 0 || f.Digest.Validate() != nil || i > 0 && p.Files[i-1].Path >= f.Path {
					t.Fatalf("passed: %+v", p)
				}
			}
		}
	})
}

func TestResolveSuiteSources(t *testing.T) {
	for name, o := range map[string]archivetest.Options{
		"as Debian": {}, "not by hash": {NoByHash: true}, "gzip": {Compressions: []string{"gz"}}, "uncompressed": {Compressions: []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			r := testRepo(t)
			r.AddSource("hello", "2.10-3", map[string]string{"hello_2.10.orig.tar.gz": "original", "hello_2.10-3.debian.tar.xz": "packaging"})
			r.Publish("stable", "main", date, until, o)
			r.AddPackage("Package: extra\nVersion: 1\nArchitecture: amd64")
			r.Publish("stable", "contrib", date, until, o)
			req := request(r, t)
			req.Components = []string{"main", "contrib"} // the latter has no sources
			if s, _, err := resolve(t, req, r.URI()); err != nil || len(s.SourceIndexes) != 0 {
				t.Fatalf("sources came unasked: %+v, %v", s, err)
			}
			req.Sources = true
			s, sink, err := resolve(t, req, r.Serve(nil))
			if err != nil {
				t.Fatal(err)
			}
			if len(s.SourceIndexes) != 1 || len(s.Indexes) != 2 || !strings.HasPrefix(s.SourceIndexes[0].Ref.Path, "dists/stable/main/source/Sources") || s.SourceIndexes[0].Component != "main" {
				t.Fatalf("indexes %+v, of sources %+v", s.Indexes, s.SourceIndexes)
			}
			sources, err := s.Sources(sink)
			if err != nil || len(sources) != 1 || sources[0].String() != "hello 2.10-3" || len(sources[0].Files) != 3 {
				t.Fatalf("sources %+v, %v", sources, err)
			}
			pkgs, err := s.Packages(sink)
			if err != nil || len(pkgs) != 3 || pkgs[1].Source != sources[0].Name || pkgs[1].SourceVersion != sources[0].Version {
				t.Fatalf("packages %v, %v", pkgs, err)
			}
			var wants []Want
			for _, f := range sources[0].Files {
				wants = append(wants, Want{Repository: "debian", Path: f.Path, SHA256: f.Digest, Size: f.Size})
			}
			if err := newTestClient(t, Options{}, r.URI()).FetchAll(t.Context(), wants, sink, nil); err != nil {
				t.Error(err)
			}
			index := s.SourceIndexes[0]
			text, err := os.ReadFile(sink.Path(index.Ref.Digest))
			if err != nil {
				t.Fatal(err)
			}
			if again, err := ReadSourceIndex(index.Ref.Path, text); err != nil || !reflect.DeepEqual(again, sources) {
				t.Errorf("read again: %+v, %v", again, err)
			}
			if err := os.WriteFile(sink.Path(index.Ref.Digest), []byte("damaged"), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Sources(sink); !errors.Is(err, ErrWrongHash) || fault.ClassOf(err) != fault.Refused {
				t.Errorf("damaged index: error %v", err)
			}
		})
	}
}

// A mirror's Sources index is not believed because its Packages index is good.
func TestResolveSuiteSourcesForged(t *testing.T) {
	r := testRepo(t)
	r.AddSource("hello", "2.10-3", nil)
	r.Publish("stable", "main", date, until, archivetest.Options{NoByHash: true})
	r.Write("dists/stable/main/source/Sources.xz", []byte("forged"))
	req := request(r, t)
	req.Sources = true
	if _, _, err := resolve(t, req, r.URI()); err == nil || !strings.Contains(err.Error(), "wrong size") || fault.ClassOf(err) != fault.Refused {
		t.Errorf("error %v", err)
	}
}
