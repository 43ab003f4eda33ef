// Package fault carries what every isotrace error owes its reader: what went
// wrong, a hint at what to do, and the exit code of the command line.
package fault

import (
	"errors"
	"fmt"
)

// Class is the kind of a failure; its value is the process's exit code.
type Class int

// The exit codes of the command line.
const (
	Failed  Class = 1 // something broke: network, disk, a tool
	Usage   Class = 2 // the command line, the config or the lock is wrong
	Refused Class = 3 // a verification or the policy did not hold
)

// Error is an error with a class and a hint. Its text is the message alone.
type Error struct {
	Class Class
	Hint  string
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of the class from a format that may hold %w.
func New(class Class, hint, format string, args ...any) error {
	return &Error{Class: class, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// WithHint gives err a hint and keeps its class. A nil err stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Class: ClassOf(err), Hint: hint, Err: err}
}

// ClassOf returns the class of the outermost classified error in err's chain,
// and Failed where there is none.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Failed
}

// HintOf returns the first hint that is not empty in err's chain, or "".
func HintOf(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}
