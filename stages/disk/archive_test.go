package disk

import (
	"archive/tar"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
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

// TestAttributes: what mke2fs would leave out is refused, with its name.
func TestAttributes(t *testing.T) {
	d := &disk{work: &stage.Work{}}
	for name, want := range map[string]string{"security.capability": "", "user.a": "user.a", "user.security.capability": "user.security.capability", "system.posix_acl_access": "system.posix_acl_access"} {
		e := roottree.Entry{Path: "x", Type: roottree.Fifo, Xattrs: []roottree.Xattr{{Name: "security.capability", Value: []byte("x")}, {Name: name, Value: []byte("x")}}}
		err := d.member(tar.NewWriter(io.Discard), e, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "has the extended attribute "+want+":")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
