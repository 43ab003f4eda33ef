package lockfile

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
)

// BasePrefix marks the path of a keyring of the base image, as against one of the project.
const BasePrefix = "base:"

// checkArchives refuses a lock whose archives, their keys among them, are not the config's:
// that the digest of the intent is the same says nothing about them to whom the lock's own
// maker deceives. Where the config names none those of the base image count, whose keys
// have to be the base image's, too.
func (l *Lock) checkArchives(c *config.Config) error {
	refuse := func(format string, args ...any) error {
		return fault.New(fault.Usage, relock, FileName+": "+format, args...)
	}
	fromBase := c.Base.IsImage() && len(c.Archives) == 0
	want := map[string]config.Archive{}
	for _, list := range [][]config.Archive{c.Archives, c.BootArchives(), c.ToolArchives()} {
		for _, a := range list {
			id := a.Repo() + "/" + a.Suite
			if have, ok := want[id]; ok {
				a.Components = slices.Concat(have.Components, a.Components)
				a.IgnoreValidUntil = a.IgnoreValidUntil && have.IgnoreValidUntil
			}
			want[id] = a
		}
	}
	newest := time.Time{}
	for _, a := range l.Archives {
		date, err := time.Parse(time.RFC3339, a.Date)
		if err != nil {
			return refuse("archive %s: %w", a.ID, err)
		}
		if date.After(newest) {
			newest = date
		}
		w, named := want[a.ID]
		delete(want, a.ID)
		switch {
		case !named && !fromBase:
			return refuse("has the archive %s, which %s does not name", a.ID, config.FileName)
		case !named && !strings.HasPrefix(a.Keyring.Path, BasePrefix):
			return refuse("archive %s: has its keys from %s, and not from the base image", a.ID, a.Keyring.Path)
		case named && (strings.HasPrefix(a.Keyring.Path, BasePrefix) || config.Clean(a.Keyring.Path) != config.Clean(w.SignedBy)):
			return refuse("archive %s: has its keys from %s, %s says %s", a.ID, a.Keyring.Path, config.FileName, w.SignedBy)
		case a.ExpiredAccepted && !w.IgnoreValidUntil:
			return refuse("archive %s: had expired, which %s does not accept", a.ID, config.FileName)
		}
		if !named {
			continue
		}
		var have []string
		for _, i := range a.Indexes {
			have = append(have, i.Component)
		}
		for _, component := range w.Components {
			if !slices.Contains(have, component) {
				return refuse("archive %s: has no index of %s", a.ID, component)
			}
		}
		for _, i := range slices.Concat(a.Indexes, a.SourceIndexes) {
			if !fromBase && !slices.Contains(w.Components, i.Component) {
				return refuse("archive %s: has an index of %s, which %s does not name", a.ID, i.Component, config.FileName)
			}
		}
	}
	if left := slices.Sorted(maps.Keys(want)); len(left) > 0 {
		return refuse("does not have the archive %s, which %s names", left[0], config.FileName)
	}
	if t, ok := c.EpochTime(); ok {
		newest = t
	}
	if !newest.IsZero() && int64(l.Epoch) != newest.Unix() {
		return refuse("epoch %d, it has to be %d: that of %s, or the newest Release file's", l.Epoch, newest.Unix(), config.FileName)
	}
	return nil
}
