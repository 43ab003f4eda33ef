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

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/report"
)

// reportFlags say what to write, and where.
type reportFlags struct {
	verifyFlags
	only, formats []string
	out           string
}

// reportFormats are what the documents may be written as.
var reportFormats = []string{"html", "json", "csv"}

// deskName is the file of the format html: one page with all documents.
const deskName = "index.html"

func (a *app) reportCommand() *cobra.Command {
	var f reportFlags
	c := &cobra.Command{
		Use:   "report DIR",
		Short: "Write the documents of an audit from what a build recorded",
		Long: `Verifies the image in DIR, as isotrace verify does, and writes documents from its
evidence: configuration indexes as DO-178C asks for them, trace matrices, lists of
licences, of changed files, of waivers and deviations, a conformity checklist. Each row
names the files of the evidence that it comes from, with their SHA-256. What the
evidence does not have is said to be "not recorded". They support a review; what is
signed there, people sign.

As JSON and CSV each document is a file. As HTML all of them are on one page, index.html,
the auditor's desk, which opens from a disk without a network and shows every file of the
image with its chain; isotrace serve shows the same.

Documents: ` + strings.Join(report.IDs(), ", ") + `.`,
		Example: `  isotrace report out --owner-key keys/owner.pub --release-key keys/release.pub
  isotrace report out --only sci,seci --format csv -o /tmp/audit`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.report(c.Context(), args[0], f) },
	}
	f.register(c, "key")
	fl := c.Flags()
	fl.StringVarP(&f.out, "output", "o", "", "`folder` for the documents (default DIR/report)")
	fl.StringSliceVar(&f.only, "only", report.IDs(), "`documents` to write, with commas between them")
	fl.StringSliceVar(&f.formats, "format", reportFormats, "`formats`: "+strings.Join(reportFormats, ", "))
	for flag, values := range map[string][]string{"only": report.IDs(), "format": reportFormats} {
		if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is ours
		}
	}
	return c
}

func (a *app) report(ctx context.Context, dir string, f reportFlags) error {
	for flag, list := range map[string]struct{ given, known []string }{"--only": {f.only, report.IDs()}, "--format": {f.formats, reportFormats}} {
		for _, x := range list.given {
			if !slices.Contains(list.known, x) {
				return fault.New(fault.Usage, "one of "+strings.Join(list.known, ", "), "%s %s: is not known", flag, x)
			}
		}
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	v, err := provenance.OpenVerified(ctx, dir, o)
	if err != nil {
		return err
	}
	docs, err := report.Write(ctx, v, f.only)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	for _, d := range docs {
		for _, format := range f.formats {
			if format == "html" {
				continue
			}
			write := map[string]func(report.Document) ([]byte, error){"json": report.JSON, "csv": report.CSV}[format]
			if files[d.ID+"."+format], err = write(d); err != nil {
				return err
			}
		}
	}
	if slices.Contains(f.formats, "html") {
		if files[deskName], err = deskOf(dir, v.Builder(), v.Result, docs); err != nil {
			return err
		}
	}
	if f.out == "" {
		f.out = filepath.Join(dir, "report")
	}
	refs, err := writeReport(f.out, files)
	if err != nil {
		return err
	}
	return a.result(refs, func(w io.Writer) error {
		for _, r := range refs {
			if _, err := fmt.Fprintf(w, "%s  sha256:%s\n", filepath.Join(f.out, r.Path), r.Digest); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeReport puts the files into a folder of their own, in the place of those that were
// there before, and of nothing else.
func writeReport(dir string, files map[string][]byte) (refs []artifact.Ref, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Usage, "name another folder with -o", "%w", err)
	}
	for _, e := range entries {
		if !ofReport(e) {
			return nil, fault.New(fault.Usage, "name another folder with -o", "%s: holds %s, which is no document of a report", dir, e.Name())
		}
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	aside, err := os.MkdirTemp(parent, ".report-")
	if err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(aside)) }()
	made := filepath.Join(aside, "new")
	if err := os.Mkdir(made, 0o755); err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	for name, text := range files {
		if err := artifact.WriteBytes(filepath.Join(made, name), 0o644, text); err != nil {
			return nil, artifact.ExplainWrite(err)
		}
		refs = append(refs, artifact.Ref{Path: name, Digest: artifact.HashBytes(text), Size: int64(len(text))})
	}
	slices.SortFunc(refs, func(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) })
	if err := os.Rename(dir, filepath.Join(aside, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, artifact.ExplainWrite(err)
	}
	return refs, artifact.ExplainWrite(os.Rename(made, dir))
}

// ofReport tells whether a file has the name of a document's.
func ofReport(e fs.DirEntry) bool {
	id, format, _ := strings.Cut(e.Name(), ".")
	return e.Type().IsRegular() && e.Name() == deskName || e.Type().IsRegular() && slices.Contains(report.IDs(), id) && slices.Contains(reportFormats, format)
}
