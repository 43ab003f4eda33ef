package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

// rememberer is a stage that takes pieces of content one by one.
type rememberer struct {
	t       *testing.T
	store   *artifact.Store
	runs    int          // how often the stage ran
	did     atomic.Int64 // how often a piece was taken
	signer  Recorder
	version int
	fail    error
}

func newRememberer(t *testing.T) *rememberer {
	return &rememberer{t: t, store: newStore(t), version: 1}
}

// in runs use in a stage that never ran before.
func (r *rememberer) in(use func(context.Context, *Work) error) error {
	r.t.Helper()
	r.runs++
	g := &Graph{}
	out := g.Add(Stage{
		Name: "taker", Version: r.version, Params: r.runs, Outputs: []Output{{Name: "out", Kind: KindSet}},
		Run: use,
	}).Set("out")
	_, err := (&Runner{Store: r.store, Epoch: 1700000000, Recorder: r.signer}).Run(r.t.Context(), g, out)
	clean(r.t, r.store)
	return err
}

// take remembers what "seen TEXT" is of the text.
func (r *rememberer) take(ctx context.Context, w *Work, text string) (artifact.Ref, error) {
	of := artifact.Ref{Path: "pool/" + text, Digest: artifact.HashBytes([]byte(text)), Size: int64(len(text))}
	return w.Remember(ctx, "seen", of, func(to string) error {
		r.did.Add(1)
		if r.fail != nil {
			return r.fail
		}
		return os.WriteFile(to, []byte("seen "+text), 0o600)
	})
}

// takes wants the pieces to be right, and so many of them to be taken anew.
func (r *rememberer) takes(what string, anew int64, texts ...string) {
	r.t.Helper()
	before := r.did.Load()
	err := r.in(func(ctx context.Context, w *Work) error {
		for _, text := range texts {
			ref, err := r.take(ctx, w, text)
			if err != nil {
				return err
			}
			r.right(ref, text)
		}
		return nil
	})
	if err != nil {
		r.t.Errorf("%s: %v", what, err)
	}
	if n := r.did.Load() - before; n != anew {
		r.t.Errorf("%s: %d taken anew, want %d", what, n, anew)
	}
}

func (r *rememberer) right(ref artifact.Ref, text string) {
	r.t.Helper()
	b, err := os.ReadFile(r.store.Path(ref.Digest))
	if err != nil || string(b) != "seen "+text || ref.Size != int64(len(b)) || ref.Path != "of" {
		r.t.Errorf("%s: %+v holds %q, %v", text, ref, b, err)
	}
}

// results are the files of the remembered pieces.
func (r *rememberer) results() []string {
	r.t.Helper()
	all, err := filepath.Glob(r.store.Result("*"))
	if err != nil {
		r.t.Fatal(err)
	}
	var own []string
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.Contains(string(b), `"taker-of-one/seen"`) {
			own = append(own, name)
		}
	}
	return own
}

func (r *rememberer) edit(name string, change func(string) string) {
	r.t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		r.t.Fatal(err)
	}
	after := change(string(b))
	if after == string(b) {
		r.t.Fatalf("nothing to change in %s", b)
	}
	if err := os.WriteFile(name, []byte(after), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func TestRemember(t *testing.T) {
	r := newRememberer(t)
	r.takes("first", 2, "a", "b", "a")
	r.takes("again", 0, "a", "b")
	r.takes("more", 1, "b", "c")
	r.version = 2
	r.takes("another version", 1, "a")
	r.version = 1
	for _, signer := range []string{"one", "two"} {
		r.signer = recorder{signer}
		r.takes("signer "+signer, 1, "a")
		r.takes("signer "+signer+" again", 0, "a")
	}
	damage(t, r.store.Path(artifact.HashBytes([]byte("seen a"))))
	r.takes("a damaged file", 1, "a")
	if err := os.Remove(r.store.Path(artifact.HashBytes([]byte("seen a")))); err != nil {
		t.Fatal(err)
	}
	r.takes("a lost file", 1, "a")
	r.takes("made good", 0, "a")
}

// TestRememberedResultsAreNotTrusted: what stands in the store besides the link
// is anybody's.
func TestRememberedResultsAreNotTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		change func(string) string
		anew   int64
	}{
		"size":    {func(s string) string { return strings.Replace(s, `"size":6`, `"size":9`, 1) }, 0},
		"path":    {func(s string) string { return strings.Replace(s, `"path":"of"`, `"path":"../x"`, 1) }, 0},
		"content": {func(s string) string { return strings.Replace(s, digestOf("seen a"), digestOf("seen b"), 1) }, 1},
		"no file": {func(s string) string { return strings.Replace(s, `"file":{`, `"tree":{`, 1) }, 1},
		"link":    {func(s string) string { return strings.Replace(s, `"link":"`, `"link":"AAAA`, 1) }, 1},
		"cut off": {func(s string) string { return s[:len(s)/2] }, 1},
	} {
		r := newRememberer(t)
		r.signer = recorder{"one"}
		r.takes(name, 1, "a")
		r.edit(r.results()[0], c.change)
		r.takes(name, c.anew, "a")
	}
}

// TestResultsBelongToTheirKey puts what was signed for one version of a stage
// where that of another belongs.
func TestResultsBelongToTheirKey(t *testing.T) {
	r := newRememberer(t)
	r.signer = recorder{"one"}
	r.takes("version 1", 1, "a")
	first := r.results()[0]
	r.version = 2
	r.takes("version 2", 1, "a")
	second := r.results()
	old, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range second {
		if name == first {
			continue
		}
		key := func(name string) string { return filepath.Base(name)[:64] }
		r.edit(name, func(string) string { return strings.Replace(string(old), `"key":"`+key(first), `"key":"`+key(name), 1) })
	}
	r.takes("version 1's in its place", 1, "a")
}

func TestRememberFails(t *testing.T) {
	r := newRememberer(t)
	r.fail = errors.New("on purpose")
	err := r.in(func(ctx context.Context, w *Work) error { _, err := r.take(ctx, w, "a"); return err })
	if !errors.Is(err, r.fail) || !strings.Contains(err.Error(), "pool/a: on purpose") {
		t.Errorf("have %v", err)
	}
	r.fail = nil
	r.takes("after a failure", 1, "a")
	err = r.in(func(ctx context.Context, w *Work) error {
		_, err := w.Remember(ctx, "seen", artifact.Ref{Path: "pool/none", Digest: artifact.HashBytes(nil)}, func(string) error { return nil })
		return err
	})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "pool/none: ") {
		t.Errorf("no file was made: %v", err)
	}
	enough := errors.New("enough")
	err = r.in(func(ctx context.Context, w *Work) error {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(enough)
		_, err := r.take(ctx, w, "b")
		return err
	})
	if !errors.Is(err, enough) || r.did.Load() != 2 {
		t.Errorf("cancelled: %v, %d taken", err, r.did.Load())
	}
}

func TestRememberManyAtOnce(t *testing.T) {
	r := newRememberer(t)
	use := func(ctx context.Context, w *Work) error {
		var wait sync.WaitGroup
		for i := range 32 {
			wait.Go(func() {
				text := fmt.Sprint(i % 5)
				ref, err := r.take(ctx, w, text)
				if err != nil {
					t.Error(err)
				}
				r.right(ref, text)
			})
		}
		wait.Wait()
		return nil
	}
	if err := r.in(use); err != nil {
		t.Fatal(err)
	}
	r.takes("afterwards", 0, "0", "1", "2", "3", "4")
}
