package attack

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// giant is the size of a sparse file that nobody would want to read, in bytes.
const giant = 1 << 40

// odd puts what is no file, or far too much of one, in the place of a file; nothing of it
// needs root.
func (t target) odd(name, what string) error {
	file, err := t.path(name)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(file); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	switch what {
	case "fifo":
		return unix.Mkfifo(file, 0o644)
	case "folder":
		return os.Mkdir(file, 0o755)
	case "device":
		return os.Symlink("/dev/zero", file)
	case "socket":
		return unix.Mknod(file, unix.S_IFSOCK|0o644, 0)
	case "giant":
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
		return os.Truncate(file, giant)
	}
	return fmt.Errorf("odd: %q is not known", what)
}
