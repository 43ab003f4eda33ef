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
	"sync"
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

// tracer follows every process of a sandbox from birth to end by ptrace(2). It
// stops dpkg and its scripts only at the scripts' two ends.
type tracer struct {
	out     *json.Encoder
	last    Mark
	folders folders

	mu    sync.Mutex         // guards of, for the end of the grace
	of    map[int]*scriptRun // all threads; nil outside of scripts
	fresh map[int]bool       // born, their first stop still to come
	early map[int]bool       // stopped before their birth was told
	held  map[int]*scriptRun // parents that are to stop until a script is over
}

type scriptRun struct {
	Script
	main, parent int
	alive        int // threads
	over         bool
	stopped      bool // the parent is
	timer        *time.Timer
}

// traceUntil starts and follows a program, its scripts told to out, until it
// ends, and returns its exit code. The calling thread must be locked.
func traceUntil(pid int, out io.Writer) (int, error) {
	t := &tracer{
		out: json.NewEncoder(out), folders: folders{}, of: map[int]*scriptRun{}, fresh: map[int]bool{}, early: map[int]bool{}, held: map[int]*scriptRun{},
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
	const options = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACEEXIT | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(pid, options); err != nil {
		return 0, fmt.Errorf("follow the program: %w", err)
	}
	t.of[pid] = nil
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
	t.mu.Lock()
	defer t.mu.Unlock()
	sig := ws.StopSignal()
	if _, known := t.of[pid]; !known {
		t.early[pid] = true // its parent's own stop is about to tell whose it is
		return nil
	}
	switch ws.TrapCause() {
	case unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK, unix.PTRACE_EVENT_CLONE:
		child, err := syscall.PtraceGetEventMsg(pid)
		if err != nil {
			return resume(pid, 0) // killed
		}
		if err := t.born(int(child), t.of[pid]); err != nil {
			return err
		}
		return resume(pid, 0)
	case unix.PTRACE_EVENT_EXEC:
		if t.of[pid] == nil {
			if err := t.begin(pid); err != nil {
				return err
			}
		}
		return resume(pid, 0)
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

func (t *tracer) born(pid int, run *scriptRun) error {
	t.of[pid] = run
	if run != nil {
		run.alive++
	}
	if !t.early[pid] {
		t.fresh[pid] = true
		return nil
	}
	delete(t.early, pid)
	return resume(pid, 0)
}

// begin finds out whether a process has just become a maintainer script: dpkg
// says so in its environment.
func (t *tracer) begin(pid int) error {
	environ, err := procList(pid, "environ")
	if err != nil {
		return nil // it was killed
	}
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, "DPKG_MAINTSCRIPT_") {
			env[k] = v
		}
	}
	s := Script{Package: env["DPKG_MAINTSCRIPT_PACKAGE"], Name: env["DPKG_MAINTSCRIPT_NAME"], Args: []string{}}
	if s.Package == "" || s.Name == "" {
		return nil
	}
	args, err := procList(pid, "cmdline")
	if err != nil {
		return nil
	}
	for i, a := range args {
		if base := path.Base(a); base == s.Name || strings.HasSuffix(base, "."+s.Name) {
			s.Args = args[i+1:]
			break
		}
	}
	if _, err := t.folders.changed(); err != nil { // by dpkg
		return err
	}
	mark, err := t.mark()
	if err != nil {
		return err
	}
	s.Start = mark.At.UnixNano()
	t.of[pid] = &scriptRun{Script: s, main: pid, parent: parentOf(pid), alive: 1}
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

// exiting is called while a thread stands at its end, having run its last
// instruction. Where a script's own process ends before others of the script,
// dpkg is stopped until those are gone.
func (t *tracer) exiting(pid int) error {
	run := t.of[pid]
	if run == nil || run.main != pid || run.over {
		return nil
	}
	if run.alive == 1 {
		return t.end(run)
	}
	if run.parent <= 1 || unix.Kill(run.parent, unix.SIGSTOP) != nil {
		return nil
	}
	t.held[run.parent] = run
	run.timer = time.AfterFunc(grace, func() { t.finish(run) })
	return nil
}

// finish ends what a script has left behind.
func (t *tracer) finish(run *scriptRun) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for pid, of := range t.of {
		if of == run && unix.Kill(pid, unix.SIGKILL) == nil {
			run.Ended++
		}
	}
}

func (t *tracer) gone(pid int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	run := t.of[pid]
	delete(t.of, pid)
	delete(t.fresh, pid)
	delete(t.early, pid)
	if run == nil {
		return nil
	}
	if run.alive--; run.alive > 0 || run.over {
		return nil
	}
	if err := t.end(run); err != nil {
		return err
	}
	if run.stopped {
		delete(t.held, run.parent)
		return resume(run.parent, 0)
	}
	return nil
}

func (t *tracer) end(run *scriptRun) error {
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
	run.over, run.End = true, mark.At.UnixNano()
	return t.out.Encode(run.Script)
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

func parentOf(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "PPid:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
