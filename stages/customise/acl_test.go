package customise

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/sanitise"
)

// list is a POSIX ACL, as the kernel has it, that gives a user something.
func list(user uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, permission uint16
		id              uint32
	}{{1, 6, 1<<32 - 1}, {2, 4, user}, {4, 4, 1<<32 - 1}, {16, 4, 1<<32 - 1}, {32, 4, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, e.tag), e.permission)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// TestAccessLists: those that packages set may stay until they are dropped, a script of the
// project gets an error for its own.
func TestAccessLists(t *testing.T) {
	dir := t.TempDir()
	set := func(name, attribute string, user uint32) {
		if err := unix.Lsetxattr(filepath.Join(dir, name), attribute, list(user), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"journal", "dir with space"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	set("journal", "system.posix_acl_default", 4)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }() // only read
	before, err := sanitise.AccessLists(dir)
	if err != nil || len(before) != 1 {
		t.Fatalf("%q, %v", before, err)
	}
	c := &customisation{root: root}
	if now, err := c.noNewAccessLists("s", before); err != nil || len(now) != 1 {
		t.Errorf("what a package set: %q, %v", now, err)
	}
	set("dir with space", "system.posix_acl_access", 1000)
	_, err = c.noNewAccessLists("project/scripts/10.sh", before)
	if err == nil || !strings.Contains(err.Error(), "script project/scripts/10.sh: /dir with space: has a POSIX access control list (posix_acl_access)") || fault.ClassOf(err) != fault.Failed {
		t.Errorf("a new list: %v", err)
	}
	if err := unix.Lremovexattr(filepath.Join(dir, "dir with space"), "system.posix_acl_access"); err != nil {
		t.Fatal(err)
	}
	set("journal", "system.posix_acl_default", 5)
	if _, err = c.noNewAccessLists("s", before); err == nil || !strings.Contains(err.Error(), "/journal") {
		t.Errorf("a changed list: %v", err)
	}
}
