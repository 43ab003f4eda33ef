package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// opens are the files that may open others without internal/regular, and why.
var opens = map[string]string{
	"cmd/isotrace/journal.go":               "writes its own log",
	"internal/archive/partial.go":           "writes a download",
	"internal/archive/sources.go":           "through fs.FS, whose files it looks at first",
	"internal/archive/transfer.go":          "opens without blocking, and looks at what it got",
	"internal/artifact/store.go":            "lock files, which it makes",
	"internal/artifact/write.go":            "folders, to sync them",
	"internal/debroot/debroot.go":           "writes what it unpacks",
	"internal/emulator/emulator.go":         "/dev/kvm, the toolbox and a console of QEMU",
	"internal/ociarchive/volumes.go":        "writes volumes",
	"internal/roottree/extract.go":          "writes files, and reads those again that it has written",
	"internal/roottree/walk.go":             "its folder; files through openat(2), which lists have as regular",
	"internal/stage/stagetest/stagetest.go": "a test's own store",
	"provenance/registry/fetch.go":          "writes what it fetches",
	"stages/archive.go":                     "writes what it unpacks",
	"internal/roottree/layer.go":            "folders, without following links",
	"internal/stage/work.go":                "makes its own outputs",
	"internal/bench/main.go":                "measures; its own files and /proc",
	"cmd/attacks/main.go":                   "a developer's keys and attacks",
	"provenance/attack/attack.go":           "a developer's attacks",
	"provenance/attack/change.go":           "a developer's copy of a release",
	"provenance/attack/archives.go":         "a developer's copy of a release",
	"provenance/attack/tracelines.go":       "a developer's copy of a release",
	"internal/sanitise/passes.go":           "a file or folder that a walk found, without following links",
	"internal/stage/removed.go":             "the root of a tree that is mounted read-only",
	"provenance/selftest/escapes.go":        "makes what it opens",
	"stages/build.go":                       "a note of its own store",
	"stages/customise/customise.go":         "content of the store",
	"stages/disk/disk.go":                   "content of the store, and its own output",
	"stages/livetree/livetree.go":           "content of the store",
	"stages/output.go":                      "the sums that two builds of its own wrote",
	"stages/trace/disk.go":                  "content of the store",
	"stages/trace/trace.go":                 "content of the store, and the verified boot set",
	"internal/regular/regular.go":           "is what others use",
}

// TestOpens: whoever opens a file that somebody else may have filled does so through
// internal/regular, which no FIFO holds up and no device is opened by.
func TestOpens(t *testing.T) {
	root := filepath.Join("..", "..")
	used := map[string]bool{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && p != root {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") || strings.HasPrefix(rel, "internal/sandbox/") || strings.HasPrefix(rel, "internal/blockdev/") {
			return nil // these two deal with kernel files and devices alone
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !opensFile(sel) {
				return true
			}
			if opens[rel] == "" {
				t.Errorf("%s: opens a file without internal/regular", set.Position(call.Pos()))
			}
			used[rel] = true
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range opens {
		if !used[name] {
			t.Errorf("%s opens nothing any more: take it off the list", name)
		}
	}
}

// opensFile tells of calls such as os.Open, root.ReadFile and x.root.OpenFile.
func opensFile(sel *ast.SelectorExpr) bool {
	switch sel.Sel.Name {
	case "Open", "OpenFile", "ReadFile":
	default:
		return false
	}
	var of string
	switch x := sel.X.(type) {
	case *ast.Ident:
		of = x.Name
	case *ast.SelectorExpr:
		of = x.Sel.Name
	}
	switch of {
	case "os", "root", "Root", "dir", "unix", "fsys", "tree":
		return true
	}
	return false
}
