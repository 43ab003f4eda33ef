// Package desk makes one HTML file of a build's evidence and its audit documents:
// the auditor's desk. It opens from a disk and asks nobody for anything. What it says
// is what the evidence says; it proves nothing itself.
package desk

import (
	"bytes"
	"encoding/base64"
	"io"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/report"
)

// Input is what a desk is made from.
type Input struct {
	// Documents are shown in the order given.
	Documents []report.Document
	Tracing   *provenance.Tracing
	// Verdict is what verify found: the desk shows its checks, and the links that hold.
	Verdict provenance.Result
	// Size is the image's, in bytes.
	Size int64
}

// Bounds of what a page may hold.
const (
	maxFiles = 4_000_000
	maxPage  = 256 << 20
)

// Write writes the page. The same input gives the same bytes.
func Write(w io.Writer, in Input) error {
	packed, err := pack(in)
	if err != nil {
		return err
	}
	if size := base64.StdEncoding.EncodedLen(len(packed)); size > maxPage {
		return fault.New(fault.Failed, "isotrace trace answers from evidence of any size", "the page would have %d bytes of data, more than %d", size, maxPage)
	}
	var b bytes.Buffer
	if err := writePage(&b, in, packed); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}
