package policy

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

//go:embed rules/*.rego
var builtin embed.FS

// Result is what a policy says of an image.
type Result struct {
	// Holds tells that every finding is waived.
	Holds bool   `json:"holds"`
	Now   string `json:"now"`
	// Policy is the SHA-256 of policy.yaml ("" where there is none), Modules those of the
	// project's rules by name.
	Policy  string            `json:"policy"`
	Modules map[string]string `json:"modules"`
	// Settings are those that the rules went by.
	Settings Settings     `json:"settings"`
	Rules    []RuleResult `json:"rules"`
	// Off are the rules that were not applied.
	Off []Off `json:"off"`
	// Unused are waivers that no finding needed.
	Unused []Waiver `json:"unused-waivers"`
}

// RuleResult is what one rule found.
type RuleResult struct {
	Rule
	Findings []Finding `json:"findings"`
}

// Rule is what a rule says of itself.
type Rule struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
	// Requirement is the id of what it serves; "" where it serves none.
	Requirement string `json:"requirement"`
}

// Finding is one thing that a rule objects to.
type Finding struct {
	Subject string  `json:"subject"`
	Message string  `json:"message"`
	Waived  *Waiver `json:"waived,omitempty"`
}

// Open are the findings that nobody waived.
func (r RuleResult) Open() []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Waived != nil })
}

// Policy is a policy ready to judge.
type Policy struct {
	Document *Document
	// Digest is of its text, "" where it is the default.
	Digest string
	// Modules are the project's rules: Rego by file name.
	Modules map[string][]byte
}

// Bounds of an evaluation.
const (
	maxTime     = 5 * time.Minute
	maxFindings = 10_000
)

// capabilities leaves out every function of Rego whose answer does not follow from its
// arguments: the network, the clock, chance and the process's environment.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{}
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || strings.HasPrefix(b.Name, "net.lookup") || b.Name == "opa.runtime" || b.Name == "rego.parse_module"
	})
	return c
}

// modules are the built-in rules and the project's.
func (p *Policy) modules() (map[string]*ast.Module, error) {
	all := map[string]*ast.Module{}
	entries, err := builtin.ReadDir("rules")
	if err != nil {
		return nil, err
	}
	add := func(name string, text []byte, below string) error {
		m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()})
		if err != nil {
			return fault.New(fault.Usage, "opa check says more about Rego", "%w", err)
		}
		if pkg := m.Package.Path.String(); !strings.HasPrefix(pkg, below) {
			return fault.New(fault.Usage, "for example: package isotrace.project.motd", "%s: its package is not below isotrace.project", name)
		}
		all[name] = m
		return nil
	}
	for _, e := range entries {
		text, err := builtin.ReadFile(path.Join("rules", e.Name()))
		if err != nil {
			return nil, err
		}
		if err := add("isotrace/"+e.Name(), text, "data.isotrace.rules."); err != nil {
			return nil, err
		}
	}
	for name, text := range p.Modules {
		if len(text) > MaxSize {
			return nil, fault.New(fault.Usage, "", "%s: longer than %d bytes", name, MaxSize)
		}
		if err := add(name, text, "data.isotrace.project."); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (p *Policy) compile() (*ast.Compiler, error) {
	modules, err := p.modules()
	if err != nil {
		return nil, err
	}
	c := ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)
	if c.Compile(modules); c.Failed() {
		return nil, fault.New(fault.Usage, "opa check says more about Rego", "policy: %w", c.Errors)
	}
	return c, nil
}

// query evaluates an expression of Rego and decodes its one value.
func (p *Policy) query(ctx context.Context, expression string, input, to any) error {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	c, err := p.compile()
	if err != nil {
		return err
	}
	set, err := rego.New(rego.Query(expression), rego.Compiler(c), rego.Input(input), rego.StrictBuiltinErrors(true), rego.Capabilities(capabilities())).Eval(ctx)
	if err != nil {
		return fault.New(fault.Usage, "isotrace policy test runs the tests of a project's rules", "policy: %w", err)
	}
	if len(set) != 1 || len(set[0].Expressions) != 1 {
		return errors.New("policy: a rule gives no value")
	}
	text, err := json.Marshal(set[0].Expressions[0].Value)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// ruleValue is what a package of rules defines.
type ruleValue struct {
	Rule     *Rule     `json:"rule"`
	Findings []Finding `json:"findings"`
}

// Rules are all rules, by id, without judging anything.
func (p *Policy) Rules(ctx context.Context) ([]Rule, error) {
	var rules []Rule
	for _, below := range []string{"rules", "project"} {
		values := map[string]Rule{}
		if err := p.query(ctx, fmt.Sprintf("{pkg: r | r := data.isotrace[%q][pkg].rule}", below), map[string]any{}, &values); err != nil {
			return nil, err
		}
		for _, r := range values {
			rules = append(rules, r)
		}
	}
	slices.SortFunc(rules, func(a, b Rule) int { return strings.Compare(a.ID, b.ID) })
	return rules, nil
}

// Evaluate judges an image. The time comes from the input.
func (p *Policy) Evaluate(ctx context.Context, in Input) (*Result, error) {
	in.Settings = p.Document.Settings
	document, err := plain(in)
	if err != nil {
		return nil, err
	}
	r := &Result{Now: in.Now, Policy: p.Digest, Settings: p.Document.Settings, Modules: map[string]string{}, Rules: []RuleResult{}, Off: []Off{}, Unused: []Waiver{}, Holds: true}
	for name, text := range p.Modules {
		r.Modules[name] = string(artifact.HashBytes(text))
	}
	found := map[string]ruleValue{}
	for _, below := range []string{"rules", "project"} {
		values := map[string]ruleValue{}
		if err := p.query(ctx, fmt.Sprintf("object.get(data.isotrace, %q, {})", below), document, &values); err != nil {
			return nil, err
		}
		for pkg, v := range values {
			if v.Rule == nil || v.Rule.ID == "" || v.Rule.Reason == "" {
				if v.Rule == nil && v.Findings == nil {
					continue // functions that rules share, or tests
				}
				return nil, fault.New(fault.Usage, "docs/formats/policy.md has an example", "policy: package isotrace.%s.%s defines no rule with id and reason", below, pkg)
			}
			if _, twice := found[v.Rule.ID]; twice {
				return nil, fault.New(fault.Usage, "", "policy: two rules are called %s", v.Rule.ID)
			}
			if len(v.Findings) > maxFindings {
				return nil, fault.New(fault.Refused, "", "policy: rule %s: more than %d findings", v.Rule.ID, maxFindings)
			}
			found[v.Rule.ID] = v
		}
	}
	return r, p.judge(r, in, found)
}

// judge applies waivers and what is turned off.
func (p *Policy) judge(r *Result, in Input, found map[string]ruleValue) error {
	off := map[string]bool{}
	for _, o := range p.Document.Off {
		if _, ok := found[o.Rule]; !ok {
			return fault.New(fault.Usage, "isotrace policy rules lists them", "%s: off: there is no rule %s", FileName, o.Rule)
		}
		off[o.Rule] = true
		r.Off = append(r.Off, o)
	}
	now, err := time.Parse(time.RFC3339, in.Now)
	if err != nil && in.Now != "" {
		return err
	}
	used := make([]bool, len(p.Document.Waivers))
	expired := RuleResult{Rule: Rule{ID: "waivers", Reason: "A waiver counts until its day is over."}, Findings: []Finding{}}
	for i, w := range p.Document.Waivers {
		if _, ok := found[w.Rule]; !ok {
			return fault.New(fault.Usage, "isotrace policy rules lists them", "%s: waivers: there is no rule %s", FileName, w.Rule)
		}
		ends, err := w.ends()
		if err != nil {
			return err
		}
		if !now.Before(ends) {
			used[i] = true // so that it is not said to be unused, too
			expired.Findings = append(expired.Findings, Finding{Subject: w.Rule + " " + w.Subject, Message: "the waiver of " + w.By + " ended on " + w.Until})
		}
	}
	var ids []string
	for id := range found {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if off[id] {
			continue
		}
		rr := RuleResult{Rule: *found[id].Rule, Findings: []Finding{}}
		for _, f := range found[id].Findings {
			f.Waived = nil
			for i, w := range p.Document.Waivers {
				ends, _ := w.ends() // was read above
				if w.Rule == id && now.Before(ends) && matches(w.Subject, f.Subject) {
					f.Waived, used[i] = &w, true
					break
				}
			}
			rr.Findings = append(rr.Findings, f)
		}
		slices.SortFunc(rr.Findings, func(a, b Finding) int { return strings.Compare(a.Subject+"\x00"+a.Message, b.Subject+"\x00"+b.Message) })
		r.Rules = append(r.Rules, rr)
	}
	r.Rules = append(r.Rules, expired)
	for _, rr := range r.Rules {
		r.Holds = r.Holds && len(rr.Open()) == 0
	}
	for i, w := range p.Document.Waivers {
		if !used[i] {
			r.Unused = append(r.Unused, w)
		}
	}
	return nil
}

func matches(pattern, subject string) bool {
	if pattern == subject {
		return true
	}
	ok, err := doublestar.Match(pattern, subject)
	return ok && err == nil
}

// plain is a value as JSON has it, which is what Rego reads.
func plain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return out, dec.Decode(&out)
}

// Tested is the outcome of a test of the project's rules.
type Tested struct {
	Name string `json:"name"` // PACKAGE.TEST
	OK   bool   `json:"ok"`
	// Error is why it could not be run, where that is so.
	Error string `json:"error,omitempty"`
}

// Test runs the tests of the project's rules: what is called test_… in them.
func (p *Policy) Test(ctx context.Context) ([]Tested, error) {
	modules, err := p.modules()
	if err != nil {
		return nil, err
	}
	c := ast.NewCompiler().WithCapabilities(capabilities())
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	results, err := tester.NewRunner().SetCompiler(c).SetDefaultRegoVersion(ast.RegoV1).RaiseBuiltinErrors(true).SetTimeout(maxTime).SetModules(modules).RunTests(ctx, nil)
	if err != nil {
		return nil, fault.New(fault.Usage, "opa check says more about Rego", "policy: %w", err)
	}
	all := []Tested{}
	for r := range results {
		t := Tested{Name: strings.TrimPrefix(r.Package, "data.") + "." + r.Name, OK: r.Pass()}
		if r.Error != nil {
			t.Error = r.Error.Error()
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b Tested) int { return strings.Compare(a.Name, b.Name) })
	return all, ctx.Err()
}
