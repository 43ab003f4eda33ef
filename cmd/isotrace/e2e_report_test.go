package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/provenance/report"
)

// TestReport: the documents follow their schema, cite files that are as cited, have what
// a configuration index needs or say that it is not recorded, and every package of the
// lock; the same evidence gives the same bytes, and changed evidence gives none.
func TestReport(t *testing.T) {
	p := released(t)
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	for _, dir := range []string{first, second, second} { // the last one in the place of one that is there
		if out, code := p.run(append([]string{"report", p.out(), "-o", dir}, p.trust()...)...); code != 0 {
			t.Fatalf("exit status %d\n%s", code, out)
		}
	}
	if a, b := digests(t, first), digests(t, second); a != b {
		t.Errorf("two runs differ:\n%s\n%s", a, b)
	}
	docs := map[string]report.Document{}
	schema := documentSchema(t)
	for _, id := range report.IDs() {
		text := readAll(t, filepath.Join(first, id+".json"))
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		var d report.Document
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		docs[id] = d
		cited(t, p, d)
	}
	items := map[string][]string{
		"sci":  {"identification", "object-code", "sources", "previously-developed", "data", "media", "build", "seci", "integrity", "user-modifiable", "load"},
		"seci": {"host", "isotrace", "tools", "programs", "test-environment", "qualified"},
	}
	for id, want := range items {
		var have []string
		for _, s := range docs[id].Sections {
			have = append(have, s.ID)
			if len(s.Rows) == 0 {
				t.Errorf("%s: %s is empty", id, s.ID)
			}
		}
		if !slices.Equal(have, want) {
			t.Errorf("%s has %v, want %v", id, have, want)
		}
	}
	wholeLock(t, p, docs["packages"])

	// A folder with anything else in it stays as it is; what does not verify is not reported.
	if err := os.WriteFile(filepath.Join(second, "minutes.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code := p.run("report", p.out(), "-o", second); code != 2 || !strings.Contains(out, "holds minutes.txt, which is no document of a report") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.CopyFS(bad, os.DirFS(p.out())); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(bad, "evidence", "trace", "trace.json")
	if err := os.WriteFile(trace, []byte(strings.Replace(string(readAll(t, trace)), "RSC-1", "RSC-9", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, code := p.run("report", bad); code != 3 || !strings.Contains(out, "trace/trace.json") {
		t.Errorf("changed evidence: exit status %d\n%s", code, out)
	}
	if _, err := os.Stat(filepath.Join(bad, "report")); err == nil {
		t.Error("changed evidence has a report")
	}
}

func documentSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "formats", "report.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// cited compares the digests that a document gives with the files, and its rows with
// what it says of them.
func cited(t *testing.T, p *project, d report.Document) {
	t.Helper()
	for _, c := range d.Cites {
		if have := digestOf(t, p.out(filepath.FromSlash(c.Path))); have != c.Digest {
			t.Errorf("%s cites %s with %s, it has %s", d.ID, c.Path, c.Digest, have)
		}
	}
	for _, s := range d.Sections {
		for _, r := range s.Rows {
			known := false
			for i, c := range r.Cells {
				if c == "" && (d.ID != "conformity" || i < 3) {
					t.Errorf("%s: %s: %q has an empty cell", d.ID, s.ID, r.Cells)
				}
				known = known || i > 0 && c != report.NotRecorded && d.ID != "conformity"
			}
			if len(r.Cells) != len(s.Columns) || known && len(r.Cites) == 0 {
				t.Errorf("%s: %s: %d cells for %d columns, %d cites: %q", d.ID, s.ID, len(r.Cells), len(s.Columns), len(r.Cites), r.Cells)
			}
			for _, i := range r.Cites {
				if i >= len(d.Cites) {
					t.Errorf("%s: %s: cites file %d of %d", d.ID, s.ID, i, len(d.Cites))
				}
			}
		}
	}
}

// wholeLock looks for every package of the lock in the matrix, with its digest.
func wholeLock(t *testing.T, p *project, d report.Document) {
	t.Helper()
	have := map[string]bool{}
	for _, s := range d.Sections {
		for _, r := range s.Rows {
			row := map[string]string{}
			for i, c := range r.Cells {
				row[s.Columns[i]] = c
			}
			have[s.ID+" "+row["Package"]+" "+row["Version"]+" "+row["Architecture"]+" "+row[".deb, SHA-256"]] = row["Signed by"] != report.NotRecorded && row["Record of the stage"] != report.NotRecorded || s.ID == "tools"
		}
	}
	l, n := readLock(t, p), 0
	for set, list := range map[string][]lockfile.Package{"target": l.Target, "boot": l.Boot, "tools": l.Tools} {
		for _, k := range list {
			n++
			if !have[set+" "+k.Name+" "+k.Version+" "+k.Architecture+" "+string(k.SHA256)] {
				t.Errorf("%s: %s is not in the matrix, or has no key or record there", set, k.ID())
			}
		}
	}
	if n < 200 || len(have) != n {
		t.Errorf("%d packages in the lock, %d in the matrix", n, len(have))
	}
}
