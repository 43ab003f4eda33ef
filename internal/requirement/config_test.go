package requirement_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/requirement"
)

// The identifiers that a config may name are those that a list may hold.
func TestConfigAgrees(t *testing.T) {
	ids := []string{"", strings.Repeat("a", 64), strings.Repeat("a", 65), "HLR-12", "a/b:c.d_e-f", "R\n", "Ré"}
	for c := range 0x80 {
		ids = append(ids, string(rune(c)), "x"+string(rune(c)))
	}
	accepted := 0
	for _, id := range ids {
		text := fmt.Sprintf("name: x\nrelease: \"1\"\nbase: {oci: layout}\npackages: [{name: a2, requirements: [%q]}]\n", id)
		_, err := config.Parse(config.FileName, []byte(text))
		if err != nil && !strings.Contains(err.Error(), "packages[0].requirements[0]: ") && !strings.ContainsAny(id, "\x00\x7f") {
			t.Fatalf("%q: %v", id, err)
		}
		if requirement.ValidID(id) != (err == nil) {
			t.Errorf("%q: valid %v, but the config says: %v", id, requirement.ValidID(id), err)
		}
		if err == nil {
			accepted++
		}
	}
	if want := 62 + 67 + 3; accepted != want {
		t.Errorf("a config accepts %d of the identifiers, want %d", accepted, want)
	}
}
