package disk

import (
	"fmt"
	"slices"
	"testing"

	"github.com/isotrace/isotrace/internal/roottree"
)

func TestCrowded(t *testing.T) {
	entries := []roottree.Entry{{Path: "."}, {Path: "many"}, {Path: "spread"}, {Path: "few"}}
	for i := range 10_000 {
		entries = append(entries, roottree.Entry{Path: fmt.Sprintf("many/%d", i)}, roottree.Entry{Path: fmt.Sprintf("spread/%d/%d", i/100, i)})
		if i > 0 {
			entries = append(entries, roottree.Entry{Path: fmt.Sprintf("few/%d", i)})
		}
	}
	if have := crowded(entries); !slices.Equal(have, []folder{{"many", 10_000}}) {
		t.Errorf("%v", have)
	}
}
