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
	now, err := clock(unix.CLOCK_REALTIME)
	if err != nil {
		return Mark{}, err
	}
	steady, err := clock(unix.CLOCK_MONOTONIC)
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
			return Mark{}, errors.New("the host's clock was set back")
		}
	}
	return Mark{At: time.Unix(0, now), offset: time.Duration(now - steady)}, nil
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
	const jitter = time.Millisecond // between the two readings of a mark
	if back := earlier.offset - m.offset; back > jitter {
		return fmt.Errorf("the host's clock was set back by %s while programs ran", back)
	}
	return nil
}
