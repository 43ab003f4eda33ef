package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/blockdev"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
)

type writeFlags struct {
	verifyFlags
	sign, operator, record string
	yes, anyDisk           bool
}

func (a *app) writeCommand() *cobra.Command {
	var f writeFlags
	c := &cobra.Command{
		Use:   "write DIR DEVICE",
		Short: "Put an image on a USB stick, read it back, and record it",
		Long: `Verifies what isotrace build wrote into DIR, shows what DEVICE is and asks, copies the
image to it and reads it back from the medium itself. What the medium held is lost.

DEVICE is a whole disk such as /dev/sdb. A partition, a disk of which anything is in use,
and one that is not removable are refused. Where an older partition table may be left at
the disk's end, its last MiB is cleared.

The load record says what went to which medium, by its model and serial number, when and
by whom. It is an in-toto statement, signed with the loader's key.`,
		Example: `  isotrace keys new --role loader
  isotrace write out /dev/sdb --release-key keys/release.pub --operator "A. Engineer"`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return a.write(c.Context(), args[0], args[1], f) },
	}
	f.register(c, "builder-key")
	fl := c.Flags()
	fl.StringVar(&f.sign, "key", "", "the loader's private key: a `file`, or a reference as for release (default keys/loader.key)")
	fl.StringVar(&f.operator, "operator", "", "`who` does it, for the record")
	fl.StringVar(&f.record, "record", "", "`file` for the record (default DIR/loads/TIME-SERIAL.json)")
	fl.BoolVar(&f.yes, "yes", false, "do not ask")
	fl.BoolVar(&f.anyDisk, "any-disk", false, "also a disk that is not removable; one that is in use never")
	return c
}

// written is the result of the command.
type written struct {
	Image  string          `json:"image"`
	Digest artifact.Digest `json:"sha256"`
	Record string          `json:"record"`
	provenance.Load
}

func (a *app) write(ctx context.Context, dir, device string, f writeFlags) (err error) {
	if f.operator == "" {
		return fault.New(fault.Usage, `for example --operator "A. Engineer"`, "nobody said who does it: --operator is missing")
	}
	disk, err := blockdev.ThisHost.Find(device)
	if err != nil {
		return err
	}
	signer, err := a.loadSigner(ctx, "loader", f.sign)
	if err != nil {
		return err
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	image, err := verifiedImage(ctx, dir, o)
	if err != nil {
		return err
	}
	in, err := regular.OpenFile(image.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := disk.Check(st.Size(), f.anyDisk); err != nil {
		return err
	}
	if err := confirm(disk, image.path, st.Size(), f.yes); err != nil {
		return err
	}
	progress, err := a.newProgress()
	if err != nil {
		return err
	}
	doing := ""
	err = disk.Write(ctx, in, st.Size(), image.digest, func(verb string, done int64) {
		if verb != doing {
			if doing != "" {
				progress.Stage(doing, stage.StateDone)
			}
			doing = verb
			progress.Stage(doing, stage.StateRunning)
		}
		progress.Bytes(verb, done, st.Size())
	})
	if err == nil {
		progress.Stage(doing, stage.StateDone)
	}
	progress.Close()
	if err != nil {
		return err
	}
	w := written{image.path, image.digest, f.record, provenance.Load{Medium: disk, Bytes: st.Size(), Loaded: now().UTC().Format(time.RFC3339), Operator: f.operator}}
	if w.Record == "" {
		w.Record = filepath.Join(dir, "loads", loadName(now(), disk))
	}
	if err := writeLoad(signer, w); err != nil {
		return fmt.Errorf("the image is on %s, but its record is not written: %w", device, err)
	}
	return a.result(w, func(to io.Writer) error {
		_, err := fmt.Fprintf(to, "%s  sha256:%s\n%s: %s, read back and the same; recorded in %s\n", w.Image, w.Digest, device, bytesText(w.Bytes), w.Record)
		return err
	})
}

type imageFile struct {
	path   string
	digest artifact.Digest
}

// verifiedImage is the image of a build that verifies.
func verifiedImage(ctx context.Context, dir string, o provenance.VerifyOptions) (imageFile, error) {
	r, err := provenance.Verify(ctx, dir, o)
	if err != nil {
		return imageFile{}, err
	}
	if err := r.Refused(); err != nil {
		return imageFile{}, fault.WithHint(err, "isotrace verify "+dir+" tells more; nothing was written")
	}
	return imageFile{filepath.Join(dir, r.Image), r.Digest}, nil
}

// confirm shows what will be lost, and asks.
func confirm(d *blockdev.Disk, image string, size int64, yes bool) error {
	known := func(s string) string {
		if s == "" {
			return "not told"
		}
		return s
	}
	fmt.Fprintf(os.Stderr, "device  %s\nmodel   %s\nserial  %s\nsize    %s\nimage   %s, %s\n", line(d.Path), line(known(d.Model)), line(known(d.Serial)), bytesText(d.Size), line(image), bytesText(size))
	if yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return fault.New(fault.Usage, "--yes goes on without asking", "%s: standard input is not a terminal, and what the disk holds would be lost", d.Path)
	}
	fmt.Fprintf(os.Stderr, "All that it holds will be lost. Type the device's name to go on: ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(answer) != d.Path {
		return fault.New(fault.Usage, "nothing was written", "%s: not confirmed", d.Path)
	}
	return nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// loadName sorts by time and tells media apart.
func loadName(at time.Time, d *blockdev.Disk) string {
	serial := notInNames.ReplaceAllString(d.Serial, "_")
	if serial == "" {
		serial = d.Name
	}
	return at.UTC().Format("20060102T150405Z") + "-" + serial + ".json"
}

func writeLoad(signer *provenance.Signer, w written) error {
	text, err := signer.SignLoad(filepath.Base(w.Image), w.Digest, w.Load)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(w.Record), 0o755); err != nil {
		return err
	}
	return artifact.WriteBytes(w.Record, 0o644, text)
}
