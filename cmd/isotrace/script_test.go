package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
)

// TestScripts runs testdata/script/*.txtar. Beside testscript's own commands
// there is "status N COMMAND…", which wants an exit status.
func TestScripts(t *testing.T) {
	env := testArchives(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", e2e.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("ISOTRACE_STORE", filepath.Join(e.WorkDir, ".store"))
			e.Setenv("COSIGN_PASSWORD", testPassword)
			for name, value := range env {
				e.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		ts.Fatalf("status %s: %v", args[0], err)
	}
	have := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		have = exit.ExitCode()
	}
	if have != want {
		ts.Fatalf("exit status %d, want %d", have, want)
	}
}

// testArchives makes small signed archives in various states and returns where
// they are, for the scripts' environment.
func testArchives(t *testing.T) map[string]string {
	now := time.Now().UTC().Truncate(time.Second)
	day := 24 * time.Hour
	keys := t.TempDir()
	env := map[string]string{}
	add := func(name string, date, until time.Time, o archivetest.Options, spoil func(*archivetest.Repo)) {
		r := archivetest.New(t)
		r.AddPackage("Package: hello\nVersion: 1.0\nArchitecture: all\n")
		key := r.Publish("stable", "main", date, until, o)
		if spoil != nil {
			spoil(r)
		}
		file := filepath.Join(keys, name+".asc")
		if err := os.WriteFile(file, key, 0o644); err != nil {
			t.Fatal(err)
		}
		env[name+"_URI"], env[name+"_KEY"] = r.URI(), file
	}
	add("GOOD", now.Add(-day), now.Add(day), archivetest.Options{}, nil)
	add("EXPIRED", now.Add(-9*day), now.Add(-2*day), archivetest.Options{}, nil)
	add("FORGED", now.Add(-day), now.Add(day), archivetest.Options{Keys: []*archivetest.Key{archivetest.NewKey(t, now.Add(-30*day), 0)}}, nil)
	add("CHANGED", now.Add(-day), now.Add(day), archivetest.Options{}, func(r *archivetest.Repo) {
		r.Write("dists/stable/main/binary-amd64/Packages.xz", []byte("changed"))
		r.Remove("dists/stable/main/binary-amd64/by-hash/SHA256/*")
	})
	add("RENAMED", now.Add(-day), now.Add(day), archivetest.Options{Codename: "other", SuiteField: "other"}, nil)
	return env
}
