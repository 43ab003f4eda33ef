package sandbox

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// highRange is where root's ids begin in the host's terms, where /etc/subuid has no line
// for root: above what systemd gives to containers (1879048191), below its foreign ids.
const highRange = 0x7f000000

// realRoot tells whether user 0 is the host's: what /proc/sys shows as root's own can be
// written to by nobody else. In a user namespace that a container engine made, it is not.
func realRoot() bool {
	var st unix.Stat_t
	err := unix.Stat("/proc/sys/kernel", &st)
	return err != nil || st.Uid == 0
}

// rootRanges are the ranges of host ids that become 0 to 65535 in root's user namespace.
func rootRanges() (uids, gids []syscall.SysProcIDMap) {
	line := func(file string) []syscall.SysProcIDMap {
		start, err := subordinateRange(file, "root", 0, mappedIDs)
		if err != nil {
			start = highRange
		}
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: start, Size: mappedIDs}}
	}
	return line("/etc/subuid"), line("/etc/subgid")
}

// shiftHost leaves the calling thread, which must be locked and of no use afterwards, in a
// mount namespace that shows the host's file systems as they are to a user namespace with
// these ids: what belongs to 0 to 65535 on the disk belongs to the same ids there. What is
// of the kernel, such as /proc, stays as it is. places are paths that have to be shown so;
// the error says which cannot, and why.
func shiftHost(uids, gids []syscall.SysProcIDMap, places []string) (err error) {
	if err := wholeProc(); err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); errors.Is(err, unix.EINVAL) {
		return errors.New("the root folder is no mount point, as in a chroot")
	} else if err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	ids, release, err := namespaceOf(uids, gids)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	kvm, err := kvmOf(uids[0].HostID, gids[0].HostID)
	if err != nil {
		return err
	}
	mounts, err := shownMounts()
	if err != nil {
		return err
	}
	for i := range mounts {
		mounts[i].take(int(ids.Fd()))
	}
	for _, p := range append(places, "/", dir, selfPath) {
		if m := mountOf(mounts, p); m.refusal != nil {
			return m.refusal
		}
	}
	if err := unix.Fchdir(mounts[0].copy.fd); err != nil {
		return err
	}
	if err := mounts[0].copy.at("/"); err != nil {
		return err
	}
	if err := enterRoot("/"); err != nil {
		return err
	}
	for _, m := range mounts[1:] {
		if m.copy.fd < 0 {
			continue
		}
		// Only below one that could not be taken is there no place for another.
		if err := m.copy.at(m.point); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if kvm != nil {
		if err := kvm.at(kvmDevice); err != nil {
			return err
		}
	}
	return os.Chdir(dir)
}

// wholeProc says what is in the way of a new /proc in a user namespace.
func wholeProc() error {
	if f := procWhole(); !f.OK {
		return errors.New("/proc: " + f.Why)
	}
	return nil
}

// namespaceOf opens a user namespace with these ids. It lasts until it is released.
func namespaceOf(uids, gids []syscall.SysProcIDMap) (*os.File, func() error, error) {
	holder := &exec.Cmd{
		// By this name the program is found whoever may look into its folder.
		Path: "/proc/self/exe", Args: []string{argMapped}, Env: []string{}, Dir: "/", Stdout: io.Discard, Stderr: io.Discard,
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: uids, GidMappings: gids, Pdeathsig: syscall.SIGKILL},
	}
	held, hold, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	holder.Stdin, holder.ExtraFiles = held, []*os.File{held} // it waits for the pipe to end
	err = holder.Start()
	if err := errors.Join(err, held.Close()); err != nil {
		return nil, nil, errors.Join(explainNamespaces(err), hold.Close())
	}
	release := func() error { return errors.Join(hold.Close(), ignoreExit(holder.Wait())) }
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(holder.Process.Pid), "ns", "user"))
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	return f, func() error { return errors.Join(f.Close(), release()) }, nil
}

const kvmDevice = "/dev/kvm"

// kvmOf makes the device that speeds up isotrace boot anew, for root of the user
// namespace, where the host has it: a device file system cannot be shown with other ids.
func kvmOf(uid, gid int) (*mountFD, error) {
	var st unix.Stat_t
	if err := unix.Stat(kvmDevice, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return nil, nil
	}
	folder, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "mode", "0755", "size", "64k")
	if err != nil {
		return nil, err
	}
	name := filepath.Base(kvmDevice)
	err = unix.Mknodat(folder.fd, name, unix.S_IFCHR|0o600, int(st.Rdev))
	if err == nil {
		err = unix.Fchownat(folder.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", kvmDevice, err), folder.close())
	}
	// Only of what hangs somewhere can a part be taken.
	if err := folder.at(filepath.Dir(kvmDevice)); err != nil {
		return nil, err
	}
	m, err := cloneMount(kvmDevice, true)
	return &m, errors.Join(err, unix.Unmount(filepath.Dir(kvmDevice), unix.MNT_DETACH))
}

// kernelsOwn are the file systems that are the kernel's view of itself. Their files belong
// to the host's root whoever looks at them.
var kernelsOwn = map[string]bool{
	"autofs": true, "binder": true, "binfmt_misc": true, "bpf": true, "cgroup": true, "cgroup2": true, "configfs": true, "debugfs": true,
	"devpts": true, "devtmpfs": true, "efivarfs": true, "fusectl": true, "hugetlbfs": true, "mqueue": true, "nsfs": true, "proc": true,
	"pstore": true, "resctrl": true, "rpc_pipefs": true, "securityfs": true, "selinuxfs": true, "smackfs": true, "sysfs": true, "tracefs": true,
}

type shownMount struct {
	point, kind string
	copy        mountFD // its descriptor is negative where there is none
	refusal     error   // why it is not shown with other ids
}

// take copies a mount, shifted to the ids of a user namespace where it is not the kernel's
// own.
func (m *shownMount) take(namespace int) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.point, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	m.copy = mountFD{fd: fd}
	if err == nil && !kernelsOwn[m.kind] {
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace)})
	}
	if err != nil {
		m.refusal = fmt.Errorf("the %s at %s cannot be shown with other ids: %w", m.kind, m.point, err)
	}
}

// shownMounts lists the mounts of this thread's namespace that can be seen, those above
// before those below.
func shownMounts() (mounts []shownMount, err error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) < 1 {
			return nil, fmt.Errorf("/proc/thread-self/mountinfo: unknown line %q", lines.Text())
		}
		m := shownMount{point: unescapeMount(fields[4]), kind: kind[0]}
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, m.point, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st); err != nil {
			continue // below one that covers it, or gone away
		}
		if strconv.FormatUint(st.Mnt_id, 10) == fields[0] {
			mounts = append(mounts, m)
		}
	}
	slices.SortFunc(mounts, func(a, b shownMount) int { return cmp.Compare(a.point, b.point) })
	if len(mounts) == 0 || mounts[0].point != "/" {
		return nil, errors.Join(errors.New("/proc/thread-self/mountinfo: the root folder is not there"), lines.Err())
	}
	return mounts, lines.Err()
}

// unescapeMount undoes what mountinfo writes for spaces and the like, see proc(5).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// mountOf is the mount of what a path leads to, or of the nearest folder above that is
// there. The first mount is that of the root folder.
func mountOf(mounts []shownMount, name string) shownMount {
	name = existing(name)
	if resolved, err := filepath.EvalSymlinks(name); err == nil {
		name = resolved
	}
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	best := mounts[0]
	for _, m := range mounts[1:] {
		if (name == m.point || strings.HasPrefix(name, m.point+"/")) && len(m.point) > len(best.point) {
			best = m
		}
	}
	return best
}

// namedPlaces are the paths that this process is about to use, as far as its words and its
// environment tell.
func namedPlaces() []string {
	places := []string{os.TempDir()}
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, cache)
	}
	if store := os.Getenv("ISOTRACE_STORE"); store != "" {
		places = append(places, store)
	}
	for _, a := range os.Args[1:] {
		if _, value, ok := strings.Cut(a, "="); ok && strings.HasPrefix(a, "-") {
			a = value
		}
		if a != "" && !strings.HasPrefix(a, "-") {
			places = append(places, a)
		}
	}
	return places
}
