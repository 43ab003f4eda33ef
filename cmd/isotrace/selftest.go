package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/selftest"
)

func (a *app) selftestCommand() *cobra.Command {
	var out, key, date string
	c := &cobra.Command{
		Use:   "selftest",
		Short: "Show that what the checks rest on works on this machine",
		Long: `Makes operational tests with this very program: known answers of hashes, signatures and
formats, things that have to be refused, a program in a sandbox. Each names the
requirements of docs/qualification that it serves. It needs no network.

With -o the result is kept as a signed statement about the program, by its SHA-256, in
in-toto's format; see docs/formats/selftest.md.`,
		Example: `  isotrace selftest
  isotrace selftest -o selftest.json --key keys/builder.key --date 2026-12-01`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return inside(func() error { return a.selftest(c.Context(), out, key, date) })
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "`file` for the signed result")
	c.Flags().StringVar(&key, "key", "", "the private key that signs it: a `file`, or a reference as for release (default keys/builder.key)")
	c.Flags().StringVar(&date, "date", "", "the `day` to put down in the result, as you say it is; none where it is left out")
	c.AddCommand(&cobra.Command{
		Use: selftest.ProbeCommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s, err := selftest.Look()
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(s)
		},
	})
	return c
}

func (a *app) selftest(ctx context.Context, out, key, date string) (err error) {
	var signer *provenance.Signer
	if out != "" {
		if signer, err = a.loadSigner(ctx, "builder", key); err != nil {
			return err
		}
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "isotrace-selftest-")
	if err != nil {
		return artifact.ExplainWrite(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	failed := 0
	all, err := selftest.Run(ctx, dir, program, func(o selftest.Outcome) {
		if o.Failed != "" {
			failed++
		}
	})
	if err != nil {
		return err
	}
	if signer != nil {
		if err := writeTestResult(out, program, date, signer, all, failed); err != nil {
			return err
		}
	}
	if err := a.result(all, func(w io.Writer) error {
		for _, o := range all {
			word, what := "ok", o.About
			if o.Failed != "" {
				word, what = "FAIL", o.About+": "+o.Failed
			}
			if _, err := fmt.Fprintf(w, "%-5s %-13s %s (%s)\n", word, o.Name, what, strings.Join(o.Requirements, ", ")); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if failed > 0 {
		return fault.New(fault.Failed, "isotrace doctor says what the machine lacks; what else fails should be reported", "%d of %d tests failed", failed, len(all))
	}
	return nil
}

func writeTestResult(out, program, date string, signer *provenance.Signer, all []selftest.Outcome, failed int) error {
	d, _, err := artifact.HashFile(program)
	if err != nil {
		return err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	machine := map[string]any{"name": "machine", "annotations": map[string]any{"kernel": unix.ByteSliceToString(u.Release[:]), "architecture": runtime.GOARCH, "isotrace": ownVersion()}}
	if date != "" {
		machine["annotations"].(map[string]any)["date"] = date
	}
	r := provenance.TestResult{Result: "PASSED", Configuration: []map[string]any{machine}, PassedTests: []string{}, FailedTests: []string{}}
	if failed > 0 {
		r.Result = "FAILED"
	}
	for _, o := range all {
		name := o.Name + " (" + strings.Join(o.Requirements, ", ") + ")"
		if o.Failed == "" {
			r.PassedTests = append(r.PassedTests, name)
		} else {
			r.FailedTests = append(r.FailedTests, name)
		}
	}
	text, err := signer.SignTestResult("isotrace", d, r)
	if err != nil {
		return err
	}
	return artifact.ExplainWrite(artifact.WriteBytes(out, 0o644, text))
}

// ownVersion is isotrace's, as its build has it.
func ownVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}
