package stages

import (
	"slices"

	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/customise"
)

// Steps are the stages of a config's pipeline as a layout names them.
func Steps(c *config.Config) []provenance.Step {
	some := stage.Material{}
	lock := &lockfile.Lock{}
	if c.Base.IsImage() {
		lock.Image = &lockfile.Image{}
	}
	m := &Materials{
		OverlayFiles: []stage.Material{some}, Overlay: []customise.File{{}}, Scripts: []stage.Material{some}, Preseed: []stage.Material{some}, Menu: &some,
	}
	if c.Base.Dockerfile+c.Base.SignedBy != "" {
		m.Dockerfile = &some
	}
	g, _ := Pipeline(c, lock, m, nil)
	var steps []provenance.Step
	for _, s := range g.Stages() {
		step := provenance.Step{Name: s.Name, Project: len(s.Materials) > 0}
		for _, in := range s.Inputs {
			maker := stage.MakerOf(in.From)
			t := provenance.Taken{Step: maker, Pattern: stage.RecordPath(maker, stage.NameOf(in.From), stage.KindOf(in.From), "*")}
			if !slices.Contains(step.Takes, t) {
				step.Takes = append(step.Takes, t)
			}
		}
		for _, out := range s.Outputs {
			step.Gives = append(step.Gives, stage.RecordPath(s.Name, out.Name, out.Kind, "*"))
		}
		steps = append(steps, step)
	}
	return steps
}

// CheckLayout refuses, before an hour is spent, a layout that this build cannot meet.
func (p *Project) CheckLayout(signer *provenance.PublicKey) error {
	if p.LayoutText == nil {
		return nil
	}
	l, err := provenance.OpenLayout(p.LayoutText, nil)
	if err != nil {
		return fault.New(fault.Usage, "isotrace layout writes it", "%w", err)
	}
	const again = "isotrace layout writes a new one"
	for _, s := range Steps(p.Config) {
		if !l.Allows(s.Name, signer) {
			return fault.New(fault.Usage, again, "%s does not let the key %.8s carry out %s", provenance.LayoutFile, signer.KeyID(), s.Name)
		}
		if what := l.Lacks(s); what != "" {
			return fault.New(fault.Usage, again, "%s is for another pipeline: it has no rule for %s in step %s", provenance.LayoutFile, what, s.Name)
		}
	}
	return nil
}
