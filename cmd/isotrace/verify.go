package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

// verifyFlags say whom to believe.
type verifyFlags struct {
	key, owner, base, release, identity, issuer, root, archive string
	archiveKeyFlags
}

// register adds the flags; the builder's key is called as builderFlag says.
func (f *verifyFlags) register(c *cobra.Command, builderFlag string) {
	fl := c.Flags()
	fl.StringVar(&f.key, builderFlag, "", "the builder's public key `file`, from a source that you trust")
	fl.StringVar(&f.owner, "owner-key", "", "the public key `file` of the layout's owner, who says who may build")
	fl.StringVar(&f.base, "base-key", "", "the public key `file` of who signed the base image")
	fl.StringVar(&f.release, "release-key", "", "the release manager's public key `file`")
	fl.StringVar(&f.identity, "identity", "", "`whom` the certificate of a keyless release must name, such as a mail address")
	fl.StringVar(&f.issuer, "issuer", "", "`URL` of who vouched for that identity")
	fl.StringVar(&f.archive, "archive", "", "`folder` with the .debs, as a mirror has them, to prove again what the trace says of them")
	f.archiveKeyFlags.register(fl)
	fl.StringVar(&f.root, "trusted-root", "", "`file` with the authorities of timestamps, certificates and logs to believe, in sigstore's format")
}

// options reads the files that the flags name.
func (f *verifyFlags) options() (provenance.VerifyOptions, error) {
	o := provenance.VerifyOptions{Fetched: stages.Fetched, Now: now(), Archive: f.archive}
	for _, k := range []struct {
		file string
		to   **provenance.PublicKey
	}{{f.key, &o.Key}, {f.owner, &o.OwnerKey}, {f.release, &o.ReleaseKey}, {f.base, &o.BaseKey}} {
		if k.file == "" {
			continue
		}
		var err error
		if *k.to, err = loadPublic(k.file); err != nil {
			return o, err
		}
	}
	var err error
	if o.ArchiveKeys, err = f.archiveKeyFlags.keys(); err != nil {
		return o, err
	}
	if (f.identity == "") != (f.issuer == "") {
		return o, fault.New(fault.Usage, "for example --identity me@example.org --issuer https://issuer.example.org", "--identity and --issuer go together")
	}
	if f.identity != "" {
		o.Identity = &provenance.Identity{Issuer: f.issuer, Subject: f.identity}
	}
	if f.root != "" {
		var err error
		if o.TrustedRoot, err = readBounded(f.root, maxTrustedRoot); err != nil {
			return o, err
		}
	}
	return o, nil
}

// maxTrustedRoot bounds a trusted root, in bytes.
const maxTrustedRoot = 4 << 20

// readBounded reads a file that the user named.
func readBounded(file string, limit int64) ([]byte, error) {
	text, err := regular.ReadNamed(file, limit)
	return text, asUsage(err)
}

// readRegular reads a file that nobody named: a pipe in its place holds nobody up.
func readRegular(file string, limit int64) ([]byte, error) {
	text, err := regular.ReadFile(file, limit)
	return text, asUsage(err)
}

// asUsage is an error about a file that the user is to mend.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Usage, "", "%w", err)
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "Check an image against its evidence, offline, from its bytes up",
		Long:  verifyHelp(),
		Example: `  isotrace verify out --key builder.pub
  isotrace verify out --owner-key owner.pub --release-key release.pub
  isotrace verify out --key builder.pub --archive-key debian-archive-keyring.gpg
  isotrace verify out --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.verify(c.Context(), args[0], f) },
	}
	f.register(c, "key")
	return c
}

func verifyHelp() string {
	text := "Checks what isotrace build wrote into DIR. It needs no network, no root and no\nother tool. Without --key or --owner-key the key in the evidence is taken: that proves\nthat image and evidence belong together, not who made them. In the same way --archive-key\nsays whose signatures of the archives' Release files count; without it the keys are\nprinted, for you to compare. How a check came out:\n\n  ok    it holds\n  FAIL  it does not, and the line says where\n  past  it held when the image was signed, as a timestamp shows, and has expired since\n  ?     nothing speaks against it, but nothing proves it either\n\nThe checks:\n"
	names, about := provenance.Rules()
	for i := range names {
		text += fmt.Sprintf("  %-10s %s\n", names[i], about[i])
	}
	return text
}

func (a *app) verify(ctx context.Context, dir string, f verifyFlags) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	if !a.json {
		o.Report = func(c provenance.Check) { writeCheck(os.Stdout, c) }
	}
	r, err := provenance.Verify(ctx, dir, o)
	if err != nil {
		return err
	}
	err = a.result(r, func(w io.Writer) error {
		for _, note := range []struct {
			ids  []string
			text string
		}{
			{r.ExpiredAccepted, "had expired when the lock was made, and the config accepts that"},
			{r.OlderAccepted, "is older than in the lock before, which isotrace lock --allow-older accepted"},
			{r.ChangedAccepted, "was of another codename or origin in the lock before, which isotrace lock --allow-changed accepted"},
		} {
			for _, id := range note.ids {
				if _, err := fmt.Fprintf(w, "note  %s %s\n", line(id), note.text); err != nil {
					return err
				}
			}
		}
		if r.KeyFromBundle {
			if _, err := fmt.Fprintf(w, "note  signed by %s, a key that came with the evidence: compare it, or use --key\n", r.KeyID); err != nil {
				return err
			}
		}
		return nil
	})
	where := "the lines above name "
	if a.json {
		where = "the checks name "
	}
	return errors.Join(err, r.RefusedBut(where+r.Named()))
}

var stateWords = map[provenance.State]string{provenance.Valid: "ok", provenance.Expired: "past", provenance.CannotTell: "?"}

func writeCheck(w io.Writer, c provenance.Check) {
	c.What = line(c.What)
	if c.OK() {
		fmt.Fprintf(w, "%-5s %-10s %s\n", stateWords[c.State], c.Rule, c.What)
		return
	}
	for _, p := range c.Problems {
		fmt.Fprintf(w, "FAIL  %-10s %s\n", c.Rule, line(p.String()))
	}
}
