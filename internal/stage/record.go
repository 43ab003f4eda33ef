package stage

import (
	"encoding/json"
	"fmt"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/tool"
)

// Record is what a stage did, in the terms of an in-toto link. It holds
// nothing that varies between two builds of one lock.
type Record struct {
	Name      string                     `json:"name"`
	Materials map[string]artifact.Digest `json:"materials"`
	Products  map[string]artifact.Digest `json:"products"`
	// Version, Params and Epoch decide the products together with the materials.
	Version int             `json:"version"`
	Params  json.RawMessage `json:"params"`
	Epoch   epoch.Epoch     `json:"epoch"`
	// Commands are the programs that the stage ran, in order.
	Commands []tool.Command `json:"commands,omitempty"`
}

// Recorder turns records into signed links and back.
type Recorder interface {
	// KeyID names the signing key; a result is used again only by its signer.
	KeyID() string
	Seal(Record) (link []byte, err error)
	// Open verifies a link of the same key and returns its record.
	Open(link []byte) (Record, error)
}

// Product is one output of a stage, as it stands in the store.
type Product struct {
	Kind Kind           `json:"kind"`
	File *artifact.Ref  `json:"file,omitempty"`
	Set  []artifact.Ref `json:"set,omitempty"`
	Tree *TreeProduct   `json:"tree,omitempty"`
}

// TreeProduct is a root tree: its mtree manifest and the layers that make it
// up, topmost first.
type TreeProduct struct {
	Manifest artifact.Ref `json:"manifest"`
	Layers   []string     `json:"layers"`
}

// RecordPath is what records call an output of a stage; path is that of a file of a
// set.
func RecordPath(stage, output string, kind Kind, path string) string {
	name := stage + "/" + output
	switch kind {
	case KindSet:
		name += "/" + path
	case KindTree:
		name += ".mtree"
	}
	return name
}

// entries returns the product as a record names it: path to digest.
func (p Product) entries(stage, output string) map[string]artifact.Digest {
	m := map[string]artifact.Digest{}
	switch {
	case p.File != nil:
		m[RecordPath(stage, output, KindFile, "")] = p.File.Digest
	case p.Tree != nil:
		m[RecordPath(stage, output, KindTree, "")] = p.Tree.Manifest.Digest
	default:
		for _, r := range p.Set {
			m[RecordPath(stage, output, KindSet, r.Path)] = r.Digest
		}
	}
	return m
}

// Result is what a stage gave for one key.
type Result struct {
	Key     artifact.Digest    `json:"key"`
	Outputs map[string]Product `json:"outputs"`
	Record  Record             `json:"record"`
	// Link is the signed record; empty when nobody signed.
	Link []byte `json:"link,omitempty"`
	// Cached tells that the store answered.
	Cached bool `json:"-"`
}

// keyOf is the hash of everything that decides a stage's outputs.
func keyOf(r Record) (artifact.Digest, error) {
	b, err := json.Marshal(struct {
		Format    int                        `json:"format"`
		Name      string                     `json:"name"`
		Version   int                        `json:"version"`
		Params    json.RawMessage            `json:"params"`
		Epoch     epoch.Epoch                `json:"epoch"`
		Materials map[string]artifact.Digest `json:"materials"`
	}{1, r.Name, r.Version, r.Params, r.Epoch, r.Materials})
	if err != nil {
		return "", fmt.Errorf("key of stage %s: %w", r.Name, err)
	}
	return artifact.HashBytes(b), nil
}
