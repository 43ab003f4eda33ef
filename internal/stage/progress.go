package stage

// State is how far a stage has come.
type State string

// The states of a stage, in the order in which it goes through them.
const (
	StateWaiting State = "waiting"
	StateRunning State = "running"
	StateCached  State = "cached"
	StateDone    State = "done"
	StateFailed  State = "failed"
)

// Progress is told what happens, for people to watch. Its methods are called
// from several goroutines.
type Progress interface {
	Stage(name string, state State)
	// Bytes tells of long work in bytes; total is 0 where it is unknown.
	Bytes(name string, done, total int64)
	// Line is something worth a line of its own.
	Line(name, text string)
}
