// Package tool describes commands as data: a stage says what is to be run,
// the sandbox runs it, the record keeps it.
package tool

import "io"

// Command is one run of a program of the toolbox or of a root tree. Every path
// in it is a path inside the sandbox, so that it says nothing of the host.
//
// A stage's inputs stand below /in, each under its name; what the program
// writes below /out is the stage's to declare.
type Command struct {
	Argv []string `json:"argv"`
	// Env is added to the fixed environment of the sandbox, or replaces what that
	// has under a name, as NAME=value.
	Env []string `json:"env,omitempty"`
	// Dir is the working folder; "/" when empty.
	Dir string `json:"dir,omitempty"`
	// Background has it give way to others that are at work beside it.
	Background bool `json:"-"`
	// Stdin is given to the program; it reads an empty input when nil.
	Stdin []byte `json:"-"`
	// Stdout takes the program's output instead of the journal.
	Stdout io.Writer `json:"-"`
}

// CLocale is for programs that start thousands of others: each would read the
// twelve files of the sandbox's C.UTF-8, which takes a tenth of its time.
const CLocale = "LC_ALL=C"

// Unattended is the environment of dpkg, apt and what they run: debconf takes its
// defaults and preseeds without a question.
var Unattended = []string{"DEBIAN_FRONTEND=noninteractive", "DEBCONF_NONINTERACTIVE_SEEN=true", "DEBCONF_NOWARNINGS=yes", CLocale}

// New is a Command without more than its words.
func New(argv ...string) Command { return Command{Argv: argv} }

// With returns the command with settings added to its environment.
func (c Command) With(env ...string) Command {
	c.Env = append(append([]string(nil), c.Env...), env...)
	return c
}
