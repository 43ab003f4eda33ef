package sbom

import "slices"

// Coverage is how much of what is wanted the documents have.
type Coverage struct {
	Components int             `json:"components"`
	Fields     []FieldCoverage `json:"fields"`
	// Gaps are the first thousand of what is neither there nor explained, by
	// component.
	Gaps []Gap `json:"gaps,omitempty"`
}

// FieldCoverage counts components; the sum is their number, or one for a field
// of the document.
type FieldCoverage struct {
	Standard  string `json:"standard"` // NTIA or TR-03183-2
	Field     Field  `json:"field"`
	Present   int    `json:"present"`
	Explained int    `json:"explained"` // not known, with the reason why
	Missing   int    `json:"missing"`
}

// Gap is a field that is neither there nor explained.
type Gap struct {
	Component string `json:"component"` // its ID
	Field     Field  `json:"field"`
}

const maxGaps = 1000

// Cover counts what the documents of d tell of each field that NTIA's minimum
// elements and TR-03183-2 v2.1.0 want.
func Cover(d *Document) (*Coverage, error) {
	inv, err := d.inventory()
	if err != nil {
		return nil, err
	}
	c := &Coverage{Components: len(inv.components)}
	for _, w := range wanted {
		author := d.Author.clean()
		known := author.known()
		if w.standard != ntia {
			known = author.reachable()
		}
		doc := FieldCoverage{Standard: w.standard, Field: FieldAuthor}
		doc.count(known, d.Product.Unknown[FieldAuthor])
		c.Fields = append(c.Fields, doc, FieldCoverage{Standard: w.standard, Field: FieldTimestamp, Present: 1})
		for _, f := range w.fields {
			n := FieldCoverage{Standard: w.standard, Field: f}
			for _, k := range inv.components {
				n.count(k.has(f), k.why(f))
			}
			c.Fields = append(c.Fields, n)
		}
	}
	c.Gaps = inv.gaps()
	return c, nil
}

// Whole tells whether every field is there or explained.
func (c *Coverage) Whole() bool {
	return !slices.ContainsFunc(c.Fields, func(f FieldCoverage) bool { return f.Missing > 0 })
}

func (f *FieldCoverage) count(present bool, why string) {
	switch {
	case present:
		f.Present++
	case why != "":
		f.Explained++
	default:
		f.Missing++
	}
}

func (inv *inventory) gaps() []Gap {
	var all []Gap
	for _, k := range inv.components {
		for _, f := range fields {
			if !k.has(f) && k.why(f) == "" {
				if len(all) == maxGaps {
					return all
				}
				all = append(all, Gap{Component: k.id, Field: f})
			}
		}
	}
	return all
}
