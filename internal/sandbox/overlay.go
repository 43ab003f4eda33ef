package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// MountOverlay lays lowers (topmost first) and, when upper is not empty, a
// writable upper folder with its work folder over each other at target. The
// options are the same for root and for a user, so that both get the same tree:
// private xattrs are user.overlay.*, nothing is redirected, hard links that are
// copied up lose their link. It is volatile: nothing is synced, for a tree that
// did not survive a crash is found out by its manifest.
func MountOverlay(target string, lowers []string, upper, work string) error {
	if upper == "" && len(lowers) == 1 {
		return bindReadOnly(lowers[0], target)
	}
	escaped := make([]string, len(lowers))
	for i, l := range lowers {
		escaped[i] = escapeOverlay(l)
	}
	data := "userxattr,index=off,metacopy=off,xino=off,lowerdir=" + strings.Join(escaped, ":")
	flags := uintptr(unix.MS_RDONLY)
	if upper != "" {
		data += ",volatile,upperdir=" + escapeOverlay(upper) + ",workdir=" + escapeOverlay(work)
		flags = 0
	}
	if len(data) > 4000 {
		return fmt.Errorf("mount overlay at %s: the names of %d layers are too long for one mount", target, len(lowers))
	}
	if err := unix.Mount("overlay", target, "overlay", flags, data); err != nil {
		return fmt.Errorf("mount overlay at %s: %w", target, err)
	}
	return nil
}

func bindReadOnly(source, target string) error {
	m, err := cloneMount(source, false)
	if err != nil {
		return err
	}
	return m.at(target)
}

// Unmount takes away what is mounted at target.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// escapeOverlay protects the separators of overlay's options.
func escapeOverlay(p string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(p)
}
