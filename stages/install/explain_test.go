package install

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/sandbox"
)

func TestExplain(t *testing.T) {
	over := fault.New(fault.Failed, "raise processes under limits", "%w: it had more than 3 processes at once", sandbox.ErrLimit)
	if hint := fault.HintOf(explain(fmt.Errorf("apt-get: %w", over))); hint != "raise processes under limits" {
		t.Errorf("a limit's hint is lost: %q", hint)
	}
	if hint := fault.HintOf(explain(errors.New("exit status 100"))); !strings.Contains(hint, "apt's own words") {
		t.Errorf("no hint at the journal: %q", hint)
	}
}
