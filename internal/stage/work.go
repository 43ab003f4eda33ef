package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/background"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/tool"
)

// Work is what a running stage has: its inputs, a place for its outputs, and
// ways to run programs on them. Nothing else may be read or left behind. It is
// for one goroutine.
type Work struct {
	// Epoch is the only time a stage may use.
	Epoch epoch.Epoch
	// Log takes what programs print; it ends up in the unsigned journal.
	Log io.Writer

	run      *run
	node     *node
	dir      string // scratch: see the folders' own comments
	out      *os.Root
	mounts   mounts
	views    map[string]string // input → folder
	trees    map[string]*newTree
	sets     map[string][]artifact.Ref
	commands []tool.Command
	given    bool // something was
	who      attribution
}

// newTree is a tree output in the making.
type newTree struct {
	dir    string // where it is written
	layer  string // what becomes its topmost layer
	input  string // that it began as
	lowers []string
	// gone are the names that were seen to be removed, and who had the tree.
	gone map[string]said
}

func (x *run) newWork(n *node) (*Work, error) {
	dir, err := x.Store.NewWork(n.Name)
	if err != nil {
		return nil, err
	}
	w := &Work{
		Epoch: x.Epoch, Log: io.Discard, run: x, node: n, dir: dir, mounts: mounts{store: x.Store},
		views: map[string]string{}, trees: map[string]*newTree{}, sets: map[string][]artifact.Ref{},
	}
	if x.Journal != nil {
		w.Log = x.Journal(n.Name)
	}
	for _, d := range folders {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	if err := os.Chmod(filepath.Join(dir, tmpDir), 0o777|os.ModeSticky); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if w.out, err = os.OpenRoot(filepath.Join(dir, outDir)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return w, nil
}

func (w *Work) close() error {
	err := w.out.Close()
	if merr := w.mounts.close(); merr != nil {
		return errors.Join(err, merr) // never remove what may still be mounted
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

// input returns the product that stands behind a declared input. It panics on
// a name that the stage did not declare: that is a mistake in the stage.
func (w *Work) input(name string, kind Kind) Product {
	for _, in := range w.node.Inputs {
		if h := in.From.handle(); in.Name == name && h.kind == kind {
			return w.run.nodes[h.stage].result.Outputs[h.name]
		}
	}
	panic(fmt.Sprintf("stage %s declares no %s input %q", w.node.Name, kind, name))
}

func (w *Work) output(name string, kind Kind) {
	if !slices.Contains(w.node.Outputs, Output{Name: name, Kind: kind}) {
		panic(fmt.Sprintf("stage %s declares no %s output %q", w.node.Name, kind, name))
	}
}

// File returns where the content of a file input can be read on the host.
func (w *Work) File(input string) string {
	return w.run.Store.Path(w.input(input, KindFile).File.Digest)
}

// FileRef returns the digest and size of a file input; its path is the output's.
func (w *Work) FileRef(input string) artifact.Ref { return *w.input(input, KindFile).File }

// Set returns the files of a set input, sorted by path.
func (w *Work) Set(input string) []artifact.Ref { return w.input(input, KindSet).Set }

// Sets returns the files of every set input.
func (w *Work) Sets() [][]artifact.Ref {
	var sets [][]artifact.Ref
	for _, in := range w.node.Inputs {
		if in.From.handle().kind == KindSet {
			sets = append(sets, w.Set(in.Name))
		}
	}
	return sets
}

// Content returns where a file of a set input can be read on the host.
func (w *Work) Content(r artifact.Ref) string { return w.run.Store.Path(r.Digest) }

// Material returns where a material can be read on the host, by its record
// path. It panics on a path that the stage did not declare.
func (w *Work) Material(path string) string {
	for _, m := range w.node.Materials {
		if m.Path == path {
			return w.run.Store.Path(m.Digest)
		}
	}
	panic(fmt.Sprintf("stage %s declares no material %q", w.node.Name, path))
}

// AddToSet adds content that stands in the store to a declared set output.
func (w *Work) AddToSet(name string, r artifact.Ref) error {
	w.output(name, KindSet)
	if !w.run.Store.Has(r.Digest) {
		return fmt.Errorf("%s: its content %s is not in the store", r.Path, r.Digest.Short())
	}
	w.sets[name] = append(w.sets[name], r)
	return nil
}

// Store returns the store, for stages that fetch.
func (w *Work) Store() *artifact.Store { return w.run.Store }

// View mounts a tree input read-only and returns its folder.
func (w *Work) View(input string) (string, error) {
	if dir, ok := w.views[input]; ok {
		return dir, nil
	}
	dir, err := w.mounts.view(w.node.Name, w.input(input, KindTree).Tree.Layers)
	if err == nil {
		w.views[input] = dir
	}
	return dir, err
}

// TreeIdentity returns what the UUIDs of media and disks with a tree input follow from.
func (w *Work) TreeIdentity(input string) (artifact.Digest, error) {
	m, err := w.Manifest(input)
	if err != nil {
		return "", err
	}
	return m.Identity(), nil
}

// Manifest returns the manifest of a tree input.
func (w *Work) Manifest(input string) (_ *roottree.Manifest, err error) {
	f, err := regular.OpenFile(w.run.Store.Path(w.input(input, KindTree).Tree.Manifest.Digest))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return roottree.Parse(f)
}

// NewTree returns an empty writable folder for a declared tree output.
func (w *Work) NewTree(name string) (string, error) {
	w.output(name, KindTree)
	dir := filepath.Join(w.dir, treesDir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	w.trees[name] = &newTree{dir: dir, layer: dir}
	return dir, os.Chmod(dir, 0o755)
}

// CopyTree returns a writable folder for a declared tree output that starts
// as the tree of the input; only what changes takes room.
func (w *Work) CopyTree(name, input string) (string, error) {
	w.output(name, KindTree)
	return w.overlay(name, input)
}

// Scratch returns a writable folder that starts as the tree of the input and is
// thrown away with all that changes in it. RunIn knows it by the input's name.
func (w *Work) Scratch(input string) (string, error) {
	return w.overlay(input, input)
}

func (w *Work) overlay(name, input string) (string, error) {
	lowers := w.input(input, KindTree).Tree.Layers
	base := filepath.Join(w.dir, treesDir, name)
	for _, d := range []string{"", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			return "", err
		}
	}
	// The root folder's own attributes come from the upper layer.
	if err := copyRootAttributes(w.run.Store.Layer(lowers[0]), filepath.Join(base, "upper")); err != nil {
		return "", err
	}
	merged := filepath.Join(base, "merged")
	if err := w.mounts.overlay(merged, lowers, filepath.Join(base, "upper"), filepath.Join(base, "work")); err != nil {
		return "", err
	}
	w.trees[name] = &newTree{dir: merged, layer: filepath.Join(base, "upper"), input: input, lowers: lowers}
	return merged, nil
}

func copyRootAttributes(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(to, st.Mode&0o7777)
}

// Run runs a program of the toolbox (the stage's input named "toolbox"). Its
// root is the toolbox, read-only; inputs stand below /in by name (a file as
// /in/NAME, a set as a folder of its paths, a tree as a folder), materials
// below /in/material by path, what the stage gave below /in/given; /out and /tmp are
// writable.
func (w *Work) Run(ctx context.Context, c tool.Command) error {
	root, err := w.View("toolbox")
	if err != nil {
		return err
	}
	binds, err := w.binds("/in")
	if err != nil {
		return err
	}
	binds = append([]sandbox.Bind{{Source: filepath.Join(w.dir, inDir), Target: "/in"}}, binds...)
	binds = append(binds, sandbox.Bind{Source: filepath.Join(w.dir, outDir), Target: "/out", Writable: true})
	return w.exec(ctx, c, sandbox.Spec{Root: root, Binds: binds})
}

// RunIn runs a program of the tree output or the scratch copy, as root inside it. Inputs
// stand below /run/isotrace/in, materials below /run/isotrace/in/material, what the
// stage gave below /run/isotrace/in/given; beside the tree /tmp is writable.
func (w *Work) RunIn(ctx context.Context, tree string, c tool.Command) error {
	return w.By(programActor(c), func() error { return w.runIn(ctx, tree, c, nil) })
}

// RunFollowed is RunIn for a program, the actor's, that may let dpkg run
// maintainer scripts: what those change is theirs.
func (w *Work) RunFollowed(ctx context.Context, output string, c tool.Command, a Actor) error {
	return w.By(a, func() error { return w.runIn(ctx, output, c, w.script) })
}

// RunPackages is RunFollowed for dpkg and apt themselves.
func (w *Work) RunPackages(ctx context.Context, output string, c tool.Command) error {
	return w.RunFollowed(ctx, output, c, programActor(c))
}

func programActor(c tool.Command) Actor {
	return Actor{Kind: ByProgram, Name: filepath.Base(c.Argv[0])}
}

func (w *Work) runIn(ctx context.Context, tree string, c tool.Command, scripts func(sandbox.Script)) error {
	t := w.trees[tree]
	if t == nil {
		return fmt.Errorf("tree %s is not begun", tree)
	}
	binds, err := w.binds("/run/isotrace/in")
	if err != nil {
		return err
	}
	return w.exec(ctx, c, sandbox.Spec{Root: t.dir, Writable: true, Binds: binds, Scripts: scripts})
}

func (w *Work) exec(ctx context.Context, c tool.Command, spec sandbox.Spec) error {
	w.commands = append(w.commands, c)
	spec.Temp = filepath.Join(w.dir, tmpDir)
	spec.Argv, spec.Env, spec.Dir = c.Argv, c.Env, c.Dir
	spec.Limits = w.run.Limits
	if c.Background {
		spec.Nice = background.Niceness
	}
	spec.Stdin = strings.NewReader(string(c.Stdin))
	spec.Stdout, spec.Stderr = w.Log, w.Log
	if c.Stdout != nil {
		spec.Stdout = c.Stdout
	}
	if _, err := fmt.Fprintf(w.Log, "+ %s\n", strings.Join(c.Argv, " ")); err != nil {
		return err
	}
	return sandbox.Run(ctx, spec)
}

// binds shows every input but the toolbox, the materials, and what the stage gave,
// read-only below target.
func (w *Work) binds(target string) ([]sandbox.Bind, error) {
	var binds []sandbox.Bind
	for _, in := range w.node.Inputs {
		if in.Name == "toolbox" {
			continue
		}
		at, point := target+"/"+in.Name, filepath.Join(w.dir, inDir, in.Name)
		switch in.From.handle().kind {
		case KindFile:
			if err := touch(point); err != nil {
				return nil, err
			}
			binds = append(binds, sandbox.Bind{Source: w.File(in.Name), Target: at})
		case KindTree:
			dir, err := w.View(in.Name)
			if err != nil {
				return nil, err
			}
			if err := os.MkdirAll(point, 0o755); err != nil {
				return nil, err
			}
			binds = append(binds, sandbox.Bind{Source: dir, Target: at})
		case KindSet:
			dir, err := w.linkAll(in.Name, w.Set(in.Name))
			if err != nil {
				return nil, err
			}
			if err := os.MkdirAll(point, 0o755); err != nil {
				return nil, err
			}
			binds = append(binds, sandbox.Bind{Source: dir, Target: at})
		}
	}
	if w.given {
		if err := os.MkdirAll(filepath.Join(w.dir, inDir, givenDir), 0o755); err != nil {
			return nil, err
		}
		binds = append(binds, sandbox.Bind{Source: filepath.Join(w.dir, givenDir), Target: target + "/" + givenDir})
	}
	if len(w.node.Materials) == 0 {
		return binds, nil
	}
	refs := make([]artifact.Ref, len(w.node.Materials))
	for i, m := range w.node.Materials {
		refs[i] = m.Ref
	}
	dir, err := w.linkAll(".material", refs)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(w.dir, inDir, "material"), 0o755); err != nil {
		return nil, err
	}
	return append(binds, sandbox.Bind{Source: dir, Target: target + "/material"}), nil
}

// linkAll makes a folder that shows stored content under its paths.
func (w *Work) linkAll(name string, refs []artifact.Ref) (string, error) {
	dir := filepath.Join(w.dir, setsDir, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	for _, r := range refs {
		if !filepath.IsLocal(r.Path) {
			return "", fmt.Errorf("%q leads out of its set", r.Path)
		}
		at := filepath.Join(dir, r.Path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return "", err
		}
		if err := os.Link(w.run.Store.Path(r.Digest), at); err != nil {
			return "", err
		}
	}
	return dir, os.MkdirAll(dir, 0o755)
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// Progress tells the person who waits how far the stage has come, in bytes;
// total 0 means unknown.
func (w *Work) Progress(done, total int64) {
	if w.run.Runner.Progress != nil {
		w.run.Runner.Progress.Bytes(w.node.Name, done, total)
	}
}
