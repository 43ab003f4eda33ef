package stages

import (
	"context"
	"io"
	"path"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/fetch"
)

// Session is what commands that work on a project need.
type Session struct {
	Project *Project
	Store   *artifact.Store
	Mirrors Mirrors
	Proxy   string
	// Believed are the archives' keys that a build believes when it verifies what it made; the
	// project's where there are none.
	Believed provenance.ArchiveKeys
	// AllowOlder and AllowChanged name suites, by ID, of which a lock may take an older Release
	// file, or one of another codename or origin, than the lock before.
	AllowOlder, AllowChanged []string
	// Now decides whether a Release file has expired, and nothing else.
	Now      time.Time
	Progress stage.Progress
	// Journal takes what tools print, by stage; it may be nil.
	Journal func(stage string) io.Writer
	// ReplaceRelease lets a build take the place of a release.
	ReplaceRelease bool

	unmetTold bool
}

// Client makes the archives' client of the session.
func (s *Session) Client() (*archive.Client, error) {
	mirrors, err := s.Mirrors.ByRepository()
	if err != nil {
		return nil, err
	}
	return archive.NewClient(archive.Options{Mirrors: mirrors, Proxy: s.Proxy, Notice: func(err error) {
		if s.Progress != nil {
			s.Progress.Line("fetch", err.Error())
		}
	}})
}

// limitsOf are what a config lets programs take.
func limitsOf(c *config.Config) sandbox.Limits {
	l := c.Limits
	return sandbox.Limits{Processes: l.Processes, Memory: l.MemoryBytes(), Time: l.Duration(), Output: l.OutputBytes()}
}

func (s *Session) tell(name string, st stage.State) {
	if s.Progress != nil {
		s.Progress.Stage(name, st)
	}
}

// Fetcher brings locked files through an archive client. What comes from elsewhere is in
// the store before it is asked.
func Fetcher(client *archive.Client) fetch.Fetcher {
	return func(ctx context.Context, store *artifact.Store, items []fetch.Item, progress func(done, total int64)) error {
		var wants []archive.Want
		for _, it := range items {
			if it.Elsewhere() {
				continue
			}
			w := archive.Want{Repository: it.Repository, Path: it.Path, SHA256: it.Digest, Size: it.Size}
			if it.Set == fetch.Archives {
				w.Fallback, w.Path = w.Path, path.Join(path.Dir(it.Path), "by-hash", "SHA256", string(it.Digest))
			}
			wants = append(wants, w)
		}
		return client.FetchAll(ctx, wants, store, progress)
	}
}
