package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Script is one run of a package's maintainer script, as dpkg started it.
type Script struct {
	Package string   `json:"package"`
	Name    string   `json:"name"` // preinst, postinst, prerm or postrm
	Args    []string `json:"args"` // such as configure, or triggered and what was
	// Start and End are marks, in nanoseconds: a file whose ctime is after Start
	// and not after End was last changed by the script, or by a process that
	// came from it.
	Start int64 `json:"start"`
	End   int64 `json:"end"`
	// Folders are those, relative to the root, that the script made or whose
	// mode or owner it changed; what is put into a folder changes its ctime, too.
	Folders []string `json:"folders,omitempty"`
	// Ended is how many processes the script left behind, which were ended.
	Ended int `json:"ended,omitempty"`
}

// grace is how long processes that a script leaves behind may go on while dpkg
// is held: it must not run the next script beside them.
const grace = 5 * time.Second

// tracer follows dpkg, and what leads to it, by ptrace(2), and of a script its
// main process alone. What that starts is not followed, for that would slow it
// down; it is whatever is alive in the sandbox and not followed.
type tracer struct {
	out     *json.Encoder
	last    Mark
	folders folders

	threads map[int]bool       // that are followed
	fresh   map[int]bool       // born, their first stop still to come
	early   map[int]bool       // stopped before their birth was told
	held    map[int]*scriptRun // parents that are to stop until a script is over
	run     *scriptRun         // the script at work
	waiting []int              // stopped at a script's start until that one is over
}

type scriptRun struct {
	Script
	main, parent int
	tracer       int  // the thread that follows dpkg
	exiting      bool // main is at its end, or gone
	over         bool
	stopped      bool // the parent is
	timer        *time.Timer
	late         atomic.Bool // the grace is over
	ended        atomic.Int32
}

// traceUntil starts and follows a program, its scripts told to out, until it
// ends, and returns its exit code. The calling thread must be locked.
func traceUntil(pid int, out io.Writer) (int, error) {
	t := &tracer{
		out: json.NewEncoder(out), folders: folders{}, threads: map[int]bool{pid: true}, fresh: map[int]bool{}, early: map[int]bool{}, held: map[int]*scriptRun{},
	}
	var err error
	if t.last, err = NewMark(); err != nil {
		return 0, err
	}
	if _, err := t.folders.changed(); err != nil {
		return 0, err
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &ws, syscall.WALL, nil); err != nil || !ws.Stopped() {
		return 0, fmt.Errorf("follow the program: it did not stop at its start (%w)", err)
	}
	const options = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(pid, options); err != nil {
		return 0, fmt.Errorf("follow the program: %w", err)
	}
	if err := resume(pid, 0); err != nil {
		return 0, err
	}
	for {
		got, err := syscall.Wait4(-1, &ws, syscall.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("follow the program: %w", err)
		}
		if ws.Exited() || ws.Signaled() {
			if err := t.gone(got); err != nil {
				return 0, err
			}
			if got != pid {
				continue
			}
			if ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return ws.ExitStatus(), nil
		}
		if err := t.stop(got, ws); err != nil {
			return 0, err
		}
	}
}

// resume lets a stopped thread go on. One that was killed meanwhile is no error.
func resume(pid int, signal syscall.Signal) error {
	if err := syscall.PtraceCont(pid, int(signal)); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("follow process %d: %w", pid, err)
	}
	return nil
}

func (t *tracer) stop(pid int, ws syscall.WaitStatus) error {
	sig := ws.StopSignal()
	if !t.threads[pid] {
		t.early[pid] = true // its parent's own stop is about to tell of it
		return nil
	}
	switch ws.TrapCause() {
	case unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK, unix.PTRACE_EVENT_CLONE:
		child, err := syscall.PtraceGetEventMsg(pid)
		if err != nil {
			return resume(pid, 0) // killed
		}
		if err := t.born(int(child)); err != nil {
			return err
		}
		return resume(pid, 0)
	case unix.PTRACE_EVENT_EXEC:
		return t.executes(pid)
	case unix.PTRACE_EVENT_EXIT:
		if err := t.exiting(pid); err != nil {
			return err
		}
		return resume(pid, 0)
	}
	switch {
	case sig == syscall.SIGSTOP && t.fresh[pid]:
		delete(t.fresh, pid)
		return resume(pid, 0)
	case sig == syscall.SIGSTOP && t.held[pid] != nil:
		run := t.held[pid]
		if !run.over {
			run.stopped = true
			return nil
		}
		delete(t.held, pid)
		return resume(pid, 0)
	case sig == syscall.SIGTRAP:
		return resume(pid, 0)
	}
	return resume(pid, sig)
}

func (t *tracer) born(pid int) error {
	t.threads[pid] = true
	if !t.early[pid] {
		t.fresh[pid] = true
		return nil
	}
	delete(t.early, pid)
	return resume(pid, 0)
}

// executes is called while a process stands at the start of a program.
func (t *tracer) executes(pid int) error {
	s, ok := scriptOf(pid)
	switch {
	case !ok:
	case t.run != nil: // another dpkg's; what is not followed can be one script's only
		t.waiting = append(t.waiting, pid)
		return nil
	default:
		if err := t.begin(pid, s); err != nil {
			return err
		}
	}
	return resume(pid, 0)
}

// scriptOf tells whether a process has just become a maintainer script: dpkg
// says so in its environment.
func scriptOf(pid int) (s Script, ok bool) {
	environ, err := procList(pid, "environ")
	if err != nil {
		return s, false // it was killed
	}
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, "DPKG_MAINTSCRIPT_") {
			env[k] = v
		}
	}
	s = Script{Package: env["DPKG_MAINTSCRIPT_PACKAGE"], Name: env["DPKG_MAINTSCRIPT_NAME"], Args: []string{}}
	if s.Package == "" || s.Name == "" {
		return s, false
	}
	args, err := procList(pid, "cmdline")
	if err != nil {
		return s, false
	}
	for i, a := range args {
		if base := path.Base(a); base == s.Name || strings.HasSuffix(base, "."+s.Name) {
			s.Args = args[i+1:]
			break
		}
	}
	return s, true
}

func (t *tracer) begin(pid int, s Script) error {
	// What it starts from here on is born without being followed.
	if err := syscall.PtraceSetOptions(pid, unix.PTRACE_O_TRACEEXIT|unix.PTRACE_O_EXITKILL); errors.Is(err, syscall.ESRCH) {
		return nil // it was killed
	} else if err != nil {
		return fmt.Errorf("follow process %d: %w", pid, err)
	}
	if _, err := t.folders.changed(); err != nil { // by dpkg
		return err
	}
	mark, err := t.mark()
	if err != nil {
		return err
	}
	s.Start = mark.At.UnixNano()
	t.run = &scriptRun{Script: s, main: pid, parent: processOf(pid).parent, tracer: unix.Gettid()}
	return nil
}

func (t *tracer) mark() (Mark, error) {
	m, err := NewMark()
	if err == nil {
		err = m.Since(t.last)
	}
	t.last = m
	return m, err
}

// exiting is called while a script's main thread stands at its end, having run its
// last instruction. Where it ends before others of the script, dpkg is stopped
// until those are gone.
func (t *tracer) exiting(pid int) error {
	run := t.run
	if run == nil || run.main != pid || run.exiting {
		return nil
	}
	run.exiting = true
	left, err := run.left()
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return t.end()
	}
	if run.parent > 1 && unix.Kill(run.parent, unix.SIGSTOP) == nil {
		t.held[run.parent] = run
	}
	run.timer = time.AfterFunc(grace, func() {
		run.late.Store(true)
		if left, err := run.left(); err == nil { // else the next end of a process is looked at
			run.kill(left)
		}
	})
	return nil
}

func (r *scriptRun) kill(processes []int) {
	for _, pid := range processes {
		if unix.Kill(pid, unix.SIGKILL) == nil {
			r.ended.Add(1)
		}
	}
}

func (t *tracer) gone(pid int) error {
	delete(t.threads, pid)
	delete(t.fresh, pid)
	delete(t.early, pid)
	run := t.run
	if run == nil {
		return nil
	}
	run.exiting = run.exiting || run.main == pid
	if !run.exiting {
		return nil
	}
	left, err := run.left()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		if run.late.Load() {
			run.kill(left)
		}
		return nil
	}
	return t.end()
}

// end tells of the script at work, which is over, and lets go who waits for that.
func (t *tracer) end() error {
	run := t.run
	mark, err := t.mark()
	if err != nil {
		return err
	}
	if run.Folders, err = t.folders.changed(); err != nil {
		return err
	}
	if run.timer != nil {
		run.timer.Stop()
	}
	run.over, run.End, run.Ended = true, mark.At.UnixNano(), int(run.ended.Load())
	if err := t.out.Encode(run.Script); err != nil {
		return err
	}
	t.run = nil
	if run.stopped {
		delete(t.held, run.parent)
		if err := resume(run.parent, 0); err != nil {
			return err
		}
	}
	if len(t.waiting) == 0 {
		return nil
	}
	next := t.waiting[0]
	t.waiting = t.waiting[1:]
	return t.executes(next)
}

// left returns the processes of the script that are alive, but for its main one,
// unless that has other threads.
func (r *scriptRun) left() ([]int, error) {
	for {
		before, err := lastBorn()
		if err != nil {
			return nil, err
		}
		var left []int
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || pid == os.Getpid() {
				continue
			}
			p := processOf(pid)
			alive := p.threads > 1 || p.threads == 1 && p.state != "Z" && p.state != "X"
			if alive && (p.tracer != r.tracer || pid == r.main && p.threads > 1) {
				left = append(left, pid)
			}
		}
		// One that was born meanwhile may have been missed.
		if after, err := lastBorn(); err != nil || after == before || len(left) > 0 {
			return left, err
		}
	}
}

// lastBorn is the number of the process that was started last, see proc(5).
func lastBorn() (string, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(b))
	return fields[len(fields)-1], nil
}

// process is what proc(5) has of one in its status; nothing where it is gone.
type process struct {
	state   string
	parent  int
	tracer  int // the thread that follows it, 0 for none
	threads int
}

func processOf(pid int) (p process) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return p
	}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		v = strings.TrimSpace(v)
		n, _ := strconv.Atoi(v) // where it is a number
		switch k {
		case "State":
			p.state = v[:min(1, len(v))]
		case "PPid":
			p.parent = n
		case "TracerPid":
			p.tracer = n
		case "Threads":
			p.threads = n
		}
	}
	return p
}

// procList reads a file of /proc that holds strings, each ended by a NUL.
func procList(pid int, name string) ([]string, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/" + name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00"), nil
}
