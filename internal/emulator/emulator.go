// Package emulator boots an image in QEMU, from a toolbox and in a sandbox, and
// watches its serial console.
package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/sandbox"
)

// Firmware is what starts the boot loader.
type Firmware string

// The firmwares: SeaBIOS and OVMF.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Medium is what the image is presented as.
type Medium string

// The media.
const (
	CD  Medium = "cd"
	USB Medium = "usb"
)

// Accelerator is how the guest's processor is made.
type Accelerator string

// The accelerators.
const (
	KVM Accelerator = "kvm"
	TCG Accelerator = "tcg" // in software
)

// Options say what is booted, and until when.
type Options struct {
	Toolbox string // root of the tree that holds QEMU and the firmwares
	Image   string // file of the host
	// Scratch is an empty folder of the host.
	Scratch  string
	Firmware Firmware
	Medium   Medium
	// Accelerator is KVM where it works and TCG elsewhere, when empty.
	Accelerator Accelerator
	// Expect is the text on the console that ends the wait.
	Expect string
	// Timeout bounds the boot; 15 minutes when 0.
	Timeout time.Duration
	// Console takes what the guest writes, as it comes; it may be nil.
	Console io.Writer
	// Notice is told of a change of plan; it may be nil.
	Notice func(string)
}

// Report says how the boot went.
type Report struct {
	Accelerator Accelerator
	Took        time.Duration
	// Console is all that the guest wrote; Screen is a PNG of its screen at the
	// end, or nil where QEMU gave none.
	Console, Screen []byte
}

const (
	defaultTimeout = 15 * time.Minute
	// silence is how long a guest under KVM may write nothing before it is
	// taken to hang: a broken KVM stops early in the kernel.
	silence    = 45 * time.Second
	maxConsole = 16 << 20
)

var errSilent = errors.New("the console is silent")

// Boot boots the image and waits for the expected text. The report is filled
// as far as the boot came, also when there is an error.
func Boot(ctx context.Context, o Options) (Report, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	if o.Accelerator != "" {
		return boot(ctx, o, o.Accelerator)
	}
	if why := kvmMissing(); why != "" {
		o.Notice("software emulation, which is slow: " + why)
		return boot(ctx, o, TCG)
	}
	r, err := boot(ctx, o, KVM)
	if !errors.Is(err, errSilent) && !startFailed(err) {
		return r, err
	}
	o.Notice(fmt.Sprintf("KVM does not work here (%v): once more in software emulation, which is slow", err))
	return boot(ctx, o, TCG)
}

func startFailed(err error) bool {
	_, ok := errors.AsType[*sandbox.ExitError](err)
	return ok
}

func kvmMissing() string {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	if err := f.Close(); err != nil {
		return err.Error()
	}
	return ""
}

// Paths inside the sandbox. The image stands below /run because that is the
// one place where the sandbox makes a mount point.
const (
	imagePath   = "/run/isotrace/image"
	consolePath = "/tmp/console"
	screenPath  = "/tmp/screen.png"
	varsPath    = "/tmp/vars.fd"
)

// Argv is the command line of QEMU.
func Argv(f Firmware, m Medium, a Accelerator) []string {
	cpu := "max"
	if a == KVM {
		cpu = "host"
	}
	argv := []string{
		"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", "q35,accel=" + string(a), "-cpu", cpu, "-smp", "2", "-m", "2048",
		"-display", "none", "-vga", "std", "-nic", "none", "-no-reboot", "-rtc", "base=utc",
		"-serial", "file:" + consolePath, "-qmp", "stdio",
		"-drive", "if=none,id=medium,format=raw,readonly=on,file=" + imagePath,
	}
	if f == UEFI {
		argv = append(argv,
			"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
			"-drive", "if=pflash,format=raw,file="+varsPath)
	}
	if m == USB {
		return append(argv, "-device", "qemu-xhci", "-device", "usb-storage,drive=medium,removable=on,bootindex=0")
	}
	return append(argv, "-device", "ide-cd,drive=medium,bootindex=0")
}

func boot(ctx context.Context, o Options, a Accelerator) (r Report, err error) {
	r.Accelerator = a
	dir, err := os.MkdirTemp(o.Scratch, "boot-*")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		return r, err
	}
	if o.Firmware == UEFI {
		if err := copyVars(o.Toolbox, filepath.Join(dir, filepath.Base(varsPath))); err != nil {
			return r, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	control, err := newMonitor()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, control.close()) }()
	spec := sandbox.Spec{
		Root: o.Toolbox, Temp: dir, Argv: Argv(o.Firmware, o.Medium, a),
		Binds: []sandbox.Bind{{Source: o.Image, Target: imagePath}},
		Stdin: control.in, Stdout: control.out, Stderr: &control.stderr,
	}
	if a == KVM {
		spec.Devices = []string{"/dev/kvm"}
	}
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- sandbox.Run(ctx, spec) }()

	w := &watcher{path: filepath.Join(dir, filepath.Base(consolePath)), mirror: o.Console}
	waitErr := w.wait(ctx, ended, o, a)
	r.Took = time.Since(start)
	if !w.over {
		r.Screen = control.screenshot(ctx, filepath.Join(dir, filepath.Base(screenPath)))
		control.quit()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cancel()
			<-ended
		}
	}
	r.Console = w.text
	if waitErr == nil || errors.Is(waitErr, errSilent) || startFailed(waitErr) {
		return r, waitErr
	}
	return r, fault.WithHint(waitErr, "look at the console and the screenshot that are kept beside the image")
}

func copyVars(toolbox, to string) (err error) {
	root, err := os.OpenRoot(toolbox)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	b, err := root.ReadFile("usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		return fmt.Errorf("the toolbox has no UEFI firmware: %w", err)
	}
	return os.WriteFile(to, b, 0o666)
}

// watcher follows the file that QEMU writes the console to.
type watcher struct {
	path   string
	mirror io.Writer
	text   []byte
	over   bool // QEMU has ended
}

func (w *watcher) wait(ctx context.Context, ended chan error, o Options, a Accelerator) error {
	deadline := time.NewTimer(o.Timeout)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			w.over = true
			if _, rerr := w.read(); rerr != nil {
				return rerr
			}
			if w.found(o.Expect) {
				return nil
			}
			if err != nil {
				return err
			}
			return errors.New("the machine switched itself off before it came up")
		case <-deadline.C:
			return fmt.Errorf("no %q on the console within %s; its last line: %q", o.Expect, o.Timeout, w.lastLine())
		case <-tick.C:
			n, err := w.read()
			if err != nil {
				return err
			}
			if w.found(o.Expect) {
				return nil
			}
			switch {
			case n > 0:
				last = time.Now()
			case a == KVM && time.Since(last) > silence:
				return errSilent
			}
			if len(w.text) > maxConsole {
				return fmt.Errorf("more than %d bytes on the console", maxConsole)
			}
		}
	}
}

// read takes in what is new in the file.
func (w *watcher) read() (n int, err error) {
	f, err := os.Open(w.path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.NewSectionReader(f, int64(len(w.text)), maxConsole))
	if err != nil {
		return 0, err
	}
	w.text = append(w.text, b...)
	if w.mirror != nil && len(b) > 0 {
		if _, err := w.mirror.Write(b); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (w *watcher) found(expect string) bool { return bytes.Contains(w.text, []byte(expect)) }

func (w *watcher) lastLine() string {
	lines := strings.Split(strings.TrimSpace(string(w.text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
