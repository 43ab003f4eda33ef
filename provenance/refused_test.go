package provenance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
)

// TestRefused: what a hint says of the checks is so.
func TestRefused(t *testing.T) {
	if err := (Result{Checks: []Check{{Rule: "sums", State: Valid}}}).Refused(); err != nil {
		t.Error(err)
	}
	problems := func(n int) (list []Problem) {
		for i := range n {
			list = append(list, Problem{fmt.Sprint("file-", i), "is another"})
		}
		return bounded(list)
	}
	for n, want := range map[int]string{1: "every file and rule", maxProblems: "every file and rule", maxProblems + 1: "every rule, and up to 50 files of each"} {
		r := Result{Checks: []Check{{Rule: "content", State: Invalid, Problems: problems(2)}, {Rule: "sums", State: Invalid, Problems: problems(n)}}}
		err := r.RefusedBut("the lines above name " + r.Named())
		if hint := fault.HintOf(err); hint != "do not use the image; the lines above name "+want || fault.ClassOf(err) != fault.Refused {
			t.Errorf("%d: %q", n, hint)
		}
		if !strings.HasPrefix(err.Error(), "verification failed: content, sums: file-0: is another") {
			t.Errorf("%d: %v", n, err)
		}
		// Whoever gets this one was shown no lines.
		if hint := fault.HintOf(r.Refused()); hint != "do not use the image; isotrace verify names "+want {
			t.Errorf("%d: %q", n, hint)
		}
	}
}
