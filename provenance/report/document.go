// Package report writes the documents that an audit asks for from a build's evidence:
// what a configuration index, a trace matrix or a licence list says is read there,
// and nothing else is said. docs/formats/report.md describes the files.
package report

import (
	"github.com/isotrace/isotrace/internal/artifact"
)

// NotRecorded stands where the evidence has nothing to say.
const NotRecorded = "not recorded"

// Format is the version of the documents' format.
const Format = 1

// Subject is what a document speaks of.
type Subject struct {
	Name    string          `json:"name"`
	Release string          `json:"release"`
	Image   string          `json:"image"`
	SHA256  artifact.Digest `json:"sha256"`
}

// Document is one document: sections of tables.
type Document struct {
	Format int `json:"format"`
	// ID is its name among the documents and that of its files, such as sci.
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Subject Subject `json:"subject"`
	// Cites are the files of the output folder that rows rest on, sorted by path;
	// rows name them by index.
	Cites    []artifact.Ref `json:"cites"`
	Sections []Section      `json:"sections"`
}

// Section is one table.
type Section struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Note says in a sentence or two what the table shows, and what it does not.
	Note    string   `json:"note,omitempty"`
	Columns []string `json:"columns"`
	Rows    []Row    `json:"rows"`
}

// Row is one line of a table.
type Row struct {
	// Cells are as many as the section's columns; NotRecorded where nothing is known.
	Cells []string `json:"cells"`
	// Cites are the files that the row comes from, by index. An empty list means that
	// nothing in the evidence has it; every cell with content is then NotRecorded.
	Cites []int `json:"cites"`
}
