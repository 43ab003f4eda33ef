package sbom

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// namespace is that of the documents' UUIDs: version 5, of the nil UUID and the
// name "isotrace sbom".
var namespace = uuid.MustParse("9e1276c3-7fea-51e9-8cd8-58c48544214f")

// unnamed stands where a document's name will.
const unnamed = "urn:uuid:00000000-0000-0000-0000-000000000000"

// render writes what encode writes without white space, indented, and under a
// name that comes from its content: the UUID, of version 5, of the SHA-256 of
// the document while it is unnamed. The key is where the name stands; size is a
// guess at the bytes.
func render(w io.Writer, key string, size int, encode func(io.Writer) error) error {
	var b bytes.Buffer
	b.Grow(size)
	if err := encode(&b); err != nil {
		return err
	}
	sum := sha256.Sum256(b.Bytes())
	// A quotation mark within a string has a backslash before it, so that no
	// text can look like this.
	at := bytes.Index(b.Bytes(), []byte(`"`+key+`":"`+unnamed+`"`))
	if at < 0 {
		return errors.New("the document has no place for its name")
	}
	name := uuid.NewSHA1(namespace, []byte(hex.EncodeToString(sum[:])))
	copy(b.Bytes()[at+len(key)+4+len("urn:uuid:"):], name.String())

	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return err
	}
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
