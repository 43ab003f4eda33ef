package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// mountFD is a copy of a mount, or a new one, that hangs nowhere yet.
type mountFD struct {
	fd  int
	dir bool
}

func cloneMount(source string, writable bool) (mountFD, error) {
	return cloneAt(unix.AT_FDCWD, source, writable)
}

func cloneAt(dirfd int, source string, writable bool) (mountFD, error) {
	fd, err := unix.OpenTree(dirfd, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return mountFD{}, fmt.Errorf("bind %s: %w", source, err)
	}
	m := mountFD{fd: fd}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return mountFD{}, errors.Join(fmt.Errorf("bind %s: %w", source, err), m.close())
	}
	m.dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !writable {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return mountFD{}, errors.Join(fmt.Errorf("bind %s read-only: %w", source, err), m.close())
		}
	}
	return m, nil
}

// newMount makes a file system; options come in pairs of name and value, attributes
// are those of fsmount(2).
func newMount(kind string, attributes int, options ...string) (m mountFD, err error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return m, fmt.Errorf("make a %s: %w", kind, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fs)) }()
	for options = append([]string{"source", kind}, options...); len(options) > 1; options = options[2:] {
		if err := unix.FsconfigSetString(fs, options[0], options[1]); err != nil {
			return m, fmt.Errorf("make a %s with %s=%s: %w", kind, options[0], options[1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return m, fmt.Errorf("make a %s: %w", kind, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return m, fmt.Errorf("make a mount of a %s: %w", kind, err)
	}
	return mountFD{fd: fd, dir: true}, nil
}

// at mounts it at a path of the host's and closes it.
func (m mountFD) at(target string) error {
	if err := unix.MoveMount(m.fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return errors.Join(fmt.Errorf("mount at %s: %w", target, err), m.close())
	}
	return m.close()
}

// onto mounts it on what is open at a descriptor.
func (m mountFD) onto(fd int) error {
	return unix.MoveMount(m.fd, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

func (m mountFD) close() error { return unix.Close(m.fd) }

// tree is the root of a sandbox, made but not gone into: nothing of the host hangs on
// it. Whoever filled it is hostile, so that each path in it is resolved beneath it.
type tree struct{ fd int }

// open gives a descriptor, for use as a place, of what a path leads to.
func (t tree) open(target string) (int, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(t.fd, target, how)
		if (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)) && tries < 1000 { // something was renamed meanwhile
			continue
		}
		return fd, err
	}
}

// isLink tells whether the tree has a symbolic link at a name in its root.
func (t tree) isLink(name string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(t.fd, path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return st.Mode&unix.S_IFMT == unix.S_IFLNK, err
}

// make opens the folder or file that something is mounted on, and makes it where it is
// missing.
func (t tree) make(target string, dir bool) (fd int, err error) {
	if fd, err = t.open(target); !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	parent, err := t.make(path.Dir(target), true)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, unix.Close(parent)) }()
	name := path.Base(target)
	if dir {
		err = unix.Mkdirat(parent, name, 0o755)
	} else {
		var file int
		if file, err = unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644); err == nil {
			err = unix.Close(file)
		}
	}
	if err != nil {
		return -1, err
	}
	return unix.Openat(parent, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// mount mounts m at a path of the tree. m stays open.
func (t tree) mount(m mountFD, target string) error {
	target = path.Clean("/" + target)
	fd, err := t.make(target, m.dir)
	if err != nil {
		return fmt.Errorf("mount at %s: %w", target, err)
	}
	same, err := samePlace(fd, t.fd)
	switch {
	case err != nil:
	case same:
		// What is mounted on the root itself shows at "/..", and nowhere else.
		err = errors.New("the tree has a link there to its own root")
	default:
		err = m.onto(fd)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("mount at %s: %w", target, err)
	}
	return nil
}

func samePlace(a, b int) (bool, error) {
	var st [2]unix.Statx_t
	for i, fd := range []int{a, b} {
		if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st[i]); err != nil {
			return false, err
		}
	}
	return st[0].Ino == st[1].Ino && st[0].Mnt_id == st[1].Mnt_id, nil
}

// makeRoot makes the new root, and only then goes into it: while it is made, the host's
// root is nowhere below it, and the kernel, which lets a user namespace mount a new
// /proc only while a whole one can be seen, sees the host's.
func makeRoot(o order) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// What has to be shown from the host is taken before the new root covers it.
	binds := make([]mountFD, len(o.Binds))
	for i, b := range o.Binds {
		m, err := cloneMount(b.Source, b.Writable)
		if err != nil {
			return err
		}
		binds[i] = m
	}
	devices := map[string]mountFD{}
	for _, d := range hostDevices {
		if m, err := cloneMount("/dev/"+d.name, true); err == nil {
			devices[d.name] = m
		}
	}
	for _, d := range o.Devices {
		m, err := cloneMount(d, true)
		if err != nil {
			return err
		}
		devices[path.Base(d)] = m
	}
	temp, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "1777")
	if o.Temp != "" {
		temp, err = cloneMount(o.Temp, true)
	}
	if err != nil {
		return err
	}
	root, err := cloneMount(o.Root, o.Writable)
	if err != nil {
		return err
	}
	// By descriptor: where Root is "/", its path still leads below the new mount.
	if err := unix.Fchdir(root.fd); err != nil {
		return fmt.Errorf("go into %s: %w", o.Root, err)
	}
	if err := unix.MoveMount(root.fd, "", unix.AT_FDCWD, o.Root, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount at %s: %w", o.Root, err)
	}
	t := tree{fd: root.fd}
	if err := t.mountOwn(devices, temp); err != nil {
		return err
	}
	for i, b := range o.Binds {
		if err := t.mount(binds[i], b.Target); err != nil {
			return err
		}
		if err := binds[i].close(); err != nil {
			return err
		}
	}
	return errors.Join(enterRoot(o.Root), root.close())
}

// enterRoot makes the working folder, a mount at dir, the process's "/".
func enterRoot(dir string) error {
	err := unix.PivotRoot(".", ".")
	if err == nil {
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("leave the host's root: %w", err)
		}
		return os.Chdir("/")
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("pivot into %s: %w", dir, err)
	}
	// Inside a chroot whose root is no mount point pivot_root(2) cannot work.
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to the root: %w", dir, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root to %s: %w", dir, err)
	}
	return os.Chdir("/")
}

// mountOwn mounts what every sandbox has of its own.
func (t tree) mountOwn(devices map[string]mountFD, temp mountFD) error {
	const safe = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	own := map[string]mountFD{"/tmp": temp}
	for _, m := range []struct {
		fs, dir    string
		attributes int
		options    []string
	}{
		{"proc", "/proc", safe | unix.MOUNT_ATTR_NOEXEC, nil},
		{"tmpfs", "/sys", safe | unix.MOUNT_ATTR_NOEXEC, []string{"mode", "0555", "size", "64k"}},
		{"tmpfs", "/dev", unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC, []string{"mode", "0755", "size", "1m"}},
		{"tmpfs", "/run", safe, []string{"mode", "0755"}},
	} {
		made, err := newMount(m.fs, m.attributes, m.options...)
		if err != nil {
			return err
		}
		own[m.dir] = made
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp"} {
		// Whoever may write to the tree could have a link lead elsewhere later on, and
		// the first process with it, which looks at the others in /proc.
		if link, err := t.isLink(dir); err != nil || link && dir != "/run" && dir != "/tmp" {
			return errors.Join(fmt.Errorf("mount at %s: the tree has a link there", dir), err)
		}
		if err := t.mount(own[dir], dir); err != nil {
			return err
		}
	}
	if err := unix.Mkdirat(own["/run"].fd, "lock", 0o1777); err != nil {
		return err
	}
	if err := fillDev(own["/dev"].fd, devices); err != nil {
		return err
	}
	if err := hideProc(own["/proc"].fd, own["/dev"].fd); err != nil {
		return err
	}
	for _, m := range own {
		if err := m.close(); err != nil {
			return err
		}
	}
	return nil
}

// fillDev fills /dev, a file system of the sandbox's own, open at dev.
func fillDev(dev int, devices map[string]mountFD) error {
	for _, d := range hostDevices {
		if _, ok := devices[d.name]; ok {
			continue
		}
		// A bare chroot has no /dev; real root may make the nodes.
		if err := unix.Mknodat(dev, d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make /dev/%s (the host shows none): %w", d.name, err)
		}
	}
	t := tree{fd: dev}
	for name, m := range devices {
		if err := t.mount(m, name); err != nil {
			return fmt.Errorf("in /dev: %w", err)
		}
		if err := m.close(); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}} {
		if err := unix.Symlinkat(l[0], dev, l[1]); err != nil {
			return err
		}
	}
	terminals, err := newMount("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "ptmxmode", "0666", "mode", "0620")
	if err != nil {
		return err
	}
	shared, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "1777")
	if err != nil {
		return err
	}
	return errors.Join(t.mount(terminals, "pts"), t.mount(shared, "shm"), terminals.close(), shared.close())
}

// What is hidden of /proc, and what can only be read there, is what the container
// engines hide by default, and what tells of the host's memory besides.
var (
	hiddenProc = []string{
		"acpi", "asound", "interrupts", "kcore", "keys", "key-users", "kmsg", "kpagecgroup", "kpagecount", "kpageflags",
		"latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats", "vmcore",
	}
	readOnlyProc = []string{"bus", "dynamic_debug", "fs", "irq", "mtrr", "pressure", "sys", "sysrq-trigger", "sysvipc"}
)

// hideProc guards the files of /proc, open at proc, by which root changes the host.
// A user namespace guards them, too, but not everywhere can there be one.
func hideProc(proc, dev int) error {
	cover := func(name string, m mountFD) error {
		at, err := unix.Openat(proc, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			err = errors.Join(m.onto(at), unix.Close(at))
		}
		if err := errors.Join(err, m.close()); err != nil {
			return fmt.Errorf("guard /proc/%s: %w", name, err)
		}
		return nil
	}
	for _, name := range hiddenProc {
		var st unix.Stat_t
		if err := unix.Fstatat(proc, name, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return fmt.Errorf("guard /proc/%s: %w", name, err)
		}
		var m mountFD
		var err error
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			m, err = newMount("tmpfs", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, "mode", "0555", "size", "64k")
		} else {
			m, err = cloneAt(dev, "null", false)
		}
		if err == nil {
			err = cover(name, m)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range readOnlyProc {
		m, err := cloneAt(proc, name, false)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = cover(name, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
