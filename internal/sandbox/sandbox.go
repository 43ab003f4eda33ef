// Package sandbox runs programs where nothing of the host shows but the
// kernel. It is the only package that touches namespaces and mounts.
package sandbox

import "io"

// Spec says what is run and what it can see.
type Spec struct {
	// Root is the folder that becomes "/". It is mounted read-only unless
	// Writable is set; /proc, /dev, /sys, /run and /tmp are always laid over it.
	Root     string
	Writable bool
	// Binds are laid over Root, in order. A target below /run, /tmp or a
	// mounted tmpfs is made; any other must exist in Root.
	Binds []Bind
	// Temp is a folder of the host that serves as /tmp; a tmpfs when empty.
	Temp string
	// Devices are character devices of the host, such as /dev/kvm, that are
	// shown beside null, zero, full, random and urandom.
	Devices []string

	Argv []string
	Env  []string // added to the fixed environment, or instead of what that has under a name
	Dir  string

	// Nice is the program's niceness, see nice(1): 0 to 19.
	Nice int

	// Limits of what the program may take; see DefaultLimits.
	Limits Limits

	// Scripts is told of each maintainer script that dpkg has run, when it is
	// over; nothing is followed when it is nil.
	Scripts func(Script)

	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Bind shows Source of the host at Target inside.
type Bind struct {
	Source, Target string
	Writable       bool
}
