package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	accelerator, expect string
	timeout             time.Duration
	console             bool
}

func (a *app) bootCommand() *cobra.Command {
	var f bootFlags
	c := &cobra.Command{
		Use:   "boot DIR",
		Short: "Boot an image in an emulator, up to the login prompt",
		Long: `Boots the image that isotrace build wrote into DIR in QEMU, from the toolbox of
its lock, and waits for the login prompt on the first serial port. Console and
screenshot are kept in DIR/boot. KVM is used where it works.`,
		Example: `  isotrace boot out
  isotrace boot out --firmware bios,uefi --medium cd,usb`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return inside(func() error { return a.boot(c.Context(), args[0], f) })
		},
	}
	c.Flags().StringSliceVar(&f.firmware, "firmware", []string{"bios"}, "`firmware`: bios, uefi, or both with a comma")
	c.Flags().StringSliceVar(&f.medium, "medium", []string{"cd"}, "`medium`: cd, usb, or both with a comma")
	c.Flags().StringVar(&f.accelerator, "accelerator", "", "kvm or tcg (default: kvm where it works)")
	c.Flags().StringVar(&f.expect, "expect", "login:", "the `text` on the console to wait for")
	c.Flags().DurationVar(&f.timeout, "timeout", 15*time.Minute, "how long one boot may take")
	c.Flags().BoolVar(&f.console, "console", false, "show the console while it boots")
	a.mirrorFlags(c)
	return c
}

// bootResult is one boot.
type bootResult struct {
	Firmware    emulator.Firmware    `json:"firmware"`
	Medium      emulator.Medium      `json:"medium"`
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
	if _, err := os.Stat(b.Image()); err != nil {
		return fault.New(fault.Usage, "run isotrace build", "the image: %w", err)
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
		return a.bootEach(ctx, s, toolbox, b.Image(), filepath.Join(dir, "boot"), f)
	})
	progress.Close()
	return err
}

func (f bootFlags) check() error {
	for _, x := range f.firmware {
		if x != string(emulator.BIOS) && x != string(emulator.UEFI) {
			return fault.New(fault.Usage, "bios or uefi", "--firmware %s: is not known", x)
		}
	}
	for _, x := range f.medium {
		if x != string(emulator.CD) && x != string(emulator.USB) {
			return fault.New(fault.Usage, "cd or usb", "--medium %s: is not known", x)
		}
	}
	if !slices.Contains([]string{"", string(emulator.KVM), string(emulator.TCG)}, f.accelerator) {
		return fault.New(fault.Usage, "kvm or tcg", "--accelerator %s: is not known", f.accelerator)
	}
	return nil
}

func (a *app) bootEach(ctx context.Context, s *stages.Session, toolbox, image, keep string, f bootFlags) (err error) {
	scratch, err := s.Store.NewWork("boot")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if err := os.MkdirAll(keep, 0o755); err != nil {
		return err
	}
	o := emulator.Options{
		Toolbox: toolbox, Image: image, Scratch: scratch, Accelerator: emulator.Accelerator(f.accelerator),
		Expect: f.expect, Timeout: f.timeout, Notice: func(text string) { s.Progress.Line("boot", text) },
	}
	if f.console {
		o.Console = os.Stderr
	}
	var results []bootResult
	for _, firmware := range f.firmware {
		for _, medium := range f.medium {
			o.Firmware, o.Medium = emulator.Firmware(firmware), emulator.Medium(medium)
			name := firmware + "-" + medium
			s.Progress.Stage(name, stage.StateRunning)
			report, err := emulator.Boot(ctx, o)
			r, kerr := keepBoot(keep, name, o, report)
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
			if _, err := fmt.Fprintf(w, "%-4s %-3s  %q after %.0f s (%s)  %s\n", r.Firmware, r.Medium, f.expect, r.Seconds, r.Accelerator, r.Console); err != nil {
				return err
			}
		}
		return nil
	})
}

// keepBoot writes what a boot left to see.
func keepBoot(dir, name string, o emulator.Options, report emulator.Report) (bootResult, error) {
	r := bootResult{Firmware: o.Firmware, Medium: o.Medium, Accelerator: report.Accelerator, Seconds: float64(report.Took.Milliseconds()) / 1000}
	r.Console = filepath.Join(dir, name+".console")
	err := artifact.WriteBytes(r.Console, 0o644, report.Console)
	if len(report.Screen) > 0 {
		r.Screen = filepath.Join(dir, name+".png")
		err = errors.Join(err, artifact.WriteBytes(r.Screen, 0o644, report.Screen))
	}
	return r, err
}
