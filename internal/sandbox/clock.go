package sandbox

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Mark is a moment between two changes of a file system: what was changed
// before it has a ctime that is not after At, what is changed later has one
// that is. It tells changes apart and reaches no record.
type Mark struct {
	At time.Time
	// offset of the real-time clock to one that nobody sets.
	offset time.Duration
}

// NewMark waits for the next tick of the clock by which file systems stamp
// their changes, some milliseconds at most, so that no two changes on its two
// sides can bear the same time. It looks without pause: dpkg waits, too, and a
// sleep lasts longer than a tick on some machines.
func NewMark() (Mark, error) {
	now, offset, err := now()
	if err != nil {
		return Mark{}, err
	}
	for {
		coarse, err := clock(unix.CLOCK_REALTIME_COARSE)
		if err != nil {
			return Mark{}, err
		}
		if coarse > now {
			break
		}
		after, err := clock(unix.CLOCK_REALTIME)
		if err != nil {
			return Mark{}, err
		}
		if after < now {
			return Mark{}, ErrClock
		}
	}
	return Mark{At: time.Unix(0, now), offset: offset}, nil
}

// ErrClock tells that changes cannot be told apart by their times. Whatever ran has to run
// again.
var ErrClock = errors.New("the host's clock was set back while programs ran")

// jitter is how exactly a mark knows its offset.
const jitter = time.Millisecond

// now reads the real-time clock and its offset to one that nobody sets. Where the process
// had to wait between two readings, they say nothing of each other and are made anew.
func now() (at int64, offset time.Duration, err error) {
	for range 1000 {
		before, err := clock(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0, 0, err
		}
		at, err := clock(unix.CLOCK_REALTIME)
		if err != nil {
			return 0, 0, err
		}
		after, err := clock(unix.CLOCK_MONOTONIC)
		if err != nil {
			return 0, 0, err
		}
		if time.Duration(after-before) < jitter/2 {
			return at, time.Duration(at - before), nil
		}
	}
	return 0, 0, errors.New("the host is too busy to read two clocks at once")
}

func clock(id int32) (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("read clock %d: %w", id, err)
	}
	return ts.Nano(), nil
}

// Since tells whether the clock was left alone since an earlier mark: one that
// was set back would put changes on the wrong side of a mark.
func (m Mark) Since(earlier Mark) error {
	if back := earlier.offset - m.offset; back > jitter {
		return fmt.Errorf("%w, by %s", ErrClock, back)
	}
	return nil
}
