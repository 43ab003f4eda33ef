package provenance

import (
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/blockdev"
)

// PredicateLoad is of a record that an image was put on a medium; docs/formats/load.md.
const PredicateLoad = "https://github.com/isotrace/isotrace/docs/formats/load/v1"

// Load is what a load record says.
type Load struct {
	// Medium is what the image went to, as the kernel describes it.
	Medium *blockdev.Disk `json:"medium"`
	// Bytes that were written, and then read back from the medium itself.
	Bytes int64 `json:"bytes"`
	// Loaded is when they had been, RFC 3339, UTC, by the clock of the machine that did it.
	Loaded string `json:"loaded"`
	// Operator is who did it, as they say.
	Operator string `json:"operator"`
}

// SignLoad writes the record of an image's load as a signed statement.
func (s *Signer) SignLoad(image string, d artifact.Digest, l Load) ([]byte, error) {
	return s.SignStatement(Statement{statementType, []Resource{{Name: image, Digest: sha256Of(d)}}, PredicateLoad, l})
}
