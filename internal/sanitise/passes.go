// Package sanitise removes from the root tree what varies between two builds
// or leaks the build: one named pass for each cause.
package sanitise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// pass is one cause of drift or leak and its cure. Exactly one of the cures is set.
type pass struct {
	Name   string
	Reason string
	// varies tells that two builds would differ; the others keep the build from
	// leaking into the image.
	varies bool
	// secret tells that nothing of its kind may ship, whoever brought it but the project.
	secret bool
	// remove names files and folders to delete, as path.Match patterns with
	// forward slashes, relative to the root.
	remove []string
	// empty names folders whose content is deleted.
	empty []string
	// truncate names files that must be there but empty.
	truncate []string
	// walk deletes every entry that it returns true for, below a folder if one is named.
	walk  func(path string, d fs.DirEntry) bool
	below string
	// edit changes files.
	edit func(*tree) error
}

// passes are applied in this order.
var passes = []pass{
	{Name: "apt-state", varies: true, Reason: "indexes, caches and logs of the installation's own apt runs",
		remove: []string{"var/cache/apt/*.bin", "var/log/apt/*", "var/lib/apt/periodic/*", "var/log/alternatives.log", "var/log/dpkg.log", "var/log/bootstrap.log"},
		empty:  []string{"var/lib/apt/lists", "var/cache/apt/archives"}},
	{Name: "logs", varies: true, Reason: "written while packages were installed; hold times", below: "var/log", walk: isFile},
	{Name: "journal", varies: true, Reason: "a journal's folder is named after a machine id", remove: []string{"var/log/journal/*", "run/log/*"}},
	{Name: "account-backups", varies: true, Reason: "shadow-utils keep the state before the last change",
		remove: []string{"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock"}},
	{Name: "dpkg-backups", Reason: "dpkg and debconf keep the state before the last change",
		remove: []string{"var/lib/dpkg/*-old", "var/cache/debconf/*-old", "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/dpkg/triggers/Lock", "var/cache/debconf/tmp.ci/*", "var/backups/*"}},
	{Name: "password-age", varies: true, Reason: "shadow holds the day on which an account was made", edit: clampPasswordAge},
	{Name: "machine-id", varies: true, secret: true, Reason: "names one machine; systemd makes a new one at first boot", truncate: []string{"etc/machine-id"}, remove: []string{"var/lib/dbus/machine-id"}},
	{Name: "random-seed", varies: true, secret: true, Reason: "must differ between machines", remove: []string{"var/lib/systemd/random-seed", "var/lib/urandom/random-seed", "var/lib/systemd/credential.secret", "loader/random-seed"}},
	{Name: "ssh-host-keys", varies: true, secret: true, Reason: "secrets that every copy of the image would share", remove: []string{"etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub"}},
	{Name: "snakeoil", varies: true, secret: true, Reason: "a secret key that every copy of the image would share", remove: []string{"etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/ssl-cert-snakeoil.pem"}},
	{Name: "secrets-at-boot", Reason: "a machine makes its own where the image has no SSH host keys or certificate", edit: makeSecrets},
	{Name: "host-files", Reason: "the build host's resolver and adjustments do not belong into the image", edit: dropHostFiles},
	{Name: "ldconfig-cache", varies: true, Reason: "holds inode numbers and times", remove: []string{"var/cache/ldconfig/aux-cache"}},
	{Name: "man-cache", varies: true, Reason: "a database with times, built again on demand", empty: []string{"var/cache/man"}},
	{Name: "font-cache", varies: true, Reason: "holds folders' times and random identifiers", empty: []string{"var/cache/fontconfig"}, below: "usr/share/fonts", walk: named(".uuid")},
	{Name: "icon-cache", varies: true, Reason: "holds times, built again on demand", below: "usr/share/icons", walk: named("icon-theme.cache")},
	{Name: "python-bytecode", varies: true, Reason: "holds the source's time; python makes it again or does without", walk: suffix(".pyc")},
	{Name: "catalogue", varies: true, Reason: "the journal's message database holds a seed; systemd makes it again", remove: []string{"var/lib/systemd/catalog/database"}},
	{Name: "apt-autoremove", varies: true, Reason: "written by a kernel's script from the host's running kernel", remove: []string{"etc/apt/apt.conf.d/01autoremove-kernels"}},
	{Name: "appstream-cache", varies: true, Reason: "binary caches with times", walk: suffix(".xb")},
	{Name: "tex-formats", varies: true, Reason: "hold the time at which they were dumped", below: "var/lib/texmf", walk: suffix(".fmt")},
	{Name: "perl-sax", varies: true, Reason: "written in an order that varies", edit: sortSAX},
	{Name: "initramfs", Reason: "made again for the medium from what ships; an installation makes its own", edit: dropInitramfs},
	{Name: "temporary", Reason: "what scripts left behind", empty: []string{"tmp", "var/tmp", "run", "dev", "proc", "sys"}},
	{Name: "posix-acl", Reason: "a squashfs cannot hold POSIX access control lists; systemd-tmpfiles sets its own again at boot", edit: dropACLs},
	{Name: "empty-mountpoints", Reason: "left by the tools that built the tree", remove: []string{".dockerenv"}},
}

// Passes returns the names and reasons of all passes, in order.
func Passes() (names, reasons []string) {
	for _, p := range passes {
		names, reasons = append(names, p.Name), append(reasons, p.Reason)
	}
	return names, reasons
}

func isFile(_ string, d fs.DirEntry) bool { return !d.IsDir() }

func named(name string) func(string, fs.DirEntry) bool {
	return func(p string, d fs.DirEntry) bool { return !d.IsDir() && path.Base(p) == name }
}

func suffix(s string) func(string, fs.DirEntry) bool {
	return func(p string, d fs.DirEntry) bool { return d.Type().IsRegular() && strings.HasSuffix(p, s) }
}

// dropHostFiles removes resolv.conf where it is a file, for a link into /run
// is the image's own choice, and adjtime.
func dropHostFiles(t *tree) error {
	if st, err := t.root.Lstat("etc/resolv.conf"); err == nil && st.Mode().IsRegular() {
		if err := t.delete("etc/resolv.conf"); err != nil {
			return err
		}
	}
	if _, err := t.root.Lstat("etc/adjtime"); err == nil {
		return t.delete("etc/adjtime")
	} else if !os.IsNotExist(err) {
		return err
	}
	return nil
}

// dropInitramfs removes initial RAM file systems, and what releases before Debian
// 13 remember of them, from a tree that can make them again.
func dropInitramfs(t *tree) error {
	if _, err := t.root.Lstat("usr/sbin/update-initramfs"); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return errors.Join(t.removeMatching("boot/initrd.img-*"), t.removeMatching("var/lib/initramfs-tools/*"))
}

// dropACLs removes the extended attributes that hold POSIX ACLs.
func dropACLs(t *tree) error {
	return t.walk("", func(p string, d fs.DirEntry) error {
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		for _, name := range accessLists {
			_, err := unix.Lgetxattr(filepath.Join(t.dir, p), name, nil)
			if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
				continue
			}
			if err == nil {
				err = t.dropXattr(p, name)
			}
			if err != nil {
				return fmt.Errorf("/%s: %w", p, err)
			}
		}
		return nil
	})
}

func (t *tree) dropXattr(path, name string) (err error) {
	f, err := t.root.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // it may be a folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := fmt.Fprintf(t.log, "  removed %s of /%s\n", name, path); err != nil {
		return err
	}
	t.changed(path)
	return unix.Fremovexattr(int(f.Fd()), name)
}
