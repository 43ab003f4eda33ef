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

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
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
	By   int    `json:"by"` // index into Actors
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
	explicit    map[string]Actor // by path
	folders     map[string]Actor // by path
	before      map[string]Actor // by path
}

// By lets the actor change the tree outputs in do. An actor within another's do
// has what it changes for itself.
func (w *Work) By(a Actor, do func() error) (err error) {
	start, err := w.mark()
	if err != nil {
		return err
	}
	i := len(w.who.spans)
	w.who.spans = append(w.who.spans, span{actor: a, start: start.At.UnixNano()})
	defer func() {
		end, merr := w.mark()
		err = errors.Join(err, merr)
		w.who.spans[i].end = end.At.UnixNano()
	}()
	return do()
}

// ByPass returns what is told of each path of a tree that a pass is about to
// change.
func (w *Work) ByPass(tree string) func(path, pass string) {
	w.who.before = map[string]Actor{}
	return func(path, pass string) {
		var st unix.Stat_t
		if _, twice := w.who.before[path]; !twice && unix.Lstat(filepath.Join(w.trees[tree].dir, path), &st) == nil {
			who, known := w.changer(path, &st)
			if inUpper := unix.Lstat(filepath.Join(w.trees[tree].layer, path), &st) == nil; inUpper && known {
				w.who.before[path] = who
			}
		}
		w.Did(path, Actor{Kind: ByPass, Name: pass})
	}
}

// Did says outright who has changed a path.
func (w *Work) Did(path string, a Actor) {
	if w.who.explicit == nil {
		w.who.explicit = map[string]Actor{}
	}
	w.who.explicit[path] = a
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
		w.who.folders = map[string]Actor{}
	}
	for _, f := range s.Folders {
		w.who.folders[f] = a
	}
	if s.Ended > 0 {
		_, _ = fmt.Fprintf(w.Log, "isotrace: %s left %d processes behind, which were ended\n", a, s.Ended) // the journal is unsigned
	}
}

// at returns who had the tree at a time.
func (w *Work) at(ctime int64) Actor {
	who, since := Actor{Kind: ByStage, Name: w.node.Name}, int64(0)
	for _, s := range w.who.spans {
		if ctime > s.start && ctime <= s.end && s.start >= since {
			who, since = s.actor, s.start
		}
	}
	return who
}

// WriteChanges writes a file output that says who changed what in a tree
// output. Nothing may change the tree afterwards.
func (w *Work) WriteChanges(ctx context.Context, tree, output string) error {
	if err := w.probe(); err != nil {
		return err
	}
	t := w.trees[tree]
	c := Changes{Changed: map[string]Actor{}, Removed: map[string]Actor{}, Before: w.who.before}
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
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return fmt.Errorf("/%s: %w", name, err)
		}
		who, known := w.changer(name, &st)
		switch {
		case isWhiteout(p, &st):
			c.Removed[name] = who
		case known || !w.isFolderBelow(t, name):
			c.Changed[name] = who
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at what changed: %w", err)
	}
	for name, who := range w.who.explicit {
		if _, ok := c.Changed[name]; !ok {
			c.Removed[name] = who
		}
	}
	text, err := c.encode()
	if err != nil {
		return err
	}
	return artifact.WriteBytes(w.OutFile(output), 0o644, text)
}

// changer returns who changed a path last. Of a folder that is known only where
// somebody said so: whatever is put into it changes its ctime.
func (w *Work) changer(name string, st *unix.Stat_t) (who Actor, known bool) {
	if who, ok := w.who.explicit[name]; ok {
		return who, true
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return w.at(st.Ctim.Nano()), true
	}
	if who, ok := w.who.folders[name]; ok {
		return who, true
	}
	return Actor{Kind: ByStage, Name: w.node.Name}, false
}

// isFolderBelow tells a folder that stands in the top layer only because
// something in it does.
func (w *Work) isFolderBelow(t *newTree, name string) bool {
	for _, id := range t.lowers {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(w.run.Store.Layer(id), name), &st) == nil {
			return st.Mode&unix.S_IFMT == unix.S_IFDIR
		}
	}
	return false
}

// isWhiteout tells an overlayfs mark of a removed name: a device 0/0, or an
// empty file with an attribute of its own.
func isWhiteout(path string, st *unix.Stat_t) bool {
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return st.Rdev == 0
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != 0 {
		return false
	}
	_, err := unix.Lgetxattr(path, "user.overlay.whiteout", nil)
	return err == nil
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
			list = append(list, change{Path: path, By: index[a]})
		}
		slices.SortFunc(list, func(a, b change) int { return cmp.Compare(a.Path, b.Path) })
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
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxChanges))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
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
			(*l.to)[e.Path] = x.Actors[e.By]
		}
	}
	return c, nil
}
