package sanitise

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// accessLists are the extended attributes that hold POSIX ACLs.
var accessLists = []string{"system.posix_acl_access", "system.posix_acl_default"}

// AccessLists returns the POSIX ACLs that files and folders of a tree have, by path and
// the attribute's name.
func AccessLists(dir string) (map[string]string, error) {
	found, b := map[string]string{}, make([]byte, 1<<16) // the most that an attribute can have
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		for _, list := range accessLists {
			n, err := unix.Lgetxattr(p, list, b)
			if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
				continue
			}
			if err != nil {
				return fmt.Errorf("/%s: %w", name, err)
			}
			found[name+" "+list] = string(b[:n])
		}
		return nil
	})
	return found, err
}
