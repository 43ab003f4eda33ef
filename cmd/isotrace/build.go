package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

func (a *app) buildCommand() *cobra.Command {
	var out, key string
	var replace bool
	c := &cobra.Command{
		Use:   "build",
		Short: "Make the image and its evidence, and verify them",
		Long: `Makes the image that isotrace.lock describes; makes the lock first where there
is none. Each stage leaves a signed in-toto link; a stage whose inputs have not
changed comes from the store. What was written is verified before it takes the
place of the last build, which stays until then. An output folder that holds anything but
a build is refused. So is one with a release, unless the build gives the very same
evidence, or --replace-release is given.`,
		Example: `  isotrace build
  isotrace -C examples/rescue build -o out --key builder.key`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return inside(func() error { return a.build(c.Context(), out, key, replace) })
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "out", "`folder` for the image and its evidence, below the project's folder unless absolute")
	c.Flags().StringVar(&key, "key", "", "the builder's private key: a `file`, or a reference as for release (default keys/builder.key)")
	c.Flags().BoolVar(&replace, "replace-release", false, "take the place of a release, whose signatures are lost then")
	a.mirrorFlags(c)
	return c
}

func (a *app) build(ctx context.Context, out, key string, replace bool) error {
	var b *stages.Built
	var by string
	err := a.making(ctx, out, "builder", key, (*stages.Project).CheckLayout, func(s *stages.Session, out string, signer *provenance.Signer) (err error) {
		by, s.ReplaceRelease = signer.Public().KeyID(), replace
		b, err = a.lockAndBuild(ctx, s, out, signer)
		return err
	})
	if err != nil {
		return err
	}
	return a.result(b, func(w io.Writer) error {
		images := append([]artifact.Ref{{Path: b.ISO, Digest: b.Digest, Size: b.Size}}, b.Disks...)
		for _, i := range images {
			if _, err := fmt.Fprintf(w, "%s  %s  sha256:%s\n", i.Path, bytesText(i.Size), i.Digest); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "verified: %d checks hold; records signed by %.8s\n", b.Checks.Proved(), by)
		return err
	})
}

// making opens all that a build into the folder out needs, and closes it; fit refuses a key
// that may not build the project.
func (a *app) making(ctx context.Context, out, role, key string, fit func(*stages.Project, *provenance.PublicKey) error, do func(s *stages.Session, out string, signer *provenance.Signer) error) (err error) {
	p, err := stages.OpenProject(a.dir)
	if err != nil {
		return err
	}
	if p.Lock != nil {
		if err := p.Lock.CheckConfig(p.Config); err != nil {
			return err
		}
	}
	signer, err := a.loadSigner(ctx, role, key)
	if err != nil {
		return err
	}
	if err := fit(p, signer.Public()); err != nil {
		return err
	}
	s, err := a.session(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Store.Close()) }()
	if !filepath.IsAbs(out) {
		out = filepath.Join(a.dir, out)
	}
	if err := s.CheckPlace(out); err != nil {
		return err
	}
	if err := checkOutput(out); err != nil {
		return err
	}
	release, err := artifact.HoldDir(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := stages.CheckOutput(out); err != nil {
		return err
	}
	journal, err := openJournal(filepath.Join(out, provenance.JournalDir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.close()) }()
	progress, err := a.newProgress()
	if err != nil {
		return err
	}
	defer progress.Close()
	s.Progress, s.Journal = journal.watch(progress), journal.stage
	return do(s, out, signer)
}

func (a *app) lockAndBuild(ctx context.Context, s *stages.Session, out string, signer *provenance.Signer) (*stages.Built, error) {
	if s.Project.Lock == nil {
		if _, err := a.writeLock(ctx, s); err != nil {
			return nil, err
		}
		p, err := stages.OpenProject(a.dir)
		if err != nil {
			return nil, err
		}
		s.Project = p
	}
	return s.Build(ctx, out, signer, tellFailed(s))
}

// tellFailed shows, while a build goes on, all that of it does not verify.
func tellFailed(s *stages.Session) func(provenance.Check) {
	return func(c provenance.Check) {
		for _, p := range c.Problems {
			s.Progress.Line("verify", c.Rule+": "+p.String())
		}
	}
}

// checkOutput refuses an output folder that cannot be written to before an
// hour is spent.
func checkOutput(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.New(fault.Usage, "name another folder with -o", "the output folder: %w", err)
	}
	return nil
}
