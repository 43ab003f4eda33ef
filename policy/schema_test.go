package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const schemaFile = "../docs/policy.schema.json"

// TestSchema keeps docs/policy.schema.json as the types are, and has it judge policies as
// Parse does.
func TestSchema(t *testing.T) {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, Anonymous: true, ExpandedStruct: true}
	if err := r.AddGoComments("github.com/isotrace/isotrace/policy", "."); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(&Document{})
	s.Title = FileName
	have, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	have = append(have, '\n')
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(schemaFile, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what the types say: go test ./policy -update", schemaFile)
	}
	schema := compile(t, want)
	example, err := os.ReadFile("../examples/rescue/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for text, good := range map[string]bool{
		string(example): true, "{}": true,
		"licences: {allow: [MIT]}\npackages: {minimum: {bash: \"5\"}}\ndebs: [a]\nmax-age: 3\nsigned-base: true\n":       true,
		"off: [{rule: origins, reason: r}]\nwaivers: [{rule: r, subject: s, reason: r, by: b, until: \"2026-01-01\"}]\n": true,
		"archive-keys: {debian/*: [" + pin + "]}\n": true, "archive-keys: [a]\n": false,
		"debts: [a]\n": false, "debs: a\n": false, "max-age: soon\n": false, "max-age: -1\n": false, "licences: {forbid: [MIT]}\n": false,
		"off: [{rule: origins}]\n": false, "waivers: [{rule: r, subject: s, reason: r, by: b}]\n": false,
	} {
		var document any
		if err := yaml.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		err := schema.Validate(document)
		_, perr := Parse(FileName, []byte(text))
		if (err == nil) != good || (perr == nil) != good {
			t.Errorf("%s: the schema says %v, Parse %v", text, err, perr)
		}
	}
}

func compile(t *testing.T, text []byte) *validator.Schema {
	t.Helper()
	document, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource(FileName, document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(FileName)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
