package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/policy"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/registry"
)

// signFlags say how to sign.
type signFlags struct {
	sign              string
	tsas              []string
	rekor, fulcio     string
	identityTokenFile string
}

func (f *signFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.sign, "key", "", "the release manager's private key: a `file`, env://NAME, pkcs11:… or a key service's awskms://…, azurekms://…, gcpkms://…, hashivault://… (default keys/release.key)")
	fl.StringArrayVar(&f.tsas, "tsa", nil, "`URL` of an RFC 3161 timestamp authority; may be given several times")
	fl.StringVar(&f.rekor, "rekor", "", "`URL` of a Rekor transparency log that the signature is entered into")
	fl.StringVar(&f.fulcio, "fulcio", "", "`URL` of a Fulcio certificate authority: sign without a key of one's own")
	fl.StringVar(&f.identityTokenFile, "identity-token-file", "", "`file` with the OpenID Connect token for --fulcio (default $SIGSTORE_ID_TOKEN)")
}

func (a *app) sealing(ctx context.Context, f signFlags) (o provenance.Sealing, err error) {
	o = provenance.Sealing{TSAs: f.tsas, Rekor: f.rekor, Fulcio: f.fulcio}
	if f.fulcio == "" {
		o.Signer, err = a.loadSigner(ctx, "release", f.sign)
	} else {
		o.Token, err = identityToken(f.identityTokenFile)
	}
	return o, err
}

func (a *app) signCommand() *cobra.Command {
	var f signFlags
	c := &cobra.Command{
		Use:   "sign FILE...",
		Short: "Sign files, as release signs an image",
		Long: `Signs files of any size, such as other media of a release: FILE.sigstore.json for
cosign, and FILE.sig (base64) and FILE.sig.raw for cosign and openssl. It says nothing of
where they came from: isotrace release does.`,
		Example: "  isotrace sign out/rescue-sources.iso --key keys/release.key",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
			how, err := a.sealing(c.Context(), f)
			if err != nil {
				return err
			}
			written := []string{}
			for _, file := range files {
				w, err := provenance.SignFile(c.Context(), file, how)
				if err != nil {
					return err
				}
				written = append(written, w...)
			}
			return a.result(written, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, strings.Join(written, "\n"))
				return err
			})
		},
	}
	f.register(c)
	return c
}

type releaseFlags struct {
	verifyFlags
	signFlags
	tsaChain, policy, push string
}

func (a *app) releaseCommand() *cobra.Command {
	var f releaseFlags
	c := &cobra.Command{
		Use:   "release DIR",
		Short: "Verify a build, ask policy, and sign the image",
		Long: `Verifies what isotrace build wrote into DIR, evaluates policy, and only where both
hold signs the image. Beside it are then

  NAME.iso.sigstore.json     the signature as a sigstore bundle, for cosign
  NAME.iso.sig, .sig.raw     the same detached: base64 for cosign, raw for openssl
  release/policy.json        the policy's result, attested
  release/release.pub        the key that signed
  release/trusted_root.json  what cosign wants to be given as --trusted-root
  SHA256SUMS                 over image, evidence and all of this, signed in the same ways

With --tsa an RFC 3161 authority says when it was signed, so that the release stays
valid when a layout or certificate expires. The key is a file in cosign's format; or,
without one, --fulcio certifies a key of the moment for an identity, whose token is in
SIGSTORE_ID_TOKEN or --identity-token-file.`,
		Example: `  isotrace keys new --role release
  isotrace release out --tsa https://tsa.example.org/api/v1/timestamp --tsa-chain tsa.pem
  isotrace release out --key keys/release.key --owner-key keys/owner.pub
  isotrace release out --push registry.example.org/images/rescue:1.0.0`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.release(c.Context(), args[0], f) },
	}
	f.verifyFlags.register(c, "builder-key")
	f.signFlags.register(c)
	for _, name := range []string{"release-key", "identity", "issuer", "trusted-root"} {
		c.Flag(name).Hidden = true // they are about a release that is there
	}
	c.Flags().StringVar(&f.policy, "policy", "", "`file` with the policy (default policy.yaml in the project's folder, where it is there)")
	c.Flags().StringVar(&f.push, "push", "", "`reference` in an OCI registry that the release is put at")
	c.Flags().StringVar(&f.tsaChain, "tsa-chain", "", "PEM `file` with the authority's certificates, leaf first, for release/trusted_root.json")
	return c
}

func (a *app) release(ctx context.Context, dir string, f releaseFlags) error {
	o, err := a.releaseOptions(ctx, f)
	if err != nil {
		return err
	}
	r, err := provenance.Release(ctx, dir, o)
	if err != nil {
		return err
	}
	if f.push != "" {
		if r.Pushed, err = registry.Push(ctx, f.push, dir); err != nil {
			return err
		}
	}
	return a.result(r, func(w io.Writer) error {
		if _, err := fmt.Fprintf(w, "%s  sha256:%s\nverified: %d checks hold; policy holds; released by %.8s\n", r.Image, r.Digest, r.Checks.Proved(), r.KeyID); err != nil {
			return err
		}
		for _, p := range r.Files {
			if _, err := fmt.Fprintln(w, filepath.Join(dir, p)); err != nil {
				return err
			}
		}
		if r.Pushed != "" {
			_, err := fmt.Fprintln(w, "pushed to", r.Pushed)
			return err
		}
		return nil
	})
}

func (a *app) releaseOptions(ctx context.Context, f releaseFlags) (o provenance.ReleaseOptions, err error) {
	for _, k := range []struct {
		file *string
		role string
	}{{&f.key, "builder"}, {&f.owner, "owner"}} {
		if *k.file != "" {
			continue
		}
		file := filepath.Join(a.dir, "keys", k.role+".pub")
		if _, err := os.Stat(file); err == nil {
			*k.file = file
		} else if !errors.Is(err, fs.ErrNotExist) {
			return o, err
		}
	}
	if f.key == "" && f.owner == "" {
		return o, fault.New(fault.Usage, "name one with --builder-key or --owner-key", "nobody said whose build may be released: there is no keys/builder.pub and no keys/owner.pub")
	}
	if o.Verify, err = f.options(); err != nil {
		return o, err
	}
	if !o.Verify.ArchiveKeys.Named() {
		if o.Verify.ArchiveKeys, err = a.projectKeys(); err != nil {
			return o, err
		}
	}
	if o.Sealing, err = a.sealing(ctx, f.signFlags); err != nil {
		return o, err
	}
	p, err := a.openPolicy(f.policy)
	if err != nil {
		return o, err
	}
	o.Settings, o.Verify.SharedKeys = p.Document.Settings, p.Document.SharedKeys
	o.Policy = func(in policy.Input) (any, error) { return judge(ctx, p, in) }
	if f.tsaChain != "" {
		text, err := readBounded(f.tsaChain, maxTrustedRoot)
		if err != nil {
			return o, err
		}
		if o.TrustedRoot, err = provenance.TSARoot(f.tsaChain, text); err != nil {
			return o, err
		}
	}
	return o, nil
}

// identityToken comes from a file or the environment: a command line would show it.
func identityToken(file string) (string, error) {
	if file == "" {
		return os.Getenv("SIGSTORE_ID_TOKEN"), nil
	}
	text, err := readBounded(file, 1<<16)
	return strings.TrimSpace(string(text)), err
}
