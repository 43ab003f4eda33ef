package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/policy"
	"github.com/isotrace/isotrace/provenance"
)

func (a *app) policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "policy", Short: "Judge an image by rules", Args: cobra.NoArgs,
		Long: `Rules say what may be in an image. Many are built in; policy.yaml in the project's
folder sets what they go by, turns them off or waives what they find, and the .rego files
in its folder policy/ are rules of the project's own. isotrace release signs only an
image for which every rule holds.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var file string
	var f verifyFlags
	check := &cobra.Command{
		Use:   "check DIR",
		Short: "Judge the image that isotrace build wrote into DIR",
		Long: `Evaluates every rule over what the evidence in DIR says. That the evidence is right is
for isotrace verify to prove: release does both.`,
		Example: "  isotrace policy check out\n  isotrace policy check out --policy strict.yaml --json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return a.policyCheck(c.Context(), args[0], file, f) },
	}
	f.register(check, "key")
	for _, name := range []string{"release-key", "identity", "issuer", "trusted-root", "archive"} {
		check.Flag(name).Hidden = true // they are about a release that is there
	}
	list := &cobra.Command{
		Use: "rules", Short: "List the rules: ids, and why they are there", Args: cobra.NoArgs,
		Example: "  isotrace policy rules",
		RunE:    func(c *cobra.Command, _ []string) error { return a.policyRules(c.Context(), file) },
	}
	test := &cobra.Command{
		Use: "test", Short: "Run the tests of the project's own rules", Args: cobra.NoArgs,
		Long:    "Runs what is called test_… in the project's .rego files, as opa test does.",
		Example: "  isotrace -C examples/rescue policy test",
		RunE:    func(c *cobra.Command, _ []string) error { return a.policyTest(c.Context(), file) },
	}
	for _, sub := range []*cobra.Command{check, list, test} {
		sub.Flags().StringVar(&file, "policy", "", "`file` with the policy (default policy.yaml in the project's folder, where it is there)")
	}
	c.AddCommand(check, list, test)
	return c
}

// maxRuleFiles bounds a project's own rules.
const maxRuleFiles = 200

// openPolicy reads a policy and the rules beside it; "" is the project's, or the default
// where it has none.
func (a *app) openPolicy(file string) (*policy.Policy, error) {
	p := &policy.Policy{Document: policy.Defaults(), Modules: map[string][]byte{}}
	named, read := file != "", readBounded
	if !named {
		file, read = filepath.Join(a.dir, policy.FileName), readRegular
	}
	text, err := read(file, policy.MaxSize)
	switch {
	case err == nil:
		p.Digest = string(artifact.HashBytes(text))
		if p.Document, err = policy.Parse(file, text); err != nil {
			return nil, err
		}
	case named || !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	dir := filepath.Join(filepath.Dir(file), policy.RulesDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".rego") {
			continue
		}
		if len(p.Modules) == maxRuleFiles {
			return nil, fault.New(fault.Usage, "", "%s: more than %d files", dir, maxRuleFiles)
		}
		if p.Modules[e.Name()], err = readRegular(filepath.Join(dir, e.Name()), policy.MaxSize); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// judge evaluates a policy; where it does not hold that is the error.
func judge(ctx context.Context, p *policy.Policy, in policy.Input) (*policy.Result, error) {
	r, err := p.Evaluate(ctx, in)
	if err != nil {
		return nil, err
	}
	return r, policyRefused(r)
}

func policyRefused(r *policy.Result) error {
	if r.Holds {
		return nil
	}
	n, first := 0, ""
	for _, rr := range r.Rules {
		for _, f := range rr.Open() {
			if n++; first == "" {
				first = fmt.Sprintf("%s: %s %s", rr.ID, f.Subject, f.Message)
			}
		}
	}
	return fault.New(fault.Refused, "isotrace policy check lists all; policy.yaml can allow or waive them", "policy does not hold: %s (%d findings)", first, n)
}

func (a *app) policyCheck(ctx context.Context, dir, file string, f verifyFlags) error {
	p, err := a.openPolicy(file)
	if err != nil {
		return err
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	in, err := provenance.PolicyInput(ctx, dir, o, p.Document.Settings)
	if err != nil {
		return err
	}
	r, err := p.Evaluate(ctx, in)
	if err != nil {
		return err
	}
	return errors.Join(a.result(r, func(w io.Writer) error { return writePolicy(w, r) }), policyRefused(r))
}

// maxShown is how many findings of a rule people are shown.
const maxShown = 20

func writePolicy(w io.Writer, r *policy.Result) error {
	var b strings.Builder
	for _, rr := range r.Rules {
		open, waived := rr.Open(), 0
		waived = len(rr.Findings) - len(open)
		note := ""
		if waived > 0 {
			note = fmt.Sprintf(" (%d waived)", waived)
		}
		if len(open) == 0 {
			fmt.Fprintf(&b, "ok    %-12s %s%s\n", rr.ID, rr.Reason, note)
		}
		for i, f := range open {
			if i == maxShown {
				fmt.Fprintf(&b, "FAIL  %-12s … and %d more\n", rr.ID, len(open)-i)
				break
			}
			fmt.Fprintf(&b, "FAIL  %-12s %s\n", rr.ID, line(f.Subject+" "+f.Message))
		}
		for _, f := range rr.Findings {
			if f.Waived != nil {
				fmt.Fprintf(&b, "note  %-12s %s: waived by %s until %s: %s\n", rr.ID, line(f.Subject), line(f.Waived.By), f.Waived.Until, line(f.Waived.Reason))
			}
		}
	}
	for _, o := range r.Off {
		fmt.Fprintf(&b, "note  %-12s is turned off: %s\n", o.Rule, line(o.Reason))
	}
	for _, u := range r.Unused {
		fmt.Fprintf(&b, "note  %-12s the waiver of %s is not needed\n", u.Rule, line(u.Subject))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (a *app) policyRules(ctx context.Context, file string) error {
	p, err := a.openPolicy(file)
	if err != nil {
		return err
	}
	p.Document.Off = nil // they are listed all the same
	rules, err := p.Rules(ctx)
	if err != nil {
		return err
	}
	return a.result(rules, func(w io.Writer) error {
		for _, r := range rules {
			if _, err := fmt.Fprintf(w, "%-12s %s\n", r.ID, r.Reason); err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *app) policyTest(ctx context.Context, file string) error {
	p, err := a.openPolicy(file)
	if err != nil {
		return err
	}
	tests, err := p.Test(ctx)
	if err != nil {
		return err
	}
	failed := 0
	for _, t := range tests {
		if !t.OK {
			failed++
		}
	}
	err = a.result(tests, func(w io.Writer) error {
		for _, t := range tests {
			state := "ok"
			if !t.OK {
				state = "FAIL"
			}
			if _, err := fmt.Fprintf(w, "%-5s %s %s\n", state, t.Name, line(t.Error)); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, "%d tests, %d failed\n", len(tests), failed)
		return err
	})
	if failed > 0 {
		err = errors.Join(err, fault.New(fault.Refused, "the lines above name them", "%d of %d tests of the project's rules failed", failed, len(tests)))
	}
	return err
}
