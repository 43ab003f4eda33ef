package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/fault"
)

// Limits bound what a program, with all that comes from it, may take of the host. They
// end it, with an error, or change nothing: they are no part of what is built. What is 0
// has the value of DefaultLimits.
type Limits struct {
	Processes int           // that there are at once, threads counted
	Memory    int64         // in bytes, of all together, their files in memory included
	Time      time.Duration // from start to end
	Output    int64         // in bytes, to standard output and standard error together
}

// DefaultLimits is more than any package is known to need, and less than what brings a
// host down: of memory, three quarters of what the host has.
func DefaultLimits() Limits {
	l := Limits{Processes: 4096, Memory: 1 << 30, Time: 6 * time.Hour, Output: 256 << 20}
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err == nil {
		l.Memory = max(l.Memory, int64(host.Totalram*uint64(host.Unit)/4*3))
	}
	return l
}

// or fills in what is left out.
func (l Limits) or(d Limits) Limits {
	if l.Processes == 0 {
		l.Processes = d.Processes
	}
	if l.Memory == 0 {
		l.Memory = d.Memory
	}
	if l.Time == 0 {
		l.Time = d.Time
	}
	if l.Output == 0 {
		l.Output = d.Output
	}
	return l
}

// ErrLimit is wrapped by the error of a program that was ended because of a limit.
var ErrLimit = errors.New("ended")

// overLimit is the error of a limit of that name in the config.
func overLimit(name, format string, args ...any) error {
	return fault.New(fault.Failed, "where that is right, raise "+name+" under limits in isotrace.yaml", "%w: %s", ErrLimit, fmt.Sprintf(format, args...))
}

// The words in which a sandbox's first process tells of a limit.
const (
	tellProcesses = "over the limit of processes"
	tellMemory    = "over the limit of memory"
)

// told is the error of what a sandbox's first process told, nil where that is no limit.
func (l Limits) told(text string) error {
	switch { // it may have been told twice
	case strings.HasPrefix(text, tellProcesses):
		return overLimit("processes", "it had more than %d processes at once", l.Processes)
	case strings.HasPrefix(text, tellMemory):
		return overLimit("memory", "it had more than %d MiB of memory", l.Memory>>20)
	}
	return nil
}

// meter bounds what is written to it. What is beyond is thrown away.
type meter struct {
	mu   sync.Mutex
	left int64
	over func()
}

// take counts what is about to be written, and returns how much of it may be.
func (m *meter) take(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	may := int(min(int64(n), m.left))
	m.left -= int64(may)
	if may < n {
		m.over()
	}
	return may
}

// metered passes on what its meter allows.
type metered struct {
	meter *meter
	next  io.Writer
}

func (w metered) Write(p []byte) (int, error) {
	if may := w.meter.take(len(p)); may > 0 {
		if n, err := w.next.Write(p[:may]); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// slowDown has the kernel refuse to make far more processes than are allowed, so that there
// are not too many of them before watch has seen it, until restore is called: this process
// has to stay able to make threads. The kernel counts all of the user's in the user
// namespace, those of other sandboxes, too, hence the slack.
func slowDown(l Limits) (restore func() error, err error) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &was); err != nil {
		return nil, fmt.Errorf("bound the processes: %w", err)
	}
	bounded := was
	bounded.Cur = min(was.Max, 2*uint64(l.Processes)+512)
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &bounded); err != nil {
		return nil, fmt.Errorf("bound the processes: %w", err)
	}
	return func() error { return unix.Setrlimit(unix.RLIMIT_NPROC, &was) }, nil
}

// How often a sandbox's first process looks at all others, and how often it asks whether
// there are so many new ones that it should look at once: what makes processes as fast as it
// can is past any limit, and at its end by itself, in less than the first.
const (
	every  = 200 * time.Millisecond
	glance = 20 * time.Millisecond
)

// watch ends the sandbox, saying so, when its processes are over a limit. It is for a
// goroutine of process 1, with whose end all others are killed. loads is /proc/loadavg.
func watch(l Limits, inMemory []*os.File, loads *os.File, say io.Writer) {
	// A thread of its own, from the start: while processes multiply there may be no new one.
	runtime.LockOSThread()
	looked, last := time.Now(), newest(loads)
	for {
		time.Sleep(glance)
		now := newest(loads)
		if made := now - last; 0 <= made && made < l.Processes/4 && time.Since(looked) < every {
			continue
		}
		if what := exceeded(l, inMemory); what != "" {
			_, _ = io.WriteString(say, what) // whoever reads it may be gone
			os.Exit(1)
		}
		looked, last = time.Now(), now
	}
}

// newest is the id of the process that was made last, of those in the sandbox; 0 where it
// cannot be read. Ids grow by one with each, until they start anew.
func newest(loads *os.File) int {
	text := make([]byte, 128)
	n, err := loads.ReadAt(text, 0)
	if err != nil && err != io.EOF {
		return 0
	}
	line := strings.Fields(string(text[:n]))
	if len(line) == 0 {
		return 0
	}
	pid, err := strconv.Atoi(line[len(line)-1])
	if err != nil {
		return 0
	}
	return pid
}

// openInMemory opens the sandbox's own file systems that are in memory, before a program
// can put others in their place.
func openInMemory(o order) (open []*os.File, err error) {
	names := []string{"/dev/shm", "/run"}
	if o.Temp == "" { // else it is the host's
		names = append(names, "/tmp")
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		open = append(open, f)
	}
	return open, nil
}

// exceeded names the limit that all processes but this one are over, or is "". inMemory
// are the sandbox's own file systems that are in memory.
func exceeded(l Limits, inMemory []*os.File) string {
	pids, err := processes()
	if err != nil {
		return ""
	}
	if len(pids) > l.Processes {
		return tellProcesses
	}
	files := filesInMemory(inMemory)
	threads, bytes := 0, files
	for _, pid := range pids {
		u := usageOf(pid)
		threads += u.threads
		bytes += u.memory
	}
	if threads > l.Processes {
		return tellProcesses
	}
	if bytes <= l.Memory {
		return ""
	}
	// What processes share was counted for each of them; now only their parts of it are.
	bytes = files
	for _, pid := range pids {
		bytes += shareOf(pid)
	}
	if bytes > l.Memory {
		return tellMemory
	}
	return ""
}

// processes lists those of the sandbox but for the first.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(names))
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

type usage struct {
	threads int
	memory  int64 // bytes that no file stands for
}

// usageOf reads what a process takes; nothing where it is gone.
func usageOf(pid int) (u usage) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return u
	}
	for line := range bytes.Lines(b) {
		switch k, v, _ := bytes.Cut(line, []byte(":")); string(k) {
		case "RssAnon", "VmSwap":
			u.memory += kibibytes(string(v))
		case "Threads":
			u.threads, _ = strconv.Atoi(string(bytes.TrimSpace(v))) // it is a number
		}
	}
	return u
}

// shareOf is a process's part of the memory that no file stands for, in bytes: of what
// several have, each has its part.
func shareOf(pid int) (n int64) {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if k, v, _ := strings.Cut(lines.Text(), ":"); k == "Pss_Anon" || k == "SwapPss" {
			n += kibibytes(v)
		}
	}
	return n
}

func kibibytes(v string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// filesInMemory is what these file systems hold, in bytes.
func filesInMemory(dirs []*os.File) (n int64) {
	for _, dir := range dirs {
		var st unix.Statfs_t
		if unix.Fstatfs(int(dir.Fd()), &st) == nil {
			n += int64(st.Blocks-st.Bfree) * st.Bsize
		}
	}
	return n
}
