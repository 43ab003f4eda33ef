package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// keptCaps are what installing packages needs. CAP_MKNOD is left out: a user
// namespace refuses it, and root must not get other bits than a user.
var keptCaps = map[uintptr]bool{
	unix.CAP_CHOWN: true, unix.CAP_DAC_OVERRIDE: true, unix.CAP_FOWNER: true, unix.CAP_FSETID: true,
	unix.CAP_KILL: true, unix.CAP_SETGID: true, unix.CAP_SETUID: true, unix.CAP_SETPCAP: true,
	unix.CAP_SETFCAP: true, unix.CAP_SYS_CHROOT: true,
}

// hostDevices are the devices of every sandbox, with their numbers.
var hostDevices = []struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}}

// initMain is process 1 of a sandbox. It is told what to do on descriptor 3
// and says on descriptor 4 why it could not.
func initMain() int {
	fail := os.NewFile(4, "failure")
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	unix.CloseOnExec(5)
	o, err := readOrder()
	if err == nil {
		err = setUp(o)
	}
	var pid int
	if err == nil {
		pid, err = start(o)
	}
	if err != nil {
		fmt.Fprint(fail, err)
		return 1
	}
	if !o.Follow {
		if err := fail.Close(); err != nil {
			return 1
		}
		return reapUntil(pid)
	}
	code, err := traceUntil(pid, os.NewFile(5, "scripts"))
	if err != nil {
		fmt.Fprint(fail, err)
		return 1
	}
	return code
}

// reapUntil collects every orphan until the program itself ends.
func reapUntil(pid int) int {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1
		case got == pid && ws.Signaled():
			return 128 + int(ws.Signal())
		case got == pid && ws.Exited():
			return ws.ExitStatus()
		}
	}
}

func readOrder() (o order, err error) {
	if err := dieWithParent(); err != nil {
		return o, err
	}
	in := os.NewFile(3, "order")
	b, err := io.ReadAll(io.LimitReader(in, 1<<24))
	if err := errors.Join(err, in.Close()); err != nil {
		return o, fmt.Errorf("read the order: %w", err)
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("read the order: %w", err)
	}
	return o, nil
}

func setUp(o order) error {
	unix.Umask(0)
	if err := makeRoot(o); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(Hostname)); err != nil {
		return fmt.Errorf("set the hostname: %w", err)
	}
	if err := unix.Setdomainname([]byte("(none)")); err != nil {
		return fmt.Errorf("set the domain name: %w", err)
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	unix.Umask(0o022)
	return nil
}

func start(o order) (pid int, err error) {
	// A program named without a folder is looked for inside, with PATH of inside.
	program, err := lookPath(o.Argv[0])
	if err != nil {
		return 0, err
	}
	if err := os.Chdir(o.Dir); err != nil {
		return 0, err
	}
	fixAddresses()
	if o.Nice > 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, o.Nice); err != nil {
			return 0, fmt.Errorf("lower the priority: %w", err)
		}
	}
	return syscall.ForkExec(program, o.Argv, &syscall.ProcAttr{
		Dir: o.Dir, Env: o.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: o.Follow},
	})
}

// fixAddresses has programs that this thread starts laid out in memory the same way
// each time, so that nothing which goes by addresses, such as the order in a hash
// table, differs between two builds; it also makes each of thousands of short
// programs start sooner. Some containers forbid it; no result may depend on it.
func fixAddresses() {
	const read, addrNoRandomize = 0xffffffff, 0x0040000 // see personality(2)
	if now, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, read, 0, 0); errno == 0 {
		_, _, _ = unix.RawSyscall(unix.SYS_PERSONALITY, now|addrNoRandomize, 0, 0)
	}
}

func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range strings.Split(strings.TrimPrefix(fixedEnv[0], "PATH="), ":") {
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// mountFD is a copy of a mount that hangs nowhere yet.
type mountFD struct {
	fd  int
	dir bool
}

func cloneMount(source string, writable bool) (mountFD, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return mountFD{}, fmt.Errorf("bind %s: %w", source, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return mountFD{}, fmt.Errorf("bind %s: %w", source, err)
	}
	if !writable {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return mountFD{}, fmt.Errorf("bind %s read-only: %w", source, err)
		}
	}
	return mountFD{fd: fd, dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}, nil
}

func (m mountFD) at(target string) error {
	if err := unix.MoveMount(m.fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount at %s: %w", target, err)
	}
	return unix.Close(m.fd)
}

// makeRoot goes into the new root first and mounts the rest from inside: a
// symlink in a hostile tree then cannot lead a mount out of it. What has to be
// shown from the host is taken along as detached mounts.
func makeRoot(o order) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("make mounts private: %w", err)
	}
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
	var temp mountFD
	if o.Temp != "" {
		m, err := cloneMount(o.Temp, true)
		if err != nil {
			return err
		}
		temp = m
	}
	root, err := cloneMount(o.Root, o.Writable)
	if err != nil {
		return err
	}
	pivoted, err := enterRoot(root, o.Root)
	if err != nil {
		return err
	}
	// The host's root stays below the working folder for now: the kernel lets a
	// user namespace mount a new /proc only while a whole one can be seen.
	if err := mountOwn(devices, temp); err != nil {
		return err
	}
	for i, b := range o.Binds {
		if err := makeTarget(b.Target, binds[i].dir); err != nil {
			return err
		}
		if err := binds[i].at(b.Target); err != nil {
			return err
		}
	}
	if pivoted {
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
			return fmt.Errorf("leave the host's root: %w", err)
		}
	}
	return os.Chdir("/")
}

// enterRoot makes root, mounted over dir, the process's "/". Where it could
// pivot, the host's root is then mounted at the working folder.
func enterRoot(root mountFD, dir string) (pivoted bool, err error) {
	// By descriptor: where dir is "/", its path still leads below the new mount.
	if err := unix.Fchdir(root.fd); err != nil {
		return false, fmt.Errorf("go into %s: %w", dir, err)
	}
	if err := root.at(dir); err != nil {
		return false, err
	}
	err = unix.PivotRoot(".", ".")
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, unix.EINVAL) {
		return false, fmt.Errorf("pivot into %s: %w", dir, err)
	}
	// Inside a chroot whose root is no mount point pivot_root(2) cannot work.
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return false, fmt.Errorf("move %s to the root: %w", dir, err)
	}
	if err := unix.Chroot("."); err != nil {
		return false, fmt.Errorf("change the root to %s: %w", dir, err)
	}
	return false, nil
}

func mountOwn(devices map[string]mountFD, temp mountFD) error {
	const safe = unix.MS_NOSUID | unix.MS_NODEV
	mounts := []struct {
		fs, dir, data string
		flags         uintptr
	}{
		{"proc", "/proc", "", safe | unix.MS_NOEXEC},
		{"tmpfs", "/sys", "mode=0555,size=64k", safe | unix.MS_NOEXEC},
		{"tmpfs", "/dev", "mode=0755,size=1m", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "/run", "mode=0755", safe},
	}
	for _, m := range mounts {
		if err := makeTarget(m.dir, true); err != nil {
			return err
		}
		if err := unix.Mount(m.fs, m.dir, m.fs, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.fs, m.dir, err)
		}
	}
	if err := makeTarget("/tmp", true); err != nil {
		return err
	}
	if temp.fd != 0 {
		if err := temp.at("/tmp"); err != nil {
			return err
		}
	} else if err := unix.Mount("tmpfs", "/tmp", "tmpfs", safe, "mode=1777"); err != nil {
		return fmt.Errorf("mount tmpfs at /tmp: %w", err)
	}
	if err := os.Mkdir("/run/lock", 0o1777); err != nil {
		return err
	}
	if err := os.Chmod("/run/lock", 0o1777|os.ModeSticky); err != nil {
		return err
	}
	return fillDev(devices)
}

func fillDev(devices map[string]mountFD) error {
	for _, d := range hostDevices {
		if _, ok := devices[d.name]; ok {
			continue
		}
		// A bare chroot has no /dev; real root may make the nodes.
		if err := unix.Mknod("/dev/"+d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make /dev/%s (the host shows none): %w", d.name, err)
		}
	}
	for name, m := range devices {
		target := "/dev/" + name
		if err := makeTarget(target, false); err != nil {
			return err
		}
		if err := m.at(target); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}} {
		if err := os.Symlink(l[0], "/dev/"+l[1]); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/dev/pts", "/dev/shm"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return fmt.Errorf("mount devpts: %w", err)
	}
	if err := unix.Mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mount tmpfs at /dev/shm: %w", err)
	}
	return nil
}

// makeTarget makes the folder or file that something is mounted on, where it is missing.
func makeTarget(target string, dir bool) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if dir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(path.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// dropPrivileges narrows what any program started from this thread can get.
func dropPrivileges() error {
	for c := uintptr(0); c <= 63; c++ {
		if keptCaps[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break // past the last capability of this kernel
		} else if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return nil
}
