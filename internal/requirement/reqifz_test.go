package requirement

import (
	"archive/zip"
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
)

// archive is a zip archive of names and contents.
func archive(t testing.TB, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		m, err := w.Create(members[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write([]byte(members[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func one(id string) string { return reqif([]string{"ID"}, objects([]string{"_" + id, "ID", id})) }

func TestReqIFZ(t *testing.T) {
	l, err := Read("a.reqifz", []byte(archive(t, "z/my list.reqif", one("R-1"), "a.REQIF", one("R-2"), "picture.png", "\x89PNG", "__MACOSX/z/._my list.reqif", "x", "z.reqif/", "")))
	if err != nil {
		t.Fatal(err)
	}
	want := []Requirement{{ID: "R-1", Source: "a.reqifz/z/my list.reqif:_R-1"}, {ID: "R-2", Source: "a.reqifz/a.REQIF:_R-2"}}
	if !reflect.DeepEqual(l.all, want) {
		t.Errorf("have %+v\nwant %+v", l.all, want)
	}
}

func TestReqIFZRefuses(t *testing.T) {
	hint := "a .reqifz is a zip archive without a password"
	whole := archive(t, "a.reqif", one("R-1"))
	damaged := []byte(whole)
	damaged[60] ^= 1
	comments := strings.Repeat("<!--"+strings.Repeat(" ", 1<<20)+"-->", 32)
	checkRefusals(t, map[string]refusal{
		"no zip":    {"a.reqifz", one("R-1"), "a.reqifz: zip: not a valid zip file", hint},
		"cut off":   {"a.reqifz", whole[:len(whole)-1], "a.reqifz: zip: not a valid zip file", hint},
		"no list":   {"a.reqifz", archive(t, "a.csv", "id\nR-1\n"), "a.reqifz: lists no requirement", "want the project's requirements, with their identifiers"},
		"bad list":  {"a.reqifz", archive(t, "a.reqif", "\n<x/>"), `a.reqifz/a.reqif:2: element "x" of namespace "" is no document of ReqIF 1.0 to 1.2`, rootHint},
		"bad name":  {"a.reqifz", archive(t, "a\x1b.reqif", one("R-1")), `a.reqifz: "a\x1b.reqif" is no name for a file`, ""},
		"twice":     {"a.reqifz", archive(t, "b.reqif", one("R-1"), "a.reqif", one("R-1")), "a.reqifz/b.reqif:_R-1: R-1 is listed twice, first at a.reqifz/a.reqif:_R-1", "give every requirement an identifier of its own"},
		"members":   {"a.reqifz", strings.Repeat("PK\x01\x02", maxMembers+1), "a.reqifz: more than 10000 files in the archive", ""},
		"too large": {"a.reqifz", archive(t, "a.reqif", comments+one("R-1"), "b.reqif", comments+one("R-2")), "a.reqifz: holds more than 67108864 bytes of ReqIF", ""},
	})
	if _, err := Read("a.reqifz", damaged); err == nil || !strings.HasPrefix(err.Error(), "a.reqifz/a.reqif: ") {
		t.Errorf("damaged: error %v", err)
	}
}

func FuzzReqIFZ(f *testing.F) {
	sample, err := os.ReadFile("testdata/rescue.reqif")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(archive(f, "a.reqif", string(sample), "b/b.reqif", one("R-1"))))
	f.Add([]byte(archive(f)))
	f.Add([]byte("PK\x01\x02PK\x05\x06"))
	f.Fuzz(func(t *testing.T, in []byte) {
		l, err := Read("fuzz.reqifz", in)
		if err != nil && strings.Contains(err.Error(), "fuzz.reqifz: zip: ") {
			return
		}
		checkResult(t, "fuzz.reqifz", l, err)
	})
}
