package diff

import (
	"fmt"
	"testing"
	"time"

	"github.com/isotrace/isotrace/provenance"
)

// TestLayoutFacts: another layout is told by what it says, not by its bytes.
func TestLayoutFacts(t *testing.T) {
	if facts := layoutFacts(nil); len(facts) != 0 {
		t.Errorf("of no layout: %v", facts)
	}
	var keys []*provenance.PublicKey
	for range 2 {
		private, _, err := provenance.GenerateKeyPair([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		k, err := provenance.LoadSigner("a key", private, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k.Public())
	}
	facts := func(threshold, year int, functionaries ...*provenance.PublicKey) map[string]string {
		l, err := provenance.NewLayout(provenance.LayoutOptions{
			Steps:         []provenance.Step{{Name: "fetch", Project: true, Gives: []string{"fetch/*"}}, {Name: "iso", Takes: []provenance.Taken{{Step: "fetch", Pattern: "fetch/*"}}, Gives: []string{"iso/x.iso"}}},
			Functionaries: functionaries, Threshold: threshold, Expires: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), Image: "x.iso",
		})
		if err != nil {
			t.Fatal(err)
		}
		return layoutFacts(&provenance.Layout{Layout: l, Owner: keys[0]})
	}
	was := facts(1, 2027, keys[0])
	if have := keyChanges(was, facts(1, 2027, keys[0])); len(have) != 0 {
		t.Errorf("the same: %v", have)
	}
	have := fmt.Sprint(keyChanges(was, facts(2, 2028, keys...)))
	ids := was["steps[iso].keys"]
	both := facts(2, 2028, keys...)["steps[iso].keys"]
	want := fmt.Sprintf("[{expires 2027-01-01T00:00:00Z 2028-01-01T00:00:00Z} {keys[%s]  %s} {steps[fetch].keys %s %s} {steps[iso].keys %s %s} {steps[iso].threshold 1 2}]",
		keys[1].KeyID(), keys[1].InToto.KeyType+" "+keys[1].InToto.Scheme, ids, both, ids, both)
	if have != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
	a, b := newWorld().model(t), newWorld().model(t)
	a.Layout, b.Layout = was, facts(1, 2028, keys[0])
	r, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if r.Same || len(r.Unexplained) != 0 || len(r.Layout) != 1 {
		t.Errorf("same %v, %v, %v", r.Same, r.Unexplained, r.Layout)
	}
}
