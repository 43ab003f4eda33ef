package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/artifact/artifacttest"
	"github.com/isotrace/isotrace/internal/stage/stagetest"
	"github.com/isotrace/isotrace/stages"
)

// The end-to-end tests build and boot examples/rescue from the Debian archive
// that the host's apt sources or ISOTRACE_MIRROR name.

// e2e is what the tests share.
var e2e struct {
	dir    string // removed at the end
	binary string
	store  string
	once   sync.Once
	built  *project // examples/rescue, built
	err    error
	// mirrors are addresses for ISOTRACE_MIRROR, from when the example is built: what is
	// locked after it rests on the same Release files. An archive may change at any time,
	// and with it what a test compares.
	mirrors atomic.Pointer[string]
}

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == helperArg {
		fmt.Fprintln(os.Stderr, helper(os.Args[2], os.Args[3:]))
		os.Exit(1)
	}
	os.Exit(withBinary(m))
}

func withBinary(m *testing.M) int {
	dir, err := os.MkdirTemp("", "isotrace-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // other users run the binary
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e2e.dir, e2e.binary, e2e.store = dir, filepath.Join(dir, "isotrace"), filepath.Join(dir, "store")
	build := exec.Command("go", "build", "-o", e2e.binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // it must run where there is no library
	out, err := build.CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build isotrace: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	// What the sandbox made for an ordinary user belongs to that user's other
	// ids: isotrace itself can remove it.
	gc := exec.Command(e2e.binary, "--store", e2e.store, "store", "gc", "--unused", "0s")
	if out, err := gc.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "empty the store: %v\n%s", err, out)
		code = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// project is a copy of an example with a key of its own.
type project struct{ dir string }

func (p *project) out(elem ...string) string {
	return filepath.Join(append([]string{p.dir, "out"}, elem...)...)
}
func (p *project) iso() string { return p.out("rescue.iso") }

func newProject(dir, example string) (*project, error) {
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "examples", example))); err != nil {
		return nil, err
	}
	p := &project{dir: dir}
	out, code := p.run("keys", "new")
	if code != 0 {
		return nil, fmt.Errorf("keys new: exit status %d: %s", code, out)
	}
	return p, nil
}

// copyOf copies another project, but for what it has built: other tests may be writing there.
func (p *project) copyOf(other *project) error {
	entries, err := os.ReadDir(other.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(other.dir, e.Name()), filepath.Join(p.dir, e.Name())
		switch {
		case from == other.out():
			continue
		case e.IsDir():
			err = os.CopyFS(to, os.DirFS(from))
		default:
			var b []byte
			if b, err = os.ReadFile(from); err == nil {
				err = errors.Join(os.MkdirAll(p.dir, 0o755), os.WriteFile(to, b, 0o644))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const testPassword = "only for tests"

// run calls isotrace on the project with the shared store.
func (p *project) run(args ...string) (output string, code int) {
	c := p.command(args...)
	out, err := c.CombinedOutput()
	if err != nil && c.ProcessState == nil {
		return err.Error(), -1
	}
	return string(out), c.ProcessState.ExitCode()
}

func (p *project) command(args ...string) *exec.Cmd {
	c := exec.Command(e2e.binary, append([]string{"-C", p.dir, "--progress", "plain"}, args...)...)
	c.Env = append(os.Environ(), "COSIGN_PASSWORD="+testPassword, "ISOTRACE_STORE="+e2e.store)
	if mirrors := e2e.mirrors.Load(); mirrors != nil {
		c.Env = append(c.Env, "ISOTRACE_MIRROR="+*mirrors)
	}
	return c
}

// rescue returns the example, built once for all tests.
func rescue(t *testing.T) *project {
	t.Helper()
	e2e.once.Do(func() {
		p, err := newProject(filepath.Join(e2e.dir, "rescue"), "rescue")
		if err != nil {
			e2e.err = err
			return
		}
		if out, code := p.run("build"); code != 0 {
			e2e.err = fmt.Errorf("build: exit status %d\n%s", code, out)
			return
		}
		e2e.built = p
		releases := "file://" + filepath.Join(p.dir, stages.ReleasesDir)
		mirrors := strings.Join([]string{"debian=" + releases + "/debian", "debian-security=" + releases + "/debian-security", os.Getenv("ISOTRACE_MIRROR")}, " ")
		e2e.mirrors.Store(&mirrors)
	})
	if e2e.err != nil {
		t.Fatal(e2e.err)
	}
	return e2e.built
}

// sharedStore opens the store of all tests, until the test ends.
func sharedStore(t *testing.T) *artifact.Store {
	t.Helper()
	return artifacttest.Open(t, e2e.store)
}

func digestOf(t *testing.T, file string) artifact.Digest {
	t.Helper()
	d, _, err := artifact.HashFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// digests lists the files below a folder.
func digests(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		sum, _, err := artifact.HashFile(p)
		list = append(list, strings.TrimPrefix(p, dir)+" "+string(sum))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

func TestRescueVerifies(t *testing.T) {
	p := rescue(t)
	out, code := p.run("verify", p.out(), "--key", filepath.Join(p.dir, "keys", "builder.pub"), "--archive-key", filepath.Join(p.dir, "keys", "debian-archive.asc"))
	if code != 0 {
		t.Fatalf("exit status %d:\n%s", code, out)
	}
	// What can be shown of a build nobody has released, without its archives.
	for _, rule := range []string{"evidence", "links", "chain", "lock", "archives", "base", "image", "attested",
		"medium", "checksums", "secureboot", "squashfs", "trace"} {
		if !strings.Contains(out, "ok    "+rule+" ") {
			t.Errorf("%s was not shown:\n%s", rule, out)
		}
	}
	if out, code := p.run("build", "--json"); code != 0 || !strings.Contains(out, string(digestOf(t, p.iso()))) {
		t.Fatalf("unchanged rebuild: exit status %d:\n%s", code, out)
	}
}

// stageNames are the stages that every build has, in order.
func stageNames(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command(e2e.binary, "stages", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ Name, Only string }
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list {
		if s.Only == "" {
			names = append(names, s.Name)
		}
	}
	return names
}

// TestKilled kills builds that share a store, one in each stage, and then lets
// one go on to the end.
func TestKilled(t *testing.T) {
	t.Parallel()
	reference := rescue(t)
	store := filepath.Join(e2e.dir, "killed-store")
	p := &project{dir: filepath.Join(t.TempDir(), "rescue")}
	if err := p.copyOf(reference); err != nil {
		t.Fatal(err)
	}
	seedDownloads(t, store)
	t.Cleanup(func() {
		if out, err := exec.Command(e2e.binary, "--store", store, "store", "gc", "--unused", "0s").CombinedOutput(); err != nil {
			t.Errorf("empty the store: %v\n%s", err, out)
		}
	})
	for _, name := range stageNames(t) {
		if err := stagetest.Forget(store, name); err != nil { // it may have run beside an earlier one
			t.Fatal(err)
		}
		killIn(t, p, store, name)
		if entries, err := filepath.Glob(p.out("*.iso")); err != nil || len(entries) > 0 {
			t.Fatalf("killed in stage %s: out holds %v (%v)", name, entries, err)
		}
	}
	c := p.command("--store", store, "build")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build after the kills: %v\n%s", err, out)
	}
	if have, want := digestOf(t, p.iso()), digestOf(t, reference.iso()); have != want {
		t.Errorf("the ISO after the kills is %s, want %s", have, want)
	}
	if have, want := digests(t, p.out("evidence")), digests(t, reference.out("evidence")); have != want {
		t.Error("the evidence after the kills is another")
	}
	left, err := os.ReadDir(filepath.Join(store, "work"))
	if err != nil || len(left) > 0 {
		t.Errorf("%d folders are left in the store's work (%v)", len(left), err)
	}
}

// seedDownloads gives a store the files of the shared one, but no results.
func seedDownloads(t *testing.T, store string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(e2e.store, "files", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		head := make([]byte, 8)
		r, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := io.ReadFull(r, head)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		// Packages and indexes alone: everything else is what a build makes.
		if s := string(head[:n]); !strings.HasPrefix(s, "!<arch>\n") && !strings.HasPrefix(s, "\xfd7zXZ") && !strings.HasPrefix(s, "-----BEG") {
			continue
		}
		to := filepath.Join(store, "files", filepath.Base(filepath.Dir(f)), filepath.Base(f))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(f, to); err != nil {
			t.Fatal(err)
		}
	}
}

// killIn starts a build and kills it, with all that it started, a moment after
// the stage has begun.
func killIn(t *testing.T, p *project, store, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c := p.command("--store", store, "--progress", "json", "build")
	events, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
	defer stop()
	var last string
	dec := json.NewDecoder(events)
	for {
		var e event
		if err := dec.Decode(&e); err != nil {
			rest, _ := io.ReadAll(io.MultiReader(dec.Buffered(), events))
			t.Fatalf("stage %s did not begin: %v; last %s\n%s", name, err, last, rest)
		}
		last = e.Stage + " " + string(e.State)
		if e.Stage == name && e.State == "running" {
			break
		}
	}
	time.Sleep(150 * time.Millisecond)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, events)
	_ = c.Wait() // it was killed
}

// TestInterrupted sends the signal of a keyboard to a build.
func TestInterrupted(t *testing.T) {
	reference := rescue(t)
	p := &project{dir: filepath.Join(t.TempDir(), "rescue")}
	if err := p.copyOf(reference); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(e2e.dir, "interrupted-store")
	emptyStore(t, store)
	seedDownloads(t, store)
	c := p.command("--store", store, "build")
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "base       running") {
			if err := c.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = c.Wait() // its exit status is looked at below
	if code := c.ProcessState.ExitCode(); code != 1 || strings.Count(text.String(), "isotrace: error: interrupted") != 1 || strings.Count(text.String(), "isotrace: error:") != 1 {
		t.Errorf("exit status %d:\n%s", code, text.String())
	}
	if left, err := os.ReadDir(filepath.Join(store, "work")); err != nil || len(left) > 0 {
		t.Errorf("left in the store's work: %v, %v", left, err)
	}
	if left, err := filepath.Glob(p.out("*")); err != nil || len(left) != 1 || filepath.Base(left[0]) != "journal" {
		t.Errorf("left in out: %v, %v", left, err)
	}
}
