package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/ociarchive"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/stages"
)

func (a *app) archiveCommand() *cobra.Command {
	var f verifyFlags
	var out, volume string
	c := &cobra.Command{
		Use:   "archive DIR",
		Short: "Keep an image with all that it was made from in one file",
		Long: `Writes one archive of the image in DIR and its evidence, the project, the base image,
every .deb of the lock, those of the tools among them, the signed indexes, sources where
they are locked, and isotrace itself. isotrace rebuild ARCHIVE builds the image again
from it, without a network. No private key goes into it.

The archive is an OCI image layout in a tar file: tar and sha256sum take it apart, too
(docs/formats/archive.md). The same content gives the same bytes.`,
		Example: `  isotrace archive out -o rescue-1.0.0.tar
  isotrace archive out -o rescue-1.0.0.tar --volume-size 4GiB   # .001, .002 and so on
  isotrace archive check rescue-1.0.0.tar
  isotrace rebuild rescue-1.0.0.tar -o /tmp/again`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return inside(func() error { return a.archive(c.Context(), args[0], out, volume, f) })
		},
	}
	f.register(c, "key")
	c.Flags().StringVarP(&out, "output", "o", "", "`file` to write (default NAME-RELEASE.tar in the project's folder)")
	c.Flags().StringVar(&volume, "volume-size", "", "at most so many `bytes` a file, such as 4GiB or 700MiB")
	a.mirrorFlags(c)
	check := &cobra.Command{
		Use:   "check ARCHIVE",
		Short: "Look for damage in an archive, and say what is hit",
		Long: `Compares every byte of an archive with what it has to be. Of several volumes it takes
the name without .001. What is damaged is named, and the rest is checked all the same.`,
		Example: "  isotrace archive check rescue-1.0.0.tar",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.archiveCheck(c.Context(), args[0]) },
	}
	c.AddCommand(check)
	return c
}

// bytesOf reads a size such as 4GiB; 0 for "".
func bytesOf(size string) (int64, error) {
	number, unit := size, int64(1)
	for suffix, bytes := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if n, ok := strings.CutSuffix(size, suffix); ok {
			number, unit = n, bytes
		}
	}
	if size == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > 1<<50/unit || n*unit < 1<<16 {
		return 0, fault.New(fault.Usage, "such as 4GiB or 700MiB, at least 64KiB", "--volume-size %s: is not a size of a volume", size)
	}
	return n * unit, nil
}

func (a *app) archive(ctx context.Context, of, out, volume string, f verifyFlags) (err error) {
	size, err := bytesOf(volume)
	if err != nil {
		return err
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	o.Alone = true // a second builder may build from the archive
	p, err := stages.OpenProject(a.dir)
	if err != nil {
		return err
	}
	if p.Lock == nil {
		return fault.New(fault.Usage, "check out the project as it was when it was built", "%s: has no isotrace.lock", a.dir)
	}
	if out == "" {
		out = filepath.Join(a.dir, p.Config.Name+"-"+p.Config.Release+".tar")
	}
	program, err := os.Executable()
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
	defer progress.Close()
	s.Progress = progress
	s.Progress.Stage("archive", stage.StateRunning)
	made, err := s.Archive(ctx, of, out, size, program, o)
	if err != nil {
		s.Progress.Stage("archive", stage.StateFailed)
		return err
	}
	s.Progress.Stage("archive", stage.StateDone)
	return a.result(made, func(w io.Writer) error {
		for _, name := range made.Files {
			if _, err := fmt.Fprintln(w, name); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "%d files; the manifest that names them: sha256:%s\n", made.Contents, made.Digest)
		return err
	})
}

// checked is what was found in an archive.
type checked struct {
	Digest artifact.Digest     `json:"sha256"`
	Files  int                 `json:"files"`
	Bytes  int64               `json:"bytes"`
	Damage []ociarchive.Damage `json:"damage"`
}

func (a *app) archiveCheck(ctx context.Context, name string) (err error) {
	v, archive, err := openArchive(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	damage, err := archive.Check(ctx, nil)
	if err != nil {
		return err
	}
	c := checked{archive.Digest, len(archive.Files), v.Size(), damage}
	if err := a.result(c, func(w io.Writer) error {
		for _, d := range damage {
			if _, err := fmt.Fprintf(w, "FAIL  %s: %s (from byte %d on, in %s)\n", line(d.What), line(d.Detail), d.Offset, filepath.Base(v.At(d.Offset))); err != nil {
				return err
			}
		}
		if len(damage) > 0 {
			return nil
		}
		_, err := fmt.Fprintf(w, "ok    %d files, %d bytes, each as it was written; manifest sha256:%s\n", c.Files, c.Bytes, c.Digest)
		return err
	}); err != nil {
		return err
	}
	return refuseDamage(name, damage)
}

func refuseDamage(name string, damage []ociarchive.Damage) error {
	if len(damage) == 0 {
		return nil
	}
	return fault.New(fault.Refused, "take another copy of the archive, or that part of it", "%s: %s: %s", name, damage[0].What, damage[0].Detail)
}

// openArchive opens an archive and reads what it holds.
func openArchive(name string) (*ociarchive.Volumes, *ociarchive.Archive, error) {
	v, err := ociarchive.OpenVolumes(name)
	if err != nil {
		return nil, nil, fault.New(fault.Usage, "name an archive, or the first of its volumes", "%w", err)
	}
	archive, err := ociarchive.Read(v, v.Size())
	if err != nil {
		err = fault.New(fault.Refused, "without these nothing else can be checked: take another copy of the archive", "%s: %w", name, err)
		return nil, nil, errors.Join(err, v.Close())
	}
	return v, archive, nil
}

// isArchive tells an archive from a folder.
func isArchive(name string) bool {
	st, err := os.Stat(name)
	if err != nil {
		_, err = os.Stat(name + ".001")
		return err == nil
	}
	return st.Mode().IsRegular()
}

// recover checks an archive and takes it apart into the folder of -o, which from then on
// is where the project is. It returns the folder of its image.
func (a *app) recover(ctx context.Context, name string, f *rebuildFlags) (of string, err error) {
	if f.key == "" {
		f.key = filepath.Join(a.dir, "keys", "rebuilder.key")
		if _, err := os.Stat(f.key); err != nil {
			return "", fault.New(fault.Usage, "isotrace keys new --role rebuilder makes one; --key names another", "%s: there is no key to sign with", f.key)
		}
	}
	v, archive, err := openArchive(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	damage, err := archive.Check(ctx, nil)
	if err != nil {
		return "", err
	}
	if err := refuseDamage(name, damage); err != nil {
		return "", err
	}
	store, err := a.openStore()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	to := f.out
	if !filepath.IsAbs(to) {
		to = filepath.Join(a.dir, to)
	}
	u, err := stages.Unpack(ctx, archive, to, store)
	if err != nil {
		return "", err
	}
	if a.dir, err = filepath.Abs(u.Project); err != nil {
		return "", err
	}
	f.out, err = filepath.Abs(filepath.Join(to, "rebuilt"))
	return u.Out, err
}
