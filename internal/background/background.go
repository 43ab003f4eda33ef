// Package background does work that somebody will want later beside work that
// somebody waits for now.
package background

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Niceness of the threads, see nice(1): next to a program of an ordinary one they
// get a tenth of a processor.
const Niceness = 10

// Go calls do in the group on a thread of its own that gives way to others, those
// of the programs that isotrace runs among them. The thread ends with do.
func Go(group *errgroup.Group, do func() error) {
	group.Go(func() error {
		runtime.LockOSThread() // for good: a thread cannot take back what it gave
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, Niceness); err != nil {
			return fmt.Errorf("lower a thread's priority: %w", err)
		}
		return do()
	})
}

// Each calls do for each of 0 to n-1 on such threads, one a processor, until one
// fails or ctx ends.
func Each(ctx context.Context, n int, do func(i int) error) error {
	next := make(chan int)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(next)
		for i := range n {
			select {
			case next <- i:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		Go(group, func() error {
			for i := range next {
				if err := do(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}
