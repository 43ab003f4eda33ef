package sbom

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// WriteSPDX writes the document as SPDX 2.3 JSON. Its namespace comes from its
// content: a URN, as there is no host to name.
func WriteSPDX(w io.Writer, d *Document) error {
	inv, err := d.inventory()
	if err != nil {
		return err
	}
	doc := inv.spdx()
	parts := func(files bool) iter.Seq[any] {
		return func(yield func(any) bool) {
			for _, c := range inv.components {
				switch {
				case c.spdxFile() != files:
				case files && !yield(inv.spdxFileOf(c)), !files && !yield(inv.spdxPackage(c)):
					return
				}
			}
		}
	}
	made := lists{"packages": parts(false)}
	if slices.ContainsFunc(inv.components, (*component).spdxFile) {
		made["files"] = parts(true)
	}
	err = render(w, func(w io.Writer, name string) error {
		doc.DocumentNamespace = name
		return encode(w, doc, made)
	})
	if err != nil {
		return fmt.Errorf("SPDX: %w", err)
	}
	return nil
}

// spdx is the document without its name, its packages and its files.
func (inv *inventory) spdx() *v2_3.Document {
	d := inv.doc
	creators := []common.Creator{{CreatorType: "Tool", Creator: "isotrace-" + d.Version}}
	if a := d.Author.clean(); a.known() {
		creators = append(creators, common.Creator{CreatorType: a.spdxType(), Creator: a.spdx()})
	}
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: d.Product.Name + "-" + d.Product.Version,
		CreationInfo: &v2_3.CreationInfo{Creators: creators, Created: d.Epoch.Time().Format(time.RFC3339)},
	}
	if why := line(d.Product.Unknown[FieldAuthor], maxLine); why != "" && len(creators) == 1 {
		doc.CreationInfo.CreatorComment = ours + "unknown:" + string(FieldAuthor) + "=" + why
	}
	doc.OtherLicenses = inv.spdxLicences()
	doc.Relationships = inv.spdxRelationships()
	for _, f := range d.Findings {
		text := "finding " + f.ID + ": " + prose(f.Text, maxDescription)
		for _, c := range inv.subjects(f) {
			text += "\nabout SPDXRef-" + c.spdx
		}
		doc.Annotations = append(doc.Annotations, inv.spdxAnnotation(text))
	}
	slices.SortFunc(doc.Annotations, func(a, b *v2_3.Annotation) int { return strings.Compare(a.AnnotationComment, b.AnnotationComment) })
	return doc
}

// spdxFile tells whether a component is a File of SPDX: clause 8.4 wants a
// SHA-1 of each, so a file without one is a Package whose purpose is FILE.
func (c *component) spdxFile() bool { return c.class == classFile && c.hashes.SHA1 != "" }

func (inv *inventory) spdxAnnotation(text string) *v2_3.Annotation {
	return &v2_3.Annotation{
		Annotator: common.Annotator{AnnotatorType: "Tool", Annotator: "isotrace-" + inv.doc.Version}, AnnotationType: "OTHER",
		AnnotationDate: inv.doc.Epoch.Time().Format(time.RFC3339), AnnotationComment: text,
	}
}

// spdxLicences are the texts of all LicenseRefs, or what is known of them.
func (inv *inventory) spdxLicences() []*v2_3.OtherLicense {
	var all []*v2_3.OtherLicense
	room := maxTexts
	for _, id := range inv.licenceRefs() {
		l := inv.licences[id]
		text := prose(l.Text, maxLicenceText)
		room -= len(text)
		switch {
		case text != "" && room >= 0:
		case l.SHA256 != "":
			text = "The text is not in this document. It is in the evidence; its SHA-256 is " + string(l.SHA256) + "."
		default:
			text = "The text is not known: the package names the licence and has no text for it."
		}
		o := &v2_3.OtherLicense{LicenseIdentifier: id, ExtractedText: text, LicenseName: cmp.Or(line(l.Name, maxLine), noAssertion)}
		if l.SHA256 != "" {
			o.LicenseComment = "SHA-256 of the whole text: " + string(l.SHA256)
		}
		all = append(all, o)
	}
	return all
}

// spdx is a name with the address in parentheses.
func (p Party) spdx() string {
	s := p.label()
	if p.Email != "" && p.Name != "" {
		s += " (" + p.Email + ")"
	}
	return s
}

func (p Party) spdxType() string {
	if p.Organisation {
		return "Organization"
	}
	return "Person"
}
