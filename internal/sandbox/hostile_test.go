package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// argHostile makes the test binary a program that tries to get out of a sandbox.
const argHostile = "hostile"

func init() {
	if os.Args[0] != argHostile {
		return
	}
	if err := attacks()[os.Args[1]](); err != nil {
		fmt.Println("refused:", err)
	} else {
		fmt.Println("it came through")
	}
	os.Exit(0)
}

// attacks are ways out, each nil where it came through.
func attacks() map[string]func() error {
	writes := func(name string) func() error {
		return func() error {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			return f.Close()
		}
	}
	reads := func(name string) func() error {
		return func() error {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			_, err = f.Read(make([]byte, 1))
			return errors.Join(err, f.Close())
		}
	}
	call := func(number uintptr, args ...uintptr) func() error {
		return func() error {
			args = append(args, 0, 0, 0, 0, 0, 0)
			if _, _, errno := unix.Syscall6(number, args[0], args[1], args[2], args[3], args[4], args[5]); errno != 0 {
				return errno
			}
			return nil
		}
	}
	socket := func(family int) func() error {
		return func() error {
			_, err := unix.Socket(family, unix.SOCK_STREAM, 0)
			return err
		}
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &now)
	return map[string]func() error{
		"core_pattern": writes("/proc/sys/kernel/core_pattern"), "sysrq": writes("/proc/sysrq-trigger"), "anything of /proc": anythingOfProc,
		"kcore": reads("/proc/kcore"), "keys": reads("/proc/keys"), "kmsg": reads("/proc/kmsg"), "kpageflags": reads("/proc/kpageflags"),
		"memory of the first process": writes("/proc/1/mem"), "environment of the first process": reads("/proc/1/environ"),
		"root of the first process": func() error { _, err := os.ReadDir("/proc/1/root/"); return err },
		"above the root": func() error {
			above, err := os.ReadDir("/..")
			if err != nil || !slices.ContainsFunc(above, func(e fs.DirEntry) bool { return e.Name() == "etc" }) {
				return errors.Join(errors.New("not the host's root"), err)
			}
			return nil
		},
		"follow the parent":   func() error { return unix.PtraceAttach(os.Getppid()) },
		"mount":               func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
		"unmount":             func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) },
		"unshare":             call(unix.SYS_UNSHARE),
		"x32 unshare":         call(0x40000000 | unix.SYS_UNSHARE),
		"i386 unshare":        func() error { return i386(310) },
		"i386 keyctl":         func() error { return i386(288) },
		"user namespace":      func() error { return namespaced(unix.CLONE_NEWUSER) },
		"network namespace":   func() error { return namespaced(unix.CLONE_NEWNET) },
		"clone3":              func() error { return tooLong(call(unix.SYS_CLONE3)()) },
		"io_uring":            func() error { return tooLong(call(unix.SYS_IO_URING_SETUP)()) },
		"a call of tomorrow":  func() error { return tooLong(call(600)()) },
		"setns":               setns,
		"bpf":                 func() error { return notEPERM(call(unix.SYS_BPF)()) },
		"keyring":             call(unix.SYS_KEYCTL, 0 /* KEYCTL_GET_KEYRING_ID */, ^uintptr(2) /* of the session */, 1),
		"userfaultfd":         call(unix.SYS_USERFAULTFD, 1 /* of user mode alone */),
		"perf":                func() error { return notEPERM(call(unix.SYS_PERF_EVENT_OPEN)()) },
		"open by handle":      func() error { return notEPERM(call(unix.SYS_OPEN_BY_HANDLE_AT)()) },
		"module":              func() error { return notEPERM(call(unix.SYS_FINIT_MODULE)()) },
		"kexec":               func() error { return notEPERM(call(unix.SYS_KEXEC_FILE_LOAD)()) },
		"memory of processes": func() error { return notEPERM(call(unix.SYS_PROCESS_VM_WRITEV, ^uintptr(0))()) },
		"clock":               func() error { return unix.ClockSettime(unix.CLOCK_REALTIME, &now) },
		"host name":           func() error { return unix.Sethostname([]byte("x")) },
		"device":              func() error { return unix.Mknod("/tmp/kmem", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))) },
		"vsock":               socket(unix.AF_VSOCK), "alg": socket(unix.AF_ALG),
	}
}

// notEPERM is nil where a call got further than to be refused.
func notEPERM(err error) error {
	if errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

// tooLong is nil where a call that should seem to be missing is there.
func tooLong(err error) error {
	if errors.Is(err, unix.ENOSYS) {
		return err
	}
	return nil
}

func namespaced(flags uintptr) error {
	cmd := exec.Command("/usr/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run()
}

func setns() error {
	fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return notEPERM(unix.Setns(fd, unix.CLONE_NEWUTS))
}

// anythingOfProc looks for a file of /proc that is no process's, and that can be written to.
func anythingOfProc() error {
	var open []string
	err := filepath.WalkDir("/proc", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it may not even be looked at
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(p, "/proc/"), "/")
		if strings.Trim(first, "0123456789") == "" && first != "" || first == "self" || first == "thread-self" {
			return filepath.SkipDir
		}
		if st, err := os.Stat(p); !e.Type().IsRegular() || err != nil || !st.Mode().IsRegular() || st.Mode()&0o222 == 0 {
			return nil // such as one that /dev/null covers, or that nothing can be written to
		}
		if f, err := os.OpenFile(p, os.O_WRONLY, 0); err == nil {
			open = append(open, p)
			return f.Close()
		}
		return nil
	})
	if err != nil || len(open) == 0 {
		return errors.Join(errors.New("nothing"), err)
	}
	fmt.Println(strings.Join(open, " "))
	return nil
}

// i386 makes a system call of the 32-bit ABI without arguments.
func i386(number uint32) error {
	if runtime.GOARCH != "amd64" {
		return errors.New("this processor has none")
	}
	result := new(int32)
	code := []byte{0x53, 0xb8} // push rbx; mov eax,
	code = binary.LittleEndian.AppendUint32(code, number)
	code = append(code, 0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2, 0x31, 0xf6, 0x31, 0xff, 0xcd, 0x80) // xor ebx, ecx, edx, esi, edi; int 0x80
	code = append(code, 0x48, 0xb9)                                                             // mov rcx,
	code = binary.LittleEndian.AppendUint64(code, uint64(uintptr(unsafe.Pointer(result))))
	code = append(code, 0x89, 0x01, 0x5b, 0xc3) // mov [rcx], eax; pop rbx; ret
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	copy(page, code)
	entry := &struct{ code *byte }{&page[0]}
	(*(*func())(unsafe.Pointer(&entry)))()
	if *result < 0 && *result > -4096 {
		return unix.Errno(-*result)
	}
	return nil
}

// hostile runs an attack in a sandbox.
func hostile(t *testing.T, change func(*Spec), argv ...string) (string, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return sh(t, "", func(s *Spec) {
		s.Binds = append(s.Binds, Bind{Source: program, Target: "/run/test"})
		s.Argv = append([]string{"sh", "-c", `exec "$0" "$@"`}, argv...)
		if argv[0] == argHostile {
			s.Argv = append([]string{"perl", "-e", `exec {"/run/test"} @ARGV`}, argv...)
		}
		if change != nil {
			change(s)
		}
	})
}

// TestNoWayOut: a program of a package tries to become root on the host, or to see what
// is not its own.
func TestNoWayOut(t *testing.T) {
	for name := range attacks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := hostile(t, nil, argHostile, name)
			// A processor or kernel without a 32-bit ABI kills whoever uses it.
			if exit, ok := errors.AsType[*ExitError](err); ok && strings.HasPrefix(name, "i386") && exit.Code > 128 {
				return
			}
			if err != nil || !strings.HasPrefix(out, "refused:") {
				t.Errorf("%s, %v", out, err)
			}
		})
	}
}

// TestNobodyOutside: root's sandboxes have no id of the host's root, where this host lets
// them, and the capabilities that an ordinary user's have. Shield tells which it is.
func TestNobodyOutside(t *testing.T) {
	out, err := sh(t, "cat /proc/self/uid_map /proc/self/gid_map; grep -E '^(CapEff|Seccomp):' /proc/self/status")
	lines := strings.Split(out, "\n")
	if err != nil || len(lines) < 4 {
		t.Fatalf("%v: %s", err, out)
	}
	namespaced, why := Shield()
	for _, line := range lines[:len(lines)-2] {
		if f := strings.Fields(line); len(f) != 3 || (f[1] == "0") == namespaced {
			t.Errorf("ids %q, namespaced: %v", line, namespaced)
		}
	}
	if have := strings.Join(strings.Fields(strings.Join(lines[len(lines)-2:], " ")), " "); have != "CapEff: 00000000800401fb Seccomp: 2" {
		t.Error(have)
	}
	var root unix.Statfs_t
	if err := unix.Statfs("/", &root); err != nil {
		t.Fatal(err)
	}
	// Where the root folder is one that every kernel since 5.15 shows with other ids.
	fit := slices.Contains([]int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC}, int64(root.Type))
	if !namespaced && (why == "" || fit && why != notAsked) {
		t.Errorf("no user namespace: %q", why)
	}
}

// TestLimits: what takes too much is ended, with what it took and the name of the limit.
func TestLimits(t *testing.T) {
	const fork = `f() { f & f & }; f; sleep 60`
	for _, c := range []struct {
		name, script, want string
		limits             Limits
	}{
		{"fork bomb", fork, "more than 300 processes", Limits{Processes: 300}},
		{"processes of a script", "for i in $(seq 50); do sleep 60 & done; wait", "more than 20 processes", Limits{Processes: 20}},
		{"memory hog", `perl -e 'for (1..1000) { push @x, "x" x 1000000; select undef, undef, undef, 0.01 } sleep 60'`, "more than 128 MiB of memory", Limits{Memory: 128 << 20}},
		{"files in memory", "head -c 200M /dev/zero > /dev/shm/x; sleep 60", "more than 128 MiB of memory", Limits{Memory: 128 << 20}},
		{"files in /run", "head -c 200M /dev/zero > /run/x; sleep 60", "more than 128 MiB of memory", Limits{Memory: 128 << 20}},
		{"endless script", "while :; do :; done", "more than 1s", Limits{Time: time.Second}},
		{"no time at all", "sleep 1", "more than 1ns", Limits{Time: 1}},
		{"endless output", "yes", "more than 1000000 bytes of output", Limits{Output: 1e6}},
	} {
		for _, followed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, followed %v", c.name, followed), func(t *testing.T) {
				start := time.Now()
				out, err := sh(t, c.script, func(s *Spec) {
					s.Limits = c.limits
					if followed {
						s.Scripts = func(Script) {}
					}
				})
				if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				if len(out) > 1e6 {
					t.Errorf("%d bytes of output", len(out))
				}
				if took := time.Since(start); took > 30*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		}
	}
}

// TestSharedMemoryCountsOnce: children do not count what they have of their parent.
func TestSharedMemoryCountsOnce(t *testing.T) {
	const script = `perl -e '$x = "x" x 40000000; for (1..10) { next if fork; sleep 1; exit } wait for 1..10'`
	if out, err := sh(t, script, func(s *Spec) { s.Limits = Limits{Memory: 200 << 20} }); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestLinksToTheHost: what a tree has at the places where something is mounted leads nowhere
// but to itself.
func TestLinksToTheHost(t *testing.T) {
	const name = "isotrace-was-here"
	for _, link := range []string{"/..", "..", "../..", "/../../../..", "/proc/1/root", "/run/..", "/proc/self/cwd"} {
		for _, at := range []string{"mnt", "tmp", "run", "sys", "dev", "proc"} {
			t.Run(strings.ReplaceAll(at+" to "+link, "/", "|"), func(t *testing.T) {
				spec := programs(t)
				point := filepath.Join(spec.Root, at)
				if err := errors.Join(os.Remove(point), os.Symlink(link, point)); err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				spec.Writable, spec.Stdout, spec.Stderr = true, &out, &out
				spec.Binds = append(spec.Binds, Bind{Source: t.TempDir(), Target: "/mnt/" + name, Writable: true}, Bind{Source: t.TempDir(), Target: "/" + at + "/" + name})
				spec.Argv = []string{"sh", "-c", "ls -a / /.. /mnt/ /" + at + "/.."}
				err := Run(t.Context(), spec) // refused, or in the tree itself
				if strings.Contains(out.String(), "root\n") || strings.Contains(out.String(), "etc\n") {
					t.Errorf("the host shows:\n%s", out.String())
				}
				if e, serr := os.Lstat("/" + name); !errors.Is(serr, fs.ErrNotExist) {
					t.Errorf("/%s was made: %v, %v, %v", name, e, serr, err)
					_ = os.Remove("/" + name) // where it is the host's
				}
			})
		}
	}
}

// TestInheritedFiles: what whoever started isotrace left open is not the program's: the
// host's root would lie behind a folder.
func TestInheritedFiles(t *testing.T) {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0) // without O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	const high = 200
	err = errors.Join(unix.Dup3(fd, high, 0), unix.Close(fd))
	if err != nil {
		t.Fatal(err)
	}
	for name, follow := range map[string]func(*Spec){"": func(*Spec) {}, "followed": func(s *Spec) { s.Scripts = func(Script) {} }} {
		out, err := sh(t, "cd /proc/self/fd; for f in *; do echo $f; done; ls 200/ 2>&1 || true", follow)
		if err != nil || strings.Contains(out, "etc") || strings.Contains(out, "200\n") {
			t.Errorf("%s: %v: %q", name, err, out)
		}
	}
	if err := unix.Close(high); err != nil {
		t.Error(err)
	}
}
