package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
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
// and says on descriptor 4 why it could not, or why it has ended the rest.
func initMain() int {
	fail := os.NewFile(4, "failure")
	// Those that are this process's own, and all that whoever started isotrace left open: a
	// folder of the host would lead out of the sandbox.
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err != nil {
		err = fmt.Errorf("keep open files from the program: %w", err)
	}
	var o order
	if err == nil {
		o, err = readOrder()
	}
	if err == nil {
		err = setUp(o)
	}
	var pid int
	var inMemory []*os.File
	var loads *os.File
	if err == nil {
		inMemory, err = openInMemory(o)
	}
	if err == nil {
		loads, err = os.Open("/proc/loadavg")
	}
	if err == nil {
		pid, err = start(o)
	}
	if err != nil {
		fmt.Fprint(fail, err)
		return 1
	}
	go watch(o.Limits, inMemory, loads, fail)
	code := 0
	if o.Follow {
		code, err = traceUntil(pid, os.NewFile(5, "scripts"))
	} else {
		code = reapUntil(pid)
	}
	if err != nil {
		fmt.Fprint(fail, err)
		return 1
	}
	if code != 0 { // it may have failed for what it could not get
		fmt.Fprint(fail, exceeded(o.Limits, inMemory))
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
	if err := quiet(); err != nil {
		return 0, err
	}
	if o.Nice > 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, o.Nice); err != nil {
			return 0, fmt.Errorf("lower the priority: %w", err)
		}
	}
	if err := installFilter(); err != nil {
		return 0, err
	}
	restore, err := slowDown(o.Limits)
	if err != nil {
		return 0, err
	}
	pid, err = syscall.ForkExec(program, o.Argv, &syscall.ProcAttr{
		Dir: o.Dir, Env: o.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: o.Follow},
	})
	return pid, errors.Join(err, restore())
}

// quiet keeps what goes wrong inside from the host: programs leave no core, which a
// program of the host may be told to take, and are the first to go when memory is short.
func quiet() error {
	// The one limit at which a core is not piped either, see core(5).
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0); err != nil {
		return fmt.Errorf("be first to go when memory is short: %w", err)
	}
	return nil
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
