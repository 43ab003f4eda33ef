package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSecondSignal: whoever waits for something that does not come, here for who writes into
// the pipe that was named as a key, is ended by the second signal whatever it is.
func TestSecondSignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			pipe := filepath.Join(t.TempDir(), "pipe")
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			c := exec.Command(e2e.binary, "verify", t.TempDir(), "--key", pipe)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- c.Wait() }()
			defer opened(t, pipe).Close()
			if err := c.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended: // a signal need not be awaited for what is asked here
				t.Fatal("the first signal ended it without a word")
			case <-time.After(2 * time.Second):
			}
			if err := c.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Error("the second signal did not end it", c.Process.Kill(), <-ended)
			}
			if by, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || by.Signal() != s {
				t.Errorf("%s, want %s", c.ProcessState, s)
			}
		})
	}
}

// opened opens a pipe for writing once somebody reads it.
func opened(t *testing.T, pipe string) *os.File {
	t.Helper()
	for range 1000 {
		f, err := os.OpenFile(pipe, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			return f
		}
		if !errors.Is(err, unix.ENXIO) && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nobody reads the pipe")
	return nil
}
