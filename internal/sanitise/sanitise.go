package sanitise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/regular"
)

// Options say which passes run.
type Options struct {
	Epoch epoch.Epoch
	// Keep names passes that are left out.
	Keep []string
	// Protect names paths that the project itself put there; no pass touches them. Nor
	// does one what is as a package brought it, secrets excepted.
	Protect []string
	// VaryingOnly leaves out the passes that only keep the build from leaking:
	// it is for the stages before the last, whose trees must be the same in
	// every build but may still hold what the next stage needs.
	VaryingOnly bool
	// Changed is told of each path that a pass changes or removes.
	Changed func(path, pass string)
	// Log is told what changes and why.
	Log io.Writer
}

// tree is a root tree in the hands of a pass. All access goes through an
// os.Root: a link in the tree cannot lead a pass out of it.
type tree struct {
	dir   string
	root  *os.Root
	epoch epoch.Epoch
	owned map[string]bool
	log   io.Writer
	// packages is what shipped has found out.
	packages map[string]string
	pass     pass // at work
	// changed is told of what the pass at work changes.
	changed func(path string)
}

// Apply runs the passes on the root tree at dir.
func Apply(ctx context.Context, dir string, o Options) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	t := &tree{dir: dir, root: root, epoch: o.Epoch, owned: map[string]bool{}, log: o.Log}
	for _, path := range o.Protect {
		t.owned[t.real(path)] = true
	}
	for _, ps := range passes {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if slices.Contains(o.Keep, ps.Name) || o.VaryingOnly && !ps.varies {
			continue
		}
		if _, err := fmt.Fprintf(o.Log, "pass %s: %s\n", ps.Name, ps.Reason); err != nil {
			return err
		}
		t.pass = ps
		t.changed = func(path string) {
			if o.Changed != nil {
				o.Changed(path, ps.Name)
			}
		}
		if err := t.apply(ps); err != nil {
			return fmt.Errorf("pass %s: %w", ps.Name, err)
		}
	}
	return nil
}

func (t *tree) apply(p pass) error {
	for _, pattern := range p.remove {
		if err := t.removeMatching(pattern); err != nil {
			return err
		}
	}
	for _, dir := range p.empty {
		if err := t.removeMatching(dir + "/*"); err != nil {
			return err
		}
	}
	for _, name := range p.truncate {
		if err := t.truncate(name); err != nil {
			return err
		}
	}
	if p.walk != nil {
		if err := t.removeWalking(p.below, p.walk); err != nil {
			return err
		}
	}
	if p.edit != nil {
		return p.edit(t)
	}
	return nil
}

// removeMatching deletes what matches, without following a link in the last
// folder: /run may be one.
func (t *tree) removeMatching(pattern string) error {
	last := path.Base(pattern)
	dir := t.real(path.Dir(pattern))
	st, err := t.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := regular.ReadDir(t.root, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		ok, err := path.Match(last, e.Name())
		if err != nil {
			return err
		}
		if ok {
			if err := t.delete(path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tree) removeWalking(below string, match func(string, fs.DirEntry) bool) error {
	var found []string
	if below != "" {
		below = path.Dir(t.real(path.Join(below, "x"))) // it may be a link
	}
	err := t.walk(below, func(p string, d fs.DirEntry) error {
		if p != "." && p != below && match(p, d) {
			found = append(found, p)
			if d.IsDir() {
				return fs.SkipDir
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range found {
		if err := t.delete(p); err != nil {
			return err
		}
		// python leaves folders that hold nothing but bytecode.
		if dir := path.Dir(p); path.Base(dir) == "__pycache__" {
			if left, err := regular.ReadDir(t.root, dir); err == nil && len(left) == 0 {
				if err := t.delete(dir); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// walk calls do for everything in the tree, or for a folder and all below it. It
// looks by path, as nothing else is at the tree and a walk from its root follows
// no link: through the os.Root it takes ten times as long.
func (t *tree) walk(below string, do func(path string, d fs.DirEntry) error) error {
	return filepath.WalkDir(t.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(t.dir, p)
		if err != nil {
			return err
		}
		if below == "" || name == below || strings.HasPrefix(name, below+"/") {
			return do(name, d)
		}
		if d.IsDir() && name != "." && !strings.HasPrefix(below, name+"/") {
			return fs.SkipDir
		}
		return nil
	})
}

func (t *tree) truncate(name string) error {
	name = t.real(name)
	st, err := t.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return err
	}
	return t.rewrite(name, nil)
}

const maxEdited = 16 << 20

func (t *tree) read(name string) ([]byte, error) {
	return regular.Read(t.root, name, maxEdited)
}

// rewrite changes a file's content and nothing else about it.
func (t *tree) rewrite(name string, b []byte) (err error) {
	if name = t.real(name); t.owned[name] {
		_, err := fmt.Fprintf(t.log, "  kept /%s: the project put it there\n", name)
		return err
	}
	if _, err := fmt.Fprintf(t.log, "  rewrote /%s\n", name); err != nil {
		return err
	}
	t.changed(name)
	f, err := regular.Edit(t.root, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.Write(b)
	return err
}

// clampPasswordAge sets the day of the last password change, the third field
// of shadow(5), to the epoch's where it is later.
func clampPasswordAge(t *tree) error {
	st, err := t.root.Lstat("etc/shadow")
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := t.read("etc/shadow")
	if err != nil {
		return err
	}
	day := int64(t.epoch) / 86400
	var after bytes.Buffer
	for line := range strings.Lines(string(before)) {
		f := strings.Split(line, ":")
		if len(f) > 2 {
			if n, err := strconv.ParseInt(f[2], 10, 64); err == nil && n > day {
				f[2] = strconv.FormatInt(day, 10)
			}
		}
		after.WriteString(strings.Join(f, ":"))
	}
	if bytes.Equal(before, after.Bytes()) {
		return nil
	}
	return t.rewrite("etc/shadow", after.Bytes())
}

// sortSAX orders the features within each section of perl's registry of XML
// parsers, which comes out of a hash in any order.
func sortSAX(t *tree) error {
	const name = "etc/perl/XML/SAX/ParserDetails.ini"
	st, err := t.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := t.read(name)
	if err != nil {
		return err
	}
	if after := sortSections(string(before)); after != string(before) {
		return t.rewrite(name, []byte(after))
	}
	return nil
}

// sortSections sorts the runs of lines between "[section]" lines and blank ones.
func sortSections(text string) string {
	var out, run []string
	flush := func() {
		slices.Sort(run)
		out, run = append(out, run...), nil
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "[") || strings.TrimSpace(line) == "" {
			flush()
			out = append(out, line)
			continue
		}
		run = append(run, line)
	}
	flush()
	return strings.Join(out, "")
}
