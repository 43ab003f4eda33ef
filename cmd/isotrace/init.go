package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
)

func (a *app) initCommand() *cobra.Command {
	var suite string
	c := &cobra.Command{
		Use:   "init [NAME]",
		Short: "Write a commented config to start from",
		Example: `  isotrace init rescue               in the folder where you are
  isotrace -C rescue init rescue     in another folder`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := "live"
			if len(args) > 0 {
				name = args[0]
			}
			return a.init(name, suite)
		},
	}
	c.Flags().StringVar(&suite, "suite", "trixie", "the `suite` to bootstrap from")
	return c
}

var suiteForm = regexp.MustCompile(`^[a-z][a-z0-9.-]*$`)

func (a *app) init(name, suite string) error {
	if !suiteForm.MatchString(suite) {
		return fault.New(fault.Usage, "such as trixie", "--suite %s: is not a suite", suite)
	}
	text := config.Starter(name, suite)
	if _, err := config.Parse(config.FileName, []byte(text)); err != nil {
		return err
	}
	if err := os.MkdirAll(a.dir, 0o755); err != nil {
		return err
	}
	at := filepath.Join(a.dir, config.FileName)
	if _, err := os.Lstat(at); err == nil {
		return fault.New(fault.Usage, "edit it, or remove it first", "%s: is there already", at)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := artifact.WriteBytes(at, 0o644, []byte(text)); err != nil {
		return err
	}
	keysFile := filepath.Join(a.dir, "keys", "debian-archive.asc")
	keys, copied, err := exportArchiveKeys(keysFile)
	if err != nil {
		return err
	}
	wrote := "wrote " + at + "\n"
	if copied {
		wrote += "wrote " + keysFile + ": the keys that the project trusts, copied from this host's apt\n"
	}
	next := "put the archive's OpenPGP keys into keys/debian-archive.asc (from the package debian-archive-keyring)"
	if keys {
		next = "isotrace keys new, then isotrace build"
	}
	return a.result(map[string]any{"config": at, "archive-keys": keys}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%snext: %s\n", wrote, next)
		return err
	})
}

// exportArchiveKeys copies the host's own Debian archive keys, where it has
// them: the project names whom it trusts by a file of its own. It tells whether the file
// is there, and whether it was copied.
func exportArchiveKeys(to string) (there, copied bool, err error) {
	if _, err := os.Lstat(to); err == nil {
		return true, false, nil
	}
	for _, pattern := range []string{"/etc/apt/trusted.gpg.d/debian-archive-*.asc", "/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return false, false, err
		}
		var all strings.Builder
		for _, f := range files {
			b, err := regular.ReadFile(f, 16<<20)
			if err != nil {
				return false, false, err
			}
			all.Write(b)
		}
		if all.Len() == 0 {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return false, false, err
		}
		return true, true, artifact.WriteBytes(to, 0o644, []byte(all.String()))
	}
	return false, false, nil
}
