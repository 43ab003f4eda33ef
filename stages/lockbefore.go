package stages

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
)

// before is what the lock that is there says of its suites, by ID.
type before map[string]lockfile.Archive

// readBefore reads the suites of the project's lock, as far as a new one is compared with
// them. A lock of another format, or one that was edited, still tells them.
func (p *Project) readBefore() (before, error) {
	file := filepath.Join(p.Dir, lockfile.FileName)
	text, err := regular.ReadFile(file, lockfile.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var l struct {
		Archives []struct {
			ID       string `yaml:"id"`
			Codename string `yaml:"codename"`
			Origin   string `yaml:"origin"`
			Date     string `yaml:"date"`
			Newest   string `yaml:"older-accepted"`
		} `yaml:"archives"`
	}
	const hint = "bring it back from version control, so that nobody can replay an older state of the archives; without it a lock is made as if for the first time"
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&l); err != nil {
		return nil, fault.New(fault.Usage, hint, "%s: cannot be read, and a new lock not be compared with it: %s", file, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	was := before{}
	for _, a := range l.Archives {
		if a.Newest != "" { // what was once accepted has to be accepted again
			a.Date = a.Newest
		}
		if _, err := time.Parse(time.RFC3339, a.Date); err != nil {
			return nil, fault.New(fault.Usage, hint, "%s: archive %s: %w", file, a.ID, err)
		}
		was[a.ID] = lockfile.Archive{ID: a.ID, Codename: a.Codename, Origin: a.Origin, Date: a.Date}
	}
	return was, nil
}

// checkBefore refuses suites that are older than those of the lock that is there, or of
// another codename or origin, unless they were asked for by name; the lock says so then.
// Whoever can answer for a mirror has every Release file of the past, signed as it was.
func (k *locking) checkBefore() error {
	was, err := k.Project.readBefore()
	if err != nil {
		return err
	}
	for _, list := range []struct {
		flag string
		ids  []string
	}{{"--allow-older", k.AllowOlder}, {"--allow-changed", k.AllowChanged}} {
		for _, id := range list.ids {
			if !slices.ContainsFunc(k.lock.Archives, func(a lockfile.Archive) bool { return a.ID == id }) {
				return fault.New(fault.Usage, "a suite is named as the lock does: REPOSITORY/SUITE", "%s %s: is not among the archives", list.flag, id)
			}
		}
	}
	for i := range k.lock.Archives {
		a := &k.lock.Archives[i]
		old, ok := was[a.ID]
		if !ok {
			continue
		}
		if err := k.notOlder(a, old); err != nil {
			return err
		}
		changed := ""
		for _, f := range []struct{ what, was, is string }{{"codename", old.Codename, a.Codename}, {"origin", old.Origin, a.Origin}} {
			if f.was != f.is && f.was != "" {
				changed = strings.TrimPrefix(changed+", "+f.what+" "+f.was, ", ")
			}
		}
		if changed == "" {
			continue
		}
		if !slices.Contains(k.AllowChanged, a.ID) {
			return fault.New(fault.Refused, "where the archive has made a new release of that name, accept it with --allow-changed "+a.ID+" (it is recorded)",
				"%s: is of codename %s, origin %s; isotrace.lock has it as %s", a.ID, a.Codename, a.Origin, changed)
		}
		a.ChangedAccepted = changed
	}
	return nil
}

func (k *locking) notOlder(a *lockfile.Archive, old lockfile.Archive) error {
	is, err := time.Parse(time.RFC3339, a.Date)
	if err != nil {
		return err
	}
	was, err := time.Parse(time.RFC3339, old.Date)
	if err != nil {
		return err
	}
	if !is.Before(was) {
		return nil
	}
	if !slices.Contains(k.AllowOlder, a.ID) {
		return fault.New(fault.Refused, "use a mirror that is up to date; for a state of the past, name the suite with --allow-older "+a.ID+" (it is recorded)",
			"%s: the mirror's Release file is of %s, but isotrace.lock, or a lock before it, has one of %s: the mirror shows an older state of the archive", a.ID, a.Date, old.Date)
	}
	a.OlderAccepted = old.Date
	return nil
}
