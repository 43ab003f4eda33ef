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
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/sandbox"
)

// Firmware is what starts the boot loader.
type Firmware string

// The firmwares: SeaBIOS, OVMF, and OVMF with Secure Boot on and the keys of
// Microsoft, as machines are sold with.
const (
	BIOS       Firmware = "bios"
	UEFI       Firmware = "uefi"
	SecureBoot Firmware = "secureboot"
)

// flash are OVMF's code and variables below usr/share/OVMF, by firmware.
var flash = map[Firmware]struct{ code, vars string }{
	UEFI:       {"OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"},
	SecureBoot: {"OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"},
}

// Medium is what the image is presented as.
type Medium string

// The media.
const (
	CD  Medium = "cd"
	USB Medium = "usb"
	// A disk of the machine, in its format. The guest may write to it: what it writes
	// is thrown away.
	VHD   Medium = "vhd"
	Raw   Medium = "raw"
	QCOW2 Medium = "qcow2"
)

// diskFormats are QEMU's names of the formats of disks.
var diskFormats = map[Medium]string{VHD: "vpc", Raw: "raw", QCOW2: "qcow2"}

// IsDisk tells a disk from what is plugged in.
func (m Medium) IsDisk() bool { return diskFormats[m] != "" }

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
	// Processors of the guest; 2 when 0.
	Processors int
	// Key is pressed in the boot menu, as a hot key of it; none when empty.
	Key string
	// Expect are texts on the console; the first that comes ends the wait.
	Expect []string
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
	// Found is the expected text that came.
	Found string
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

// refusals are texts after which nothing good comes: of shim, the firmware, GRUB,
// the kernel, live-boot and casper.
var refusals = []string{
	"Security Violation", ": Access Denied", "bad shim signature", "Kernel panic - not syncing", "Verification failed", "Check finished: errors found",
}

var errSilent = errors.New("the console is silent")

// Boot boots the image and waits for the expected text. The report is filled
// as far as the boot came, also when there is an error.
func Boot(ctx context.Context, o Options) (Report, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Processors == 0 {
		o.Processors = 2
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
	// writtenPath is a folder for what a guest writes to its disk: QEMU does not take
	// /tmp itself.
	writtenPath = "/tmp/written"
)

// Argv is the command line of QEMU.
func Argv(f Firmware, m Medium, a Accelerator, processors int) []string {
	cpu := "max"
	if a == KVM {
		cpu = "host"
	}
	machine := "q35,accel=" + string(a)
	if f == SecureBoot {
		machine += ",smm=on" // the variables are written in system management mode alone
	}
	argv := []string{
		"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-machine", machine, "-cpu", cpu, "-smp", strconv.Itoa(processors), "-m", "2048",
		"-display", "none", "-vga", "std", "-nic", "none", "-no-reboot", "-rtc", "base=utc",
		"-serial", "file:" + consolePath, "-qmp", "stdio",
	}
	if m.IsDisk() {
		argv = append(argv, "-drive", "if=none,id=medium,format="+diskFormats[m]+",snapshot=on,file="+imagePath)
	} else {
		argv = append(argv, "-drive", "if=none,id=medium,format=raw,readonly=on,file="+imagePath)
	}
	if fl, ok := flash[f]; ok {
		argv = append(argv,
			"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/"+fl.code,
			"-drive", "if=pflash,format=raw,file="+varsPath)
	}
	if f == SecureBoot {
		argv = append(argv, "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	switch {
	case m == USB:
		return append(argv, "-device", "qemu-xhci", "-device", "usb-storage,drive=medium,removable=on,bootindex=0")
	case m.IsDisk():
		return append(argv, "-device", "ide-hd,drive=medium,bootindex=0")
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
	// QEMU, which runs a guest that is not trusted, writes to it.
	tmp, err := os.OpenRoot(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, tmp.Close()) }()
	if fl, ok := flash[o.Firmware]; ok {
		if err := copyVars(o.Toolbox, fl.vars, tmp, path.Base(varsPath)); err != nil {
			return r, err
		}
	}
	if err := tmp.Mkdir(path.Base(writtenPath), 0o700); err != nil {
		return r, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	control, err := newMonitor()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, control.close()) }()
	spec := sandbox.Spec{
		Root: o.Toolbox, Temp: dir, Env: []string{"TMPDIR=" + writtenPath}, Argv: Argv(o.Firmware, o.Medium, a, o.Processors),
		Binds: []sandbox.Bind{{Source: o.Image, Target: imagePath}},
		Stdin: control.in, Stdout: control.out, Stderr: &control.stderr,
	}
	if a == KVM {
		spec.Devices = []string{"/dev/kvm"}
	}
	ended := make(chan error, 1)
	start := time.Now()
	go func() { ended <- sandbox.Run(ctx, spec) }()

	w := &watcher{dir: tmp, mirror: o.Console}
	if o.Key != "" {
		w.press = func() { control.press(ctx, o.Key) }
	}
	waitErr := w.wait(ctx, ended, o, a)
	r.Took = time.Since(start)
	if !w.over {
		r.Screen = control.screenshot(ctx, tmp)
		control.quit()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cancel()
			<-ended
		}
	}
	r.Console, r.Found = w.text, w.found(o.Expect)
	if waitErr == nil || errors.Is(waitErr, errSilent) || startFailed(waitErr) {
		return r, waitErr
	}
	return r, fault.WithHint(waitErr, "look at the console and the screenshot that are kept beside the image")
}

// maxVars bounds the file of a firmware's variables, in bytes.
const maxVars = 16 << 20

func copyVars(toolbox, vars string, to *os.Root, name string) (err error) {
	root, err := os.OpenRoot(toolbox)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	b, err := regular.Read(root, "usr/share/OVMF/"+vars, maxVars)
	if err != nil {
		return fmt.Errorf("the toolbox has no UEFI firmware: %w", err)
	}
	return regular.Replace(to, name, 0o666, b)
}

// watcher follows the file that QEMU writes the console to.
type watcher struct {
	dir    *os.Root // QEMU's /tmp
	mirror io.Writer
	text   []byte
	over   bool // QEMU has ended
	// press presses a key of the boot menu; it may be nil.
	press   func()
	pressed time.Time
}

// keyEvery is how often the key is pressed until something was started: when the
// menu is there cannot be told where it does not show on the console.
const keyEvery = 500 * time.Millisecond

// started are texts of what a boot menu starts: the kernel, its EFI stub, memtest86+; and
// of the menu itself before a program that may take a key for its own.
var started = [][]byte{[]byte("Linux version "), []byte("EFI stub: "), []byte("Memtest86+"), []byte("Starting memory test ")}

// key presses the key until the menu is left.
func (w *watcher) key() {
	if w.press == nil || time.Since(w.pressed) < keyEvery {
		return
	}
	for _, text := range started {
		if bytes.Contains(w.text, text) {
			w.press = nil
			return
		}
	}
	w.press()
	w.pressed = time.Now()
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
			if w.found(o.Expect) != "" {
				return nil
			}
			if err != nil {
				return err
			}
			return errors.New("the machine switched itself off before it came up")
		case <-deadline.C:
			return fmt.Errorf("no %s on the console within %s; its last line: %q", quoted(o.Expect), o.Timeout, w.lastLine())
		case <-tick.C:
			n, err := w.read()
			if err != nil {
				return err
			}
			if w.found(o.Expect) != "" {
				return nil
			}
			if text := w.found(refusals); text != "" {
				return fmt.Errorf("the console says %q", w.lineOf(text))
			}
			switch {
			case n > 0:
				last = time.Now()
			case a == KVM && time.Since(last) > silence:
				return errSilent
			}
			w.key()
			if len(w.text) > maxConsole {
				return fmt.Errorf("more than %d bytes on the console", maxConsole)
			}
		}
	}
}

// read takes in what is new in the file.
func (w *watcher) read() (n int, err error) {
	f, err := regular.Open(w.dir, path.Base(consolePath))
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

// found is the first of the texts that is there, or "".
func (w *watcher) found(texts []string) string {
	for _, text := range texts {
		if bytes.Contains(w.text, []byte(text)) {
			return text
		}
	}
	return ""
}

// lineOf is the line that a text stands in.
func (w *watcher) lineOf(text string) string {
	at := bytes.Index(w.text, []byte(text))
	from := bytes.LastIndexAny(w.text[:at], "\r\n") + 1
	line := w.text[from:]
	if end := bytes.IndexAny(line, "\r\n"); end >= 0 {
		line = line[:end]
	}
	return strings.TrimSpace(string(line))
}

func quoted(texts []string) string {
	all := make([]string, len(texts))
	for i, t := range texts {
		all[i] = strconv.Quote(t)
	}
	return strings.Join(all, " or ")
}

func (w *watcher) lastLine() string {
	lines := strings.Split(strings.TrimSpace(string(w.text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
