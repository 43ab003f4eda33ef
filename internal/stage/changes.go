package stage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/sandbox"
)

// ActorKind is what kind of thing changed a file.
type ActorKind string

// The kinds of actors.
const (
	ByStage   ActorKind = "stage"   // isotrace's own code in the stage
	ByProgram ActorKind = "program" // a program that the stage ran
	ByPackage ActorKind = "package" // a package's maintainer script
	ByScript  ActorKind = "script"  // a script of the project
	BySetting ActorKind = "setting" // a key of the config
	ByOverlay ActorKind = "overlay" // a file of the project
	ByPass    ActorKind = "pass"    // a pass of sanitise
	ByLayer   ActorKind = "layer"   // a layer of the base image
)

// Actor is who changed a file of a tree.
type Actor struct {
	Kind ActorKind `json:"kind"`
	// Name of the stage, program, package, pass or setting; the record path of a
	// script or overlay file; the digest of a layer.
	Name string `json:"name"`
	// Script and Action are those of a package: postinst and configure.
	Script string `json:"script,omitempty"`
	Action string `json:"action,omitempty"`
}

// String is the actor in words.
func (a Actor) String() string {
	s := string(a.Kind) + " " + a.Name
	if a.Script != "" {
		s = strings.TrimSpace(a.Name + "'s " + a.Script + " " + a.Action)
	}
	return s
}

// Changes say who last changed, and who removed, each path that a stage changed
// in a tree. Before has who changed a path before a pass did.
type Changes struct{ Changed, Removed, Before map[string]Actor }

// changesFile is Changes as a file: Encode writes one text for one content.
type changesFile struct {
	Format  int      `json:"format"`
	Actors  []Actor  `json:"actors"`
	Changed []change `json:"changed"`
	Removed []change `json:"removed"`
	Before  []change `json:"before"`
}

type change struct {
	Path string `json:"path"`
	// Bytes are the path's own where they are not UTF-8.
	Bytes []byte `json:"bytes,omitempty"`
	By    int    `json:"by"` // index into Actors
}

// span is the time in which one actor, and none within it, had the tree.
type span struct {
	actor      Actor
	start, end int64 // marks, in nanoseconds; end 0 while it lasts
}

// attribution is what a stage's work learns of who changes its tree.
type attribution struct {
	first, last sandbox.Mark
	spans       []span           // by start
	explicit    map[string]said  // by path
	folders     map[string]said  // by path
	before      map[string]Actor // by path
}

// By lets the actor change the tree outputs in do. An actor within another's do
// has what it changes for itself.
func (w *Work) By(a Actor, do func() error) (err error) {
	if err := w.see(); err != nil {
		return err
	}
	start, err := w.mark()
	if err != nil {
		return err
	}
	i := len(w.who.spans)
	w.who.spans = append(w.who.spans, span{actor: a, start: start.At.UnixNano()})
	defer func() {
		serr := w.see()
		end, merr := w.mark()
		err = errors.Join(err, serr, merr)
		w.who.spans[i].end = end.At.UnixNano()
	}()
	return do()
}

// ByPass returns what is told of each path of a tree that a pass is about to
// change.
func (w *Work) ByPass(tree string) func(path, pass string) {
	if w.who.before == nil {
		w.who.before = map[string]Actor{}
	}
	return func(path, pass string) {
		var st unix.Stat_t
		if _, twice := w.who.before[path]; !twice && unix.Lstat(filepath.Join(w.trees[tree].dir, path), &st) == nil {
			who, known := w.changer(path, &st)
			if inUpper := unix.Lstat(filepath.Join(w.trees[tree].layer, path), &st) == nil; inUpper && known && who.Kind != ByPass {
				w.who.before[path] = who
			}
		}
		w.Did(path, Actor{Kind: ByPass, Name: pass})
	}
}

// Did says outright who has changed, or is about to change, a path. It holds
// until another is let at the tree and changes it.
func (w *Work) Did(path string, a Actor) {
	if w.who.explicit == nil {
		w.who.explicit = map[string]said{}
	}
	w.who.explicit[path] = said{a, now()}
}

func (w *Work) mark() (sandbox.Mark, error) {
	m, err := sandbox.NewMark()
	if err != nil {
		return m, err
	}
	if w.who.first.At.IsZero() {
		w.who.first, w.who.last = m, m
	}
	err = m.Since(w.who.last)
	w.who.last = m
	if err != nil {
		return m, fault.New(fault.Failed, "leave the clock alone while packages are installed, and run it again", "%w", err)
	}
	return m, nil
}

// script adds what a sandbox tells of a maintainer script.
func (w *Work) script(s sandbox.Script) {
	a := Actor{Kind: ByPackage, Name: s.Package, Script: s.Name}
	if len(s.Args) > 0 {
		a.Action = s.Args[0]
	}
	w.who.spans = append(w.who.spans, span{actor: a, start: s.Start, end: s.End})
	if w.who.folders == nil {
		w.who.folders = map[string]said{}
	}
	for _, f := range s.Folders {
		w.who.folders[f] = said{a, s.Start}
	}
	if s.Ended > 0 {
		_, _ = fmt.Fprintf(w.Log, "isotrace: %s left %d processes behind, which were ended\n", a, s.Ended) // the journal is unsigned
	}
}

// at returns who had the tree at a time, and since when.
func (w *Work) at(ctime int64) said {
	who := said{actor: Actor{Kind: ByStage, Name: w.node.Name}}
	for _, s := range w.who.spans {
		if ctime > s.start && (ctime <= s.end || s.end == 0) && s.start >= who.when {
			who = said{s.actor, s.start}
		}
	}
	return who
}

// WriteChanges writes a file output that says who changed what in a tree
// output. Nothing may change the tree afterwards.
func (w *Work) WriteChanges(ctx context.Context, tree, output string) error {
	if err := errors.Join(w.probe(), w.see()); err != nil {
		return err
	}
	t := w.trees[tree]
	c := Changes{Changed: map[string]Actor{}, Removed: map[string]Actor{}, Before: w.who.before}
	below := ""
	if len(t.lowers) > 0 {
		var err error
		if below, err = w.mounts.view(w.node.Name, t.lowers); err != nil {
			return err
		}
	}
	err := filepath.WalkDir(t.layer, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name, err := filepath.Rel(t.layer, p)
		if err != nil {
			return err
		}
		return w.change(&c, t, below, name)
	})
	if err != nil {
		return fmt.Errorf("look at what changed: %w", err)
	}
	for name, who := range w.who.explicit {
		_, changed := c.Changed[name]
		if _, removed := c.Removed[name]; !changed && !removed && who.actor.Kind == ByPass {
			c.Removed[name] = who.actor // made by the stage itself, and removed again
		}
	}
	text, err := c.encode()
	if err != nil {
		return err
	}
	return w.WriteBytes(output, text)
}

// change takes down what the top layer's entry for a path means. A folder that
// stands there only because something in it does is no change.
func (w *Work) change(c *Changes, t *newTree, below, name string) error {
	var st unix.Stat_t
	p := filepath.Join(t.layer, name)
	if err := unix.Lstat(p, &st); err != nil {
		return fmt.Errorf("/%s: %w", name, err)
	}
	if len(t.lowers) > 0 && isWhiteout(&st) {
		c.Removed[name] = w.remover(t, name)
		return nil
	}
	who, known := w.changer(name, &st)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		was, err := isFolder(below, name)
		if err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		switch {
		case was && isOpaque(p): // removed and made again
			c.Removed[name] = w.remover(t, name)
		case was && !known:
			return nil
		}
	}
	c.Changed[name] = who
	return nil
}

// changer returns who changed a path last. Of a folder that is known only where
// somebody said so: whatever is put into it changes its ctime.
func (w *Work) changer(name string, st *unix.Stat_t) (who Actor, known bool) {
	outright, told := w.who.explicit[name]
	changed, ok := w.at(st.Ctim.Nano()), true
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		changed, ok = w.who.folders[name]
	}
	switch {
	case told && (!ok || outright.when >= changed.when):
		return outright.actor, true
	case ok:
		return changed.actor, true
	}
	return Actor{Kind: ByStage, Name: w.node.Name}, false
}

// probe makes sure that the store's file system tells times apart as marks do.
func (w *Work) probe() error {
	before, err := w.mark()
	if err != nil {
		return err
	}
	file := filepath.Join(w.dir, "clock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	after, err := w.mark()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		return err
	}
	if at := st.Ctim.Nano(); at <= before.At.UnixNano() || at > after.At.UnixNano() {
		return fault.New(fault.Failed, "put the store on ext4, xfs, btrfs or tmpfs with --store or ISOTRACE_STORE",
			"the store's file system does not keep the times of changes by the nanosecond: who wrote a file cannot be told")
	}
	return nil
}

func (c *Changes) encode() ([]byte, error) {
	f := changesFile{Format: 1, Actors: []Actor{}}
	index := map[Actor]int{}
	for _, m := range []map[string]Actor{c.Changed, c.Removed, c.Before} {
		for _, a := range m {
			if _, ok := index[a]; !ok {
				index[a] = 0
				f.Actors = append(f.Actors, a)
			}
		}
	}
	slices.SortFunc(f.Actors, func(a, b Actor) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Script, b.Script), cmp.Compare(a.Action, b.Action))
	})
	for i, a := range f.Actors {
		index[a] = i
	}
	list := func(m map[string]Actor) []change {
		list := make([]change, 0, len(m))
		for path, a := range m {
			e := change{Path: path, By: index[a]}
			if !utf8.ValidString(path) {
				e.Path, e.Bytes = strings.ToValidUTF8(path, "\ufffd"), []byte(path)
			}
			list = append(list, e)
		}
		slices.SortFunc(list, func(a, b change) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), bytes.Compare(a.Bytes, b.Bytes))
		})
		return list
	}
	f.Changed, f.Removed, f.Before = list(c.Changed), list(c.Removed), list(c.Before)
	b, err := json.Marshal(f)
	return append(b, '\n'), err
}

// maxChanges bounds a file of changes, in bytes.
const maxChanges = 1 << 30

// ReadChanges reads what WriteChanges writes.
func ReadChanges(file string) (*Changes, error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxChanges))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return decodeChanges(b)
}

func decodeChanges(b []byte) (*Changes, error) {
	var x changesFile
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&x); err != nil {
		return nil, fmt.Errorf("changes: %w", err)
	}
	if x.Format != 1 {
		return nil, fmt.Errorf("changes: format %d is not known", x.Format)
	}
	c := &Changes{}
	for _, l := range []struct {
		list []change
		to   *map[string]Actor
	}{{x.Changed, &c.Changed}, {x.Removed, &c.Removed}, {x.Before, &c.Before}} {
		*l.to = make(map[string]Actor, len(l.list))
		for _, e := range l.list {
			if e.By < 0 || e.By >= len(x.Actors) {
				return nil, fmt.Errorf("changes: %s: there is no actor %d", e.Path, e.By)
			}
			path := e.Path
			if e.Bytes != nil {
				path = string(e.Bytes)
			}
			(*l.to)[path] = x.Actors[e.By]
		}
	}
	// It has one way of saying each thing: nothing stands twice, nothing follows.
	again, err := c.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("changes: not written as isotrace writes them")
	}
	return c, nil
}
