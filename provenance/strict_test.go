package provenance

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// TestLinkSaysOneThing: what the builder himself signed is refused where readers could
// take it for two things.
func TestLinkSaysOneThing(t *testing.T) {
	s := newSigner(t)
	d := artifact.HashBytes(nil)
	rec := stage.Record{
		Name: "iso", Version: 1, Epoch: 1, Params: json.RawMessage(`{"a":1}`), Commands: []tool.Command{{Argv: []string{"x"}}},
		Materials: map[string]artifact.Digest{"a/b": d}, Products: map[string]artifact.Digest{"iso/x": d},
	}
	good, err := Recorder{s}.Seal(rec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLink(good, s.Public()); err != nil {
		t.Fatal(err)
	}
	// resign makes the builder's signature fit whatever the last "signed" of a link says.
	resign := func(text []byte) []byte {
		var f struct {
			Signed     json.RawMessage     `json:"signed"`
			Signatures []in_toto.Signature `json:"signatures"`
		}
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatal(err)
		}
		var signed any
		if err := json.Unmarshal(f.Signed, &signed); err != nil {
			t.Fatal(err)
		}
		again, err := s.metablock(signed)
		if err != nil {
			t.Fatal(err)
		}
		var g struct {
			Signatures []in_toto.Signature `json:"signatures"`
		}
		if err := json.Unmarshal(again, &g); err != nil {
			t.Fatal(err)
		}
		return bytes.Replace(text, []byte(f.Signatures[0].Sig), []byte(g.Signatures[0].Sig), 1)
	}
	for name, c := range map[string]struct{ from, to, says string }{
		"signed twice, merged": {`"signed": {`, `"signed": {"materials": {"other/x": {"sha256": "` + string(d) + `"}}}, "signed": {`, `"/signed" stands twice`},
		"a material twice":     {`"a/b": {`, `"a/b": {"sha256": "0"}, "a/b": {`, "stands twice"},
		"another case":         {`"products": {`, `"Products": {"iso/y": {"sha256": "` + string(d) + `"}}, "products": {`, `unknown field "Products"`},
		"Signed":               {`"signed": {`, `"Signed": {"name": "x"}, "signed": {`, `unknown field "Signed"`},
		"a lone surrogate":     {`"a/b"`, `"a/\ud800"`, "surrogate"},
		"not UTF-8":            {`"a/b"`, "\"a/\xff\"", "UTF-8"},
		"parameters twice":     {`{\"a\":1}`, `{\"a\":1,\"a\":2}`, `its parameters: json: "/a" stands twice`},
		"parameters and more":  {`{\"a\":1}`, `{\"a\":1} {}`, "something follows it"},
		"a digest of null":     {`"argv": [`, `"env": null, "argv": [`, "says more than in-toto reads"},
		"deep":                 {`"argv": [`, `"argv": [` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `, `, "more than 100 levels"},
	} {
		if !bytes.Contains(good, []byte(c.from)) {
			t.Fatalf("%s: %q is not in %s", name, c.from, good)
		}
		changed := resign(bytes.Replace(good, []byte(c.from), []byte(c.to), 1))
		if _, err := OpenLink(changed, s.Public()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
