package main

import (
	"bytes"
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
	"github.com/isotrace/isotrace/provenance"
)

// roles are who may have a key, and for what.
var roles = []struct{ name, does string }{
	{"owner", "signs the layout: who may build, and how"},
	{"builder", "signs the links of a build"},
	{"rebuilder", "signs the links of an independent build of the same lock"},
	{"release", "signs the image that is released"},
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
		RunE:    func(*cobra.Command, []string) error { return a.newKey(role, out) },
	}
	create.Flags().StringVar(&role, "role", "builder", "the `role` that the key is for: owner, builder, rebuilder or release")
	create.Flags().StringVarP(&out, "output", "o", "", "`folder` for the keys (default keys in the project's folder)")
	var inToto bool
	show := &cobra.Command{
		Use:   "show FILE...",
		Short: "Show public keys: their ids and kinds",
		Long: `Shows what identifies public keys. With --in-toto a key is written as
in-toto-verify --key-types ecdsa reads it.`,
		Example: `  isotrace keys show keys/*.pub
  isotrace keys show keys/owner.pub --in-toto >owner.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error { return a.showKeys(files, inToto) },
	}
	show.Flags().BoolVar(&inToto, "in-toto", false, "write the key in in-toto's format")
	keys.AddCommand(create, show)
	return keys
}

// keyFacts are what keys show tells of a key.
type keyFacts struct {
	File   string `json:"file"`
	KeyID  string `json:"keyid"`
	Scheme string `json:"scheme"`
}

func (a *app) showKeys(files []string, inToto bool) error {
	if inToto && len(files) > 1 {
		return fault.New(fault.Usage, "name one key", "--in-toto with %d keys", len(files))
	}
	facts := []keyFacts{}
	for _, f := range files {
		k, err := loadPublic(f)
		if err != nil {
			return err
		}
		if inToto {
			text, err := k.InTotoJSON()
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(text)
			return err
		}
		facts = append(facts, keyFacts{f, k.KeyID(), k.InToto.Scheme})
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

func loadPublic(file string) (*provenance.PublicKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.New(fault.Usage, "name a PEM file such as keys/builder.pub", "%w", err)
	}
	return provenance.ParsePublicKey(file, text)
}

func (a *app) newKey(role, out string) error {
	if !slices.ContainsFunc(roles, func(r struct{ name, does string }) bool { return r.name == role }) {
		return fault.New(fault.Usage, "isotrace keys new --help lists the roles", "--role %s: is not known", role)
	}
	if out == "" {
		out = filepath.Join(a.dir, "keys")
	}
	private, public := filepath.Join(out, role+".key"), filepath.Join(out, role+".pub")
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
	key, pub, err := provenance.GenerateKeyPair(password)
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

// loadSigner opens the key of a role: the file, or the project's where that is "".
func (a *app) loadSigner(role, file string) (*provenance.Signer, error) {
	if file == "" {
		file = filepath.Join(a.dir, "keys", role+".key")
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Usage, "isotrace keys new --role "+role+" makes one; --key names another", "%s: there is no key to sign with", file)
	}
	if err != nil {
		return nil, err
	}
	password, err := readPassword("password of "+file+": ", false)
	if err != nil {
		return nil, err
	}
	return provenance.LoadSigner(file, text, password)
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
