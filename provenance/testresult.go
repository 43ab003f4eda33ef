package provenance

import "github.com/isotrace/isotrace/internal/artifact"

// PredicateTestResult is in-toto's, of the result of tests.
const PredicateTestResult = "https://in-toto.io/attestation/test-result/v0.1"

// TestResult is what such a statement says; docs/formats/selftest.md.
type TestResult struct {
	Result        string           `json:"result"` // PASSED or FAILED
	Configuration []map[string]any `json:"configuration"`
	PassedTests   []string         `json:"passedTests"`
	FailedTests   []string         `json:"failedTests"`
}

// SignTestResult writes the result of tests of a program as a signed statement.
func (s *Signer) SignTestResult(program string, d artifact.Digest, r TestResult) ([]byte, error) {
	return s.SignStatement(Statement{statementType, []Resource{{Name: program, Digest: sha256Of(d)}}, PredicateTestResult, r})
}
