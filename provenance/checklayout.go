package provenance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/stage"
)

// check looks for what in-toto's own verification lets pass, or trips over.
func (l *Layout) check() error {
	if l.Type != "layout" {
		return fmt.Errorf("its type is %q", l.Type)
	}
	var err error
	if l.Expires, err = time.Parse(time.RFC3339, l.Layout.Expires); err != nil {
		return fmt.Errorf("expires: %w", err)
	}
	if err := l.checkKeys(); err != nil {
		return err
	}
	earlier := map[string]bool{}
	for _, s := range l.Steps {
		if err := l.checkStep(s, earlier); err != nil {
			return fmt.Errorf("step %s: %w", s.Name, err)
		}
		earlier[s.Name] = true
	}
	if !earlier[isoStage] {
		return fmt.Errorf("there is no step %s", isoStage)
	}
	return in_toto.ValidateMetablock(in_toto.Metablock{Signed: l.Layout, Signatures: []in_toto.Signature{}})
}

// checkKeys makes sure that one functionary cannot pass for two, and that the name
// of a link's file says whose it is.
func (l *Layout) checkKeys() error {
	if len(l.Keys) == 0 || len(l.Keys) > maxLayoutKeys {
		return fmt.Errorf("%d keys", len(l.Keys))
	}
	short := map[string]string{}
	for _, id := range sortedKeys(l.Keys) {
		k := l.Keys[id]
		if k.KeyVal.Private != "" {
			return fmt.Errorf("key %.8s: its secret part is in the layout", id)
		}
		p, err := publicKeyOf(k)
		if err != nil {
			return err
		}
		if p.KeyID() != id || k.KeyID != id {
			return fmt.Errorf("key %.8s: its id is not that of its content, %.8s", id, p.KeyID())
		}
		if other, ok := short[id[:8]]; ok {
			return fmt.Errorf("keys %s and %s have the same short id: their links would have one name", other, id)
		}
		if p.Same(l.Owner) {
			return fmt.Errorf("key %.8s both owns the layout and carries out its steps", id)
		}
		short[id[:8]], l.keys[id] = id, p
	}
	return nil
}

func (l *Layout) checkStep(s in_toto.Step, earlier map[string]bool) error {
	if s.Name == "" || earlier[s.Name] {
		return errors.New("stands twice, or has no name")
	}
	if !slices.Equal(s.ExpectedCommand, stageCommand(s.Name)) {
		return fmt.Errorf("expects the command %q", s.ExpectedCommand)
	}
	if len(s.CertificateConstraints) > 0 {
		return errors.New("has certificate constraints, which isotrace cannot judge")
	}
	seen := map[string]bool{}
	for _, id := range s.PubKeys {
		if seen[id] || l.keys[id] == nil {
			return fmt.Errorf("key %.8s stands twice, or is not among the keys", id)
		}
		seen[id] = true
	}
	if s.Threshold < 1 || s.Threshold > len(seen) {
		return fmt.Errorf("a threshold of %d with %d keys", s.Threshold, len(seen))
	}
	for _, rules := range [][][]string{s.ExpectedMaterials, s.ExpectedProducts} {
		if n := len(rules); n == 0 || !slices.Equal(rules[n-1], []string{"DISALLOW", "*"}) {
			return errors.New("its rules do not end in DISALLOW *: they would let anything pass")
		}
		for _, r := range rules {
			if len(r) == 0 {
				return errors.New("has an empty rule")
			}
			u, err := in_toto.UnpackRule(r)
			if err != nil {
				return err
			}
			if from, ok := u["dstName"]; ok && u["type"] == "match" && !earlier[from] {
				return fmt.Errorf("takes what step %s gives, which does not come before it", from)
			}
		}
	}
	return nil
}

// step finds a step by name; one that is not there has no keys and no rules.
func (l *Layout) step(name string) in_toto.Step {
	i := slices.IndexFunc(l.Steps, func(s in_toto.Step) bool { return s.Name == name })
	if i < 0 {
		return in_toto.Step{}
	}
	return l.Steps[i]
}

// Allows tells whether a key may carry out a step.
func (l *Layout) Allows(step string, key *PublicKey) bool {
	return slices.Contains(l.step(step).PubKeys, key.KeyID())
}

// Lacks names what a stage takes or gives for which its step has no rule, as one that
// was added to the pipeline after the layout was signed; "" where all is there.
func (l *Layout) Lacks(s Step) string {
	step := l.step(s.Name)
	covers := func(rules [][]string, kind, maker, pattern string) bool {
		return slices.ContainsFunc(rules, func(r []string) bool {
			return len(r) > 1 && (strings.EqualFold(r[0], kind) || strings.EqualFold(r[0], "ALLOW")) && (r[1] == pattern || r[1] == maker+"/*" || r[1] == "*")
		})
	}
	for _, t := range s.Takes {
		if !covers(step.ExpectedMaterials, "MATCH", t.Step, t.Pattern) {
			return t.Pattern
		}
	}
	for _, pattern := range s.Gives {
		if !covers(step.ExpectedProducts, "CREATE", s.Name, pattern) {
			return pattern
		}
	}
	return ""
}

// signer finds the key that may carry out a step, by the short id in a link's name.
func (l *Layout) signer(step, short string) *PublicKey {
	for _, id := range l.step(step).PubKeys {
		if id[:8] == short {
			return l.keys[id]
		}
	}
	return nil
}

// openLayout reads the evidence's layout, if it has one.
func (v *verification) openLayout() error {
	text, err := v.read(LayoutFile, MaxLayout)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	v.layout, v.layoutErr = OpenLayout(text, v.opts.OwnerKey)
	return nil
}

// checkLayout holds the links to the owner's layout.
func (v *verification) checkLayout(context.Context) (string, []Problem, error) {
	l := v.layout
	switch {
	case v.layoutErr != nil:
		return "", []Problem{{LayoutFile, v.layoutErr.Error()}}, nil
	case l == nil && v.opts.OwnerKey != nil:
		return "", []Problem{{LayoutFile, "is missing, and an owner's key was named"}}, nil
	case l == nil:
		return "there is no layout: nobody said who may build", nil, nil
	}
	var problems []Problem
	if v.expired(v.opts.Now) && (v.signedAt.IsZero() || v.expired(v.signedAt)) {
		problems = append(problems, Problem{LayoutFile, "expired at " + l.Layout.Expires})
	}
	metadata := map[string]in_toto.Metadata{}
	var steps []any
	for _, s := range l.Steps {
		done := v.done[s.Name]
		if len(done) < s.Threshold && (!v.opts.Alone || len(done) == 0) {
			problems = append(problems, Problem{LayoutFile, fmt.Sprintf("step %s: %d functionaries left a link that holds, %d have to", s.Name, len(done), s.Threshold)})
			continue
		}
		for _, d := range done[1:] {
			if what := Differs(done[0].record, d.record); what != "" {
				problems = append(problems, Problem{d.file, "does not agree with " + done[0].file + ": " + what})
			}
		}
		rec := done[0].record
		metadata[s.Name] = &in_toto.Metablock{Signed: in_toto.Link{
			Type: "link", Name: rec.Name, Materials: hashObjects(rec.Materials), Products: hashObjects(rec.Products),
		}}
		steps = append(steps, s)
	}
	if len(problems) == 0 {
		if err := in_toto.VerifyArtifacts(steps, metadata); err != nil {
			problems = append(problems, problemOf(LayoutFile, err))
		}
	}
	expires := "expires"
	if v.expired(v.opts.Now) {
		expires = "has expired since the image was signed,"
	}
	what := fmt.Sprintf("%d steps, each as the layout of %.8s allows; it %s at %s", len(l.Steps), v.ownerID(), expires, l.Layout.Expires)
	if l.Owner == nil {
		what += "; whose key that is, nobody said: name it with --owner-key"
	}
	return what, problems, nil
}

// expired tells whether the layout has at some time; at none it has not.
func (v *verification) expired(at time.Time) bool {
	return !at.IsZero() && v.layout != nil && at.After(v.layout.Expires)
}

func (v *verification) layoutState() State {
	switch {
	case v.nobodyOwns():
		return CannotTell
	case v.expired(v.opts.Now):
		return Expired
	}
	return Valid
}

// nobodyOwns tells that there is no layout, or nobody said whose it must be.
func (v *verification) nobodyOwns() bool { return v.layout == nil || v.layout.Owner == nil }

// ownerID is the id of the key that signed the layout, or is said to have.
func (v *verification) ownerID() string {
	if v.layout.Owner != nil {
		return v.layout.Owner.KeyID()
	}
	if len(v.layout.SignedBy) > 0 {
		return v.layout.SignedBy[0]
	}
	return "nobody"
}

// Differs says in what two records of one stage are not the same, "" where in nothing.
func Differs(a, b stage.Record) string {
	for _, m := range []struct {
		what string
		a, b map[string]artifact.Digest
	}{{"materials", a.Materials, b.Materials}, {"products", a.Products, b.Products}} {
		all := maps.Clone(m.a)
		maps.Copy(all, m.b)
		for _, p := range sortedKeys(all) {
			if m.a[p] != m.b[p] {
				return fmt.Sprintf("other %s: %s is %s, not %s", m.what, p, orNone(m.b[p]), orNone(m.a[p]))
			}
		}
	}
	for _, m := range []struct {
		what string
		a, b any
	}{
		{"commands", a.Commands, b.Commands}, {"parameters", string(a.Params), string(b.Params)}, {"stage version", a.Version, b.Version}, {"epoch", a.Epoch, b.Epoch},
	} {
		if !reflect.DeepEqual(m.a, m.b) {
			return "other " + m.what
		}
	}
	return ""
}

func orNone(d artifact.Digest) string {
	if d == "" {
		return "missing"
	}
	return string(d)
}
