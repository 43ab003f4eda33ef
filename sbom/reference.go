package sbom

import (
	"path"
	"slices"
	"strings"
)

// referenceTypes are the external reference types of CycloneDX 1.6.
var referenceTypes = strings.Fields(`
	adversary-model advisories attestation bom build-meta build-system certification-report chat codified-infrastructure
	component-analysis-report configuration digital-signature distribution distribution-intake documentation dynamic-analysis-report
	electronic-signature evidence exploitability-statement formulation issue-tracker license log mailing-list maturity-report model-card
	other pentest-report poam quality-metrics release-notes rfc-9116 risk-assessment runtime-analysis-report security-contact social
	source-distribution static-analysis-report support threat-model vcs vulnerability-assertion website`)

func validReferenceType(s string) bool { return slices.Contains(referenceTypes, s) }

// path of a source package's file, below the mirror's base.
func (s *Source) path(f SourceFile) string { return path.Join(s.Directory, f.Name) }

func (s *Source) sortedFiles() []SourceFile {
	return slices.SortedFunc(slices.Values(s.Files), func(a, b SourceFile) int { return strings.Compare(a.Name, b.Name) })
}
