package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

type rebuildFlags struct {
	out, key, builder string
	sign              bool
	archiveKeyFlags
}

func (a *app) rebuildCommand() *cobra.Command {
	var f rebuildFlags
	c := &cobra.Command{
		Use:   "rebuild DIR|ARCHIVE",
		Short: "Build again what somebody else built, and compare every stage",
		Long: `Builds the project again, into a folder of its own, and compares what each stage took
and gave with the links in the evidence in DIR. The first stage that differs says where
two builds part. The project's isotrace.yaml and isotrace.lock have to be those of the
evidence.

The store keeps the results of each key apart, so that a rebuilder's key makes every
stage anew even where the builder's results are at hand. Whoever means to be
independent has a store, and a machine, of his own.

With --sign the rebuilder's links go into the evidence in DIR, beside the builder's: a
layout with --threshold 2 wants both. The image is released after that.

From an archive that isotrace archive has written it needs neither the project nor a
network: the archive is checked and taken apart into the folder of -o, with what it says
in project, its image and evidence in out, and the new build in rebuilt.`,
		Example: `  isotrace keys new --role rebuilder
  isotrace layout --expires 2027-12-31 --functionary keys/builder.pub --functionary keys/rebuilder.pub --threshold 2
  isotrace rebuild out --sign
  isotrace rebuild rescue.tar -o /tmp/again    # offline, from an archive`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return inside(func() error { return a.rebuild(c.Context(), args[0], f) })
		},
	}
	fl := c.Flags()
	fl.StringVarP(&f.out, "output", "o", "rebuilt", "`folder` for the new image and its evidence, below the project's folder unless absolute")
	fl.StringVar(&f.key, "key", "", "the rebuilder's private key: a `file`, or a reference as for release (default keys/rebuilder.key)")
	fl.StringVar(&f.builder, "builder-key", "", "the builder's public key `file`, from a source that you trust")
	f.archiveKeyFlags.register(fl)
	fl.BoolVar(&f.sign, "sign", false, "leave the rebuilder's links in DIR, where no stage differs")
	a.mirrorFlags(c)
	return c
}

func (a *app) rebuild(ctx context.Context, of string, f rebuildFlags) error {
	theirs := provenance.VerifyOptions{Fetched: stages.Fetched, Now: now()}
	if f.builder != "" {
		var err error
		if theirs.Key, err = loadPublic(f.builder); err != nil {
			return err
		}
	}
	believed, err := f.archiveKeyFlags.keys()
	if err != nil {
		return err
	}
	fromArchive := isArchive(of)
	if fromArchive {
		var err error
		if of, err = a.recover(ctx, of, &f); err != nil {
			return err
		}
	}
	fit := func(p *stages.Project, key *provenance.PublicKey) error {
		err := p.CheckLayout(key)
		if err != nil && !f.sign { // it is a layout of what the builder may do
			p.LayoutText, err = nil, nil
		}
		return err
	}
	var r *stages.Rebuilt
	err = a.making(ctx, f.out, "rebuilder", f.key, fit, func(s *stages.Session, out string, signer *provenance.Signer) (err error) {
		s.Believed = believed
		if fromArchive {
			s.Mirrors = stages.Mirrors{}
		}
		if same, err := sameFolder(of, out); err != nil {
			return err
		} else if same {
			return fault.New(fault.Usage, "name another folder with -o", "%s: would be built over what it is compared with", of)
		}
		if s.Project.Lock == nil {
			return fault.New(fault.Usage, "check out the project as it was when it was built", "%s: has no isotrace.lock", a.dir)
		}
		if r, err = s.Rebuild(ctx, of, out, theirs, signer, tellFailed(s)); err != nil || !f.sign || !r.Same() {
			return err
		}
		return r.Sign(of, signer.Public())
	})
	if err != nil {
		return err
	}
	if err := a.result(r, func(w io.Writer) error { return writeRebuilt(w, r, of, f.sign) }); err != nil {
		return err
	}
	for _, c := range r.Stages {
		if c.Differs != "" {
			return fault.New(fault.Refused, "the lines above name every stage that differs; the first is where the builds part", "rebuild of %s: stage %s has %s", of, c.Stage, c.Differs)
		}
	}
	return nil
}

func writeRebuilt(w io.Writer, r *stages.Rebuilt, of string, signed bool) error {
	for _, c := range r.Stages {
		word, what := "ok", fmt.Sprintf("%d products, the same", c.Products)
		if c.Differs != "" {
			word, what = "FAIL", c.Differs
		}
		if _, err := fmt.Fprintf(w, "%-5s %-10s %s\n", word, c.Stage, line(what)); err != nil {
			return err
		}
		for _, detail := range c.Detail {
			if _, err := fmt.Fprintf(w, "      %-10s %s\n", "", line(detail)); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "%s  sha256:%s\n", r.ISO, r.Digest)
	if err == nil && signed && r.Same() {
		_, err = fmt.Fprintf(w, "links added to %s\n", filepath.Join(of, provenance.EvidenceDir, provenance.LinksDir))
	}
	return err
}

func sameFolder(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, fault.New(fault.Usage, "name the folder that isotrace build wrote", "%w", err)
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second), err
}
