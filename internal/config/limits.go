package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits are what the programs of packages may take of the machine that builds. They end
// a build that goes beyond them, and change nothing of its result: a lock belongs to the
// config whatever they are.
type Limits struct {
	// Processes that a program may have at once, threads counted; 4096 where it is left out.
	Processes int `yaml:"processes,omitempty" json:"processes,omitempty"`
	// Memory of all its processes together, such as 16GiB or 512MiB; three quarters of the
	// machine's where it is left out.
	Memory string `yaml:"memory,omitempty" json:"memory,omitempty"`
	// Time that a program may take, such as 90m or 12h; 6h where it is left out.
	Time string `yaml:"time,omitempty" json:"time,omitempty"`
	// Output that a program may write, such as 1GiB; 256MiB where it is left out.
	Output string `yaml:"output,omitempty" json:"output,omitempty"`
}

// MemoryBytes is the memory, 0 where it is left out, negative where it is no size.
func (l Limits) MemoryBytes() int64 { return bytesOf(l.Memory) }

// OutputBytes is the output, 0 where it is left out, negative where it is no size.
func (l Limits) OutputBytes() int64 { return bytesOf(l.Output) }

// Duration is the time, 0 where it is left out, negative where it is none.
func (l Limits) Duration() time.Duration {
	if l.Time == "" {
		return 0
	}
	d, err := time.ParseDuration(l.Time)
	if err != nil || d < time.Second {
		return -1
	}
	return d
}

// bytesOf reads a size in MiB or GiB: 0 where it is empty, negative where it is none.
func bytesOf(size string) int64 {
	for unit, bytes := range map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30} {
		if number, ok := strings.CutSuffix(size, unit); ok {
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 1 || n > 1<<50/bytes {
				return -1
			}
			return n * bytes
		}
	}
	if size == "" {
		return 0
	}
	return -1
}

func (f *file) limits(c *Config) error {
	l := c.Limits
	for _, r := range []rule{
		{"limits.processes", l.Processes >= 0, "such as 8192", fmt.Sprintf("%d is not a number of processes", l.Processes)},
		{"limits.memory", l.MemoryBytes() >= 0, "such as 16GiB or 512MiB", fmt.Sprintf("%q is not a size", l.Memory)},
		{"limits.time", l.Duration() >= 0, "such as 90m or 12h, at least 1s", fmt.Sprintf("%q is not a length of time", l.Time)},
		{"limits.output", l.OutputBytes() >= 0, "such as 1GiB or 64MiB", fmt.Sprintf("%q is not a size", l.Output)},
	} {
		if !r.ok {
			return f.errorAt(r.path, r.hint, "%s", r.want)
		}
	}
	return nil
}
