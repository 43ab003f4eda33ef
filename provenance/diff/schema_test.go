package diff

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSchema keeps docs/formats/diff.schema.json as the types are, and the golden to it.
func TestSchema(t *testing.T) {
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/isotrace/isotrace/provenance/diff", "."); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(&Result{})
	s.Title = "What isotrace diff --json writes"
	have, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	have = append(have, '\n')
	const golden = "../../docs/formats/diff.schema.json"
	if *update {
		if err := os.WriteFile(golden, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what the types say (%v): go test ./provenance/diff -update", golden, err)
	}
	schema, err := validator.NewCompiler().Compile(golden)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}
}
