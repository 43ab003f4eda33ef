package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/keyref"
)

// role is somebody who may have a key, and for what.
type role struct{ name, does string }

var roles = []role{
	{"owner", "signs the layout: who may build, and how"},
	{"builder", "signs the links of a build"},
	{"rebuilder", "signs the links of an independent build of the same lock"},
	{"release", "signs the image that is released"},
	{"loader", "signs what was written to which medium"},
}

func roleHelp() string {
	text := "Makes an ECDSA P-256 key pair in cosign's format. The private key is encrypted\nwith a password: COSIGN_PASSWORD, or typed at the prompt. The roles:\n\n"
	for _, r := range roles {
		text += fmt.Sprintf("  %-10s %s\n", r.name, r.does)
	}
	return text + "\nEach role has a key of its own: one key in two roles is refused."
}

func (a *app) keysCommand() *cobra.Command {
	keys := &cobra.Command{
		Use: "keys", Short: "Make the keys that sign records", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var role, out string
	create := &cobra.Command{
		Use:     "new",
		Short:   "Make a key pair: ROLE.key, encrypted, and ROLE.pub",
		Long:    roleHelp(),
		Example: "  isotrace keys new --role builder\n  isotrace keys new --role owner -o /media/safe",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.writeKeyPair(role, out, provenance.GenerateKeyPair)
		},
	}
	create.Flags().StringVar(&role, "role", "builder", "the `role` that the key is for: owner, builder, rebuilder, release or loader")
	create.Flags().StringVarP(&out, "output", "o", "", "`folder` for the keys (default keys in the project's folder)")
	var inToto, asPEM bool
	show := &cobra.Command{
		Use:   "show KEY...",
		Short: "Show public keys: their ids and kinds",
		Long: `Shows what identifies public keys: those in files, or those of private keys that a
reference names, such as pkcs11:… or hashivault://NAME. With --in-toto a key is written as
in-toto-verify reads it, with --pem as everything else does.`,
		Example: `  isotrace keys show keys/*.pub
  isotrace keys show keys/owner.pub --in-toto >owner.json
  isotrace keys show hashivault://release --pem >release.pub`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, refs []string) error { return a.showKeys(c.Context(), refs, inToto, asPEM) },
	}
	show.Flags().BoolVar(&asPEM, "pem", false, "write the key as PEM")
	show.Flags().BoolVar(&inToto, "in-toto", false, "write the key in in-toto's format")
	keys.AddCommand(create, a.importCommand(), show)
	return keys
}

func (a *app) importCommand() *cobra.Command {
	var role, out string
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Take over a private key: ROLE.key, encrypted, and ROLE.pub",
		Long: `Encrypts an unencrypted private key, as PEM, with a password, in cosign's format: an
ECDSA P-256, Ed25519 or RSA key in PKCS #8, or an RSA or EC key in the format of its
own. A release is signed with ECDSA or RSA: Ed25519 would need the whole image in
memory. FILE stays as it is: remove it where nobody else may read it.`,
		Example: "  openssl genpkey -algorithm ed25519 -out plain.pem\n  isotrace keys import plain.pem --role builder",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.writeKeyPair(role, out, func(password []byte) (private, public []byte, err error) {
				return provenance.ImportKeyPair(args[0], password)
			})
		},
	}
	c.Flags().StringVar(&role, "role", "builder", "the `role` that the key is for: owner, builder, rebuilder, release or loader")
	c.Flags().StringVarP(&out, "output", "o", "", "`folder` for the keys (default keys in the project's folder)")
	return c
}

// keyFacts are what keys show tells of a key.
type keyFacts struct {
	File   string `json:"file"`
	KeyID  string `json:"keyid"`
	Scheme string `json:"scheme"`
}

func (a *app) showKeys(ctx context.Context, refs []string, inToto, asPEM bool) error {
	if (inToto || asPEM) && (len(refs) > 1 || inToto && asPEM) {
		return fault.New(fault.Usage, "name one key, and one format", "--in-toto and --pem with %d keys", len(refs))
	}
	facts := []keyFacts{}
	for _, ref := range refs {
		k, err := publicOf(ctx, ref)
		if err != nil {
			return err
		}
		text := k.PEM
		if inToto {
			if text, err = k.InTotoJSON(); err != nil {
				return err
			}
		}
		if inToto || asPEM {
			_, err = os.Stdout.Write(text)
			return err
		}
		facts = append(facts, keyFacts{ref, k.KeyID(), k.InToto.Scheme})
	}
	return a.result(facts, func(w io.Writer) error {
		for _, f := range facts {
			if _, err := fmt.Fprintf(w, "%s  %s  %s\n", f.KeyID, f.Scheme, f.File); err != nil {
				return err
			}
		}
		return nil
	})
}

// publicOf reads a public key, or asks whoever has the private one for it.
func publicOf(ctx context.Context, ref string) (*provenance.PublicKey, error) {
	if keyref.IsFile(ref) {
		return loadPublic(ref)
	}
	s, err := keyref.Open(ctx, ref, func() ([]byte, error) { return readPassword("password of "+ref+": ", false) })
	if err != nil {
		return nil, err
	}
	return s.Public(), nil
}

func loadPublic(file string) (*provenance.PublicKey, error) {
	text, err := regular.ReadNamed(file, 1<<16)
	if err != nil {
		return nil, fault.New(fault.Usage, "name a PEM file such as keys/builder.pub", "%w", err)
	}
	return provenance.ParsePublicKey(file, text)
}

// writeKeyPair writes a pair, encrypted with a password, as the keys
// of a role.
func (a *app) writeKeyPair(name, out string, pair func(password []byte) (private, public []byte, err error)) error {
	if !slices.ContainsFunc(roles, func(r role) bool { return r.name == name }) {
		return fault.New(fault.Usage, "isotrace keys new --help lists the roles", "--role %s: is not known", name)
	}
	if out == "" {
		out = filepath.Join(a.dir, "keys")
	}
	private, public := filepath.Join(out, name+".key"), filepath.Join(out, name+".pub")
	for _, f := range []string{private, public} {
		if _, err := os.Lstat(f); err == nil {
			return fault.New(fault.Usage, "a key is never overwritten: move it away first", "%s: is there already", f)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	password, err := readPassword("password for the new key: ", true)
	if err != nil {
		return err
	}
	key, pub, err := pair(password)
	if err != nil {
		return err
	}
	parsed, err := provenance.ParsePublicKey(public, pub)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	if err := errors.Join(artifact.WriteBytes(private, 0o600, key), artifact.WriteBytes(public, 0o644, pub)); err != nil {
		return err
	}
	return a.result(map[string]string{"key": private, "public": public, "keyid": parsed.KeyID()}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "private key %s (keep it secret)\npublic key  %s\nkey id      %s\n", private, public, parsed.KeyID())
		return err
	})
}

// loadSigner opens the key of a role: a reference, or the project's file where that is "".
func (a *app) loadSigner(ctx context.Context, role, ref string) (*provenance.Signer, error) {
	if ref == "" {
		ref = filepath.Join(a.dir, "keys", role+".key")
		if _, err := os.Stat(ref); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.Usage, "isotrace keys new --role "+role+" makes one; --key names another", "%s: there is no key to sign with", ref)
		}
	}
	return keyref.Open(ctx, ref, func() ([]byte, error) { return readPassword("password of "+ref+": ", false) })
}

// readPassword takes COSIGN_PASSWORD, or asks.
func readPassword(prompt string, twice bool) ([]byte, error) {
	if p, ok := os.LookupEnv("COSIGN_PASSWORD"); ok {
		return []byte(p), nil
	}
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return nil, fault.New(fault.Usage, "set COSIGN_PASSWORD", "no password: standard input is not a terminal")
	}
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(os.Stderr, prompt)
		p, err := term.ReadPassword(in)
		fmt.Fprintln(os.Stderr)
		return p, err
	}
	first, err := ask(prompt)
	if err != nil || !twice {
		return first, err
	}
	second, err := ask("once more: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, fault.New(fault.Usage, "", "the two passwords differ")
	}
	return first, nil
}
