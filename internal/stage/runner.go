package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// Runner runs the stages of a graph. The process must have gone through
// sandbox.Enter.
type Runner struct {
	Store *artifact.Store
	Epoch epoch.Epoch
	// Recorder signs the records; results stay unsigned when nil.
	Recorder Recorder
	// Progress may be nil.
	Progress Progress
	// Journal takes the output of tools, by stage; it may be nil.
	Journal func(stage string) io.Writer
	// Limits of what each program may take.
	Limits sandbox.Limits
}

// run is one call of Runner.Run.
type run struct {
	*Runner
	nodes map[string]*node
}

// node is a stage while its graph runs.
type node struct {
	*Stage
	making chan struct{} // closed when the stage is about to run
	ready  chan struct{} // closed when result is known
	result Result
	// mu guards fresh: the outputs whose content was verified or made in this run.
	mu    sync.Mutex
	fresh map[string]bool
}

// Run makes sure that the goals' content stands verified in the store, running
// what is needed, and returns the results of every stage that the goals rest on.
func (r *Runner) Run(ctx context.Context, g *Graph, goals ...Handle) (map[string]Result, error) {
	x := &run{Runner: r, nodes: map[string]*node{}}
	all := map[string]*Stage{}
	for _, s := range g.Stages() {
		all[s.Name] = s
	}
	var want func(Handle)
	want = func(h Handle) {
		name := h.handle().stage
		if x.nodes[name] != nil {
			return
		}
		x.nodes[name] = &node{Stage: all[name], making: make(chan struct{}), ready: make(chan struct{}), fresh: map[string]bool{}}
		for _, in := range all[name].Inputs {
			want(in.From)
		}
	}
	for _, h := range goals {
		want(h)
	}
	for _, s := range g.Stages() {
		if x.nodes[s.Name] != nil {
			x.tell(s.Name, StateWaiting)
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, n := range x.nodes {
		group.Go(func() error {
			if err := x.settle(gctx, n); err != nil {
				if gctx.Err() == nil { // it is the first; the others only stop
					x.tell(n.Name, StateFailed)
				}
				return fmt.Errorf("stage %s: %w", n.Name, err)
			}
			close(n.ready)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, h := range goals {
		if err := x.ensure(ctx, h.handle()); err != nil {
			return nil, err
		}
	}
	results := map[string]Result{}
	for name, n := range x.nodes {
		results[name] = n.result
	}
	return results, nil
}

func (x *run) tell(name string, s State) {
	if x.Progress != nil {
		x.Progress.Stage(name, s)
	}
}

// await waits for the results of a node's inputs. Where one of them is being made,
// the node will most likely run, too, and the others are verified meanwhile.
func (x *run) await(ctx context.Context, n *node) error {
	var ahead errgroup.Group
	defer func() { _ = ahead.Wait() }() // what is amiss comes up again when it is read
	once := sync.OnceFunc(func() {
		for _, in := range n.Inputs {
			h := in.From.handle()
			select {
			case <-x.nodes[h.stage].ready:
				ahead.Go(func() error { return x.ensure(ctx, h) })
			default:
			}
		}
	})
	first := slices.Clone(n.After)
	for _, in := range n.Inputs {
		first = append(first, in.From)
	}
	for _, h := range first {
		before := x.nodes[h.handle().stage]
		if before == nil {
			continue // nobody wants what it makes
		}
		making := before.making
		for done := false; !done; {
			select {
			case <-before.ready:
				done = true
			case <-making:
				making = nil
				once()
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// settle waits for the inputs' results and finds or makes the node's own.
func (x *run) settle(ctx context.Context, n *node) error {
	if err := x.await(ctx, n); err != nil {
		return err
	}
	rec, err := x.intent(n)
	if err != nil {
		return err
	}
	key, err := keyOf(rec)
	if err != nil {
		return err
	}
	unlock, err := x.Store.Lock(ctx, "stage-"+string(key)[:32])
	if err != nil {
		return err
	}
	if res, ok := x.lookup(x.resultID(key), key, rec); ok {
		n.result = res
		x.tell(n.Name, StateCached)
		return unlock()
	}
	close(n.making)
	err = x.make(ctx, n, key, rec)
	return errors.Join(err, unlock())
}

// intent is the record of a stage before it runs: all but products and commands.
func (x *run) intent(n *node) (Record, error) {
	params, err := json.Marshal(n.Params)
	if err != nil {
		return Record{}, err
	}
	rec := Record{Name: n.Name, Version: n.Version, Params: params, Epoch: x.Epoch, Materials: map[string]artifact.Digest{}}
	for _, m := range n.Materials {
		rec.Materials[m.Path] = m.Digest
	}
	for _, in := range n.Inputs {
		h := in.From.handle()
		maps.Copy(rec.Materials, x.nodes[h.stage].result.Outputs[h.name].entries(h.stage, h.name))
	}
	return rec, nil
}

func (x *run) signer() string {
	if x.Recorder == nil {
		return "unsigned"
	}
	return x.Recorder.KeyID()[:8]
}

// maxResult bounds a result, in bytes; most of it is its link.
const maxResult = 128 << 20

func (x *run) resultID(key artifact.Digest) string { return string(key) + "." + x.signer() }

// lookup returns the store's result of that name for key, if there is one that
// its signed link bears out. Anything wrong with it means that the stage runs again.
func (x *run) lookup(id string, key artifact.Digest, want Record) (Result, bool) {
	path := x.Store.Result(id)
	b, err := regular.ReadFile(path, maxResult)
	if err != nil {
		return Result{}, false
	}
	var res Result
	if err := strictjson.Unmarshal(b, &res); err != nil || res.Key != key {
		return Result{}, false
	}
	rec := res.Record
	if x.Recorder != nil {
		if rec, err = x.Recorder.Open(res.Link); err != nil {
			return Result{}, false
		}
	}
	products := map[string]artifact.Digest{}
	for name, p := range res.Outputs {
		maps.Copy(products, p.entries(want.Name, name))
	}
	// What was signed for other parameters or another version is no answer here.
	if of, err := keyOf(rec); err != nil || of != key || !maps.Equal(rec.Products, products) {
		return Result{}, false
	}
	now := time.Now() // the collector goes by last use; nothing else sees it
	if err := os.Chtimes(path, now, now); err != nil {
		return Result{}, false
	}
	res.Record, res.Cached = rec, true
	return res, true
}

// ensure makes sure that the content of an output stands in the store as its
// record says, and makes it again where it does not.
func (x *run) ensure(ctx context.Context, h ref) error {
	n := x.nodes[h.stage]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fresh[h.name] {
		return nil
	}
	err := x.verify(ctx, n.result.Outputs[h.name])
	if err == nil {
		n.fresh[h.name] = true
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	x.line(n.Name, fmt.Sprintf("made again, for the store's copy does not verify: %v", err))
	before := n.result
	rec, err := x.intent(n)
	if err != nil {
		return err
	}
	if err := x.makeLocked(ctx, n, before.Key, rec); err != nil {
		return fmt.Errorf("stage %s: %w", n.Name, err)
	}
	if !maps.Equal(before.Record.Products, n.result.Record.Products) {
		return fault.New(fault.Refused, "the stage depends on something that it does not declare: please report it with the two results",
			"stage %s: made again from the same inputs it gave other products (%s)", n.Name, firstDifference(before.Record.Products, n.result.Record.Products))
	}
	return nil
}

func firstDifference(a, b map[string]artifact.Digest) string {
	var first string
	for path := range a {
		if a[path] != b[path] && (first == "" || path < first) {
			first = path
		}
	}
	for path := range b {
		if a[path] != b[path] && (first == "" || path < first) {
			first = path
		}
	}
	return first
}

// verify reads all content of a product.
func (x *run) verify(ctx context.Context, p Product) error {
	switch {
	case p.File != nil:
		_, err := x.Store.Verify(p.File.Digest)
		return err
	case p.Tree != nil:
		return x.verifyTree(ctx, *p.Tree)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, r := range p.Set {
		group.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			_, err := x.Store.Verify(r.Digest)
			return err
		})
	}
	return group.Wait()
}

func (x *run) verifyTree(ctx context.Context, t TreeProduct) (err error) {
	if _, err := x.Store.Verify(t.Manifest.Digest); err != nil {
		return err
	}
	m := mounts{store: x.Store}
	defer func() { err = errors.Join(err, m.close()) }()
	dir, err := m.view("verify", t.Layers)
	if err != nil {
		return err
	}
	have, err := roottree.Walk(ctx, dir, roottree.WalkOptions{})
	if err != nil {
		return err
	}
	if d := have.Digest(); d != t.Manifest.Digest {
		return fmt.Errorf("the root tree's manifest is %s, want %s", d.Short(), t.Manifest.Digest.Short())
	}
	return nil
}

// make runs the stage and keeps its result.
func (x *run) make(ctx context.Context, n *node, key artifact.Digest, rec Record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return x.makeLocked(ctx, n, key, rec)
}

// maxClock is how often a stage is run because the host's clock was set back.
const maxClock = 3

func (x *run) makeLocked(ctx context.Context, n *node, key artifact.Digest, rec Record) (err error) {
	for range maxClock {
		if err = x.makeOnce(ctx, n, key, rec); !errors.Is(err, sandbox.ErrClock) || ctx.Err() != nil {
			return err
		}
		x.line(n.Name, sandbox.ErrClock.Error()+": the stage runs again")
	}
	return err
}

func (x *run) makeOnce(ctx context.Context, n *node, key artifact.Digest, rec Record) (err error) {
	group, gctx := errgroup.WithContext(ctx)
	for _, in := range n.Inputs {
		group.Go(func() error { return x.ensure(gctx, in.From.handle()) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	x.tell(n.Name, StateRunning)
	w, err := x.newWork(n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := n.Run(ctx, w); err != nil {
		return artifact.ExplainWrite(err)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	outputs, err := w.finish(ctx, key)
	if err != nil {
		return artifact.ExplainWrite(err)
	}
	rec.Commands = w.commands
	rec.Products = map[string]artifact.Digest{}
	for name, p := range outputs {
		maps.Copy(rec.Products, p.entries(n.Name, name))
	}
	res := Result{Key: key, Outputs: outputs, Record: rec}
	if err := x.keep(x.resultID(key), &res); err != nil {
		return err
	}
	n.result = res
	for _, o := range n.Outputs {
		n.fresh[o.Name] = true
	}
	x.tell(n.Name, StateDone)
	return nil
}

// keep seals a result and writes it into the store under that name.
func (x *run) keep(id string, res *Result) (err error) {
	if x.Recorder != nil {
		if res.Link, err = x.Recorder.Seal(res.Record); err != nil {
			return err
		}
	}
	b, err := json.Marshal(res)
	if err != nil {
		return err
	}
	return artifact.ExplainWrite(artifact.WriteBytes(x.Store.Result(id), 0o644, b))
}

func (x *run) line(name, text string) {
	if x.Progress != nil {
		x.Progress.Line(name, text)
	}
}
