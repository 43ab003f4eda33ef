package diff

import (
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/provenance"
)

// layoutFacts are a layout's words: who signed it, until when it holds, whose keys it
// names, and what each step may take and give. None where there is no layout.
func layoutFacts(l *provenance.Layout) map[string]string {
	facts := map[string]string{}
	if l == nil {
		return facts
	}
	facts["expires"] = l.Layout.Expires
	if l.Owner != nil {
		facts["signed by"] = l.Owner.KeyID()
	}
	for id, k := range l.Keys {
		facts["keys["+id+"]"] = k.KeyType + " " + k.Scheme
	}
	for _, s := range l.Steps {
		at := "steps[" + s.Name + "]"
		facts[at+".threshold"] = strconv.Itoa(s.Threshold)
		facts[at+".keys"] = strings.Join(slices.Sorted(slices.Values(s.PubKeys)), " ")
		facts[at+".materials"], facts[at+".products"] = rulesText(s.ExpectedMaterials), rulesText(s.ExpectedProducts)
	}
	return facts
}

// rulesText is a step's rules, in their order.
func rulesText(rules [][]string) string {
	var all []string
	for _, r := range rules {
		all = append(all, strings.Join(r, " "))
	}
	return strings.Join(all, "; ")
}
