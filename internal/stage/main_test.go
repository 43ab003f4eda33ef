package stage

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/sandbox"
)

func TestMain(m *testing.M) {
	if slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.fuzz") }) {
		os.Exit(m.Run()) // which starts the test itself again, and needs no namespaces
	}
	inside, code, err := sandbox.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !inside {
		os.Exit(code)
	}
	os.Exit(m.Run())
}
