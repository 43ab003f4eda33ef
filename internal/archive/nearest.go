package archive

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns up to three names that one is likely meant to be, the nearest
// first: they differ in at most a third of its characters, or begin with it.
func Nearest(name string, all iter.Seq[string]) []string {
	limit := max(1, len(name)/3)
	far := map[string]int{}
	for have := range all {
		begins := len(name) >= 4 && strings.HasPrefix(have, name)
		if more := len(have) - len(name); !begins && (more > limit || -more > limit) {
			continue
		}
		d := levenshtein.ComputeDistance(name, have)
		if begins {
			d = min(d, limit)
		}
		if d <= limit {
			far[have] = d
		}
	}
	near := slices.SortedFunc(maps.Keys(far), func(a, b string) int {
		return cmp.Or(cmp.Compare(far[a], far[b]), strings.Compare(a, b))
	})
	return near[:min(len(near), 3)]
}
