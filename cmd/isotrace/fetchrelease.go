package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/provenance/registry"
)

func (a *app) fetchReleaseCommand() *cobra.Command {
	var out string
	var f verifyFlags
	c := &cobra.Command{
		Use:   "fetch-release REF",
		Short: "Get a release from an OCI registry, and verify it",
		Long: `Brings the image, its signatures and its evidence, as isotrace release --push put them
into a registry, into a new folder, and verifies them as isotrace verify does: it is the
signatures that count, not where they came from. What does not verify stays there to be
looked at.`,
		Example: "  isotrace fetch-release registry.example.org/images/rescue:1.0.0 -o rescue --owner-key owner.pub --release-key release.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := f.options(); err != nil { // before an image is fetched for nothing
				return err
			}
			if err := registry.Fetch(c.Context(), args[0], out); err != nil {
				return err
			}
			if !a.json {
				fmt.Printf("fetched into %s\n", line(out))
			}
			return a.verify(c.Context(), out, f)
		},
	}
	f.register(c, "key")
	c.Flags().StringVarP(&out, "output", "o", "release", "the new `folder`")
	return c
}
