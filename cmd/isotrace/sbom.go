package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// billFormats are the values of --format that are documents, and what they are called
// in the evidence.
var billFormats = map[string]string{"cyclonedx": provenance.CycloneDX, "spdx": provenance.SPDX}

func (a *app) sbomCommand() *cobra.Command {
	var format, key string
	c := &cobra.Command{
		Use:   "sbom DIR",
		Short: "Print what an image is made of: its packages, or a bill of materials",
		Long: `Prints the packages of the image in DIR, with their source packages and licences, or
one of the two bills of materials that isotrace build has made, exactly as it was
signed. All is checked against the signed sums of the evidence; isotrace verify checks
the image itself.`,
		Example: `  isotrace sbom out
  isotrace sbom out --format cyclonedx > rescue.cdx.json
  isotrace sbom out --format spdx | less`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.sbom(args[0], format, key) },
	}
	c.Flags().StringVar(&format, "format", "table", "table, cyclonedx or spdx, the latter two as JSON")
	c.Flags().StringVar(&key, "key", "", "the builder's public key `file`, from a source that you trust")
	if err := c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "cyclonedx", "spdx"}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is ours
	}
	return c
}

func (a *app) sbom(dir, format, keyFile string) (err error) {
	document, isDocument := billFormats[format]
	if !isDocument && format != "table" {
		return fault.New(fault.Usage, "table, cyclonedx or spdx", "--format %s: is not known", format)
	}
	var key *provenance.PublicKey
	if keyFile != "" {
		if key, err = loadPublic(keyFile); err != nil {
			return err
		}
	}
	t, err := provenance.OpenTracing(dir, key)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if isDocument {
		return t.CopyBill(os.Stdout, document)
	}
	installed := []*trace.Package{}
	for i := range t.Packages {
		if p := &t.Packages[i]; p.Set == "target" && p.Gone == "" {
			installed = append(installed, p)
		}
	}
	return a.result(installed, func(w io.Writer) error { return writePackages(w, installed) })
}

func writePackages(w io.Writer, all []*trace.Package) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if _, err := fmt.Fprintln(t, "PACKAGE\tVERSION\tSOURCE\tFROM\tLICENCE"); err != nil {
		return err
	}
	for _, p := range all {
		source := p.Source
		if p.SourceVersion != p.Version {
			source += " " + p.SourceVersion
		}
		if _, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", line(p.Name), line(p.Version), line(source), line(string(p.Origin)), line(p.Licence)); err != nil {
			return err
		}
	}
	return t.Flush()
}
