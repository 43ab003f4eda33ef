package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
)

// journal is what a build leaves for people and nobody signs: what the tools
// printed, when, and where.
type journal struct {
	dir   string
	mu    sync.Mutex
	files map[string]*os.File
	start time.Time
	began map[string]time.Time
	Host  map[string]string      `json:"host"`
	Times map[string]stageTiming `json:"stages"`
}

type stageTiming struct {
	State   stage.State `json:"state"`
	Seconds float64     `json:"seconds"`
}

// openJournal begins a journal in place of the last one.
func openJournal(dir string) (*journal, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	privileges := "a user namespace"
	if namespaced, why := sandbox.Shield(); !namespaced {
		privileges = "the host's root: " + why
	}
	j := &journal{
		dir: dir, files: map[string]*os.File{}, start: now(), began: map[string]time.Time{}, Times: map[string]stageTiming{},
		Host: map[string]string{"processors": fmt.Sprint(runtime.NumCPU()), "go": runtime.Version(), "started": now().UTC().Format(time.RFC3339), "privileges": privileges},
	}
	return j, j.write() // by which the folder is known for a journal
}

func (j *journal) write() error {
	b, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(j.dir, provenance.JournalTimes), append(b, '\n'), 0o644)
}

// stage returns the log of a stage. A log that cannot be written is no reason
// to stop a build.
func (j *journal) stage(name string) io.Writer {
	j.mu.Lock()
	defer j.mu.Unlock()
	if f, ok := j.files[name]; ok {
		return f
	}
	f, err := os.OpenFile(filepath.Join(j.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return io.Discard
	}
	j.files[name] = f
	return f
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	for _, f := range j.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, j.write())...)
}

// watch notes the times of what it passes on.
func (j *journal) watch(p stage.Progress) stage.Progress { return &watched{Progress: p, j: j} }

type watched struct {
	stage.Progress
	j *journal
}

func (w *watched) Stage(name string, s stage.State) {
	w.j.mu.Lock()
	switch s {
	case stage.StateRunning:
		w.j.began[name] = now()
	case stage.StateWaiting:
	default:
		t := stageTiming{State: s}
		if b, ok := w.j.began[name]; ok {
			t.Seconds = float64(now().Sub(b).Milliseconds()) / 1000
		}
		w.j.Times[name] = t
	}
	w.j.mu.Unlock()
	w.Progress.Stage(name, s)
}
