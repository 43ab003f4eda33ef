package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
)

func (a *app) storeCommand() *cobra.Command {
	store := &cobra.Command{
		Use: "store", Short: "Look after the folder of downloads and stage results", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	store.AddCommand(&cobra.Command{
		Use: "path", Short: "Print where the store is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.storeDir()
			if err != nil {
				return err
			}
			return a.result(map[string]string{"path": dir}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, dir)
				return err
			})
		},
	})
	var age time.Duration
	gc := &cobra.Command{
		Use: "gc", Short: "Remove what no build has used for a while",
		Example: "  isotrace store gc --unused 0s     empty it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// An ordinary user's store has files of subordinate ids, which root can remove.
			return insideOf(sandbox.EnterUnshifted, func() (err error) {
				s, err := a.openStore()
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.Close()) }()
				freed, err := stage.Collect(s, now().Add(-age))
				if err != nil {
					return err
				}
				return a.result(map[string]int64{"freed": freed}, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "freed %s\n", bytesText(freed))
					return err
				})
			})
		},
	}
	gc.Flags().DurationVar(&age, "unused", 30*24*time.Hour, "how long nothing must have used it")
	store.AddCommand(gc, &cobra.Command{
		Use: "verify", Short: "Read everything in the store and remove what is damaged", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return inside(func() (err error) {
				s, err := a.openStore()
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.Close()) }()
				r, err := stage.VerifyStore(c.Context(), s)
				if err != nil {
					return err
				}
				err = a.result(r, func(w io.Writer) error {
					_, err := fmt.Fprintf(w, "%d files and %d trees verified\n", r.Files, r.Trees)
					for _, d := range r.Damaged {
						_, werr := fmt.Fprintf(w, "removed %s\n", d)
						err = errors.Join(err, werr)
					}
					return err
				})
				if err == nil && len(r.Damaged) > 0 {
					return fault.New(fault.Refused, "the next build makes or fetches them again", "%d damaged entries were removed", len(r.Damaged))
				}
				return err
			})
		},
	})
	return store
}
