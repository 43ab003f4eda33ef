package customise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact/artifacttest"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
)

func TestMain(m *testing.M) {
	inside, code, err := sandbox.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !inside {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// program builds a script of the project: a program of its own, so that the tree needs
// no shell.
func program(t *testing.T, body string) []byte {
	t.Helper()
	dir := t.TempDir()
	text := "package main\n\nimport \"os\"\n\nfunc main() {\n" + body + "\n}\n\nfunc must(err error) {\n\tif err != nil {\n\t\tpanic(err)\n\t}\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "go", "build", "-o", "program", "main.go")
	c.Dir, c.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// customised runs the stage with scripts on a tree of a few files, and returns the
// folder of what it gives.
func customised(t *testing.T, see func(dir string), scripts ...[]byte) error {
	t.Helper()
	store := artifacttest.Open(t, filepath.Join(t.TempDir(), "store"))
	g := &stage.Graph{}
	base := g.Add(stage.Stage{
		Name: "base", Version: 1, Outputs: []stage.Output{{Name: "root", Kind: stage.KindTree}},
		Run: func(_ context.Context, w *stage.Work) error {
			dir, err := w.NewTree("root")
			return errors.Join(err, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
		},
	})
	var p Params
	var materials []stage.Material
	for i, b := range scripts {
		ref, err := store.Add(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		ref.Path = fmt.Sprint("project/script-", i)
		materials, p.Scripts = append(materials, stage.Material{Ref: ref}), append(p.Scripts, ref.Path)
	}
	made := g.Add(Stage(base.Tree("root"), materials, p))
	err := (&stage.Runner{Store: store, Epoch: 1700000000}).WithTree(t.Context(), g, made.Tree("root"), func(dir string) error {
		see(dir)
		return nil
	})
	for _, m := range materials { // content of the store stays what it was, whoever saw it
		if _, verr := store.Verify(m.Digest); verr != nil {
			t.Error(verr)
		}
	}
	return err
}

// TestScriptsLeaveLinks: where a script leaves a link to a file of the host, nothing is
// written through it.
func TestScriptsLeaveLinks(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("the host's"), 0o600); err != nil {
		t.Fatal(err)
	}
	leave := program(t, fmt.Sprintf(`
	for _, name := range []string{"script-0", "script-1", "script-2"} {
		must(os.RemoveAll("/tmp/" + name))
		must(os.Symlink(%q, "/tmp/" + name))
		if os.Symlink(%q, "/run/isotrace/in/given/" + name + ".link") == nil || os.Remove("/run/isotrace/in/given/" + name) == nil {
			panic("what was given can be changed")
		}
	}
	if f, err := os.OpenFile("/run/isotrace/in/given/script-0", os.O_WRONLY, 0); err == nil {
		panic("a script can be written to: " + f.Name())
	}
	if os.Chmod("/run/isotrace/in/material/project/script-1", 0o777) == nil {
		panic("the store's content can be changed")
	}`, victim, victim))
	tell := program(t, `must(os.WriteFile("/etc/told", []byte(os.Getenv("ISOTRACE_SCRIPT")), 0o644))`)
	var told []byte
	err := customised(t, func(dir string) {
		var err error
		if told, err = os.ReadFile(filepath.Join(dir, "etc/told")); err != nil {
			t.Error(err)
		}
	}, leave, tell)
	if err != nil {
		t.Error(err)
	}
	if string(told) != "project/script-1" {
		t.Errorf("the second script told %q", told)
	}
	st, err := os.Stat(victim)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "the host's" || st.Mode().Perm() != 0o600 {
		t.Errorf("a file of the host was changed: %d bytes, %v, %v", len(b), st.Mode(), err)
	}
}

// TestScriptFails: the error names the script.
func TestScriptFails(t *testing.T) {
	err := customised(t, func(string) {}, program(t, `os.Exit(3)`))
	exit, ok := errors.AsType[*sandbox.ExitError](err)
	if !ok || exit.Code != 3 || !strings.Contains(err.Error(), "script project/script-0: ") {
		t.Errorf("have %v", err)
	}
}
