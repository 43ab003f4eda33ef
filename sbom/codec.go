package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxModel bounds a document that is read, in bytes: licence texts may be in it
// again for JSON's escapes.
const maxModel = 512 << 20

// Write writes the model itself as JSON, its lists sorted, for Read.
func (d *Document) Write(w io.Writer) error {
	if err := d.Validate(); err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(d.sorted()); err != nil {
		return fmt.Errorf("sbom: %w", err)
	}
	return nil
}

// Read reads what Write writes. It refuses keys that it does not know and more
// than 512 MiB.
func Read(r io.Reader) (*Document, error) {
	in := &io.LimitedReader{R: r, N: maxModel + 1}
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	d := &Document{}
	err := dec.Decode(d)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("something follows the document")
		}
	}
	switch {
	case in.N <= 0:
		return nil, fmt.Errorf("sbom: longer than %d bytes", maxModel)
	case err != nil:
		return nil, fmt.Errorf("sbom: %w", err)
	}
	return d, d.Validate()
}

// sorted is a copy with its lists in order, each entry of a list of IDs once.
func (d *Document) sorted() *Document {
	c := *d
	c.Packages = byID(d.Packages, func(p Package) string { return p.ID() })
	for i := range c.Packages {
		p := &c.Packages[i]
		p.BuiltUsing, p.StaticBuiltUsing = sources(p.BuiltUsing), sources(p.StaticBuiltUsing)
		p.Dependencies, p.Requirements = dependencies(p.Dependencies), set(p.Requirements)
	}
	c.Sources = byID(d.Sources, func(s Source) string { return s.ID() })
	for i := range c.Sources {
		c.Sources[i].Files = c.Sources[i].sortedFiles()
	}
	c.Found = byID(d.Found, func(f Found) string { return f.ID() })
	for i := range c.Found {
		c.Found[i].Paths, c.Found[i].Dependencies = set(c.Found[i].Paths), dependencies(c.Found[i].Dependencies)
	}
	c.Files = byID(d.Files, func(f File) string { return f.ID() })
	for i := range c.Files {
		c.Files[i].Requirements = set(c.Files[i].Requirements)
	}
	c.Licences = byID(d.Licences, func(l Licence) string { return l.ID })
	c.Findings = byID(d.Findings, func(f Finding) string { return f.ID })
	for i := range c.Findings {
		c.Findings[i].Components = set(c.Findings[i].Components)
	}
	c.Product.References = byID(d.Product.References, func(r Reference) string { return r.Type + " " + r.URL + " " + r.Comment })
	return &c
}

func byID[T any](list []T, id func(T) string) []T {
	return slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return strings.Compare(id(a), id(b)) })
}

func set[T ~string](list []T) []T { return slices.Compact(slices.Sorted(slices.Values(list))) }

func sources(list []SourceID) []SourceID {
	return slices.Compact(byID(list, func(s SourceID) string { return s.ID() }))
}

func dependencies(list []Dependency) []Dependency {
	return slices.Compact(byID(list, func(d Dependency) string { return d.On + " " + string(d.Kind) }))
}
