package provenance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// withTree is an output folder whose evidence has the manifest of a tree.
func withTree(t *testing.T, entries ...roottree.Entry) string {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, EvidenceDir, ManifestDir, "customise")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(at, "root.mtree"))
	if err != nil {
		t.Fatal(err)
	}
	m := roottree.Manifest{Entries: append([]roottree.Entry{{Path: ".", Type: roottree.Dir, Mode: 0o755}}, entries...)}
	if err := m.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func entry(name string, mode uint32) roottree.Entry {
	return roottree.Entry{Path: name, Type: roottree.File, Mode: mode, SHA256: digest(name)}
}

func TestExplain(t *testing.T) {
	before := withTree(t, entry("etc-a", 0o644), entry("etc-b", 0o644))
	after := withTree(t, entry("etc-b", 0o600), entry("etc-c", 0o644))
	rec := func(command, params string, product artifact.Digest) stage.Record {
		return stage.Record{Name: "customise", Params: []byte(params), Commands: []tool.Command{tool.New("sh", command)},
			Products: map[string]artifact.Digest{"customise/root.mtree": product}}
	}
	a, b := rec("one", "{}", digest("a")), rec("two", `{"x":1}`, digest("b"))
	b.Materials = map[string]artifact.Digest{"project/new": digest("new")}
	want := []string{
		`run 1 was "sh one"`, `run 1 is  "sh two"`, "parameters were {}", `parameters are  {"x":1}`, "material project/new: is new", "product customise/root.mtree",
		"  etc-a: missing", "  etc-b: mode is 0600, want 0644", "  etc-c: extra",
	}
	if have := Explain(before, after, a, b); !slices.Equal(have, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if have := Explain(before, before, a, a); len(have) > 0 {
		t.Errorf("the same: %q", have)
	}
	// Of what is not there it says nothing more.
	if have := Explain(t.TempDir(), after, a, rec("one", "{}", digest("b"))); !slices.Equal(have, []string{"product customise/root.mtree"}) {
		t.Errorf("without evidence: %q", have)
	}
	many := rec("one", "{}", digest("a"))
	for _, n := range strings.Split("abcdefghijklmnopq", "") {
		many.Products["customise/"+n] = digest(n)
	}
	if have := Explain(before, after, a, many); len(have) != maxExplained+1 || have[maxExplained] != "5 more products differ" {
		t.Errorf("many: %q", have)
	}
}
