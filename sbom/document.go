// Package sbom models what an image is made of, and writes it as CycloneDX 1.6
// and as SPDX 2.3, both in JSON and both byte for byte the same for the same
// model. docs/formats/sbom.md says what stands where.
//
// A Document is filled by others: this package reads no tree and runs nothing.
// Where something is not known the documents say so, and why; Cover counts it.
package sbom

import (
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
)

// Format is the version of the model's own JSON.
const Format = 1

// Document is what one image is made of. The order of its lists says nothing.
type Document struct {
	Format int `json:"format"`
	// Version is that of the isotrace which made the document.
	Version string `json:"version"`
	// Epoch is the only time in the documents.
	Epoch epoch.Epoch `json:"epoch"`
	// Author has the documents made: NTIA's author of SBOM data, BSI's creator
	// of the SBOM.
	Author  Party   `json:"author"`
	Product Product `json:"product"`
	// System is the distribution that the root tree says it is.
	System   *Distro    `json:"system,omitempty"`
	Packages []Package  `json:"packages,omitempty"`
	Sources  []Source   `json:"sources,omitempty"`
	Base     *BaseImage `json:"base,omitempty"`
	Found    []Found    `json:"found,omitempty"`
	Files    []File     `json:"files,omitempty"`
	Licences []Licence  `json:"licences,omitempty"`
	Findings []Finding  `json:"findings,omitempty"`
}

// Party is a person or an organisation; all of it may be unknown.
type Party struct {
	Name         string `json:"name,omitempty"`
	Email        string `json:"email,omitempty"`
	URL          string `json:"url,omitempty"` // http or https
	Organisation bool   `json:"organisation,omitempty"`
}

// Product is the ISO.
type Product struct {
	Name     string `json:"name"`
	Title    string `json:"title,omitempty"`
	Version  string `json:"version"` // the release
	FileName string `json:"file-name,omitempty"`
	// Location is a URI of the file, or its path relative to the document; its
	// name where it is left out.
	Location string `json:"location,omitempty"`
	Size     int64  `json:"size,omitempty"` // bytes
	Hashes   Hashes `json:"hashes"`
	// Creator makes and supplies the image.
	Creator Party     `json:"creator"`
	Licence Licensing `json:"licence"`
	// Completeness is that of the components: Complete where every byte of the
	// image is explained by one.
	Completeness Completeness `json:"completeness,omitempty"`
	References   []Reference  `json:"references,omitempty"`
	Unknown      Unknown      `json:"unknown,omitempty"`
}

// Reference is a document about the product.
type Reference struct {
	// Type is an external reference type of CycloneDX 1.6, such as bom,
	// attestation, evidence or vcs.
	Type    string `json:"type"`
	URL     string `json:"url"` // a URI, or a path relative to the document
	Comment string `json:"comment,omitempty"`
	Hashes  Hashes `json:"hashes"`
}

// Hashes are digests in lower-case hexadecimal; what is not known is empty.
type Hashes struct {
	MD5    string `json:"md5,omitempty"`
	SHA1   string `json:"sha1,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	SHA512 string `json:"sha512,omitempty"`
}

// Licensing is what is known of a component's licence.
type Licensing struct {
	// Declared is the SPDX licence expression that the component's author
	// states: for a .deb, what its copyright file says. Empty or NOASSERTION
	// where it says nothing.
	Declared string `json:"declared,omitempty"`
	// Concluded is the expression under which whoever makes the image holds
	// that it may be used: TR-03183-2's distribution licences. Nothing is
	// concluded by the writers.
	Concluded string `json:"concluded,omitempty"`
	// File is where Declared was read, with its digest.
	File       Path            `json:"file,omitempty"`
	FileSHA256 artifact.Digest `json:"file-sha256,omitempty"`
}

// Licence is a licence that expressions name by ID, each ID once.
type Licence struct {
	ID   string `json:"id"`             // a LicenseRef, or an id of the SPDX list
	Name string `json:"name,omitempty"` // as its file has it
	// SHA256 is that of the whole text, empty where there is none.
	SHA256 artifact.Digest `json:"sha256,omitempty"`
	// Text may be left out, and is then said to be in the evidence.
	Text string `json:"text,omitempty"`
}

// Finding is a difference between what two sources say, such as the dpkg
// database and another cataloguer.
type Finding struct {
	ID         string   `json:"id"`
	Text       string   `json:"text"`
	Components []string `json:"components,omitempty"` // IDs; none for the image as a whole
}

// Completeness tells whether a list of dependencies or parts is whole; empty is
// Undetermined.
type Completeness string

// The degrees of completeness, in the words of CycloneDX.
const (
	Complete     Completeness = "complete"
	Incomplete   Completeness = "incomplete"
	Undetermined Completeness = "unknown"
)

// Answer is yes, no, or empty for not known.
type Answer string

// The answers.
const (
	Yes Answer = "yes"
	No  Answer = "no"
)

// Nature is what TR-03183-2 asks of a component's file.
type Nature struct {
	Executable Answer `json:"executable,omitempty"` // holds something that can be run
	Archive    Answer `json:"archive,omitempty"`    // holds other files
	Structured Answer `json:"structured,omitempty"` // the names of what it holds can be read
}

// Unknown says why a Field is not known, in a few words.
type Unknown map[Field]string
