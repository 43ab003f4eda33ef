package stages

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
)

// aside is the folder, in one that a build has not finished, with what it replaces.
const aside = "old"

// CheckOutput refuses to build into a folder that holds anything but what isotrace makes:
// it would be lost.
func CheckOutput(out string) error {
	o, err := provenance.InspectOutput(out)
	if err != nil {
		return fault.New(fault.Usage, "name another folder with -o", "the output folder: %w", err)
	}
	if len(o.Foreign) == 0 {
		return nil
	}
	more := ""
	if n := len(o.Foreign) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fault.New(fault.Usage, "name another folder with -o, or move them elsewhere", "the output folder %s: holds %q%s, which isotrace did not make", out, o.Foreign[0], more)
}

// sweep removes what a killed build has left in the output folder, and puts back what it
// had set aside.
func sweep(out string) error {
	drafts, err := filepath.Glob(filepath.Join(escape(out), provenance.DraftPrefix+"*"))
	if err != nil {
		return err
	}
	for _, draft := range drafts {
		if err := putBack(filepath.Join(draft, aside), out); err != nil {
			return fmt.Errorf("put back what an earlier build set aside: %w", err)
		}
		if err := os.RemoveAll(draft); err != nil {
			return fmt.Errorf("remove what an earlier build left: %w", err)
		}
	}
	beside, err := draftsBeside(out)
	if err != nil {
		return err
	}
	for _, draft := range beside {
		if err := os.RemoveAll(draft); err != nil {
			return fmt.Errorf("remove what an earlier build left: %w", err)
		}
	}
	return nil
}

// draftsBeside are the folders that were to take the place of dir, or had it.
func draftsBeside(dir string) ([]string, error) {
	all, err := filepath.Glob(escape(besideName(dir)) + "*")
	return slices.DeleteFunc(all, func(at string) bool { // those of others, whose names begin like this one's
		return !ofTemp.MatchString(strings.TrimPrefix(at, besideName(dir)))
	}), err
}

// escape quotes a path for filepath.Glob.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// ofTemp is what os.MkdirTemp adds to a name.
var ofTemp = regexp.MustCompile(`^[0-9]+$`)

// besideName begins the names of folders beside out that are to take its place, or had it.
func besideName(out string) string {
	return filepath.Join(filepath.Dir(out), provenance.DraftPrefix+filepath.Base(out)+".")
}

// putBack returns what was set aside where nothing took its place.
func putBack(from, out string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Evidence goes first and comes last: where it is there, the new output is whole.
	if _, err := os.Lstat(filepath.Join(out, provenance.EvidenceDir)); err == nil {
		return nil
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(out, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// publish puts a verified draft, which is in the folder out, in the place of what was built
// there before. Whoever looks finds the old output or the new one, and what other commands
// made beside it. A release stays where the evidence is the same; otherwise it is replaced
// only where that was asked for.
func (s *Session) publish(draft, out string) error {
	r, err := s.replacing(draft, out)
	if err != nil {
		return err
	}
	if done, err := r.atOnce(); err != nil || done {
		return err
	}
	return r.oneByOne()
}

// replacement is a draft and what it does to the folder that it is in.
type replacement struct {
	draft, out string
	made       []string // entries of the draft
	kept, gone []string // entries of the folder
}

func (s *Session) replacing(draft, out string) (*replacement, error) {
	o, err := provenance.InspectOutput(out)
	if err != nil {
		return nil, err
	}
	same, err := sameEvidence(draft, out)
	if err != nil {
		return nil, err
	}
	if !same && o.Released && !s.ReplaceRelease {
		return nil, replacesRelease(out)
	}
	if same {
		if err := keepLinks(draft, out); err != nil {
			return nil, err
		}
	}
	r := &replacement{draft: draft, out: out}
	if r.made, err = namesIn(draft); err != nil {
		return nil, err
	}
	names, err := namesIn(out)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, provenance.DraftPrefix):
		case slices.Contains(r.made, name), slices.Contains(o.Made, name) && !same:
			r.gone = append(r.gone, name)
		default:
			r.kept = append(r.kept, name)
		}
	}
	return r, nil
}

func namesIn(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// checkRelease refuses before an hour is spent what publish would refuse afterwards, where
// that can be told.
func (s *Session) checkRelease(out string) error {
	o, err := provenance.InspectOutput(out)
	if err != nil || !o.Released || s.ReplaceRelease {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	for name, text := range map[string][]byte{config.FileName: s.Project.ConfigText, lockfile.FileName: s.Project.LockText} {
		before, err := regular.ReadFile(filepath.Join(out, provenance.EvidenceDir, name), 1<<26)
		if err != nil {
			return err
		}
		if !bytes.Equal(before, text) {
			return replacesRelease(out)
		}
	}
	return nil
}

func replacesRelease(out string) error {
	return fault.New(fault.Usage, "name another folder with -o; --replace-release has the build take the place of the release, whose signatures are lost then",
		"%s: holds a release, and the build gives other evidence", out)
}

// atOnce lets the draft take the place of the folder in one step. It is not done where the
// folder cannot be moved, as a mount point cannot.
func (r *replacement) atOnce() (done bool, err error) {
	st, err := os.Stat(r.out)
	if err != nil {
		return false, err
	}
	work, err := os.MkdirTemp(filepath.Dir(r.out), filepath.Base(besideName(r.out))+"*")
	if err != nil {
		return false, nil
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	at := filepath.Join(work, "new")
	if os.Rename(r.draft, at) != nil {
		return false, nil
	}
	for _, name := range r.kept {
		if err := linkTree(filepath.Join(r.out, name), filepath.Join(at, name)); err != nil {
			return false, err
		}
	}
	if err := errors.Join(os.Chmod(at, st.Mode().Perm()), artifact.SyncDir(at)); err != nil {
		return false, err
	}
	if unix.Renameat2(unix.AT_FDCWD, at, unix.AT_FDCWD, r.out, unix.RENAME_EXCHANGE) == nil {
		return true, artifact.SyncDir(filepath.Dir(r.out))
	}
	for _, name := range r.kept {
		if err := os.RemoveAll(filepath.Join(at, name)); err != nil {
			return false, err
		}
	}
	return false, os.Rename(at, r.draft)
}

// linkTree shows a file, or a folder's files, under another name.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			st, err := d.Info()
			if err != nil {
				return err
			}
			return errors.Join(os.Mkdir(at, 0o755), os.Chmod(at, st.Mode().Perm()))
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(target, at)
		case os.Link(p, at) == nil:
			return nil
		case d.Type().IsRegular():
			return copyFile(p, at)
		}
		return fmt.Errorf("%s: cannot be kept: it is no file", p)
	})
}

// oneByOne sets aside what is replaced and moves the draft's entries in. Evidence goes
// first and comes last: until it is there, sweep puts the old output back. What fails is
// undone.
func (r *replacement) oneByOne() (err error) {
	old := filepath.Join(r.draft, aside)
	if err := os.Mkdir(old, 0o755); err != nil {
		return err
	}
	var undo []func() error
	defer func() {
		if err != nil {
			for _, back := range slices.Backward(undo) {
				err = errors.Join(err, back())
			}
		}
	}()
	move := func(from, to string) error {
		if err := os.Rename(from, to); err != nil {
			return err
		}
		undo = append(undo, func() error { return os.Rename(to, from) })
		return nil
	}
	for _, name := range slices.Backward(evidenceLast(r.gone)) {
		if err := move(filepath.Join(r.out, name), filepath.Join(old, name)); err != nil {
			return err
		}
	}
	for _, name := range evidenceLast(r.made) {
		if err := move(filepath.Join(r.draft, name), filepath.Join(r.out, name)); err != nil {
			return err
		}
	}
	return artifact.SyncDir(r.out)
}

func evidenceLast(names []string) []string {
	last := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == provenance.EvidenceDir })
	if len(last) < len(names) {
		last = append(last, provenance.EvidenceDir)
	}
	return last
}
