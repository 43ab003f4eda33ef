package debfacts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/isotrace/isotrace/internal/regular"
)

// Facts are what the .debs say, by set, in the order of their paths.
type Facts struct {
	Target []Deb `json:"target"`
	Boot   []Deb `json:"boot"`
	Tools  []Deb `json:"tools"`
}

// Write writes them as JSON.
func (f Facts) Write(w io.Writer) error { return json.NewEncoder(w).Encode(f) }

// maxFacts bounds them as a file, in bytes.
const maxFacts = 1 << 30

// ReadFacts reads what Facts.Write writes.
func ReadFacts(file string) (f Facts, err error) {
	in, err := regular.OpenFile(file)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	dec := json.NewDecoder(io.LimitReader(in, maxFacts))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return f, fmt.Errorf("what is known of the .debs cannot be read: %w", err)
	}
	return f, nil
}
