package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/baseline"
)

func (a *app) baselineCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "baseline",
		Short: "Keep a signed register of releases, and ask it which hold what",
		Long: `Keeps a register of releases in the project's folder baselines/: an entry a release,
signed by the release manager, naming the digest of the entry before it, what is in the
release and which requirements and problem reports it is about. The folder belongs under
version control; it holds no image and no evidence.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.baselineAddCommand(), a.baselineListCommand(), a.baselineShowCommand(), a.baselineWhichCommand(), a.baselineCheckCommand())
	return c
}

func (a *app) registerDir() string { return filepath.Join(a.dir, baseline.Dir) }

// registerFlags name who may have signed the register.
type registerFlags struct{ keys []string }

func (f *registerFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.keys, "release-key", nil, "the public key `file` of a release manager whose entries count; may be given several times (default keys/release.pub)")
}

// publicKeys reads the keys of release managers; the project's own where none is named.
func (a *app) publicKeys(files []string) ([]*provenance.PublicKey, error) {
	if len(files) == 0 {
		own := filepath.Join(a.dir, "keys", "release.pub")
		if _, err := os.Stat(own); errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.Usage, "name it with --release-key", "nobody said who signs the register: %s is missing", own)
		}
		files = []string{own}
	}
	var keys []*provenance.PublicKey
	for _, file := range files {
		k, err := loadPublic(file)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// openRegister opens the register and refuses one that is not as isotrace left it.
func (a *app) openRegister(f registerFlags) (*baseline.Register, error) {
	keys, err := a.publicKeys(f.keys)
	if err != nil {
		return nil, err
	}
	r, err := baseline.Open(a.registerDir(), keys)
	if err != nil {
		return nil, err
	}
	return r, r.Refused()
}

type baselineAddFlags struct {
	verifyFlags
	sign, name, date, replaces string
	problems, earlier          []string
}

func (a *app) baselineAddCommand() *cobra.Command {
	var f baselineAddFlags
	c := &cobra.Command{
		Use:   "add DIR",
		Short: "Verify a release and enter it",
		Long: `Verifies the release in DIR as isotrace verify does, and enters it into the register,
signed with the key that released it. The date is the lock's epoch unless --date says
otherwise: isotrace asks no clock.`,
		Example: `  isotrace baseline add out --problem PR-17 --problem PR-21
  isotrace baseline add out --owner-key keys/owner.pub --date 2026-01-31`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.baselineAdd(c.Context(), args[0], f) },
	}
	f.register(c, "builder-key")
	fl := c.Flags()
	fl.StringVar(&f.sign, "key", "", "the release manager's private key: a `file` or a reference, as for release (default keys/release.key)")
	fl.StringVar(&f.name, "name", "", "the baseline's `name` (default NAME-RELEASE of the config)")
	fl.StringVar(&f.date, "date", "", "its `date`, a day or an RFC 3339 time (default the lock's epoch)")
	fl.StringVar(&f.replaces, "replaces", "", "the `baseline` that it takes the place of, or none (default the last one of the product)")
	fl.StringArrayVar(&f.problems, "problem", nil, "the `id` of a problem report that it answers; may be given several times")
	fl.StringArrayVar(&f.earlier, "earlier-key", nil, "the public key `file` of an earlier release manager, who signed entries that are there")
	return c
}

func (a *app) baselineAdd(ctx context.Context, dir string, f baselineAddFlags) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	if o.ReleaseKey == nil && o.Identity == nil {
		own, err := a.publicKeys(nil)
		if err != nil {
			return err
		}
		o.ReleaseKey = own[0]
	}
	signer, err := a.loadSigner(ctx, "release", f.sign)
	if err != nil {
		return err
	}
	in := baseline.Options{Name: f.name, Date: f.date, Replaces: f.replaces, Problems: f.problems, ReleaseKey: o.ReleaseKey, Keys: []*provenance.PublicKey{signer.Public()}}
	if o.Identity != nil {
		in.Identity = o.Identity.Subject
	}
	if err := in.Check(signer); err != nil { // before what takes long
		return err
	}
	if len(f.earlier) > 0 {
		earlier, err := a.publicKeys(f.earlier)
		if err != nil {
			return err
		}
		in.Keys = append(in.Keys, earlier...)
	}
	v, err := provenance.OpenVerified(ctx, dir, o)
	if err != nil {
		return err
	}
	e, err := baseline.Add(a.registerDir(), v, signer, in)
	if err != nil {
		return err
	}
	return a.result(e, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "baseline %d, %s, of %s: %d packages, %d files, requirements affected: %s\n", e.Number, e.Name, e.Date, len(e.Packages), e.Files.Count, orNone(e.Affected))
		return err
	})
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func (a *app) baselineListCommand() *cobra.Command {
	var f registerFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List the baselines, the first one first",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r, err := a.openRegister(f)
			if err != nil {
				return err
			}
			list := slices.Concat([]*baseline.Entry{}, r.Entries)
			return a.result(list, func(w io.Writer) error {
				t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
				for _, e := range list {
					fmt.Fprintf(t, "%d\t%s\t%s\tsha256:%s\treplaces %s\tproblems %s\n", e.Number, e.Name, e.Date, e.Images[0].Digest.Short(), orNone(words(e.Replaces)), orNone(e.Problems))
				}
				return t.Flush()
			})
		},
	}
	f.register(c)
	return c
}

func words(s string) []string { return strings.Fields(s) }

func (a *app) baselineShowCommand() *cobra.Command {
	var f registerFlags
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one baseline",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := a.openRegister(f)
			if err != nil {
				return err
			}
			e := r.Lookup(args[0])
			if e == nil {
				return fault.New(fault.Usage, "isotrace baseline list names them", "baseline %.120q: is not in the register", args[0])
			}
			return a.result(e, func(w io.Writer) error { return writeBaseline(w, e) })
		},
	}
	f.register(c)
	return c
}

func writeBaseline(w io.Writer, e *baseline.Entry) error {
	counts := map[string]int{}
	for _, p := range e.Packages {
		counts[p.Set]++
	}
	var unmet []string
	for _, r := range e.Requirements {
		if !r.Met {
			unmet = append(unmet, r.ID)
		}
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "baseline\t%d, %s\nproduct\t%s %s\ndate\t%s\nreplaces\t%s\n", e.Number, e.Name, e.Product, e.Release, e.Date, orNone(words(e.Replaces)))
	for _, i := range e.Images {
		fmt.Fprintf(t, "image\t%s  sha256:%s  %s\n", i.Path, i.Digest, bytesText(i.Size))
	}
	fmt.Fprintf(t, "evidence\tsha256:%s of its SHA256SUMS\nrelease\tsha256:%s of its SHA256SUMS\n", e.Evidence, e.ReleaseSums)
	fmt.Fprintf(t, "builder\t%s\nowner\t%s\nreleased by\t%s\nentered by\t%s\n", e.Signers.Builder, orNone(words(e.Signers.Owner)), e.Signers.Release, e.Signers.Register)
	fmt.Fprintf(t, "requirements\t%d, not met: %s\naffected\t%s\nproblems\t%s\n", len(e.Requirements), orNone(unmet), orNone(e.Affected), orNone(e.Problems))
	fmt.Fprintf(t, "packages\t%d in the image, %d to boot it, %d tools\nfiles\t%d\n", counts["target"], counts["boot"], counts["tools"], e.Files.Count)
	return t.Flush()
}

func (a *app) baselineWhichCommand() *cobra.Command {
	var f registerFlags
	c := &cobra.Command{
		Use:   "which PACKAGE[=VERSION] | SHA256",
		Short: "Say which baselines hold a package, or content by its digest",
		Long: `Answers over all baselines: those that have a package, by its name or its source's, in
any of the three sets; or content by its SHA-256, be it a .deb, an image or any file of
an image.`,
		Example: `  isotrace baseline which openssl
  isotrace baseline which xz-utils=5.6.1-1
  isotrace baseline which $(sha256sum < libcrypto.so.3 | cut -c1-64)`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := a.openRegister(f)
			if err != nil {
				return err
			}
			hits, err := r.Which(args[0])
			if err != nil {
				return err
			}
			return a.result(hits, func(w io.Writer) error {
				if len(hits) == 0 {
					_, err := fmt.Fprintf(w, "none of %d baselines holds %s\n", len(r.Entries), line(args[0]))
					return err
				}
				t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
				for _, h := range hits {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", line(h.Baseline), line(h.Date), line(h.Kind), line(h.What))
				}
				return t.Flush()
			})
		},
	}
	f.register(c)
	return c
}

// registerAnswer is what a check of the register found.
type registerAnswer struct {
	Baselines int                  `json:"baselines"`
	Head      artifact.Digest      `json:"head"`
	Problems  []provenance.Problem `json:"problems"`
}

func (a *app) baselineCheckCommand() *cobra.Command {
	var f registerFlags
	var head string
	c := &cobra.Command{
		Use:   "check",
		Short: "Check order, digests and signatures of the whole register",
		Long: `Checks that every entry is signed, names the digest of the one before it, and has its
index of files. That the last entries were taken away cannot be seen from the rest: the
head, which is the digest of the last entry, kept elsewhere and named with --head, shows
it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			keys, err := a.publicKeys(f.keys)
			if err != nil {
				return err
			}
			r, err := baseline.Open(a.registerDir(), keys)
			if err != nil {
				return err
			}
			return a.baselineCheck(r, head)
		},
	}
	f.register(c)
	c.Flags().StringVar(&head, "head", "", "the `digest` that the last entry must have")
	return c
}

func (a *app) baselineCheck(r *baseline.Register, head string) error {
	if head != "" {
		want, err := artifact.ParseDigest(head)
		if err != nil {
			return fault.New(fault.Usage, "isotrace baseline check writes it", "--head: %w", err)
		}
		if r.Head != want {
			r.Problems = append(r.Problems, provenance.Problem{File: "head", Detail: fmt.Sprintf("the last entry has sha256 %s, not %s", orMissing(r.Head), want)})
		}
	}
	answer := registerAnswer{len(r.Entries), r.Head, slices.Concat([]provenance.Problem{}, r.Problems)}
	err := a.result(answer, func(w io.Writer) error {
		for _, p := range r.Problems {
			if _, err := fmt.Fprintf(w, "FAIL  %s\n", line(p.String())); err != nil {
				return err
			}
		}
		if len(r.Problems) > 0 {
			return nil
		}
		_, err := fmt.Fprintf(w, "ok    %d baselines, each signed and following the one before\nhead  %s\n", len(r.Entries), orMissing(r.Head))
		return err
	})
	return errors.Join(err, r.Refused())
}

func orMissing(d artifact.Digest) string {
	if d == "" {
		return "none"
	}
	return string(d)
}
