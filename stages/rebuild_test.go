package stages

import (
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

func TestCompare(t *testing.T) {
	d := artifact.HashBytes
	record := func() stage.Record {
		return stage.Record{
			Name: "iso", Version: 1, Params: []byte(`{"volume":"X"}`), Epoch: 5,
			Materials: map[string]artifact.Digest{"livetree/tree": d([]byte("tree"))},
			Products:  map[string]artifact.Digest{"iso/x.iso": d([]byte("x"))},
			Commands:  []tool.Command{{}},
		}
	}
	for name, c := range map[string]struct {
		change func(*stage.Record)
		says   string
	}{
		"nothing":            {func(*stage.Record) {}, ""},
		"a product":          {func(r *stage.Record) { r.Products["iso/x.iso"] = d([]byte("y")) }, "other products: iso/x.iso is " + string(d([]byte("y"))) + ", not " + string(d([]byte("x")))},
		"a product too many": {func(r *stage.Record) { r.Products["iso/y"] = d(nil) }, "other products: iso/y is " + string(d(nil)) + ", not missing"},
		"a material gone":    {func(r *stage.Record) { r.Materials = nil }, "other materials: livetree/tree is missing, not " + string(d([]byte("tree")))},
		"the parameters":     {func(r *stage.Record) { r.Params = nil }, "other parameters"},
		"no commands":        {func(r *stage.Record) { r.Commands = nil }, "other commands"},
		"the epoch":          {func(r *stage.Record) { r.Epoch++ }, "other epoch"},
	} {
		again := record()
		c.change(&again)
		if have := compare(record(), again); have.Differs != c.says || have.Stage != "iso" {
			t.Errorf("%s: %+v, want %q", name, have, c.says)
		}
	}
	if have := compare(stage.Record{}, record()); have.Differs != "the evidence has no link of it" {
		t.Errorf("no link: %+v", have)
	}
}
