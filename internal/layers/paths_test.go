package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// byPath are the functions that take a path of the host and follow the links in it.
// Where programs of others have been, a path leads wherever they want: there, folders are
// opened as an os.Root and files with the functions of package regular.
var byPath = map[string][]string{
	"os": {
		"Chdir", "Chmod", "Chown", "Chtimes", "CopyFS", "Create", "CreateTemp", "DirFS", "Lchown", "Link", "Lstat", "Mkdir", "MkdirAll", "MkdirTemp",
		"Open", "OpenFile", "OpenInRoot", "ReadDir", "ReadFile", "Readlink", "Remove", "RemoveAll", "Rename", "Stat", "Symlink", "Truncate", "WriteFile",
	},
	"path/filepath": {"EvalSymlinks", "Glob", "Walk", "WalkDir"},
	"golang.org/x/sys/unix": {
		"Chmod", "Chown", "Creat", "Getxattr", "Lchown", "Lgetxattr", "Link", "Listxattr", "Llistxattr", "Lsetxattr", "Lstat", "Mkdir", "Mkfifo", "Mknod", "Open",
		"Readlink", "Rename", "Rmdir", "Setxattr", "Stat", "Statfs", "Symlink", "Truncate", "Unlink", "Utimes", "UtimesNano", "UtimesNanoAt",
	},
	"github.com/isotrace/isotrace/internal/artifact": {"HashFile", "WriteBytes", "WriteFile"},
	"github.com/isotrace/isotrace/internal/regular":  {"OpenFile", "ReadFile", "ReadNamed"},
}

// exposed are the packages whose code goes where programs of others have been, or
// hands them files.
func exposed(dir string) bool {
	return strings.HasPrefix(dir, "stages/") || slices.Contains([]string{
		"internal/aptsolve", "internal/debroot", "internal/emulator", "internal/roottree", "internal/sanitise", "internal/stage", "internal/system",
	}, dir)
}

// Why a path is safe.
const (
	store = "the store's content, verified before the stage runs"
	mine  = "a file of the store or of its scratch that no program sees"
	temp  = "Work.Temp: no program sees it"
	given = "Work.Given and what a sandbox is made of: programs see it read-only"
	first = "before the first program runs"
	walk  = "a path that a walk came to from the tree's root, while nobody is at the tree; no link is followed"
	gone  = "removes without following links"
)

// allowed are the calls that are right, by file, with the reason.
var allowed = map[string]map[string]string{
	"internal/aptsolve/aptsolve.go": {
		"os.MkdirAll": first, "regular.OpenFile": mine, "os.WriteFile": first, "artifact.HashFile": first, "artifact.WriteFile": first,
	},
	"internal/debroot/debroot.go":   {"os.MkdirAll": given, "regular.OpenFile": given, "os.OpenFile": given, "os.Remove": given},
	"internal/emulator/emulator.go": {"os.Chmod": first, "os.MkdirTemp": first, "os.OpenFile": "/dev/kvm", "os.RemoveAll": gone},
	"internal/roottree/walk.go":     {"unix.Open": "the tree's root, made or mounted by isotrace itself"},
	"internal/sanitise/acl.go":      {"filepath.WalkDir": walk, "unix.Lgetxattr": walk},
	"internal/sanitise/passes.go":   {"unix.Lgetxattr": walk},
	"internal/sanitise/sanitise.go": {"filepath.WalkDir": walk},
	"internal/stage/changes.go":     {"filepath.WalkDir": walk, "regular.OpenFile": mine, "os.WriteFile": mine, "unix.Lstat": walk},
	"internal/stage/finish.go":      {"artifact.WriteFile": mine, "unix.Lstat": walk},
	"internal/stage/folders.go":     {"artifact.WriteFile": given},
	"internal/stage/gc.go": {
		"filepath.Glob": mine, "filepath.WalkDir": mine, "os.Lstat": mine, "os.ReadDir": mine, "regular.ReadFile": mine, "os.Remove": mine, "os.RemoveAll": gone,
	},
	"internal/stage/mounts.go":   {"os.Mkdir": mine, "os.RemoveAll": gone},
	"internal/stage/remember.go": {"os.MkdirTemp": temp},
	"internal/stage/removed.go":  {"filepath.WalkDir": walk, "unix.Lgetxattr": walk, "unix.Lstat": walk, "unix.Open": "the root of a tree that is mounted read-only"},
	"internal/stage/runner.go":   {"artifact.WriteBytes": mine, "os.Chtimes": mine, "regular.ReadFile": mine},
	"internal/stage/work.go": {
		"os.Chmod": first, "os.Lchown": first, "os.Link": given, "os.Mkdir": first, "os.MkdirAll": given, "regular.OpenFile": store, "os.OpenFile": given,
		"os.RemoveAll": gone, "os.Stat": given, "unix.Chmod": first, "unix.Lstat": first,
	},
	"internal/system/system.go":     {"regular.ReadFile": store},
	"stages/base/image.go":          {"regular.ReadFile": store, "regular.OpenFile": store},
	"stages/bootparts/bootparts.go": {"regular.OpenFile": store},
	"stages/contents/contents.go":   {"artifact.WriteFile": temp},
	"stages/customise/customise.go": {"artifact.WriteBytes": given, "regular.OpenFile": store, "os.ReadFile": store},
	"stages/disk/archive.go":        {"artifact.WriteFile": given, "regular.OpenFile": store},
	"stages/disk/disk.go":           {"os.ReadFile": store, "os.Remove": given},
	"stages/install/repository.go":  {"artifact.WriteBytes": given, "os.Link": given, "os.Mkdir": given, "os.MkdirAll": given},
	"stages/livetree/livetree.go":   {"os.ReadFile": store},
	"stages/livetree/memorytest.go": {"regular.ReadFile": store},
	"stages/sbom/files.go":          {"artifact.WriteBytes": temp, "regular.OpenFile": store},
	"stages/sbom/sbom.go":           {"artifact.WriteFile": temp, "regular.OpenFile": store},
	"stages/sourceiso/sourceiso.go": {"artifact.WriteBytes": given},
	"stages/trace/disk.go":          {"os.ReadFile": store},
	"stages/trace/trace.go":         {"artifact.WriteFile": temp, "regular.OpenFile": store, "os.ReadFile": store},
}

func TestPathsOfOthers(t *testing.T) {
	root := filepath.Join("..", "..")
	have := map[string]map[string]bool{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); !exposed(rel[:max(strings.LastIndex(rel, "/"), 0)]) {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, 0)
		if err != nil {
			return err
		}
		for call := range pathCalls(t, f) {
			if have[rel] == nil {
				have[rel] = map[string]bool{}
			}
			have[rel][call] = true
			if allowed[rel][call] == "" {
				t.Errorf("%s: %s takes a path of the host: use an os.Root and package regular, or say here why the path is nobody else's", rel, call)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range slices.Sorted(maps.Keys(allowed)) {
		for call := range allowed[file] {
			if !have[file][call] {
				t.Errorf("%s: has no %s any more: take it off the list", file, call)
			}
		}
	}
}

// pathCalls are the functions of byPath that a file uses, as PACKAGE.NAME.
func pathCalls(t *testing.T, f *ast.File) map[string]bool {
	t.Helper()
	names := map[string][]string{} // by the package's name in the file
	for _, i := range f.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if of, ok := byPath[name]; ok {
			if i.Name != nil {
				t.Errorf("%s: imported as %s", name, i.Name.Name)
			}
			names[name[strings.LastIndex(name, "/")+1:]] = of
		}
	}
	found := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(names[x.Name], s.Sel.Name) {
				found[x.Name+"."+s.Sel.Name] = true
			}
		}
		return true
	})
	return found
}
