package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
)

// roles are who may have a key.
var roles = []string{"builder"}

func (a *app) keysCommand() *cobra.Command {
	keys := &cobra.Command{
		Use: "keys", Short: "Make the keys that sign records", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var role, out string
	create := &cobra.Command{
		Use:   "new",
		Short: "Make a key pair: ROLE.key, encrypted, and ROLE.pub",
		Long: `Makes an ECDSA P-256 key pair in cosign's format. The private key is encrypted
with a password: COSIGN_PASSWORD, or typed at the prompt.`,
		Example: `  isotrace keys new --role builder`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.newKey(role, out) },
	}
	create.Flags().StringVar(&role, "role", "builder", "the `role` that the key is for: builder")
	create.Flags().StringVarP(&out, "output", "o", "", "`folder` for the keys (default keys in the project's folder)")
	keys.AddCommand(create)
	return keys
}

func (a *app) newKey(role, out string) error {
	if role != roles[0] {
		return fault.New(fault.Usage, "builder signs the links of a build", "--role %s: is not known", role)
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

// loadSigner opens the builder's key.
func (a *app) loadSigner(file string) (*provenance.Signer, error) {
	if file == "" {
		file = filepath.Join(a.dir, "keys", "builder.key")
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Usage, "isotrace keys new makes one; --key names another", "%s: there is no key to sign the records with", file)
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
