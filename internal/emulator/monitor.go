package emulator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"time"

	"github.com/isotrace/isotrace/internal/regular"
)

// monitor speaks the QEMU machine protocol over QEMU's standard input and output.
type monitor struct {
	in     *os.File       // QEMU reads here; a file, so that its end does not wait for ours
	out    *io.PipeWriter // QEMU writes here
	stderr bytes.Buffer

	send    *os.File
	replies chan bool // a command's success
	ready   bool      // the capabilities are negotiated
}

func newMonitor() (*monitor, error) {
	m := &monitor{replies: make(chan bool, 8)}
	var err error
	if m.in, m.send, err = os.Pipe(); err != nil {
		return nil, err
	}
	var receive *io.PipeReader
	receive, m.out = io.Pipe()
	go m.listen(receive)
	return m, nil
}

// listen passes on replies and drops events. The greeting needs no reply: the
// capabilities are negotiated before the first command.
func (m *monitor) listen(r io.Reader) {
	defer close(m.replies)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var msg struct {
			Return json.RawMessage `json:"return"`
			Error  json.RawMessage `json:"error"`
		}
		if json.Unmarshal(lines.Bytes(), &msg) != nil || msg.Return == nil && msg.Error == nil {
			continue
		}
		select {
		case m.replies <- msg.Error == nil:
		default:
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line past the bound must not block QEMU
}

// execute sends a command and waits a while for its reply.
func (m *monitor) execute(ctx context.Context, command string, arguments map[string]any) bool {
	b, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return false
	}
	// A pipe holds far more than a command: this does not block.
	if _, err := m.send.Write(append(b, '\n')); err != nil {
		return false
	}
	select {
	case ok := <-m.replies:
		return ok
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
	}
	return false
}

// negotiate does what comes before the first command.
func (m *monitor) negotiate(ctx context.Context) bool {
	if !m.ready {
		m.ready = m.execute(ctx, "qmp_capabilities", map[string]any{})
	}
	return m.ready
}

// press presses and releases a key, by QEMU's name of it.
func (m *monitor) press(ctx context.Context, key string) {
	if m.negotiate(ctx) {
		m.execute(ctx, "send-key", map[string]any{"keys": []any{map[string]any{"type": "qcode", "data": key}}})
	}
}

// maxScreen bounds a screenshot, in bytes.
const maxScreen = 64 << 20

// screenshot returns the guest's screen as PNG, or nil; dir is QEMU's /tmp.
func (m *monitor) screenshot(ctx context.Context, dir *os.Root) []byte {
	if !m.negotiate(ctx) || !m.execute(ctx, "screendump", map[string]any{"filename": screenPath, "format": "png"}) {
		return nil
	}
	b, err := regular.Read(dir, path.Base(screenPath), maxScreen)
	if err != nil {
		return nil
	}
	return b
}

// quit asks QEMU to end; what does not is killed.
func (m *monitor) quit() { m.execute(context.Background(), "quit", map[string]any{}) }

// close ends the pipes, so that no goroutine stays.
func (m *monitor) close() error {
	return errors.Join(m.send.Close(), m.in.Close(), m.out.Close())
}
