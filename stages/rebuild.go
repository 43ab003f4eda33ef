package stages

import (
	"context"
	"errors"

	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
)

// Compared is a stage of two builds.
type Compared struct {
	Stage    string `json:"stage"`
	Products int    `json:"products"`
	// Differs says what is not the same; "" where all is.
	Differs string `json:"differs,omitempty"`
	// Detail says of what differs what is in it, as far as the evidence of both tells.
	Detail []string `json:"detail,omitempty"`
}

// Rebuilt is a build and how it compares with the one that it repeats.
type Rebuilt struct {
	*Built
	Stages []Compared `json:"stages"` // in the order of the pipeline
	links  map[string][]byte
}

// Rebuild builds in the folder out what the evidence in the folder of describes, and
// compares both stage by stage. The project has to be as it was.
func (s *Session) Rebuild(ctx context.Context, of, out string, theirs provenance.VerifyOptions, signer *provenance.Signer, report func(provenance.Check)) (*Rebuilt, error) {
	if s.Project.Lock == nil {
		return nil, errors.New("there is no lock")
	}
	bundle, err := provenance.OpenBundle(of)
	if err != nil {
		return nil, err
	}
	if err := bundle.MadeFrom(s.Project.ConfigText, s.Project.LockText); err != nil {
		return nil, err
	}
	before, err := provenance.OpenRecords(ctx, of, theirs)
	if err != nil {
		return nil, err
	}
	r := &Rebuilt{links: map[string][]byte{}}
	if r.Built, err = s.Build(ctx, out, signer, report); err != nil {
		return nil, err
	}
	for _, step := range Steps(s.Project.Config) {
		link := r.Results[step.Name].Link
		again, err := provenance.OpenLink(link, signer.Public())
		if err != nil {
			return nil, err
		}
		r.links[step.Name] = link
		c := compare(before[step.Name], again)
		if c.Differs != "" {
			c.Detail = provenance.Explain(of, out, before[step.Name], again)
		}
		r.Stages = append(r.Stages, c)
	}
	return r, nil
}

func compare(before, again stage.Record) Compared {
	c := Compared{Stage: again.Name, Products: len(again.Products)}
	if before.Name == "" {
		c.Differs = "the evidence has no link of it"
	} else {
		c.Differs = provenance.Differs(before, again)
	}
	return c
}

// Same tells whether no stage differs.
func (r *Rebuilt) Same() bool {
	for _, c := range r.Stages {
		if c.Differs != "" {
			return false
		}
	}
	return true
}

// Sign leaves the rebuilder's links in the evidence in the folder of.
func (r *Rebuilt) Sign(of string, key *provenance.PublicKey) error {
	b, err := provenance.OpenBundle(of)
	if err != nil {
		return err
	}
	return b.AddLinks(key, r.links)
}
