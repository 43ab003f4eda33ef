package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/fault"
)

// The names under which this binary starts itself again.
const (
	argMapped = "isotrace-mapped" // waits for its user namespace's maps
	argInit   = "isotrace-init"   // process 1 of a sandbox
)

// entered marks the environment of a process that Enter has started.
const entered = "ISOTRACE_ENTERED"

// unshielded hands on why there is no user namespace.
const unshielded = "ISOTRACE_UNSHIELDED"

// self hands the program's own file on to the processes that it starts.
const self = "ISOTRACE_SELF"

// selfPath is taken before anything can change the working folder. /proc may
// be missing in a bare root, hence the other ways.
var selfPath = func() string {
	if p, err := os.Executable(); err == nil {
		return p
	}
	if p := os.Getenv(self); p != "" {
		return p
	}
	p, err := exec.LookPath(os.Args[0])
	if err != nil {
		return ""
	}
	p, err = filepath.Abs(p)
	if err != nil {
		return ""
	}
	return p
}()

// init does the work of a process that is one of this package's helpers, and never
// returns there. It does not wait for main: what the packages of the whole program
// set up for themselves before that takes longer than a helper's own work.
func init() {
	switch os.Args[0] {
	case argMapped:
		runtime.LockOSThread()
		fmt.Fprintln(os.Stderr, "isotrace: error:", awaitMaps())
		os.Exit(int(fault.Failed))
	case argInit:
		// Not in the first thread, which whoever has lost his parent can ask to follow
		// him: by the number of the thread these are told from those that it does follow.
		go func() {
			runtime.LockOSThread()
			os.Exit(initMain())
		}()
		select {}
	}
}

// Enter makes sure that the process may mount and chown, and is nobody outside: it runs
// the program again in a mount namespace of its own and in a user namespace, with an
// ordinary user's subordinate ids, or with ids that are nobody's where root calls. It
// returns true in that second process. In the first it waits for the second and returns
// its exit code.
//
// Where the host cannot show root its file systems in a user namespace, root gets the
// mount namespace alone, and Shield says why in the second process.
func Enter() (inside bool, code int, err error) { return enterAs(true) }

// EnterUnshifted is Enter for what handles files of any owner and starts no program: root
// stays the host's root.
func EnterUnshifted() (inside bool, code int, err error) { return enterAs(false) }

// Shield says in which way the process that Enter started is kept from the host. namespaced
// tells that it is in a user namespace that is not the host's; where it is not, why says
// what is in the way.
func Shield() (namespaced bool, why string) { return shield.namespaced, shield.why }

// notAsked is what Shield says after EnterUnshifted.
const notAsked = "it was not asked for"

var shield struct {
	namespaced bool
	why        string
}

func enterAs(shift bool) (inside bool, code int, err error) {
	if os.Getenv(entered) == strconv.Itoa(os.Getppid()) {
		shield.why = os.Getenv(unshielded)
		shield.namespaced = shield.why == ""
		if err := errors.Join(os.Unsetenv(entered), os.Unsetenv(self), os.Unsetenv(unshielded)); err != nil {
			return false, 0, err
		}
		if err := dieWithParent(); err != nil {
			return false, 0, err
		}
		unix.Umask(0o022) // the caller's must not show
		if err := unix.Setgroups(nil); err != nil {
			return false, 0, fmt.Errorf("drop groups: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil && !errors.Is(err, unix.EINVAL) {
			return false, 0, fmt.Errorf("make mounts private: %w", err)
		}
		return true, 0, nil
	}
	if selfPath == "" {
		return false, 0, fault.New(fault.Failed, "start isotrace by its full path, or mount /proc", "find the program's own file")
	}
	if !privileged() {
		code, err = enterAsUser()
		return false, code, err
	}
	why := notAsked
	if !realRoot() {
		why = "" // there is one already
	} else if shift {
		code, refusal, err := enterAsRoot()
		if refusal == nil {
			return false, code, err
		}
		why = refusal.Error()
	}
	code, err = enterWith(command(why), nil)
	return false, code, err
}

// command is the program again, in a mount namespace of its own; why says what is in the
// way of a user namespace.
func command(why string) *exec.Cmd {
	cmd := &exec.Cmd{
		Path: selfPath, Args: append([]string{"isotrace"}, os.Args[1:]...),
		Env:   append(os.Environ(), entered+"="+strconv.Itoa(os.Getpid()), self+"="+selfPath),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL},
	}
	if why != "" {
		cmd.Env = append(cmd.Env, unshielded+"="+why)
	}
	return cmd
}

// enterAsRoot starts the program in a user namespace to which the host's file systems are
// shown with their ids shifted. refusal says why that could not be, before anything ran.
func enterAsRoot() (code int, refusal, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread, which ends here, has another root than the others.
		runtime.LockOSThread()
		uids, gids := rootRanges()
		if refusal = shiftHost(uids, gids, namedPlaces()); refusal != nil {
			return
		}
		cmd := command("")
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = uids, gids
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
		cmd.SysProcAttr.Credential = &syscall.Credential{}
		code, err = enterWith(cmd, nil)
	}()
	<-done
	return code, refusal, err
}

// enterAsUser starts the program in a user namespace with the user's subordinate ids.
func enterAsUser() (code int, err error) {
	maps, err := subordinateIDs()
	if err != nil {
		return 0, err
	}
	ready, release, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closeOnce(release)) }()
	cmd := command("")
	cmd.Args[0] = argMapped
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
	return enterWith(cmd, func() error {
		if err := errors.Join(ready.Close(), maps.write(cmd.Process.Pid)); err != nil {
			return err
		}
		if _, err := release.Write([]byte{1}); err != nil {
			return err
		}
		return closeOnce(release)
	})
}

// enterWith starts the program again, calls started, passes signals on and waits.
func enterWith(cmd *exec.Cmd, started func() error) (code int, err error) {
	// The parent-death signal is tied to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	// A terminal sends its signals to the child too; others are passed on.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, explainNamespaces(err)
	}
	if started != nil {
		if err := started(); err != nil {
			return 0, errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()))
		}
	}
	done := make(chan struct{})
	go func() {
		for n := 1; ; n++ {
			select {
			case s := <-signals:
				if n > 1 && s == syscall.SIGHUP {
					continue // of a terminal that goes, several come
				}
				if n > 1 { // the first has not ended it: now the kernel does
					_ = cmd.Process.Kill() // it may have ended already
					continue
				}
				if s != syscall.SIGINT && s != syscall.SIGQUIT {
					_ = cmd.Process.Signal(s) // it may have ended already
				} else if n, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err != nil || n != unix.Getpgrp() {
					_ = cmd.Process.Signal(s) // no terminal has told it
				}
			case <-done:
				return
			}
		}
	}()
	werr := cmd.Wait()
	close(done)
	if exit, ok := errors.AsType[*exec.ExitError](werr); ok {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, werr
}

// awaitMaps waits until the ids are mapped and starts the program itself: an
// execve by user 0 of the namespace is what gives it all capabilities there.
func awaitMaps() error {
	if err := dieWithParent(); err != nil {
		return err
	}
	pipe := os.NewFile(3, "maps")
	if n, err := pipe.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("wait for the user namespace's maps: %w", err)
	}
	if err := pipe.Close(); err != nil {
		return err
	}
	if err := unix.Setresgid(0, 0, 0); err != nil {
		return fmt.Errorf("become group 0 of the user namespace: %w", err)
	}
	if err := unix.Setresuid(0, 0, 0); err != nil {
		return fmt.Errorf("become user 0 of the user namespace: %w", err)
	}
	return unix.Exec(selfPath, append([]string{"isotrace"}, os.Args[1:]...), os.Environ())
}

func dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask for a parent-death signal: %w", err)
	}
	return nil
}

// privileged tells whether the process may mount without a user namespace.
func privileged() bool {
	if os.Geteuid() != 0 {
		return false
	}
	var hdr = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// idMaps are the arguments of newuidmap and newgidmap after the process id.
type idMaps struct{ uid, gid []string }

// mappedIDs is how many ids a root tree may use: 0 to 65535.
const mappedIDs = 65536

func subordinateIDs() (idMaps, error) {
	uid, gid := os.Getuid(), os.Getgid()
	name := ""
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		name = u.Username
	}
	subuid, err := subordinateRange("/etc/subuid", name, uid, mappedIDs-1)
	if err != nil {
		return idMaps{}, err
	}
	subgid, err := subordinateRange("/etc/subgid", name, uid, mappedIDs-1)
	if err != nil {
		return idMaps{}, err
	}
	line := func(self, sub int) []string {
		return []string{"0", strconv.Itoa(self), "1", "1", strconv.Itoa(sub), strconv.Itoa(mappedIDs - 1)}
	}
	return idMaps{uid: line(uid, subuid), gid: line(gid, subgid)}, nil
}

// subordinateRange finds the first range of subuid(5) that has that many ids.
func subordinateRange(file, name string, uid, ids int) (int, error) {
	hint := fmt.Sprintf("add a line such as %s:100000:65536 to %s (or: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %[1]s)", orID(name, uid), file)
	f, err := os.Open(file)
	if err != nil {
		return 0, fault.New(fault.Failed, hint, "read the subordinate ids: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, fault.New(fault.Failed, hint, "read the subordinate ids: %w", err)
	}
	for line := range bytes.Lines(b) {
		p := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(p) != 3 || p[0] != strconv.Itoa(uid) && (name == "" || p[0] != name) {
			continue
		}
		start, err1 := strconv.Atoi(p[1])
		count, err2 := strconv.Atoi(p[2])
		if err1 == nil && err2 == nil && start > 0 && count >= ids {
			return start, nil
		}
	}
	return 0, fault.New(fault.Failed, hint, "%s: no range of %d ids for %s", file, ids, orID(name, uid))
}

func orID(name string, uid int) string {
	if name == "" {
		return strconv.Itoa(uid)
	}
	return name
}

// write maps the ids of process pid. newuidmap and newgidmap are the only
// programs of the host that isotrace runs: the kernel lets only privileged
// programs map more than one id.
func (m idMaps) write(pid int) error {
	for _, c := range []struct {
		name string
		args []string
	}{{"newuidmap", m.uid}, {"newgidmap", m.gid}} {
		path, err := exec.LookPath(c.name)
		if err != nil {
			return fault.New(fault.Failed, "install the package uidmap (shadow-utils elsewhere), or run as root", "%s: not found on this host", c.name)
		}
		cmd := exec.Command(path, append([]string{strconv.Itoa(pid)}, c.args...)...)
		cmd.Stdin = strings.NewReader("")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fault.New(fault.Failed, "run isotrace doctor", "%s: %w: %s", c.name, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// explainNamespaces says why the kernel refused a user or mount namespace.
func explainNamespaces(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fault.New(fault.Failed, "run isotrace doctor: user namespaces may be off, restricted by AppArmor, or impossible inside a chroot", "make namespaces: %w", err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return fault.New(fault.Failed, "raise user.max_user_namespaces (sysctl)", "make namespaces: %w", err)
	}
	return fmt.Errorf("start in new namespaces: %w", err)
}

func closeOnce(f *os.File) error {
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}
