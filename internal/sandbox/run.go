package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Hostname is the name of every sandbox.
const Hostname = "isotrace"

// fixedEnv is the whole environment but for Spec.Env.
var fixedEnv = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
	"LC_ALL=C.UTF-8", "LANG=C.UTF-8", "TZ=UTC", "TERM=dumb",
}

// ExitError is a program's exit status that is not zero.
type ExitError struct {
	Program string
	Code    int // 128+n for signal n
	// Last is the end of what the program wrote to standard error.
	Last string
	// Cause is unix.ENOSPC where the program had no room left to write to, which
	// its status does not tell; else nil.
	Cause error
}

func (e *ExitError) Unwrap() error { return e.Cause }

func (e *ExitError) Error() string {
	msg := fmt.Sprintf("%s: exit status %d", e.Program, e.Code)
	if e.Last != "" {
		msg += ": " + e.Last
	}
	if e.Cause != nil {
		msg = fmt.Sprintf("%v (%s)", e.Cause, msg)
	}
	return msg
}

// Run runs the program of spec in a sandbox: mount, process, uts, ipc, cgroup
// and network namespaces of its own, no network, a fixed environment and
// hostname, umask 022, no device but the harmless ones, the capabilities that
// package installation needs and no way to more, a filter of system calls, and
// limits. When the program ends, when it is over a limit, when ctx ends or when
// isotrace dies, everything inside is killed and every mount is gone. The calling process must have gone through Enter.
func Run(ctx context.Context, spec Spec) error {
	if len(spec.Argv) == 0 {
		return errors.New("run in a sandbox: no program named")
	}
	spec, err := spec.absolute()
	if err != nil {
		return err
	}
	limits := spec.Limits.or(DefaultLimits())
	spec.Limits = limits
	ctx, stop := context.WithTimeoutCause(ctx, limits.Time, overLimit("time", "it ran for more than %s", limits.Time))
	defer stop()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	runtime.LockOSThread() // the parent-death signal is tied to this thread
	defer runtime.UnlockOSThread()

	specR, specW, err := os.Pipe()
	if err != nil {
		return err
	}
	failR, failW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, specR.Close(), specW.Close())
	}
	defer func() { _ = failR.Close() }() // read to its end below
	scriptsR, scriptsW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, specR.Close(), specW.Close(), failW.Close())
	}
	told := make(chan error, 1)
	go func() { told <- errors.Join(readScripts(scriptsR, spec.Scripts), scriptsR.Close()) }()

	var both sync.Mutex // Stdout and Stderr may be one writer
	last := &tail{mu: &both, next: spec.Stderr}
	cmd := exec.CommandContext(ctx, selfPath)
	cmd.Args = []string{argInit}
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdin = spec.Stdin
	if cmd.Stdin == nil {
		cmd.Stdin = strings.NewReader("") // a nil Stdin would need the host's /dev/null
	}
	said := &meter{left: limits.Output, over: func() { end(overLimit("output", "it wrote more than %d bytes of output", limits.Output)) }}
	cmd.Stdout, cmd.Stderr = metered{said, &locked{mu: &both, next: spec.Stdout}}, metered{said, last}
	cmd.ExtraFiles = []*os.File{specR, failW, scriptsW}
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	order, err := json.Marshal(orderOf(spec))
	if err != nil {
		return errors.Join(err, specR.Close(), specW.Close(), failW.Close(), scriptsW.Close(), <-told)
	}
	program := filepath.Base(spec.Argv[0])
	if err := cmd.Start(); err != nil {
		err = explainNamespaces(err)
		if ctx.Err() != nil {
			err = fmt.Errorf("%s: %w", program, context.Cause(ctx))
		}
		return errors.Join(err, specR.Close(), specW.Close(), failW.Close(), scriptsW.Close(), <-told)
	}
	err = errors.Join(specR.Close(), failW.Close(), scriptsW.Close())
	_, werr := specW.Write(order)
	err = errors.Join(err, werr, specW.Close())
	var setup bytes.Buffer
	_, rerr := setup.ReadFrom(failR)
	err = errors.Join(err, rerr)

	exit := cmd.Wait()
	err = errors.Join(err, <-told)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", program, context.Cause(ctx))
	case limits.told(setup.String()) != nil:
		return fmt.Errorf("%s: %w", program, limits.told(setup.String()))
	case setup.Len() > 0:
		if strings.Contains(setup.String(), ErrClock.Error()) { // it comes from another process
			return fmt.Errorf("run %s: %w", program, ErrClock)
		}
		return fmt.Errorf("set up the sandbox for %s: %s", program, setup.String())
	case err != nil:
		return fmt.Errorf("start the sandbox for %s: %w", program, err)
	}
	if e, ok := errors.AsType[*exec.ExitError](exit); ok {
		code := e.ExitCode()
		if ws := e.Sys().(syscall.WaitStatus); ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		return &ExitError{Program: program, Code: code, Last: last.line(), Cause: noRoom(spec, last)}
	}
	return exit
}

// readScripts passes on what the sandbox's first process tells of scripts.
func readScripts(r io.Reader, tell func(Script)) error {
	dec := json.NewDecoder(r)
	for {
		var s Script
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("what the sandbox tells of scripts: %w", err)
		}
		tell(s)
	}
}

// noRoom returns unix.ENOSPC where the program said so, untranslated, or where
// next to nothing is left of what it could write to: programs give some room
// back when they fail.
func noRoom(spec Spec, last *tail) error {
	const nextToNothing = 16 << 20                                                             // bytes
	for _, words := range []string{"No space left on device", "exceeds free space on media"} { // the latter are xorriso's
		if bytes.Contains(last.buf, []byte(words)) {
			return unix.ENOSPC
		}
	}
	places := []string{spec.Temp}
	if spec.Writable {
		places = append(places, spec.Root)
	}
	for _, b := range spec.Binds {
		if b.Writable {
			places = append(places, b.Source)
		}
	}
	for _, dir := range places {
		var st unix.Statfs_t
		if dir != "" && unix.Statfs(dir, &st) == nil && int64(st.Bavail)*st.Bsize < nextToNothing {
			return unix.ENOSPC
		}
	}
	return nil
}

// order is what the sandbox's first process is told.
type order struct {
	Root     string
	Writable bool
	Binds    []Bind
	Temp     string
	Devices  []string
	Argv     []string
	Env      []string
	Dir      string
	Follow   bool // by ptrace
	Nice     int
	Limits   Limits
}

func orderOf(s Spec) order {
	dir := s.Dir
	if dir == "" {
		dir = "/"
	}
	env := slices.Clone(fixedEnv)
	for _, v := range s.Env {
		name, _, _ := strings.Cut(v, "=")
		env = append(slices.DeleteFunc(env, func(had string) bool { return strings.HasPrefix(had, name+"=") }), v)
	}
	return order{Root: s.Root, Writable: s.Writable, Binds: s.Binds, Temp: s.Temp, Devices: s.Devices, Argv: s.Argv, Env: env, Dir: dir, Follow: s.Scripts != nil, Nice: s.Nice, Limits: s.Limits}
}

// absolute makes the paths of the host absolute: the sandbox's first process
// stands in another folder.
func (s Spec) absolute() (Spec, error) {
	var err error
	if s.Root, err = filepath.Abs(s.Root); err != nil {
		return s, err
	}
	if s.Temp != "" {
		if s.Temp, err = filepath.Abs(s.Temp); err != nil {
			return s, err
		}
	}
	s.Binds = slices.Clone(s.Binds)
	for i := range s.Binds {
		if s.Binds[i].Source, err = filepath.Abs(s.Binds[i].Source); err != nil {
			return s, err
		}
	}
	return s, nil
}

// locked passes on what it is given, one write at a time.
type locked struct {
	mu   *sync.Mutex
	next io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == nil {
		return len(p), nil
	}
	return l.next.Write(p)
}

// tail does the same and keeps the end of it.
type tail struct {
	mu   *sync.Mutex
	next io.Writer
	buf  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const keep = 4096
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > keep {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-keep:]...)
	}
	if t.next != nil {
		return t.next.Write(p)
	}
	return len(p), nil
}

// line returns the last line that says something.
func (t *tail) line() string {
	lines := strings.Split(strings.TrimSpace(string(t.buf)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
