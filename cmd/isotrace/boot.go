package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/emulator"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

// bootFlags say how an image is booted.
type bootFlags struct {
	firmware, medium    []string
	entry               string
	accelerator, expect string
	timeout             time.Duration
	processors          int
	console             bool
}

func (a *app) bootCommand() *cobra.Command {
	var f bootFlags
	c := &cobra.Command{
		Use:   "boot DIR",
		Short: "Boot an image in an emulator, up to the login prompt",
		Long: `Boots the image that isotrace build wrote into DIR in QEMU, from the toolbox of
its lock, and waits for the login prompt on the first serial port. Console and
screenshot are kept in DIR/boot. KVM is used where it works.

The ISO is the medium cd or usb; vhd, raw and qcow2 are the disks among the
outputs. What a guest writes to its disk is thrown away.

The firmware secureboot is UEFI with Secure Boot on and Microsoft's keys. With
--entry another entry of the boot menu is taken: isotrace presses its hot key
(i, d or m). A menu of the project's own has to have the same ones. memory-0 is the
first of boot.memory-tests, whose hot key is 0; what it writes, --expect has to say.`,
		Example: `  isotrace boot out
  isotrace boot out --firmware bios,uefi,secureboot --medium cd,usb
  isotrace boot out --firmware bios,uefi --medium vhd
  isotrace boot out --entry check      # the medium checks itself
  isotrace boot out --entry memtest`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return inside(func() error { return a.boot(c.Context(), args[0], f) })
		},
	}
	c.Flags().StringSliceVar(&f.firmware, "firmware", []string{"bios"}, "`firmware`: bios, uefi or secureboot, or several with commas")
	c.Flags().StringSliceVar(&f.medium, "medium", []string{"cd"}, "`medium`: cd, usb, vhd, raw or qcow2, or several with commas")
	c.Flags().StringVar(&f.accelerator, "accelerator", "", "kvm or tcg (default: kvm where it works)")
	c.Flags().IntVar(&f.processors, "processors", 2, "`processors` of the machine, 1 to 64")
	c.Flags().StringVar(&f.entry, "entry", "try", "the `entry` of the boot menu: try, install, check, memtest or memory-N")
	c.Flags().StringVar(&f.expect, "expect", "", "the `text` on the console to wait for (default: what the entry writes when it has come up)")
	c.Flags().DurationVar(&f.timeout, "timeout", 15*time.Minute, "how long one boot may take")
	c.Flags().BoolVar(&f.console, "console", false, "show the console while it boots")
	a.mirrorFlags(c)
	for flag, values := range map[string][]string{
		"firmware": {"bios", "uefi", "secureboot"}, "medium": mediums, "entry": {"try", "install", "check", "memtest"}, "accelerator": {"kvm", "tcg"},
	} {
		if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is ours
		}
	}
	return c
}

// mediums are the values of --medium.
var mediums = []string{string(emulator.CD), string(emulator.USB), string(emulator.VHD), string(emulator.Raw), string(emulator.QCOW2)}

// imageFor is the file that is booted as a medium.
func imageFor(b *provenance.Bundle, m emulator.Medium) (string, error) {
	if !m.IsDisk() {
		return b.Image(), nil
	}
	if !slices.Contains(b.Config.DiskFormats(), string(m)) {
		return "", fault.New(fault.Usage, "add it to outputs in isotrace.yaml, and run isotrace build", "--medium %s: the build made none", m)
	}
	return filepath.Join(filepath.Dir(b.Image()), provenance.DiskName(b.Config, string(m))), nil
}

// menuEntry is an entry of the built-in boot menu.
type menuEntry struct {
	key string // hot key; "" for the one that the menu takes by itself
	// ends are what it writes to the console when all is well, in the words of
	// live-boot and casper.
	ends []string
}

// entries by name. GRUB has keys of its own: c, e, p and v are not to be had.
var entries = map[string]menuEntry{
	"try":     {"", []string{"login:"}},
	"install": {"i", []string{"login:"}},
	"check":   {"d", []string{"Verification success", "Check finished: no errors found"}},
	"memtest": {"m", []string{"Memtest86+"}},
}

// entryOf finds an entry by its name; memory-N is the Nth memory test of the project.
func entryOf(name string) (menuEntry, bool) {
	if n, ok := strings.CutPrefix(name, "memory-"); ok && len(n) == 1 && n >= "0" && n <= "9" {
		return menuEntry{key: n}, true
	}
	e, ok := entries[name]
	return e, ok
}

// bootResult is one boot.
type bootResult struct {
	Firmware    emulator.Firmware    `json:"firmware"`
	Medium      emulator.Medium      `json:"medium"`
	Entry       string               `json:"entry"`
	Expected    string               `json:"expected"`
	Accelerator emulator.Accelerator `json:"accelerator"`
	Seconds     float64              `json:"seconds"`
	Console     string               `json:"console"`
	Screen      string               `json:"screen,omitempty"`
}

func (a *app) boot(ctx context.Context, dir string, f bootFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	b, err := provenance.OpenBundle(dir)
	if err != nil {
		return err
	}
	for _, m := range f.medium {
		image, err := imageFor(b, emulator.Medium(m))
		if err != nil {
			return err
		}
		if _, err := os.Stat(image); err != nil {
			return fault.New(fault.Usage, "run isotrace build", "the image: %w", err)
		}
	}
	s, err := a.session(&stages.Project{Dir: dir, Config: b.Config, Lock: b.Lock})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Store.Close()) }()
	progress, err := a.newProgress()
	if err != nil {
		return err
	}
	s.Progress = progress
	err = s.WithTools(ctx, lockfile.UseEmulator, func(toolbox string) error {
		return a.bootEach(ctx, s, toolbox, b, filepath.Join(dir, "boot"), f)
	})
	progress.Close()
	return err
}

func (f bootFlags) check() error {
	for _, x := range f.firmware {
		if !slices.Contains([]emulator.Firmware{emulator.BIOS, emulator.UEFI, emulator.SecureBoot}, emulator.Firmware(x)) {
			return fault.New(fault.Usage, "bios, uefi or secureboot", "--firmware %s: is not known", x)
		}
	}
	entry, known := entryOf(f.entry)
	for _, x := range f.medium {
		if !slices.Contains(mediums, x) {
			return fault.New(fault.Usage, "cd, usb, vhd, raw or qcow2", "--medium %s: is not known", x)
		}
		if emulator.Medium(x).IsDisk() && entry.key != "" {
			return fault.New(fault.Usage, "leave out --entry: the menu of a disk has one entry", "--medium %s: has no entry %s", x, f.entry)
		}
	}
	if f.processors < 1 || f.processors > 64 {
		return fault.New(fault.Usage, "1 to 64", "--processors %d: is out of bounds", f.processors)
	}
	switch {
	case !known:
		return fault.New(fault.Usage, "try, install, check, memtest or memory-0 to memory-9", "--entry %s: is not known", f.entry)
	case len(entry.ends) == 0 && f.expect == "":
		return fault.New(fault.Usage, "say with --expect what it writes to the first serial port", "--entry %s: what it writes is not known", f.entry)
	}
	if !slices.Contains([]string{"", string(emulator.KVM), string(emulator.TCG)}, f.accelerator) {
		return fault.New(fault.Usage, "kvm or tcg", "--accelerator %s: is not known", f.accelerator)
	}
	return nil
}

func (a *app) bootEach(ctx context.Context, s *stages.Session, toolbox string, b *provenance.Bundle, keep string, f bootFlags) (err error) {
	scratch, err := s.Store.NewWork("boot")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return err
	}
	entry, _ := entryOf(f.entry)
	o := emulator.Options{
		Toolbox: toolbox, Scratch: scratch, Processors: f.processors, Accelerator: emulator.Accelerator(f.accelerator),
		Key: entry.key, Expect: entry.ends, Timeout: f.timeout, Notice: func(text string) { s.Progress.Line("boot", text) },
	}
	if f.expect != "" {
		o.Expect = []string{f.expect}
	}
	ending := ""
	if o.Key != "" {
		ending = "-" + f.entry
	}
	if f.console {
		o.Console = os.Stderr
	}
	var results []bootResult
	for _, firmware := range f.firmware {
		for _, medium := range f.medium {
			o.Firmware, o.Medium = emulator.Firmware(firmware), emulator.Medium(medium)
			name := firmware + "-" + medium + ending
			if o.Image, err = imageFor(b, o.Medium); err != nil {
				return err
			}
			s.Progress.Stage(name, stage.StateRunning)
			report, err := emulator.Boot(ctx, o)
			r, kerr := keepBoot(keep, name, o, report)
			r.Entry = f.entry
			if err := errors.Join(err, kerr); err != nil {
				s.Progress.Stage(name, stage.StateFailed)
				return fmt.Errorf("boot %s: %w", name, err)
			}
			s.Progress.Stage(name, stage.StateDone)
			results = append(results, r)
			o.Accelerator = report.Accelerator // what has failed once is not tried again
		}
	}
	return a.result(results, func(w io.Writer) error {
		for _, r := range results {
			if _, err := fmt.Fprintf(w, "%-10s %-3s  %q after %.0f s (%s)  %s\n", r.Firmware, r.Medium, r.Expected, r.Seconds, r.Accelerator, r.Console); err != nil {
				return err
			}
		}
		return nil
	})
}

// keepBoot writes what a boot left to see.
func keepBoot(dir, name string, o emulator.Options, report emulator.Report) (bootResult, error) {
	r := bootResult{Firmware: o.Firmware, Medium: o.Medium, Accelerator: report.Accelerator, Expected: report.Found, Seconds: float64(report.Took.Milliseconds()) / 1000}
	r.Console = filepath.Join(dir, name+".console")
	err := artifact.WriteBytes(r.Console, 0o644, report.Console)
	if len(report.Screen) > 0 {
		r.Screen = filepath.Join(dir, name+".png")
		err = errors.Join(err, artifact.WriteBytes(r.Screen, 0o644, report.Screen))
	}
	return r, err
}
