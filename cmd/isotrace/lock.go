package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/stages"
)

func (a *app) lockCommand() *cobra.Command {
	var older, changed []string
	c := &cobra.Command{
		Use:   "lock",
		Short: "Resolve the config into exact content: isotrace.lock",
		Long: `Fetches the Release files and indexes of the config's archives, checks their
signatures, and lets the toolbox's apt choose the packages, offline. The lock
names every package, tool and base image by SHA-256, and why it is there.

Keep isotrace.lock and isotrace.lock.d, which holds the Release files that the
lock rests on, under version control: mirrors keep only the newest.

Where there is a lock already, a suite whose Release file is older than the one in it is
refused, as is one of another codename or origin: whoever answers for a mirror may have
kept what the archive signed long ago. --allow-older and --allow-changed accept that of
the suites that they name; the lock says so, and so does isotrace verify.`,
		Example: "  isotrace lock\n  isotrace lock --mirror debian=https://mirror.example.org/20260301/debian --allow-older debian/trixie",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return inside(func() error { return a.lock(c.Context(), older, changed) })
		},
	}
	c.Flags().StringArrayVar(&older, "allow-older", nil, "a `suite`, as REPOSITORY/SUITE, of which an older Release file is accepted than the lock's; may be given several times")
	c.Flags().StringArrayVar(&changed, "allow-changed", nil, "a `suite`, as REPOSITORY/SUITE, that may have another codename or origin than in the lock; may be given several times")
	a.mirrorFlags(c)
	return c
}

func (a *app) lock(ctx context.Context, older, changed []string) (err error) {
	p, err := stages.OpenProjectConfig(a.dir)
	if err != nil {
		return err
	}
	s, err := a.session(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Store.Close()) }()
	progress, err := a.newProgress()
	if err != nil {
		return err
	}
	s.Progress, s.AllowOlder, s.AllowChanged = progress, older, changed
	l, err := a.writeLock(ctx, s)
	progress.Close()
	if err != nil {
		return err
	}
	return a.result(summary(l), func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "locked %d packages for the image, %d to boot it, %d tools%s\n", installed(l), len(l.Boot), len(l.Tools), besides(l))
		return err
	})
}

func (a *app) writeLock(ctx context.Context, s *stages.Session) (*lockfile.Lock, error) {
	l, err := s.Lock(ctx)
	if err != nil {
		return nil, err
	}
	return l, s.SaveLock(l)
}

func summary(l *lockfile.Lock) map[string]any {
	return map[string]any{
		"config": l.Intent, "epoch": l.Epoch, "target": installed(l), "boot": len(l.Boot), "tools": len(l.Tools),
		"proof": lockfile.Count(l.Target, lockfile.UseProof), "sources": len(l.Sources), "sources-missing": len(l.SourcesMissing),
	}
}

func installed(l *lockfile.Lock) int {
	return lockfile.Count(l.Target, lockfile.UseBase, lockfile.UseInstall)
}

// besides tells of what not every lock has.
func besides(l *lockfile.Lock) string {
	var b strings.Builder
	if n := lockfile.Count(l.Target, lockfile.UseProof); n > 0 {
		fmt.Fprintf(&b, "; the .debs of %d of the base image's %d packages", n, len(l.Image.Packages))
	}
	if n := len(l.Sources); n > 0 {
		fmt.Fprintf(&b, "; %d source packages", n)
	}
	if n := len(l.SourcesMissing); n > 0 {
		fmt.Fprintf(&b, "; %d source packages are in no archive", n)
	}
	return b.String()
}
