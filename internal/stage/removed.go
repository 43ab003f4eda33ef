package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// said is who changed a path, as somebody said it or as it was seen.
type said struct {
	actor Actor
	when  int64 // of the saying, or the start of the actor's span, in nanoseconds
}

// now is the time of something that is said. It reaches no record.
func now() int64 { return time.Now().UnixNano() }

// current is who has the tree, and since when.
func (w *Work) current() said {
	for i := len(w.who.spans) - 1; i >= 0; i-- {
		if s := w.who.spans[i]; s.end == 0 {
			return said{s.actor, s.start}
		}
	}
	return said{actor: Actor{Kind: ByStage, Name: w.node.Name}}
}

// see takes down which names went since it was last called, as the doing of who
// has the tree. Nothing else tells: overlayfs marks all removed names with links
// to one inode, whose ctime is that of the last of them.
func (w *Work) see() error {
	who := w.current()
	for _, t := range w.trees {
		if len(t.lowers) == 0 {
			continue
		}
		gone := map[string]said{}
		err := filepath.WalkDir(t.layer, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(t.layer, p)
			if err != nil {
				return err
			}
			if hides, err := hides(p, d); err != nil || !hides {
				return err
			}
			if had, ok := t.gone[name]; ok {
				gone[name] = had
			} else {
				gone[name] = who
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("look at what was removed: %w", err)
		}
		t.gone = gone
	}
	return nil
}

// hides tells a mark of overlayfs that hides what a lower layer may have: a
// device 0/0 in its place, or a folder that shows nothing of one below it.
func hides(p string, d fs.DirEntry) (bool, error) {
	switch {
	case d.IsDir():
		return isOpaque(p), nil
	case d.Type()&fs.ModeCharDevice != 0:
		var st unix.Stat_t
		err := unix.Lstat(p, &st)
		return isWhiteout(&st), err
	}
	return false, nil
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

func isOpaque(p string) bool {
	value := make([]byte, 2)
	n, err := unix.Lgetxattr(p, "user.overlay.opaque", value)
	return err == nil && string(value[:n]) == "y"
}

// remover is who removed a name that is hidden. What somebody said of it counts,
// unless another had the tree later.
func (w *Work) remover(t *newTree, name string) Actor {
	who := t.gone[name]
	if outright, ok := w.who.explicit[name]; ok && outright.when >= who.when {
		return outright.actor
	}
	return who.actor
}

// isFolder tells a folder of the tree that is mounted at dir; "" is no tree.
func isFolder(dir, name string) (bool, error) {
	if dir == "" {
		return false, nil
	}
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	// What is a folder now may have been a link then, to anywhere on the host.
	fd, err := unix.Openat2(at, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	err = errors.Join(err, unix.Close(at))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, unix.Close(fd)
}
