package baseline

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the schema")

// TestSchema keeps docs/formats/baseline.schema.json as the types are, and entries to it.
func TestSchema(t *testing.T) {
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/isotrace/isotrace/provenance/baseline", "."); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(&Entry{})
	s.Title = "An entry of the register of baselines"
	have, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	have = append(have, '\n')
	const golden = "../../docs/formats/baseline.schema.json"
	if *update {
		if err := os.WriteFile(golden, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what the types say (%v): go test ./provenance/baseline -update", golden, err)
	}
	schema, err := validator.NewCompiler().Compile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		e := sample(n)
		if n > 1 {
			e.Previous = &File{"0001-toy-1.json", hash("previous")}
		}
		e.Files = Index{File{e.stem() + indexSuffix, hash("index")}, 1}
		text, err := e.encode()
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
}
