package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Catalogue is what is known of an image's parts before there is an image: the
// root tree and the .debs have been looked at, the lock and the trace not.
type Catalogue struct {
	Format int `json:"format"`
	// Distro is that of the root tree.
	Distro Distro `json:"distro"`
	// Packages of all sets. Of their .debs the digests and the size alone are
	// known, and the path with the repository before it.
	Packages   []Package   `json:"packages"`
	Found      []Found     `json:"found,omitempty"`
	Copyrights []Copyright `json:"copyrights,omitempty"`
	Texts      []Text      `json:"texts,omitempty"`
	Findings   []Finding   `json:"findings,omitempty"`
	// Absent are packages of the lock that the root tree has not, by ID.
	Absent []Absent `json:"absent,omitempty"`
}

// Absent is a package that the root tree has not, with what its .deb says it needs.
type Absent struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	ID      string `json:"id"`
	Needs   Needs  `json:"needs"`
}

// Copyright is what one copyright file says.
type Copyright struct {
	SHA256 artifact.Digest `json:"sha256"`
	Size   int64           `json:"size"` // bytes
	// Packages whose file it is, by ID.
	Packages        []string  `json:"packages"`
	MachineReadable bool      `json:"machine-readable"`
	Expression      string    `json:"expression"`
	Licences        []Licence `json:"licences,omitempty"` // without their texts
	// Mentions are names below /usr/share/common-licenses.
	Mentions []string `json:"mentions,omitempty"`
	// Problems are what of the file was not understood.
	Problems []string `json:"problems,omitempty"`
}

// Text is that of a licence, by its digest.
type Text struct {
	SHA256 artifact.Digest `json:"sha256"`
	Text   string          `json:"text"`
}

// Write writes the catalogue as JSON.
func (c *Catalogue) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(c)
}

// ReadCatalogue reads what Write writes. It refuses keys that it does not know
// and more than 512 MiB.
func ReadCatalogue(r io.Reader) (*Catalogue, error) {
	in := &io.LimitedReader{R: r, N: maxModel + 1}
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	c := &Catalogue{}
	if err := dec.Decode(c); err != nil {
		if in.N <= 0 {
			err = fmt.Errorf("longer than %d bytes", maxModel)
		}
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("catalogue: something follows it")
	}
	if c.Format != Format {
		return nil, fmt.Errorf("catalogue: format %d, this isotrace reads %d", c.Format, Format)
	}
	return c, nil
}
