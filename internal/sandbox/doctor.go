package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Finding is one thing that isotrace needs of a host.
type Finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	// Why says what was seen; Fix says how to get what lacks.
	Why string `json:"why"`
	Fix string `json:"fix,omitempty"`
}

// needed is the room in bytes that a build of a small image takes in the store.
const needed = 6 << 30

// Doctor looks at what the host offers, without changing it. store is the
// folder in which trees will be built.
func Doctor(store string) []Finding {
	root := privileged()
	fs := []Finding{kernel(), cores()}
	if root {
		fs = append(fs, shieldOfRoot(store))
	} else {
		fs = append(fs, userNamespaces(), chrooted(), subordinate(), mapper("newuidmap"), mapper("newgidmap"), procWhole())
	}
	return append(fs, following(), overlayKnown(), storeKind(store), room(store), devices())
}

// shieldOfRoot tries in which way root's programs are kept from the host.
func shieldOfRoot(store string) Finding {
	f := Finding{What: "privileges", OK: true}
	if !realRoot() {
		f.Why = "root of a user namespace"
		return f
	}
	uids, gids := rootRanges()
	refusal := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, with what it was shown, ends here
		refusal <- shiftHost(uids, gids, append(namedPlaces(), store))
	}()
	if err := <-refusal; err != nil {
		f.Why = "root of the host, who is kept from it by less; no user namespace: " + err.Error()
		return f
	}
	f.Why = fmt.Sprintf("root, in a user namespace with the %d ids from %d", mappedIDs, uids[0].HostID)
	return f
}

func kernel() Finding {
	f := Finding{What: "kernel"}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.Why = err.Error()
		return f
	}
	release := unix.ByteSliceToString(u.Release[:])
	major, minor := version(release)
	f.OK = major > 5 || major == 5 && minor >= 12
	f.Why = "Linux " + release
	if !f.OK {
		f.Fix = "use Linux 5.12 or later: overlayfs in user namespaces and mount_setattr(2) are needed"
	}
	return f
}

func version(release string) (major, minor int) {
	p := strings.SplitN(release, ".", 3)
	if len(p) < 2 {
		return 0, 0
	}
	major, err1 := strconv.Atoi(p[0])
	minor, err2 := strconv.Atoi(strings.TrimRight(p[1], "-+abcdefghijklmnopqrstuvwxyz"))
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return major, minor
}

func cores() Finding {
	return Finding{What: "processors", OK: true, Why: fmt.Sprintf("%d; the bits do not depend on it", runtime.GOMAXPROCS(0))}
}

// following asks whether dpkg's maintainer scripts can be told apart.
func following() Finding {
	f := Finding{What: "following programs", OK: true, Why: "ptrace(2) of one's own children is allowed"}
	if sysctl("kernel/yama/ptrace_scope") == "3" {
		f.OK, f.Why = false, "kernel.yama.ptrace_scope is 3: no program may follow another"
		f.Fix = "boot the host with kernel.yama.ptrace_scope of 2 or less: it cannot be lowered at run time"
		return f
	}
	cmd := &exec.Cmd{Path: selfPath, Args: []string{argMapped}, Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
		SysProcAttr: &syscall.SysProcAttr{Ptrace: true}}
	runtime.LockOSThread() // ptrace is the thread's
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		f.OK, f.Why = false, "ptrace(2): "+err.Error()
		f.Fix = "inside a container: let its seccomp profile allow ptrace"
		return f
	}
	// It has stopped at its start, and need not go on.
	if err := errors.Join(cmd.Process.Kill(), ignoreExit(cmd.Wait())); err != nil {
		f.OK, f.Why = false, "ptrace(2): "+err.Error()
	}
	return f
}

// sysctl reads a kernel setting; missing ones are "".
func sysctl(name string) string {
	b, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func userNamespaces() Finding {
	f := Finding{What: "user namespaces"}
	switch {
	case sysctl("user/max_user_namespaces") == "0":
		f.Why, f.Fix = "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces=15000"
		return f
	case sysctl("kernel/unprivileged_userns_clone") == "0":
		f.Why, f.Fix = "kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"
		return f
	}
	cmd := &exec.Cmd{Path: selfPath, Args: []string{argMapped}, Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS}}
	if err := cmd.Start(); err != nil {
		f.Why = err.Error()
		f.Fix = "allow unprivileged user namespaces; inside a container or chroot, leave it or run as root"
		if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
			f.Fix = "AppArmor restricts them: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give isotrace a profile with userns"
		}
		return f
	}
	// It finds no pipe to wait on and ends at once with an error of its own.
	if err := cmd.Wait(); ignoreExit(err) != nil {
		f.Why = err.Error()
		return f
	}
	f.OK, f.Why = true, "can be made"
	if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
		f.OK, f.Why = false, "can be made, but AppArmor takes their capabilities (kernel.apparmor_restrict_unprivileged_userns is 1)"
		f.Fix = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give isotrace a profile with userns"
	}
	return f
}

// chrooted compares the process's root with that of its mount namespace: the
// kernel makes no user namespace for a process in a chroot.
func chrooted() Finding {
	f := Finding{What: "root folder", OK: true, Why: "the mount namespace's own"}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return f // procWhole says what lacks
	}
	for line := range strings.Lines(string(b)) {
		if p := strings.Fields(line); len(p) > 4 && p[4] == "/" {
			return f
		}
	}
	return Finding{What: f.What, Why: "inside a chroot that is no mount point", Fix: "leave the chroot, enter it with pivot_root(2) (systemd-nspawn, bwrap, unshare), or run as root"}
}

func subordinate() Finding {
	f := Finding{What: "subordinate ids"}
	if _, err := subordinateIDs(); err != nil {
		f.Why = err.Error()
		f.Fix = fmt.Sprintf("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %d", os.Getuid())
		return f
	}
	f.OK, f.Why = true, fmt.Sprintf("a range of %d uids and gids", mappedIDs-1)
	return f
}

func mapper(name string) Finding {
	f := Finding{What: name}
	path, err := exec.LookPath(name)
	if err != nil {
		f.Why, f.Fix = "not found", "install the package uidmap (shadow-utils elsewhere)"
		return f
	}
	f.OK, f.Why = true, path
	return f
}

// procWhole looks for mounts over parts of /proc, as container engines make
// them: the kernel then refuses a new /proc in a user namespace.
func procWhole() Finding {
	f := Finding{What: "/proc"}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.Why, f.Fix = err.Error(), "mount proc at /proc"
		return f
	}
	for line := range strings.Lines(string(b)) {
		if p := strings.Fields(line); len(p) > 4 && strings.HasPrefix(p[4], "/proc/") && !strings.HasPrefix(p[4], "/proc/sys/fs/binfmt_misc") {
			f.Why, f.Fix = p[4]+" is covered by another mount", "run the container with an unmasked /proc, or isotrace as root"
			return f
		}
	}
	f.OK, f.Why = true, "whole"
	return f
}

func overlayKnown() Finding {
	f := Finding{What: "overlayfs"}
	b, err := os.ReadFile("/proc/filesystems")
	switch {
	case err != nil:
		f.Why, f.Fix = err.Error(), "mount proc at /proc"
	case strings.Contains(string(b), "\toverlay\n"):
		f.OK, f.Why = true, "known to the kernel"
	default:
		// It may still be loaded on the first mount.
		f.OK, f.Why = privileged(), "not loaded yet"
		f.Fix = "modprobe overlay"
	}
	return f
}

// Magic numbers of statfs(2) for file systems that cannot hold a store.
var unfitStores = map[int64]string{
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "NFS", unix.MSDOS_SUPER_MAGIC: "FAT",
	unix.V9FS_MAGIC: "9p", unix.SMB2_SUPER_MAGIC: "SMB",
}

func storeKind(store string) Finding {
	f := Finding{What: "store", Fix: "name a folder on ext4, xfs, btrfs or tmpfs with --store or ISOTRACE_STORE"}
	var st unix.Statfs_t
	if err := unix.Statfs(existing(store), &st); err != nil {
		f.Why = err.Error()
		return f
	}
	if kind, unfit := unfitStores[int64(st.Type)]; unfit {
		f.Why = store + " lies on " + kind + ", which cannot hold overlayfs layers"
		return f
	}
	return Finding{What: f.What, OK: true, Why: store}
}

func room(store string) Finding {
	f := Finding{What: "disk space", Fix: "make room, or move the store with --store or ISOTRACE_STORE"}
	var st unix.Statfs_t
	if err := unix.Statfs(existing(store), &st); err != nil {
		f.Why = err.Error()
		return f
	}
	free := int64(st.Bavail) * st.Bsize
	f.Why = fmt.Sprintf("%d MiB free for the store, a small image takes %d", free>>20, needed>>20)
	if f.OK = free >= needed; f.OK {
		f.Fix = ""
	}
	return f
}

// existing is the nearest folder above path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) || path == "/" || path == "." {
			return path
		}
		path = filepath.Dir(path)
	}
}

func devices() Finding {
	f := Finding{What: "devices", OK: true, Why: "/dev has what a sandbox shows"}
	for _, d := range hostDevices {
		if _, err := os.Stat("/dev/" + d.name); err != nil && !privileged() {
			return Finding{What: f.What, Why: err.Error(), Fix: "make the device node, or run as root"}
		}
	}
	return f
}
