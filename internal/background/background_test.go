package background

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// priority is what getpriority(2) has of the calling thread: 20 less its Niceness.
func priority(t *testing.T) int {
	t.Helper()
	p, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGo(t *testing.T) {
	before := priority(t)
	var inside int
	var group errgroup.Group
	Go(&group, func() (err error) {
		inside, err = unix.Getpriority(unix.PRIO_PROCESS, 0)
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if inside >= before || inside != 20-Niceness {
		t.Errorf("priority %d inside, %d outside", inside, before)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for range 10 * len(threads) {
		if now := priority(t); now != before {
			t.Fatalf("priority %d afterwards, before %d", now, before)
		}
	}
}

func TestEach(t *testing.T) {
	var did [100]atomic.Int32
	if err := Each(t.Context(), len(did), func(i int) error { did[i].Add(1); return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range did {
		if n := did[i].Load(); n != 1 {
			t.Errorf("%d was done %d times", i, n)
		}
	}
	bad := errors.New("bad")
	if err := Each(t.Context(), 1000, func(i int) error {
		if i == 7 {
			return bad
		}
		return nil
	}); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(bad)
	if err := Each(ctx, 1000, func(int) error { return nil }); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
}
