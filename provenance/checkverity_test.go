package provenance

import (
	"strings"
	"testing"
)

// TestMenuRootHashes: one entry with the right hash does not excuse another's.
func TestMenuRootHashes(t *testing.T) {
	const right = "filesystem.squashfs:2af1"
	option := func(hash string) string { return "\tlinux /vmlinuz boot=live dm-verity-root-hash=" + hash }
	for _, c := range []struct{ name, menu, want string }{
		{"right", option(right) + " dm-verity-oncorruption=panic\n\tlinux /vmlinuz verify-checksums\n", ""},
		{"right, at the end of a line", option(right) + "\n", ""},
		{"none", "\tlinux /vmlinuz boot=live\n", "no entry has dm-verity-root-hash=" + right},
		{"longer", option(right+"00") + "\n", "an entry has dm-verity-root-hash=" + right + "00"},
		{"another file", option("other.squashfs:2af1") + "\n", "an entry has dm-verity-root-hash=other.squashfs:2af1"},
		{"right, and wrong in the entry that is taken first", option("filesystem.squashfs:00") + "\n" + option(right) + "\n", "an entry has dm-verity-root-hash=filesystem.squashfs:00"},
	} {
		have := strings.Join(menuRootHashes(c.menu, right), "; ")
		if c.want == "" && have != "" || !strings.HasPrefix(have, c.want) {
			t.Errorf("%s: %q, want %q", c.name, have, c.want)
		}
	}
}
