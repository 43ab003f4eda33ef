package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

func (a *app) verifyCommand() *cobra.Command {
	var key, owner string
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check an image against its evidence, offline, from its bytes up",
		Long:  verifyHelp(),
		Example: `  isotrace verify out --key builder.pub
  isotrace verify out --owner-key owner.pub
  isotrace verify out --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.verify(c.Context(), args[0], key, owner) },
	}
	c.Flags().StringVar(&key, "key", "", "the builder's public key `file`, from a source that you trust")
	c.Flags().StringVar(&owner, "owner-key", "", "the public key `file` of the layout's owner, who says who may build")
	return c
}

func verifyHelp() string {
	text := "Checks what isotrace build wrote into DIR. It needs no network, no root and no\nother tool. Without --key or --owner-key the key in the evidence is taken: that proves\nthat image and evidence belong together, not who made them. A check that can be\nneither proved nor refuted is marked with a question mark.\n\nThe checks:\n"
	names, about := provenance.Rules()
	for i := range names {
		text += fmt.Sprintf("  %-10s %s\n", names[i], about[i])
	}
	return text
}

func (a *app) verify(ctx context.Context, dir, keyFile, ownerFile string) error {
	o := provenance.VerifyOptions{Fetched: stages.Fetched, Now: now()}
	for _, k := range []struct {
		file string
		to   **provenance.PublicKey
	}{{keyFile, &o.Key}, {ownerFile, &o.OwnerKey}} {
		if k.file == "" {
			continue
		}
		var err error
		if *k.to, err = loadPublic(k.file); err != nil {
			return err
		}
	}
	if !a.json {
		o.Report = func(c provenance.Check) { writeCheck(os.Stdout, c) }
	}
	r, err := provenance.Verify(ctx, dir, o)
	if err != nil {
		return err
	}
	err = a.result(r, func(w io.Writer) error {
		for _, id := range r.ExpiredAccepted {
			if _, err := fmt.Fprintf(w, "note  %s had expired when the lock was made, and the config accepts that\n", id); err != nil {
				return err
			}
		}
		if r.KeyFromBundle {
			if _, err := fmt.Fprintf(w, "note  signed by %s, a key that came with the evidence: compare it, or use --key\n", r.KeyID); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, r.Refused())
}

func writeCheck(w io.Writer, c provenance.Check) {
	c.What = printable(c.What)
	if c.OK() {
		state := "ok"
		if c.CannotTell {
			state = "?"
		}
		fmt.Fprintf(w, "%-5s %-10s %s\n", state, c.Rule, c.What)
		return
	}
	for _, p := range c.Problems {
		fmt.Fprintf(w, "FAIL  %-10s %s\n", c.Rule, printable(p.String()))
	}
}
