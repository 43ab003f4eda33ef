package catalogue

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/sbom/copyright"
)

// maxTexts bounds the licence texts of an image, in bytes; those beyond it are
// left out, and named by their digests.
const maxTexts = 128 << 20

// licences gathers what copyright files say. Many packages have the same one.
type licences struct {
	files    map[artifact.Digest]*sbom.Copyright
	failed   map[artifact.Digest]string
	texts    map[artifact.Digest]string
	bytes    int
	findings []sbom.Finding
}

func newLicences() *licences {
	return &licences{files: map[artifact.Digest]*sbom.Copyright{}, failed: map[artifact.Digest]string{}, texts: map[artifact.Digest]string{}}
}

// none says why nothing is known of a package's licence.
func (l *licences) none(p *sbom.Package, why string) {
	p.Licence.Declared = copyright.NoAssertion
	p.Unknown = sbom.Unknown{sbom.FieldLicence: "not known: " + why}
	l.findings = append(l.findings, sbom.Finding{
		ID:   fmt.Sprintf("%s:%s/%s:%s", sbom.RuleCopyright, p.Set, p.Name, p.Architecture),
		Text: fmt.Sprintf("%s %s: %s", p.Name, p.Version, why), Components: []string{p.ID()},
	})
}

// add reads a package's copyright file.
func (l *licences) add(p *sbom.Package, at string, text []byte) {
	digest := artifact.HashBytes(text)
	c, ok := l.files[digest]
	if !ok && l.failed[digest] == "" {
		c = l.parse(at, digest, text)
	}
	if why := l.failed[digest]; why != "" {
		l.none(p, why)
		return
	}
	c.Packages = append(c.Packages, p.ID())
	p.Licence = sbom.Licensing{Declared: c.Expression, File: sbom.Path(at), FileSHA256: digest}
	switch {
	case c.Expression == copyright.NoAssertion:
		p.Unknown = sbom.Unknown{sbom.FieldLicence: "not known: the copyright file is empty"}
	case !c.MachineReadable:
		p.Unknown = sbom.Unknown{sbom.FieldLicence: "not concluded: the copyright file is prose, which no program can be sure of; its text is in " + sbom.LicencesFile}
	default:
		// It names the licence of every file of the source package.
		p.Licence.Concluded = c.Expression
	}
}

func (l *licences) parse(at string, digest artifact.Digest, text []byte) *sbom.Copyright {
	f, err := copyright.Parse("/"+sbom.Path(at).String(), text)
	if err != nil {
		l.failed[digest] = err.Error()
		return nil
	}
	c := &sbom.Copyright{
		SHA256: digest, Size: int64(len(text)), MachineReadable: f.MachineReadable, Expression: f.Expression, Mentions: f.Mentions, Problems: f.Problems,
	}
	if err := sbom.CheckExpression(c.Expression); err != nil {
		l.failed[digest] = err.Error()
		return nil
	}
	for _, f := range f.Licences {
		c.Licences = append(c.Licences, sbom.Licence{ID: f.ID, Name: f.Name, SHA256: f.SHA256})
		if _, ok := l.texts[f.SHA256]; ok || f.SHA256 == "" || f.Text == "" || l.bytes+len(f.Text) > maxTexts {
			continue
		}
		l.texts[f.SHA256] = f.Text
		l.bytes += len(f.Text)
	}
	l.files[digest] = c
	return c
}

// finish returns all in order.
func (l *licences) finish() ([]sbom.Copyright, []sbom.Text) {
	var files []sbom.Copyright
	for _, d := range slices.Sorted(maps.Keys(l.files)) {
		slices.Sort(l.files[d].Packages)
		files = append(files, *l.files[d])
	}
	var texts []sbom.Text
	for _, d := range slices.Sorted(maps.Keys(l.texts)) {
		texts = append(texts, sbom.Text{SHA256: d, Text: l.texts[d]})
	}
	slices.SortFunc(l.findings, func(a, b sbom.Finding) int { return strings.Compare(a.ID, b.ID) })
	return files, texts
}
