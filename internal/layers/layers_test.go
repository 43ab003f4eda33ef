// Package layers holds the tree to its layering: which package may import
// which.
package layers

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/isotrace/isotrace/"

// own says what of ours a package may import, tests aside. A package that is
// not listed may import anything below internal/ but no stage.
var own = map[string][]string{
	"internal/fault":    {},
	"internal/artifact": {"internal/fault"},
	"internal/epoch":    {},
	"internal/tool":     {},
	"internal/sandbox":  {"internal/fault"},
	"internal/stage":    {"internal/artifact", "internal/background", "internal/epoch", "internal/fault", "internal/regular", "internal/roottree", "internal/sandbox", "internal/tool"},
	"internal/roottree": {"internal/artifact"},
}

// only are imports that one package alone may have.
var only = map[string][]string{
	"os/exec": {"internal/sandbox", "internal/bench"},
	"syscall": {"internal/sandbox", "internal/bench", "cmd/isotrace", "stages/customise", "internal/roottree"},
}

func TestLayers(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && p != root {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if why := forbidden(path.Dir(filepath.ToSlash(rel)), name); why != "" {
				t.Errorf("%s imports %s: %s", rel, name, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func forbidden(dir, name string) string {
	if allowed, ok := only[name]; ok {
		for _, a := range allowed {
			if dir == a {
				return ""
			}
		}
		return "only " + strings.Join(allowed, ", ") + " may"
	}
	imported, ours := strings.CutPrefix(name, module)
	switch {
	case !ours || strings.HasPrefix(dir, "cmd/"):
		return ""
	case strings.HasPrefix(dir, "stages/") && (strings.HasPrefix(imported, "stages") || strings.HasPrefix(imported, "provenance")):
		return "a stage imports no other stage and knows nothing of signatures"
	case strings.HasPrefix(dir, "internal/") && !strings.HasPrefix(imported, "internal/"):
		return "internal packages import internal ones alone"
	case strings.HasPrefix(dir, "provenance") && strings.HasPrefix(imported, "stages"):
		return "records are checked without the code that made them"
	}
	allowed, listed := own[dir]
	if !listed {
		return ""
	}
	for _, a := range allowed {
		if imported == a {
			return ""
		}
	}
	return "its layer allows " + strings.Join(allowed, ", ")
}
