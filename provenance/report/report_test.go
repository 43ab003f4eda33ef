package report

import (
	"encoding/csv"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
)

func sample() *dossier {
	return &dossier{
		Verified: &provenance.Verified{
			Bundle: &provenance.Bundle{Config: &config.Config{Name: "x", Release: "1"}},
			Images: []artifact.Ref{{Path: "x.iso", Digest: artifact.HashBytes([]byte("iso"))}},
		},
		cited: map[string]artifact.Ref{"b": {Path: "evidence/b", Digest: artifact.HashBytes([]byte("b")), Size: 1}, "a": {Path: "evidence/a", Digest: artifact.HashBytes([]byte("a")), Size: 1}},
	}
}

// Files are cited once, in the order of their paths, and rows find them there.
func TestCites(t *testing.T) {
	p := sample().page("x", "X")
	p.section("s", "S", "", "one", "two")
	p.row(from("b"), "1", "")
	p.row(from("b", "a", "b", "missing"), "2", "=SUM(A1)")
	p.row(nil, "3", "")
	d := p.done()
	if len(d.Cites) != 2 || d.Cites[0].Path != "evidence/a" || d.Cites[1].Path != "evidence/b" {
		t.Errorf("cites %v", d.Cites)
	}
	want := []Row{{[]string{"1", NotRecorded}, []int{1}}, {[]string{"2", "=SUM(A1)"}, []int{0, 1}}, {[]string{"3", NotRecorded}, []int{}}}
	for i, r := range d.Sections[0].Rows {
		if !slices.Equal(r.Cells, want[i].Cells) || !slices.Equal(r.Cites, want[i].Cites) {
			t.Errorf("row %d: %v, want %v", i, r, want[i])
		}
	}
	text, err := CSV(d)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil || len(rows) != 4 || rows[2][2] != "'=SUM(A1)" || rows[3][3] != NotRecorded || !strings.HasPrefix(rows[1][3], "evidence/b sha256:") {
		t.Errorf("%v, %q", err, text)
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{"": "", "a=b": "a=b", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx"} {
		if have := harmless(in); have != want {
			t.Errorf("%q: %q, want %q", in, have, want)
		}
	}
}

// Each stage comes behind those from which it takes; a circle, which no build has, ends.
func TestInOrder(t *testing.T) {
	record := func(name string, takes ...string) stage.Record {
		r := stage.Record{Name: name, Materials: map[string]artifact.Digest{"project/x": "", name + "/of-itself": ""}}
		for _, m := range takes {
			r.Materials[m] = ""
		}
		return r
	}
	records := map[string]stage.Record{"a": record("a", "b/x", "c/y"), "b": record("b", "c/y"), "c": record("c"), "d": record("d")}
	if have := inOrder(records); !slices.Equal(have, []string{"c", "b", "a", "d"}) {
		t.Errorf("order %v", have)
	}
	if have := inOrder(map[string]stage.Record{"a": record("a", "b/x"), "b": record("b", "a/x")}); len(have) != 2 {
		t.Errorf("order %v", have)
	}
}
