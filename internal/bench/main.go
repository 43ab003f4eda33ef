// Command bench measures the main jobs of isotrace: each several times, after
// one run that warms the caches, by the operating system's own account of the
// finished process and of all that it waited for.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/stage/stagetest"
)

// traceAndSBOM are the stages that say where the files came from and what they are.
var traceAndSBOM = []string{"contents", "debs", "trace", "catalogue", "sbom"}

// manyFiles is a script of a project: 104,000 files of some 4,000 sizes. (mksquashfs
// compares each file with all others of its size.)
const manyFiles = `#!/bin/sh
set -e
for d in $(seq 1000); do
	mkdir -p /opt/many/$d
	for f in $(seq 104); do printf "$d %$(((d * 104 + f) % 4000))d" $f >/opt/many/$d/$f; done
done
`

// job is one thing that is timed. prepare runs before each run and is not.
type job struct {
	name    string
	project string
	runs    int
	cold    bool // without a run before the first that counts
	args    []string
	prepare func() error
}

type sample struct {
	wall, user, system time.Duration
	resident           int64 // KiB, isotrace itself at its largest
}

func main() {
	binary := flag.String("binary", "build/isotrace", "the isotrace to measure")
	before := flag.String("before", "", "an older isotrace, to measure in turn with it, run by run")
	example := flag.String("example", "examples/rescue", "the project to build")
	out := flag.String("out", "build/bench.txt", "where the figures go")
	runs := flag.Int("runs", 5, "how often each job runs; a clean build runs less often")
	only := flag.String("jobs", "", "a regular expression of the names of the jobs, with those whose results they use; all where it is left out")
	flag.Parse()
	chosen, err := regexp.Compile(*only)
	if err == nil {
		err = run([]string{*binary, *before}, *example, *out, *runs, chosen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

// run measures the first of the binaries and, where it is named, the second in turn with it.
func run(binaries []string, example, out string, runs int, chosen *regexp.Regexp) (err error) {
	dir, err := os.MkdirTemp("", "isotrace-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if binaries[0] == "" {
		return errors.New("-binary names none")
	}
	var benches []*bench
	for i, binary := range binaries {
		if binary == "" {
			continue
		}
		if binary, err = filepath.Abs(binary); err != nil {
			return err
		}
		in := filepath.Join(dir, fmt.Sprint(i))
		b := &bench{
			binary: binary, dir: in,
			project: filepath.Join(in, "project"), many: filepath.Join(in, "many"), store: filepath.Join(in, "store"),
		}
		defer func() { // what the sandbox made may be others'
			_, gcErr := b.isotrace(dir, "store", "gc", "--unused", "0s")
			err = errors.Join(err, gcErr)
		}()
		if err := b.build(example); err != nil {
			return err
		}
		benches = append(benches, b)
	}
	text, err := table(benches, runs, chosen) // what was measured before an error, too
	fmt.Print(text)
	return errors.Join(err, os.WriteFile(out, []byte(text), 0o644))
}

// table measures the chosen jobs, one after the other.
func table(benches []*bench, runs int, chosen *regexp.Regexp) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "median of the runs; %s\n\n", machine())
	rows := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintln(rows, "job\truns\tseconds\tmin\tmax\tuser\tsystem\tisotrace itself, MiB")
	for i, j := range benches[0].jobs(runs) {
		if !chosen.MatchString(j.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", j.name)
		samples, err := measure(benches, i, runs)
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", j.name, err), rows.Flush())
			return text.String(), err
		}
		row(rows, j.name, samples[0])
		if len(samples) > 1 {
			row(rows, "  "+benches[1].binary, samples[1])
			compare(rows, samples[0], samples[1])
		}
	}
	err := rows.Flush()
	return text.String(), err
}

// row has the figures of the median run, by the clock, and the most memory of all.
func row(table io.Writer, name string, samples []sample) {
	byWall := slices.SortedFunc(slices.Values(samples), func(a, b sample) int { return cmp.Compare(a.wall, b.wall) })
	mid := byWall[len(byWall)/2]
	var most int64
	for _, s := range samples {
		most = max(most, s.resident)
	}
	fmt.Fprintf(table, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\n", name, len(samples), mid.wall.Seconds(),
		byWall[0].wall.Seconds(), byWall[len(byWall)-1].wall.Seconds(), mid.user.Seconds(), mid.system.Seconds(), most/1024)
}

// compare has the times of the first as parts of the other's, run by run: what drifts with
// the machine is in both.
func compare(table io.Writer, of, to []sample) {
	var wall, used []float64
	for i := range of {
		wall = append(wall, of[i].wall.Seconds()/to[i].wall.Seconds())
		used = append(used, (of[i].user+of[i].system).Seconds()/(to[i].user+to[i].system).Seconds())
	}
	slices.Sort(wall)
	slices.Sort(used)
	n := len(wall)
	fmt.Fprintf(table, "  ratio\t%d\t%.3f\t%.3f\t%.3f\t%.3f\tuser and system\t\n", n, wall[n/2], wall[0], wall[n-1], used[n/2])
}

// build builds the example once.
func (b *bench) build(example string) error {
	if err := os.CopyFS(b.project, os.DirFS(example)); err != nil {
		return err
	}
	for _, args := range [][]string{{"keys", "new"}, {"keys", "new", "--role", "release"}, {"build"}} {
		if _, err := b.isotrace(b.project, args...); err != nil {
			return err
		}
	}
	for name, size := range map[string]int64{"small.img": 1e6, "big.img": 4e9} {
		file := filepath.Join(b.dir, name)
		if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, size)); err != nil {
			return err
		}
	}
	return b.addMany()
}

func (b *bench) jobs(runs int) []job {
	built, large := filepath.Join(b.project, "out"), filepath.Join(b.many, "out")
	few := min(runs, 3)
	return []job{
		{name: "clean build, warm downloads", runs: few, args: []string{"build"}, prepare: func() error { return b.forget(false) }},
		{name: "clean build, .debs as if new", runs: 1, args: []string{"build"}, prepare: func() error { return b.forget(true) }},
		{name: "unchanged rebuild", runs: runs, args: []string{"build"}},
		{name: "trace and SBOM alone", runs: few, args: []string{"build"}, prepare: func() error { return stagetest.Forget(b.store, traceAndSBOM...) }},
		{name: "changed boot menu", runs: runs, args: []string{"build"}, prepare: b.changeMenu},
		{name: "verify", runs: runs, args: []string{"verify", built}},
		{name: "release", runs: runs, args: []string{"release", built}},
		{name: "verify a release", runs: runs, args: []string{"verify", built, "--release-key", filepath.Join(b.project, "keys", "release.pub")}},
		{name: "trace of one path", runs: runs, args: []string{"trace", built, "/usr/bin/ls"}},
		{name: "sign a file of 1 MB", runs: runs, args: []string{"sign", filepath.Join(b.dir, "small.img")}},
		{name: "sign a file of 4 GB", runs: few, args: []string{"sign", filepath.Join(b.dir, "big.img")}},
		{name: "lock", runs: few, args: []string{"lock"}},
		{name: "120,000 files: build from the base on", project: b.many, runs: 1, cold: true, args: []string{"build"}},
		{name: "120,000 files: verify", project: b.many, runs: 1, args: []string{"verify", large}},
		{name: "120,000 files: trace of one path", project: b.many, runs: runs, args: []string{"trace", large, "/opt/many/500/50"}},
	}
}

// machine says what the figures were measured on.
func machine() string {
	var u syscall.Utsname
	release := ""
	if syscall.Uname(&u) == nil {
		for _, c := range u.Release {
			if c == 0 {
				break
			}
			release += string(rune(c))
		}
	}
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	cpus, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*")
	return fmt.Sprintf("%d processors, %s, Linux %s", len(cpus), model, release)
}

type bench struct {
	// many is a project like the other with a hundred thousand files more.
	binary, dir, project, many, store string
	timeout                           int
}

func (b *bench) isotrace(project string, args ...string) (sample, error) {
	c := exec.Command(b.binary, append([]string{"-C", project, "--store", b.store, "--progress", "none"}, args...)...)
	c.Env = append(os.Environ(), "COSIGN_PASSWORD=bench")
	var stderr strings.Builder
	c.Stdout, c.Stderr = io.Discard, &stderr
	start := time.Now()
	if err := c.Start(); err != nil {
		return sample{}, err
	}
	var s sample
	watched := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(watched)
		s.resident = watchMemory(c.Process.Pid, ended)
	}()
	err := c.Wait()
	s.wall = time.Since(start)
	close(ended)
	<-watched
	if err != nil {
		return s, fmt.Errorf("isotrace %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	s.user, s.system = c.ProcessState.UserTime(), c.ProcessState.SystemTime()
	return s, nil
}

// watchMemory returns the most memory, in KiB, that isotrace itself had
// resident: the process that was started or the one that it goes on in.
func watchMemory(pid int, ended <-chan struct{}) (most int64) {
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		family := []string{fmt.Sprint(pid)}
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, thread := range threads {
			children, _ := os.ReadFile(thread) // it may have ended
			family = append(family, strings.Fields(string(children))...)
		}
		for _, p := range family {
			status, _ := os.ReadFile("/proc/" + p + "/status") // it may have ended
			for line := range strings.Lines(string(status)) {
				var kib int64
				if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 && err == nil {
					most = max(most, kib)
				}
			}
		}
		select {
		case <-ended:
			return most
		case <-every.C:
		}
	}
}

// measure runs that job of each in turn.
func measure(benches []*bench, number, runs int) ([][]sample, error) {
	samples := make([][]sample, len(benches))
	for i := 0; ; i++ {
		for k, b := range benches {
			j := b.jobs(runs)[number]
			if i > j.runs {
				return samples, nil
			}
			if i == 0 && j.cold {
				continue
			}
			if j.prepare != nil {
				if err := j.prepare(); err != nil {
					return nil, err
				}
			}
			s, err := b.isotrace(cmp.Or(j.project, b.project), j.args...)
			if err != nil {
				return nil, err
			}
			if i > 0 { // the first warms the caches
				samples[k] = append(samples[k], s)
			}
		}
	}
}

// forget removes the results of all stages but keeps what was downloaded and,
// unless it is to be as new, what is known of each downloaded .deb.
func (b *bench) forget(asNew bool) error {
	for _, of := range []string{"results", "layers"} {
		made, err := filepath.Glob(filepath.Join(b.store, of, "*"))
		if err != nil {
			return err
		}
		for _, m := range made {
			if name := filepath.Base(m); !asNew && (strings.HasPrefix(name, stage.OfOne("contents")) || strings.HasPrefix(name, stage.OfOne("debs"))) {
				continue
			}
			if err := os.RemoveAll(m); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(filepath.Join(b.project, "out"))
}

// changeMenu gives the menu another timeout each time.
func (b *bench) changeMenu() error {
	file := filepath.Join(b.project, "isotrace.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	old := fmt.Sprintf("timeout: %d", b.timeout+3)
	b.timeout++
	changed := strings.Replace(string(text), old, fmt.Sprintf("timeout: %d", b.timeout+3), 1)
	if changed == string(text) {
		return fmt.Errorf("%s: does not hold %q", file, old)
	}
	return os.WriteFile(file, []byte(changed), 0o644)
}

// addMany makes the project with many files out of the other, with its lock and keys.
func (b *bench) addMany() error {
	if err := os.CopyFS(b.many, os.DirFS(b.project)); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(b.many, "out")); err != nil {
		return err
	}
	config := filepath.Join(b.many, "isotrace.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(config, append(text, "\nscripts: [many.sh]\n"...), 0o644),
		os.WriteFile(filepath.Join(b.many, "many.sh"), []byte(manyFiles), 0o755))
}
