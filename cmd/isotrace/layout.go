package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

type layoutFlags struct {
	key, expires  string
	functionaries []string
	threshold     int
}

func (a *app) layoutCommand() *cobra.Command {
	var f layoutFlags
	c := &cobra.Command{
		Use:   "layout",
		Short: "Say who may build, and how: write and sign the in-toto layout",
		Long: `Writes layout.json, the project's in-toto layout, made from the pipeline of
isotrace.yaml and signed with the owner's key: each stage with the keys that may
carry it out, what it may take and what it may give; nothing else is allowed. Every
build puts it into its evidence, and isotrace verify --owner-key holds the build to
it, as in-toto-verify does.

With --threshold 2 an image counts only where two of the keys have signed links
for the very same bits.`,
		Example: `  isotrace keys new --role owner
  isotrace layout --expires 2027-12-31
  isotrace layout --expires 2027-12-31 --functionary keys/builder.pub --functionary keys/rebuilder.pub --threshold 2`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.layout(c.Context(), f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.key, "key", "", "the owner's private key: a `file`, or a reference as for release (default keys/owner.key)")
	fl.StringArrayVar(&f.functionaries, "functionary", nil, "public key `file` of one who may build; may be given several times (default keys/builder.pub)")
	fl.IntVar(&f.threshold, "threshold", 1, "how `many` of them must have made the same image")
	fl.StringVar(&f.expires, "expires", "", "the last `day`, as YYYY-MM-DD, on which the layout holds (UTC)")
	return c
}

func (a *app) layout(ctx context.Context, f layoutFlags) error {
	if f.expires == "" {
		return fault.New(fault.Usage, "for example --expires 2027-12-31", "--expires is missing: the last day on which the layout holds")
	}
	day, err := time.Parse(time.DateOnly, f.expires)
	if err != nil {
		return fault.New(fault.Usage, "for example --expires 2027-12-31", "--expires %q: is not a day as YYYY-MM-DD", f.expires)
	}
	p, err := stages.OpenProjectConfig(a.dir)
	if err != nil {
		return err
	}
	if len(f.functionaries) == 0 {
		f.functionaries = []string{filepath.Join(a.dir, "keys", "builder.pub")}
	}
	o := provenance.LayoutOptions{
		Steps: stages.Steps(p.Config), Threshold: f.threshold, Expires: day.Add(24*time.Hour - time.Second), Image: provenance.ImageName(p.Config),
	}
	var ids []string
	for _, file := range f.functionaries {
		k, err := loadPublic(file)
		if err != nil {
			return err
		}
		if slices.Contains(ids, k.KeyID()) {
			return fault.New(fault.Usage, "name each functionary once", "%s: is the key of another functionary too", file)
		}
		o.Functionaries, ids = append(o.Functionaries, k), append(ids, k.KeyID())
	}
	owner, err := a.loadSigner(ctx, "owner", f.key)
	if err != nil {
		return err
	}
	l, err := provenance.NewLayout(o)
	if err != nil {
		return err
	}
	text, err := owner.SignLayout(l)
	if err != nil {
		return err
	}
	file := filepath.Join(a.dir, provenance.LayoutFile)
	if err := artifact.WriteBytes(file, 0o644, text); err != nil {
		return err
	}
	return a.result(map[string]any{"layout": file, "owner": owner.Public().KeyID(), "functionaries": ids, "threshold": f.threshold, "expires": l.Expires}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %d steps, signed by %.8s; %d of %d keys must agree on the image; expires %s\n",
			file, len(l.Steps), owner.Public().KeyID(), f.threshold, len(ids), l.Expires)
		return err
	})
}
