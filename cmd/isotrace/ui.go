package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/stage"
)

// The rules of output: results go to standard output, everything else to
// standard error. An error is one line "isotrace: error: …", then, where there
// is something to do, "isotrace: hint: …". Progress is a table that repaints
// itself on a terminal, one line an event elsewhere, JSON lines with
// --progress=json. Colour only on a terminal, and not with NO_COLOR.

// exit says what went wrong and returns the exit code.
func (a *app) exit(err error) int {
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code) // the process inside has said it
	}
	class := fault.ClassOf(err)
	if fault.HintOf(err) == "" {
		err = artifact.ExplainWrite(err)
	}
	fmt.Fprintf(os.Stderr, "isotrace: error: %s\n", oneLine(err.Error()))
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(os.Stderr, "isotrace: hint: %s\n", oneLine(hint))
	}
	return int(class)
}

func oneLine(s string) string {
	return printable(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; "))
}

// now is the only clock: it decides whether a Release file has expired, and
// times what people see.
func now() time.Time { return time.Now() }

// result writes a command's result: as JSON, or by text.
func (a *app) result(v any, text func(io.Writer) error) error {
	if !a.json {
		return writePrintable(os.Stdout, text)
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s\n", b)
	return err
}

// reporter is a stage.Progress that has an end.
type reporter interface {
	stage.Progress
	Close()
}

// newProgress makes the progress that --progress asks for.
func (a *app) newProgress() (reporter, error) {
	switch a.progress {
	case "none":
		return silent{}, nil
	case "json":
		return &jsonProgress{start: now(), out: os.Stderr}, nil
	case "plain":
		return &plainProgress{start: now(), out: os.Stderr}, nil
	case "auto":
		if term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb" {
			return newTable(os.Stderr), nil
		}
		return &plainProgress{start: now(), out: os.Stderr}, nil
	}
	return nil, fault.New(fault.Usage, "auto, plain, json or none", "--progress=%s: not known", a.progress)
}

type silent struct{}

func (silent) Stage(string, stage.State)  {}
func (silent) Bytes(string, int64, int64) {}
func (silent) Line(string, string)        {}
func (silent) Close()                     {}

// plainProgress writes one line an event.
type plainProgress struct {
	mu    sync.Mutex
	start time.Time
	out   io.Writer
}

func (p *plainProgress) write(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.out, "%6.1fs  "+format+"\n", append([]any{now().Sub(p.start).Seconds()}, args...)...) // standard error
}

func (p *plainProgress) Stage(name string, s stage.State) {
	if s != stage.StateWaiting {
		p.write("%-10s %s", name, s)
	}
}
func (p *plainProgress) Bytes(string, int64, int64) {}
func (p *plainProgress) Line(name, text string)     { p.write("%-10s %s", name, oneLine(text)) }
func (p *plainProgress) Close()                     {}

// jsonProgress writes one JSON object an event, for machines.
type jsonProgress struct {
	mu    sync.Mutex
	start time.Time
	out   io.Writer
}

type event struct {
	Seconds float64     `json:"seconds"`
	Stage   string      `json:"stage"`
	State   stage.State `json:"state,omitempty"`
	Done    int64       `json:"done,omitempty"`
	Total   int64       `json:"total,omitempty"`
	Text    string      `json:"text,omitempty"`
}

func (p *jsonProgress) write(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Seconds = float64(now().Sub(p.start).Milliseconds()) / 1000
	if b, err := json.Marshal(e); err == nil {
		_, _ = fmt.Fprintf(p.out, "%s\n", b) // standard error
	}
}

func (p *jsonProgress) Stage(name string, s stage.State) { p.write(event{Stage: name, State: s}) }
func (p *jsonProgress) Bytes(name string, done, total int64) {
	p.write(event{Stage: name, Done: done, Total: total})
}
func (p *jsonProgress) Line(name, text string) { p.write(event{Stage: name, Text: text}) }
func (p *jsonProgress) Close()                 {}

// table repaints one line a stage.
type table struct {
	mu      sync.Mutex
	out     io.Writer
	start   time.Time
	rows    []*row
	painted int
	colour  bool
	stop    chan struct{}
	stopped sync.WaitGroup
}

type row struct {
	name        string
	state       stage.State
	begun, took time.Duration
	done, total int64
}

func newTable(out *os.File) *table {
	t := &table{out: out, start: now(), stop: make(chan struct{}), colour: os.Getenv("NO_COLOR") == ""}
	t.stopped.Add(1)
	go t.tick()
	return t
}

func (t *table) tick() {
	defer t.stopped.Done()
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-t.stop:
			return
		case <-every.C:
			t.mu.Lock()
			t.paint()
			t.mu.Unlock()
		}
	}
}

func (t *table) row(name string) *row {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.name == name })
	if i < 0 {
		t.rows = append(t.rows, &row{name: name})
		i = len(t.rows) - 1
	}
	return t.rows[i]
}

func (t *table) Stage(name string, s stage.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.row(name)
	since := now().Sub(t.start)
	switch s {
	case stage.StateRunning:
		r.begun = since
	case stage.StateDone, stage.StateFailed:
		r.took = since - r.begun
	}
	r.state = s
}

func (t *table) Bytes(name string, done, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.row(name)
	r.done, r.total = done, total
}

func (t *table) Line(name, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.erase()
	_, _ = fmt.Fprintf(t.out, "%s: %s\n", name, oneLine(text)) // standard error
	t.paint()
}

func (t *table) erase() {
	if t.painted > 0 {
		_, _ = fmt.Fprintf(t.out, "\x1b[%dA\x1b[J", t.painted)
	}
	t.painted = 0
}

var marks = map[stage.State]struct{ mark, colour string }{
	stage.StateWaiting: {"·", "2"}, stage.StateRunning: {"▸", "36"}, stage.StateCached: {"=", "32"},
	stage.StateDone: {"✓", "32"}, stage.StateFailed: {"✗", "31"},
}

func (t *table) paint() {
	t.erase()
	var b strings.Builder
	for _, r := range t.rows {
		m, ok := marks[r.state]
		if !ok {
			m = marks[stage.StateRunning]
		}
		line := fmt.Sprintf("%s %-10s %s", m.mark, r.name, r.about(now().Sub(t.start)))
		if t.colour {
			line = "\x1b[" + m.colour + "m" + line + "\x1b[0m"
		}
		b.WriteString(line + "\n")
	}
	t.painted = len(t.rows)
	_, _ = io.WriteString(t.out, b.String()) // standard error
}

func (r *row) about(since time.Duration) string {
	switch r.state {
	case stage.StateRunning:
		text := fmt.Sprintf("%5.1fs", (since - r.begun).Seconds())
		if r.total > 0 {
			const width = 24
			filled := int(min(r.done, r.total) * width / r.total)
			text += fmt.Sprintf("  [%s%s] %s of %s", strings.Repeat("█", filled), strings.Repeat(" ", width-filled), bytesText(r.done), bytesText(r.total))
		}
		return text
	case stage.StateDone:
		return fmt.Sprintf("%5.1fs", r.took.Seconds())
	case stage.StateCached:
		return "from the store"
	case stage.StateFailed:
		return "failed"
	}
	return ""
}

func (t *table) Close() {
	close(t.stop)
	t.stopped.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paint()
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
