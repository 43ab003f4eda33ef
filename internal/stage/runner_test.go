package stage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/artifact/artifacttest"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sandbox"
)

// pipeline is a small one: a file, a tree with it, and a tree on top.
type pipeline struct {
	text     string // what the file holds; a parameter
	version  int
	epoch    epoch.Epoch
	material artifact.Ref
	fail     string       // the stage that fails
	fickle   bool         // the file differs each time
	runs     atomic.Int64 // how many stages ran
}

func (p *pipeline) graph() (*Graph, File, Tree) {
	g := &Graph{}
	counted := func(name string, run func(*Work) error) func(context.Context, *Work) error {
		return func(_ context.Context, w *Work) error {
			n := p.runs.Add(1)
			if p.fail == name {
				return errors.New("on purpose")
			}
			if p.fickle {
				p.text = fmt.Sprint(n)
			}
			return run(w)
		}
	}
	first := g.Add(Stage{
		Name: "first", Version: p.version, Params: p.text, Materials: []Material{{Ref: p.material}},
		Outputs: []Output{{Name: "text", Kind: KindFile}},
		Run: counted("first", func(w *Work) error {
			return w.WriteBytes("text", []byte(p.text))
		}),
	})
	second := g.Add(Stage{
		Name: "second", Version: 1, Inputs: []Input{{Name: "text", From: first.File("text")}},
		Outputs: []Output{{Name: "root", Kind: KindTree}},
		Run: counted("second", func(w *Work) error {
			dir, err := w.NewTree("root")
			if err != nil {
				return err
			}
			b, err := os.ReadFile(w.File("text"))
			if err != nil {
				return err
			}
			return errors.Join(
				os.Mkdir(filepath.Join(dir, "etc"), 0o755), os.WriteFile(filepath.Join(dir, "etc/text"), b, 0o640),
				os.WriteFile(filepath.Join(dir, "etc/gone"), nil, 0o644), os.Symlink("text", filepath.Join(dir, "etc/link")),
				os.Link(filepath.Join(dir, "etc/text"), filepath.Join(dir, "etc/twin")))
		}),
	})
	third := g.Add(Stage{
		Name: "third", Version: 1, Inputs: []Input{{Name: "root", From: second.Tree("root")}},
		Outputs: []Output{{Name: "root", Kind: KindTree}},
		Run: counted("third", func(w *Work) error {
			dir, err := w.CopyTree("root", "root")
			if err != nil {
				return err
			}
			return errors.Join(os.Remove(filepath.Join(dir, "etc/gone")), os.WriteFile(filepath.Join(dir, "etc/new"), []byte("new"), 0o644))
		}),
	})
	return g, first.File("text"), third.Tree("root")
}

func (p *pipeline) run(ctx context.Context, s *artifact.Store, r Recorder) (map[string]Result, error) {
	g, _, tree := p.graph()
	return (&Runner{Store: s, Epoch: p.epoch, Recorder: r}).Run(ctx, g, tree)
}

func newStore(t *testing.T) *artifact.Store {
	t.Helper()
	return artifacttest.Open(t, filepath.Join(t.TempDir(), "store"))
}

// clean: no scratch and no mount is left.
func clean(t *testing.T, s *artifact.Store) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(s.Root(), "work"))
	if err != nil || len(left) > 0 {
		t.Errorf("scratch is left: %v, %v", left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), s.Root()) {
		t.Errorf("mounts are left: %v", err)
	}
}

func mustRun(t *testing.T, p *pipeline, s *artifact.Store) map[string]Result {
	t.Helper()
	results, err := p.run(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	clean(t, s)
	return results
}

func TestRunAndRunAgain(t *testing.T) {
	s := newStore(t)
	p := &pipeline{text: "hello", version: 1, epoch: 1700000000}
	results := mustRun(t, p, s)
	if p.runs.Load() != 3 {
		t.Fatalf("%d stages ran, want 3", p.runs.Load())
	}
	f, err := os.Open(s.Path(results["third"].Outputs["root"].Tree.Manifest.Digest))
	if err != nil {
		t.Fatal(err)
	}
	m, err := roottree.Parse(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range m.Entries {
		have = append(have, fmt.Sprintf("%s:%s:%o:%s", e.Path, e.Type, e.Mode, e.HardLink))
	}
	want := ".:dir:755: etc:dir:755: etc/link:link:777: etc/new:file:644: etc/text:file:640:etc/text etc/twin:file:640:etc/text"
	if strings.Join(have, " ") != want {
		t.Errorf("tree: %s\nwant  %s", strings.Join(have, " "), want)
	}
	again := mustRun(t, p, s)
	if p.runs.Load() != 3 || !again["first"].Cached || !again["third"].Cached {
		t.Errorf("%d stages ran, want none anew", p.runs.Load()-3)
	}
	if !maps.Equal(again["third"].Record.Products, results["third"].Record.Products) {
		t.Error("the store answered with other products")
	}
}

func TestKeysDecide(t *testing.T) {
	s := newStore(t)
	base := pipeline{text: "a", version: 1, epoch: 1700000000, material: artifact.Ref{Path: "project/x", Digest: artifact.HashBytes([]byte("x"))}}
	first := func(change func(*pipeline)) int64 {
		p := &pipeline{text: base.text, version: base.version, epoch: base.epoch, material: base.material}
		change(p)
		mustRun(t, p, s)
		return p.runs.Load()
	}
	if n := first(func(*pipeline) {}); n != 3 {
		t.Fatalf("%d stages ran", n)
	}
	for name, c := range map[string]struct {
		change func(*pipeline)
		runs   int64
	}{
		"nothing":    {func(*pipeline) {}, 0},
		"parameters": {func(p *pipeline) { p.text = "b" }, 3},
		"version":    {func(p *pipeline) { p.version = 2 }, 1}, // the same product: what follows stands
		"material":   {func(p *pipeline) { p.material.Digest = artifact.HashBytes([]byte("y")) }, 1},
		"epoch":      {func(p *pipeline) { p.epoch++ }, 3},
	} {
		if n := first(c.change); n != c.runs {
			t.Errorf("%s: %d stages ran, want %d", name, n, c.runs)
		}
	}
}

// damage changes a file of the store.
func damage(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("damaged"), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsMadeGood(t *testing.T) {
	s := newStore(t)
	p := &pipeline{text: "hello", version: 1, epoch: 1700000000}
	results := mustRun(t, p, s)
	for name, hurt := range map[string]func(){
		"layer":    func() { damage(t, filepath.Join(s.Layer(results["third"].Outputs["root"].Tree.Layers[0]), "etc/new")) },
		"lower":    func() { damage(t, filepath.Join(s.Layer(results["third"].Outputs["root"].Tree.Layers[1]), "etc/text")) },
		"manifest": func() { damage(t, s.Path(results["third"].Outputs["root"].Tree.Manifest.Digest)) },
	} {
		hurt()
		again := mustRun(t, p, s)
		if !maps.Equal(again["third"].Record.Products, results["third"].Record.Products) {
			t.Errorf("%s: other products", name)
		}
		g, _, tree := p.graph()
		err := (&Runner{Store: s, Epoch: p.epoch}).WithTree(t.Context(), g, tree, func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, "etc/text"))
			if err == nil && string(b) != "hello" {
				err = fmt.Errorf("etc/text holds %q", b)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	clean(t, s)
}

func TestFickleStageIsRefused(t *testing.T) {
	s := newStore(t)
	p := &pipeline{version: 1, epoch: 1700000000, fickle: true}
	g, file, _ := p.graph()
	r := &Runner{Store: s, Epoch: p.epoch}
	results, err := r.Run(t.Context(), g, file)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, s.Path(results["first"].Outputs["text"].File.Digest))
	if _, err := r.Run(t.Context(), g, file); fault.ClassOf(err) != fault.Refused || !strings.Contains(err.Error(), "first/text") {
		t.Errorf("class %d: %v", fault.ClassOf(err), err)
	}
	clean(t, s)
}

func TestFailureLeavesNothing(t *testing.T) {
	for _, name := range []string{"first", "second", "third"} {
		s := newStore(t)
		p := &pipeline{text: "x", version: 1, epoch: 1700000000, fail: name}
		if _, err := p.run(t.Context(), s, nil); err == nil || !strings.Contains(err.Error(), "stage "+name+": on purpose") {
			t.Errorf("%s: %v", name, err)
		}
		clean(t, s)
		p.fail = ""
		mustRun(t, p, s)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	s := newStore(t)
	if _, err := (&pipeline{version: 1, epoch: 1700000000}).run(ctx, s, nil); err == nil {
		t.Error("a run without a context went on")
	}
	clean(t, s)
}

// TestClockSetBack: a stage whose changes cannot be told apart runs again, but not for ever.
func TestClockSetBack(t *testing.T) {
	for times, want := range map[int]string{1: "", maxClock - 1: "", maxClock: "the host's clock was set back"} {
		s := newStore(t)
		runs := 0
		g := &Graph{}
		out := g.Add(Stage{
			Name: "clock", Version: 1, Outputs: []Output{{Name: "out", Kind: KindFile}},
			Run: func(_ context.Context, w *Work) error {
				if runs++; runs <= times {
					return fmt.Errorf("run dpkg: %w", sandbox.ErrClock)
				}
				return w.WriteBytes("out", nil)
			},
		}).File("out")
		_, err := (&Runner{Store: s}).Run(t.Context(), g, out)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || runs != min(times+1, maxClock) {
			t.Errorf("set back %d times: %d runs, %v", times, runs, err)
		}
		clean(t, s)
	}
}

// recorder seals with a word that only it knows.
type recorder struct{ secret string }

func (r recorder) KeyID() string { return r.secret + "-0123456789" }
func (r recorder) Seal(rec Record) ([]byte, error) {
	b, err := keyOf(rec)
	return []byte(r.secret + string(b) + encode(rec)), err
}
func (r recorder) Open(link []byte) (Record, error) {
	text, ok := strings.CutPrefix(string(link), r.secret)
	if !ok || len(text) < 64 {
		return Record{}, errors.New("not sealed here")
	}
	rec, err := decode(text[64:])
	if err != nil {
		return rec, err
	}
	want, err := r.Seal(rec)
	if err != nil || string(want) != string(link) {
		return rec, errors.New("the seal is broken")
	}
	return rec, nil
}

func encode(rec Record) string {
	b, err := json.Marshal(rec)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func decode(s string) (rec Record, err error) { return rec, json.Unmarshal([]byte(s), &rec) }

func base64Of(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestResultsBelongToTheirSigner(t *testing.T) {
	s := newStore(t)
	p := &pipeline{text: "x", version: 1, epoch: 1700000000}
	results, err := p.run(t.Context(), s, recorder{"one"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.run(t.Context(), s, recorder{"one"}); err != nil || p.runs.Load() != 3 {
		t.Errorf("%d stages ran: %v", p.runs.Load(), err)
	}
	if _, err := p.run(t.Context(), s, recorder{"two"}); err != nil || p.runs.Load() != 6 {
		t.Errorf("another signer: %d stages ran: %v", p.runs.Load()-3, err)
	}
	path := s.Result(string(results["second"].Key) + "." + recorder{"one"}.KeyID()[:8])
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	link := string(results["second"].Link)
	forged := strings.Replace(string(b), base64Of(link), base64Of("zzz"+link[3:]), 1)
	if forged == string(b) {
		t.Fatal("the result does not hold its link")
	}
	if err := os.WriteFile(path, []byte(forged), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.run(t.Context(), s, recorder{"one"}); err != nil || p.runs.Load() != 7 {
		t.Errorf("a forged link: %d stages ran, want one: %v", p.runs.Load()-6, err)
	}
}

func TestTwoRunsShareAStore(t *testing.T) {
	s := newStore(t)
	p := &pipeline{text: "x", version: 1, epoch: 1700000000}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			if _, err := p.run(t.Context(), s, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if p.runs.Load() != 3 {
		t.Errorf("%d stages ran, want 3", p.runs.Load())
	}
	clean(t, s)
}

func TestCollectAndVerifyStore(t *testing.T) {
	s := newStore(t)
	p := &pipeline{text: "x", version: 1, epoch: 1700000000}
	results := mustRun(t, p, s)
	r, err := VerifyStore(t.Context(), s)
	if err != nil || len(r.Damaged) > 0 || r.Trees != 2 || r.Files != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	damage(t, s.Path(results["first"].Outputs["text"].File.Digest))
	if r, err = VerifyStore(t.Context(), s); err != nil || len(r.Damaged) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if freed, err := Collect(s, time.Unix(0, 0)); err != nil || freed != 0 {
		t.Errorf("freed %d bytes of what was just used: %v", freed, err)
	}
	if freed, err := Collect(s, time.Now().Add(time.Hour)); err != nil || freed == 0 {
		t.Errorf("freed %d: %v", freed, err)
	}
	for _, dir := range []string{"files", "layers", "results"} {
		left, err := filepath.Glob(filepath.Join(s.Root(), dir, "*", "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
	other, err := artifact.OpenStore(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Collect(s, time.Now().Add(time.Hour)); err == nil {
		t.Error("collected while another uses the store")
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAfter: a stage waits for what is to be made before it, if that is made at
// all, and its key does not tell.
func TestAfter(t *testing.T) {
	var mu sync.Mutex
	var order []string
	run := func(name string, wanted bool) map[string]Result {
		g := &Graph{}
		stage := func(name string, after ...Handle) File {
			return g.Add(Stage{Name: name, After: after, Outputs: []Output{{Name: "text", Kind: KindFile}}, Run: func(_ context.Context, w *Work) error {
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				return w.WriteBytes("text", []byte(name))
			}}).File("text")
		}
		first := stage("first")
		goals := []Handle{stage("late", first)}
		if wanted {
			goals = append(goals, first)
		}
		res, err := (&Runner{Store: newStore(t)}).Run(t.Context(), g, goals...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return res
	}
	both := run("both", true)
	if !slices.Equal(order, []string{"first", "late"}) {
		t.Errorf("they ran in the order %q", order)
	}
	alone := run("alone", false)
	if !slices.Equal(order[2:], []string{"late"}) || alone["late"].Key != both["late"].Key {
		t.Errorf("alone it ran as %q with key %s, before %s", order[2:], alone["late"].Key, both["late"].Key)
	}
}
