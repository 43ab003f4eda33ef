// Package sbom writes the bills of materials of an image.
package sbom

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/sbom"
)

// Output is the set of the bills of materials and the licence facts.
const Output = "sbom"

// CycloneDX and SPDX are the names of a product's bills of materials in the set.
func CycloneDX(product string) string { return product + ".cdx.json" }

// SPDX is the name of the second one.
func SPDX(product string) string { return product + ".spdx.json" }

// Params are what the config and the lock say.
type Params struct {
	// Isotrace is the version of the program.
	Isotrace string `json:"isotrace"`
	Name     string `json:"name"`
	Title    string `json:"title,omitempty"`
	Release  string `json:"release"`
	FileName string `json:"file-name"`
	// Location is where it is for whoever has the documents.
	Location string `json:"location"`
	// BIOSImage is the path on the medium of what a BIOS starts.
	BIOSImage string `json:"bios-image"`
	// Licences are those that the project states for files of the medium, by path.
	Licences map[string]string `json:"licences,omitempty"`
	// Supplier makes the image, and has the documents made.
	Supplier sbom.Party `json:"supplier"`
	Archives []Archive  `json:"archives"`
	Packages []Locked   `json:"packages"`
	// Base is the base image, where there is one.
	Base    *sbom.BaseImage `json:"base,omitempty"`
	Sources []sbom.Source   `json:"sources,omitempty"`
}

// Archive is a suite.
type Archive struct {
	ID         string          `json:"id"` // REPOSITORY/SUITE
	Repository string          `json:"repository"`
	Suite      string          `json:"suite"`
	Codename   string          `json:"codename"`
	Release    artifact.Digest `json:"release"`
	// Foreign tells that the root tree's packages are of other archives.
	Foreign bool `json:"foreign,omitempty"`
}

// Locked is a package of the lock.
type Locked struct {
	Set     sbom.Set        `json:"set"`
	ID      string          `json:"id"` // NAME:ARCH=VERSION
	Archive string          `json:"archive"`
	Path    string          `json:"path"` // below the mirror's base
	SHA256  artifact.Digest `json:"sha256"`
	// Base tells that the package came with the base image.
	Base bool `json:"base,omitempty"`
}

// Inputs are all that the documents rest on.
type Inputs struct {
	Catalogue stage.File
	Trace     stage.Set
	Root      stage.Tree
	Medium    stage.Set
	ESP       stage.File
	ISO       stage.File
}

// Stage takes what is known of the packages and where each file came from and
// gives the bills of materials. A field that is neither there nor explained ends
// the build.
func Stage(in Inputs, p Params) stage.Stage {
	return stage.Stage{
		Name: "sbom", Version: 3, Params: p,
		Takes: "catalogue, trace, root tree, the medium's tree, ISO", Gives: "bills of materials as CycloneDX and SPDX, licence facts",
		Inputs: []stage.Input{
			{Name: "catalogue", From: in.Catalogue}, {Name: "trace", From: in.Trace}, {Name: "root", From: in.Root},
			{Name: "medium", From: in.Medium}, {Name: "esp", From: in.ESP}, {Name: "iso", From: in.ISO},
		},
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindSet}},
		Run:     func(ctx context.Context, w *stage.Work) error { return (&run{work: w, params: p}).all(ctx) },
	}
}

type run struct {
	work      *stage.Work
	params    Params
	catalogue *sbom.Catalogue
	trace     *trace.Trace
	doc       *sbom.Document
	ids       map[string]bool // of the document's packages
}

func (r *run) all(ctx context.Context) error {
	if err := r.read(); err != nil {
		return err
	}
	r.doc = &sbom.Document{
		Format: sbom.Format, Version: r.params.Isotrace, Epoch: r.work.Epoch, Author: r.params.Supplier, System: &r.catalogue.Distro,
		Sources: r.params.Sources, Base: r.params.Base, Found: r.catalogue.Found, Findings: r.catalogue.Findings,
	}
	group, gctx := errgroup.WithContext(ctx)
	var strong string // digest of the ISO, which takes as long as the rest
	group.Go(func() (err error) {
		strong, err = r.work.Store().Sum(r.work.FileRef("iso").Digest, "sha512", sha512.New())
		return err
	})
	group.Go(func() error {
		for _, part := range []func(context.Context) error{r.packages, r.files, r.licences} {
			if err := part(gctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	r.product(strong)
	if err := r.judge(); err != nil {
		return err
	}
	return r.write()
}

func (r *run) read() (err error) {
	f, err := regular.OpenFile(r.work.File("catalogue"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if r.catalogue, err = sbom.ReadCatalogue(f); err != nil {
		return err
	}
	parts := map[string]artifact.Ref{}
	for _, ref := range r.work.Set("trace") {
		parts[ref.Path] = ref
	}
	r.trace, err = trace.Open(func(name string) (trace.File, error) {
		ref, ok := parts[name]
		if !ok {
			return nil, fmt.Errorf("the trace has no file %s", name)
		}
		return regular.OpenFile(r.work.Content(ref))
	})
	return err
}

// licences are those that expressions name and no list has.
func (r *run) licences(context.Context) error {
	texts := map[artifact.Digest]string{}
	for _, t := range r.catalogue.Texts {
		texts[t.SHA256] = t.Text
	}
	seen := map[string]bool{}
	for _, c := range r.catalogue.Copyrights {
		for _, l := range c.Licences {
			if seen[l.ID] || !sbom.IsLicenceRef(l.ID) {
				continue
			}
			seen[l.ID] = true
			l.Text = texts[l.SHA256]
			r.doc.Licences = append(r.doc.Licences, l)
		}
	}
	return nil
}

func (r *run) product(strong string) {
	iso := r.work.FileRef("iso")
	r.doc.Product = sbom.Product{
		Name: r.params.Name, Title: r.params.Title, Version: r.params.Release, FileName: r.params.FileName, Location: r.params.Location, Size: iso.Size,
		Hashes: sbom.Hashes{SHA256: string(iso.Digest), SHA512: strong}, Creator: r.params.Supplier, Completeness: sbom.Complete,
	}
	for _, p := range r.trace.Parts {
		for _, c := range p.Counts {
			if c.Kind == trace.Unexplained {
				r.doc.Product.Completeness = sbom.Incomplete
			}
		}
	}
	switch {
	case r.params.Supplier.Name == "":
		const why = "not known: the config names no supplier"
		r.doc.Product.Unknown = sbom.Unknown{sbom.FieldAuthor: why, sbom.FieldSupplier: why, sbom.FieldCreator: why}
	case !r.params.Supplier.Reachable():
		const why = "not known: the config has no address of the supplier"
		r.doc.Product.Unknown = sbom.Unknown{sbom.FieldAuthor: why, sbom.FieldCreator: why}
	}
	for i := range r.doc.Sources {
		r.doc.Sources[i].Distro = r.catalogue.Distro
	}
}

// judge ends the build where a field that NTIA or TR-03183-2 wants is neither
// there nor explained.
func (r *run) judge() error {
	c, err := sbom.Cover(r.doc)
	if err != nil {
		return err
	}
	for _, f := range c.Fields {
		if _, err := fmt.Fprintf(r.work.Log, "%s %s: %d there, %d explained, %d missing\n", f.Standard, f.Field, f.Present, f.Explained, f.Missing); err != nil {
			return err
		}
	}
	if c.Whole() {
		return nil
	}
	what := "a field of the document"
	if len(c.Gaps) > 0 {
		what = fmt.Sprintf("%s of %s", c.Gaps[0].Field, c.Gaps[0].Component)
	}
	for _, g := range c.Gaps {
		if _, err := fmt.Fprintf(r.work.Log, "missing: %s of %s\n", g.Field, g.Component); err != nil {
			return err
		}
	}
	return fault.New(fault.Refused, "please report it with the journal of the stage sbom, which lists every field", "the bill of materials lacks %s and does not say why", what)
}

// write writes SPDX first: CycloneDX names it by its digest.
func (r *run) write() error {
	spdx, cyclonedx := SPDX(r.params.Name), CycloneDX(r.params.Name)
	for _, f := range []struct {
		name, kind, comment string
		write               func(io.Writer) error
	}{
		{spdx, "bom", "the same as SPDX 2.3", func(w io.Writer) error { return sbom.WriteSPDX(w, r.doc) }},
		{sbom.LicencesFile, "license", "what the packages' copyright files say, and their texts", func(w io.Writer) error {
			return sbom.WriteLicences(w, r.catalogue.Copyrights, r.catalogue.Texts)
		}},
		{cyclonedx, "", "", func(w io.Writer) error { return sbom.WriteCycloneDX(w, r.doc) }},
	} {
		ref, err := r.add(f.name, f.write)
		if err != nil {
			return err
		}
		if f.kind != "" {
			r.doc.Product.References = append(r.doc.Product.References, sbom.Reference{
				Type: f.kind, URL: f.name, Comment: f.comment, Hashes: sbom.Hashes{SHA256: string(ref.Digest)},
			})
		}
	}
	return nil
}

func (r *run) add(name string, write func(io.Writer) error) (artifact.Ref, error) {
	file := filepath.Join(r.work.Temp(), name)
	if err := artifact.WriteFile(file, 0o444, write); err != nil {
		return artifact.Ref{}, err
	}
	ref, err := r.work.Store().Adopt(file, "")
	if err != nil {
		return ref, err
	}
	ref.Path = name
	return ref, r.work.AddToSet(Output, ref)
}
