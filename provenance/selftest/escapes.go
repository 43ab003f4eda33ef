package selftest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/sandbox"
)

// ways are ways out of a sandbox, each nil where it is open. What they would change of the
// host they leave as it is.
var ways = map[string]func() error{
	"write to /proc/sys/kernel/core_pattern": func() error { return opened("/proc/sys/kernel/core_pattern", os.O_WRONLY) },
	"write to /proc/sysrq-trigger":           func() error { return opened("/proc/sysrq-trigger", os.O_WRONLY) },
	"write to the first process":             func() error { return opened("/proc/1/mem", os.O_WRONLY) },
	"the first process's root":               func() error { return opened("/proc/1/root/usr", os.O_RDONLY) },
	"read /proc/kcore":                       func() error { return read("/proc/kcore") },
	"read /proc/keys":                        func() error { return read("/proc/keys") },
	"follow the first process":               func() error { return unix.PtraceAttach(1) },
	"mount":                                  func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") },
	"uncover /proc/sys":                      func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) },
	"another root":                           func() error { return beyond(unix.PivotRoot("/", "/")) },
	"a user namespace":                       func() error { return unix.Unshare(unix.CLONE_NEWUSER | unix.CLONE_FS) },
	"another namespace":                      func() error { return beyond(unix.Setns(-1, unix.CLONE_NEWNET)) },
	"set the clock":                          setClock,
	"set the host name":                      func() error { return unix.Sethostname([]byte(sandbox.Hostname)) },
	"make a device":                          func() error { return unix.Mknod("/tmp/memory", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))) },
	"the keyring":                            func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true); return err },
	"load a module":                          func() error { return beyond(unix.FinitModule(-1, "", 0)) },
	"load a kernel":                          func() error { return beyond(unix.KexecFileLoad(-1, -1, "", 0)) },
	"files by handle":                        func() error { _, err := unix.OpenByHandleAt(-1, unix.NewFileHandle(1, nil), 0); return beyond(err) },
	"the machine's own host":                 func() error { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); return err },
}

// escapes names the ways that are open.
func escapes() []string {
	var open []string
	for name, try := range ways {
		if try() == nil {
			open = append(open, name)
		}
	}
	slices.Sort(open)
	return open
}

// beyond is nil where a call got further than to be refused.
func beyond(err error) error {
	if errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

func opened(name string, how int) error {
	f, err := os.OpenFile(name, how, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	_, err = f.Read(make([]byte, 1))
	return errors.Join(err, f.Close())
}

func setClock() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
}

func noEscape(ctx context.Context, b *bench) error {
	s, err := probe(ctx, b, sandbox.Limits{})
	if err != nil {
		return err
	}
	if len(s.Escapes) > 0 {
		return fmt.Errorf("it can: %s", strings.Join(s.Escapes, ", "))
	}
	if s.Tried != len(ways) {
		return fmt.Errorf("%d ways out were tried, of %d", s.Tried, len(ways))
	}
	return nil
}

func limited(ctx context.Context, b *bench) error {
	for what, l := range map[string]sandbox.Limits{"output": {Output: 1}, "time": {Time: 1}} {
		if _, err := probe(ctx, b, l); !errors.Is(err, sandbox.ErrLimit) {
			return fmt.Errorf("over its limit of %s it was not ended (%v)", what, err)
		}
	}
	return nil
}
