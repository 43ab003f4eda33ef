package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// folders are the folders of a sandbox's tree, by path below its root, as they
// were when they were last looked at.
type folders map[string]folder

type folder struct {
	mode     uint16
	uid, gid uint32
	mtime    unix.StatxTimestamp // changes with the names in the folder
}

// changed returns, sorted, the folders that are new or have another mode or
// owner since the last call. What is mounted on the tree is left out.
func (f folders) changed() ([]string, error) {
	var changed []string
	known := make([]string, 0, len(f)+1)
	for name := range f {
		known = append(known, name)
	}
	if len(known) == 0 {
		known = append(known, ".")
	}
	root, err := statx(".")
	if err != nil {
		return nil, err
	}
	var look func(name string) error
	look = func(name string) error {
		was, had := f[name]
		st, err := statx(name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || err == nil && (st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mnt_id != root.Mnt_id) {
			delete(f, name)
			return nil
		}
		if err != nil {
			return err
		}
		is := folder{mode: st.Mode, uid: st.Uid, gid: st.Gid, mtime: st.Mtime}
		if had && is == was {
			return nil
		}
		f[name] = is
		if !had || is.mode != was.mode || is.uid != was.uid || is.gid != was.gid {
			changed = append(changed, name)
		}
		if had && is.mtime == was.mtime {
			return nil
		}
		entries, err := os.ReadDir("/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look at the tree's folders: %w", err)
		}
		for _, e := range entries {
			below := path.Join(name, e.Name())
			if _, had := f[below]; e.IsDir() && !had {
				if err := look(below); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, name := range known {
		if err := look(name); err != nil {
			return nil, err
		}
	}
	slices.Sort(changed)
	return changed, nil
}

func statx(name string) (st unix.Statx_t, err error) {
	if err := unix.Statx(unix.AT_FDCWD, "/"+name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return st, fmt.Errorf("look at folder /%s: %w", name, err)
	}
	return st, nil
}
