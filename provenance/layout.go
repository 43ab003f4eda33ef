package provenance

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// LayoutFile is the owner's layout, in a project and in the evidence.
const LayoutFile = "layout.json"

// Step is a stage as a layout names it.
type Step struct {
	Name string
	// Takes are the outputs of earlier steps that it may use.
	Takes []Taken
	// Project tells that it may use files of the project.
	Project bool
	// Gives are its products, as patterns of record paths.
	Gives []string
}

// Taken are products of an earlier step, as a pattern of record paths.
type Taken struct{ Step, Pattern string }

// LayoutOptions are what the owner decides.
type LayoutOptions struct {
	Steps []Step
	// Functionaries may each carry out every step.
	Functionaries []*PublicKey
	// Threshold is how many of them must have made the same image.
	Threshold int
	Expires   time.Time
	// Image is the image's file name.
	Image string
}

// NewLayout is the in-toto layout that lets each stage use what the pipeline
// declares and nothing else. Its inspection holds the image beside it, in the folder
// in which in-toto-verify runs, against the product of the last step.
func NewLayout(o LayoutOptions) (in_toto.Layout, error) {
	l := in_toto.Layout{
		Type: "layout", Expires: o.Expires.UTC().Format(time.RFC3339), Keys: map[string]in_toto.Key{},
		Steps: []in_toto.Step{}, Inspect: []in_toto.Inspection{{
			Type: "inspection", Run: []string{"true"},
			SupplyChainItem: in_toto.SupplyChainItem{
				Name: "image", ExpectedProducts: [][]string{},
				ExpectedMaterials: [][]string{
					{"REQUIRE", o.Image},
					{"MATCH", o.Image, "WITH", "PRODUCTS", "IN", isoStage, "FROM", isoStage},
					{"DISALLOW", o.Image},
				},
			},
		}},
	}
	if o.Threshold < 1 || o.Threshold > len(o.Functionaries) {
		return l, fault.New(fault.Usage, "name as many keys as there have to be builders", "a threshold of %d with %d keys", o.Threshold, len(o.Functionaries))
	}
	var ids []string
	for _, k := range o.Functionaries {
		l.Keys[k.KeyID()] = k.InToto
		ids = append(ids, k.KeyID())
	}
	for _, s := range o.Steps {
		step := in_toto.Step{
			Type: "step", PubKeys: ids, Threshold: 1, ExpectedCommand: stageCommand(s.Name),
			SupplyChainItem: in_toto.SupplyChainItem{Name: s.Name},
		}
		if s.Name == isoStage {
			step.Threshold = o.Threshold
		}
		for _, t := range s.Takes {
			step.ExpectedMaterials = append(step.ExpectedMaterials, []string{"MATCH", t.Pattern, "WITH", "PRODUCTS", "FROM", t.Step})
		}
		if s.Project {
			step.ExpectedMaterials = append(step.ExpectedMaterials, []string{"ALLOW", recordProject + "*"})
		}
		for _, pattern := range s.Gives {
			step.ExpectedProducts = append(step.ExpectedProducts, []string{"CREATE", pattern})
		}
		disallow := []string{"DISALLOW", "*"}
		step.ExpectedMaterials = append(step.ExpectedMaterials, disallow)
		step.ExpectedProducts = append(step.ExpectedProducts, disallow)
		l.Steps = append(l.Steps, step)
	}
	return l, nil
}

func stageCommand(name string) []string { return []string{"isotrace", "stage", name} }

// SignLayout writes a layout as a Metablock, signed by its owner.
func (s *Signer) SignLayout(l in_toto.Layout) ([]byte, error) {
	if _, ok := l.Keys[s.public.KeyID()]; ok {
		return nil, fault.New(fault.Refused, "isotrace keys new --role owner makes a key of its own", "the key %.8s would both own the layout and carry out its steps", s.public.KeyID())
	}
	text, err := s.metablock(l)
	if err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	if _, err := OpenLayout(text, s.public); err != nil {
		return nil, err
	}
	return text, nil
}

// metablock signs a link or layout as in-toto wants it.
func (s *Signer) metablock(signed any) ([]byte, error) {
	mb := in_toto.Metablock{Signed: signed}
	text, err := mb.GetSignableRepresentation()
	if err != nil {
		return nil, err
	}
	sig, err := s.signMetadata(text)
	if err != nil {
		return nil, err
	}
	mb.Signatures = []in_toto.Signature{{KeyID: s.public.KeyID(), Sig: hex.EncodeToString(sig)}}
	b, err := json.MarshalIndent(mb, "", "  ")
	return append(b, '\n'), err
}

// signable returns what the signatures of a Metablock are over. The text is decoded
// anew, so that nothing which in-toto's own types leave out goes unsigned.
func signable(metablock []byte) ([]byte, error) {
	var raw struct {
		Signed     json.RawMessage `json:"signed"`
		Signatures json.RawMessage `json:"signatures"`
	}
	if err := strictjson.Unmarshal(metablock, &raw); err != nil {
		return nil, err
	}
	var signed any
	dec := json.NewDecoder(bytes.NewReader(raw.Signed))
	dec.UseNumber()
	if err := dec.Decode(&signed); err != nil {
		return nil, err
	}
	mb := in_toto.Metablock{Signed: signed}
	return mb.GetSignableRepresentation()
}

// agrees makes sure that signed, a typed reading of a Metablock, says all that its signature
// is over: body.
func agrees(signed any, body []byte) error {
	mb := in_toto.Metablock{Signed: signed}
	again, err := mb.GetSignableRepresentation()
	if err == nil && !bytes.Equal(again, body) {
		err = fmt.Errorf("says more than in-toto reads, from byte %d of what is signed on", firstDifference(again, body))
	}
	return err
}

// Layout is an owner's layout that was found to be sound in itself.
type Layout struct {
	in_toto.Layout
	Expires time.Time
	// Owner signed it; nil where nobody said whose key that must be.
	Owner *PublicKey
	// SignedBy are the ids of the keys that are named as signing it.
	SignedBy []string
	keys     map[string]*PublicKey // functionaries, by id
}

// Bounds of a layout.
const (
	MaxLayout     = 16 << 20 // bytes
	maxLayoutKeys = 64
)

// OpenLayout reads a layout and refuses one that could be met in ways its owner
// cannot have meant: see check. With a key, its owner's, the signature must verify.
// It does not look at the clock.
func OpenLayout(text []byte, owner *PublicKey) (*Layout, error) {
	if len(text) > MaxLayout {
		return nil, fmt.Errorf("layout: longer than %d bytes", MaxLayout)
	}
	var f struct {
		Signed     in_toto.Layout      `json:"signed"`
		Signatures []in_toto.Signature `json:"signatures"`
	}
	if err := strictjson.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	l := &Layout{Layout: f.Signed, Owner: owner, keys: map[string]*PublicKey{}}
	for _, s := range f.Signatures {
		l.SignedBy = append(l.SignedBy, s.KeyID)
	}
	if owner != nil {
		body, err := signable(text)
		if err != nil {
			return nil, fmt.Errorf("layout: %w", err)
		}
		if !signedBy(owner, f.Signatures, body) {
			return nil, fmt.Errorf("layout: is not signed by the owner's key %.8s", owner.KeyID())
		}
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	return l, nil
}
