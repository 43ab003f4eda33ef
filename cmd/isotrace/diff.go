package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/diff"
)

type diffFlags struct {
	verifyFlags
	baselineKey, format string
	files               bool
}

func (a *app) diffCommand() *cobra.Command {
	var f diffFlags
	c := &cobra.Command{
		Use:   "diff BASELINE CANDIDATE",
		Short: "Say what changed between two builds, and why",
		Long: `Compares two folders that isotrace build wrote: packages, config, lock, requirements,
tools, licences, files and sizes. Both are verified first, as isotrace verify does it.

Every change must have a reason outside of the build: another package, config, lock or
file of the project, or another isotrace. A stage that took the same and gave something
else, and a file whose package, script or stage did not change, are unexplained: the
exit status is 3 then.

Changelogs are read from the .debs in the store, or in the copy of the archives that
--archive names. --release-key must have signed the baseline; and the candidate, too,
where that is released.`,
		Example: `  isotrace diff released/1.0.0 out
  isotrace diff released/1.0.0 out --key keys/builder.pub --files
  isotrace diff released/1.0.0 out --format html > changes.html`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return a.diff(c.Context(), args[0], args[1], f) },
	}
	f.register(c, "key")
	c.Flag("archive").Usage = "`folder` with the .debs, as a mirror has them, for changelogs"
	c.Flags().StringVar(&f.baselineKey, "baseline-key", "", "the public key `file` of the baseline's builder, where it is another's (default that of --key)")
	c.Flags().StringVar(&f.format, "format", "text", "how to write it: "+strings.Join(diff.Formats, ", "))
	c.Flags().BoolVar(&f.files, "files", false, "list every file that differs")
	return c
}

func (a *app) diff(ctx context.Context, baseline, candidate string, f diffFlags) error {
	if !slices.Contains(diff.Formats, f.format) {
		return fault.New(fault.Usage, strings.Join(diff.Formats, ", "), "--format=%s: not known", f.format)
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	o.Archive = "" // of two builds it need not have all .debs
	was := o
	if f.baselineKey != "" {
		if was.Key, err = loadPublic(f.baselineKey); err != nil {
			return err
		}
	}
	if released, err := isReleased(candidate); err != nil {
		return err
	} else if !released {
		o.ReleaseKey, o.Identity = nil, nil
	}
	var before, after *diff.Model
	var both errgroup.Group
	both.Go(func() (err error) { before, err = openModel(ctx, baseline, was); return err })
	both.Go(func() (err error) { after, err = openModel(ctx, candidate, o); return err })
	if err := both.Wait(); err != nil {
		return err
	}
	r, err := diff.Compare(before, after)
	if err != nil {
		return err
	}
	if err := r.AddChangelogs(ctx, before, after, a.debs(f.archive)); err != nil {
		return err
	}
	if err := a.writeDiff(r, f); err != nil {
		return err
	}
	return r.Refused()
}

func (a *app) writeDiff(r *diff.Result, f diffFlags) error {
	shown := *r
	if !f.files {
		shown.Files = nil
	}
	return a.result(shown, func(w io.Writer) error { return r.Write(w, f.format, diff.Options{Files: f.files}) })
}

func openModel(ctx context.Context, dir string, o provenance.VerifyOptions) (*diff.Model, error) {
	v, err := provenance.OpenVerified(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	return diff.Load(v)
}

// isReleased tells whether anything of a release is in a build's folder.
func isReleased(dir string) (bool, error) {
	files, err := provenance.ReleaseFiles(dir)
	return slices.ContainsFunc(files, func(name string) bool {
		return name == provenance.ReleaseSums || strings.HasPrefix(name, provenance.ReleaseDir+"/") || strings.HasSuffix(name, provenance.BundleSuffix)
	}), err
}

// debs opens the .debs of a lock: from a copy of the archives, or the store. What opens
// them checks their digests.
func (a *app) debs(archive string) diff.OpenDeb {
	return func(p lockfile.Package) (diff.DebFile, int64, error) {
		var files []string
		if archive != "" {
			file, err := provenance.FindDeb(archive, p)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, 0, err
			}
			files = append(files, file)
		}
		if store, err := a.storeDir(); err == nil {
			files = append(files, artifact.PathIn(store, p.SHA256))
		}
		for _, file := range files {
			f, size, err := openRegular(file)
			if err == nil {
				return f, size, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, 0, err
			}
		}
		return nil, 0, fs.ErrNotExist
	}
}

func openRegular(file string) (*os.File, int64, error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}
