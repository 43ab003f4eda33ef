package selftest

import (
	"encoding/csv"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/requirement"
)

var update = flag.Bool("update", false, "write docs/qualification/matrix.md")

const kit = "../../docs/qualification"

// TestMatrix holds the tool operational requirements to the tests that show them: each has
// one, and each that is named is there. It writes matrix.md.
func TestMatrix(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(kit, "requirements.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := requirement.Read("requirements.csv", text); err != nil {
		t.Errorf("isotrace itself cannot read the list: %v", err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil || !slices.Equal(rows[0], []string{"id", "title", "text", "tests"}) {
		t.Fatalf("%v, %v", rows[0], err)
	}
	there := allTests(t)
	known := map[string]bool{}
	var b strings.Builder
	b.WriteString("# Requirements and the tests that show them\n\nMade from `requirements.csv` by `go test ./provenance/selftest -run TestMatrix -update`.\n\n| id | about | requirement | tests |\n|---|---|---|---|\n")
	for _, r := range rows[1:] {
		if known[r[0]] {
			t.Errorf("%s stands there twice", r[0])
		}
		known[r[0]] = true
		names := strings.Fields(r[3])
		if len(names) == 0 {
			t.Errorf("%s: no test shows it", r[0])
		}
		for _, n := range names {
			if !there[n] {
				t.Errorf("%s: there is no test %s", r[0], n)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", r[0], r[1], r[2], strings.Join(names, "`, `"))
	}
	for _, s := range tests {
		for _, id := range s.requirements {
			if !known[id] {
				t.Errorf("the self-test %s serves %s, which is not known", s.name, id)
			}
		}
	}
	file := filepath.Join(kit, "matrix.md")
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || string(have) != b.String() {
		t.Errorf("%s is not what requirements.csv makes (%v): run it with -update", file, err)
	}
}

// allTests are the tests of the module, as FOLDER.TestName, and its scripts, as script:NAME.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if name, ok := strings.CutSuffix(d.Name(), ".txtar"); ok && path.Base(path.Dir(filepath.ToSlash(rel))) == "script" {
			found["script:"+name] = true
		}
		if !strings.HasSuffix(p, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") && fn.Name.Name != "TestMain" {
				found[path.Dir(filepath.ToSlash(rel))+"."+fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil || len(found) < 100 {
		t.Fatalf("%d tests, %v", len(found), err)
	}
	return found
}
