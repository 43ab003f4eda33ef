package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/secureboot"
)

// A boot is a way to start the image, and how that must end.
type bootCase struct {
	firmware, medium, entry string
	// changed is a copy of the output folder whose image was tampered with; "" is
	// the good one.
	changed string
	code    int
	// says is on the console where all is well, or else in the error.
	says string
	// also is on the console besides.
	also string
}

// TestRescueBoots boots the image in all ways up to the login prompt, and takes the
// other entries of its menu. One byte changed in GRUB is refused where Secure Boot
// is on, one in the squashfs is found by the medium's check of itself.
func TestRescueBoots(t *testing.T) {
	t.Parallel()
	p := rescue(t)
	badGRUB, badSquashfs := copyOfOut(t, p), copyOfOut(t, p)
	flipBootedGRUB(t, filepath.Join(badGRUB, "rescue.iso"))
	flipFile(t, filepath.Join(badSquashfs, "rescue.iso"), "casper/filesystem.squashfs")
	bootAll(t, p, []bootCase{
		{"secureboot", "cd", "try", "", 0, "rescue login:", "Secure boot enabled"},
		{"bios", "cd", "check", "", 0, "Verification success", ""},
		{"bios", "cd", "check", badSquashfs, 1, `Verification failed`, ""},
		{"bios", "cd", "try", "", 0, "rescue login:", ""},
		{"bios", "usb", "try", "", 0, "rescue login:", ""},
		{"uefi", "cd", "try", "", 0, "rescue login:", ""},
		{"uefi", "usb", "try", "", 0, "rescue login:", ""},
		{"bios", "cd", "memtest", "", 0, "Memtest86+", ""},
		{"uefi", "cd", "memtest", "", 0, "Memtest86+", ""},
		{"secureboot", "cd", "try", badGRUB, 1, `Security Violation`, ""},
	})
}

// bootAll boots two at a time, with one processor each.
func bootAll(t *testing.T, p *project, cases []bootCase) {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(2)
	for _, c := range cases {
		group.Go(func() error {
			c.boot(t, p)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// corruptSquashfs changes one byte of the table of inodes, which is read whenever the
// squashfs is mounted.
func corruptSquashfs(t *testing.T, iso string) {
	t.Helper()
	const inodeTable = 64 // where the superblock names it
	image, err := medium.OpenISO(iso)
	if err != nil {
		t.Fatal(err)
	}
	extent := image.Files["casper/filesystem.squashfs"]
	if err := image.Close(); err != nil {
		t.Fatal(err)
	}
	b := readAll(t, iso)
	flipAt(t, iso, b, extent.Offset+int64(binary.LittleEndian.Uint64(b[extent.Offset+inodeTable:]))+10)
}

func (c bootCase) boot(t *testing.T, p *project) {
	name := strings.Join([]string{c.firmware, c.medium, c.entry}, " ")
	dir := p.out()
	if c.changed != "" {
		dir, name = c.changed, name+", tampered with"
	}
	run := p.command("boot", dir, "--json", "--firmware", c.firmware, "--medium", c.medium, "--entry", c.entry, "--timeout", "10m", "--processors", "1")
	if strings.HasPrefix(c.entry, "memory-") { // what it writes, nobody else knows
		run.Args = append(run.Args, "--expect", c.says)
	}
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	err := run.Run()
	if run.ProcessState == nil || run.ProcessState.ExitCode() != c.code {
		t.Errorf("%s: %v\n%s", name, err, stderr.String())
		return
	}
	if c.code != 0 {
		if !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%s: does not say %s:\n%s", name, c.says, stderr.String())
		}
		return
	}
	var boots []bootResult
	if err := json.Unmarshal(stdout.Bytes(), &boots); err != nil || len(boots) != 1 {
		t.Errorf("%s: %v\n%s", name, err, stdout.String())
		return
	}
	t.Logf("%s: %.0f s, %s", name, boots[0].Seconds, boots[0].Accelerator)
	console, err := os.ReadFile(boots[0].Console)
	if err != nil || !bytes.Contains(console, []byte(c.says)) || !bytes.Contains(console, []byte(c.also)) {
		t.Errorf("%s: the console lacks %q or %q: %v", name, c.says, c.also, err)
	}
	screen, err := os.ReadFile(boots[0].Screen)
	if err != nil || !bytes.HasPrefix(screen, []byte("\x89PNG")) {
		t.Errorf("%s: no screenshot: %v", name, err)
	}
}

func copyOfOut(t *testing.T, p *project) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	if err := os.CopyFS(dir, os.DirFS(p.out())); err != nil {
		t.Fatal(err)
	}
	return dir
}

// flipBootedGRUB changes one byte of the GRUB that firmware starts, in the EFI
// system partition.
func flipBootedGRUB(t *testing.T, iso string) {
	t.Helper()
	image, err := medium.OpenISO(iso)
	if err != nil {
		t.Fatal(err)
	}
	grub := image.Files[secureboot.GRUBPath]
	partition, _, err := image.SystemPartition()
	if err := errors.Join(err, image.Close()); err != nil {
		t.Fatal(err)
	}
	b := readAll(t, iso)
	middle := grub.Offset + grub.Size/2
	sector := b[middle : middle+512]
	at := bytes.Index(b[partition.Offset:partition.Offset+partition.Size], sector)
	if at < 0 || len(bytes.Trim(sector, "\x00")) == 0 {
		t.Fatal("the EFI system partition does not hold the image's GRUB")
	}
	flipAt(t, iso, b, partition.Offset+int64(at))
}

// flipFile changes one byte in the middle of a file of the image.
func flipFile(t *testing.T, iso, name string) {
	t.Helper()
	image, err := medium.OpenISO(iso)
	if err != nil {
		t.Fatal(err)
	}
	extent := image.Files[name]
	if err := image.Close(); err != nil {
		t.Fatal(err)
	}
	flipAt(t, iso, readAll(t, iso), extent.Offset+extent.Size/2)
}

// flipAt writes an image anew: the old one is read-only.
func flipAt(t *testing.T, iso string, b []byte, at int64) {
	t.Helper()
	b[at] ^= 0x10
	if err := errors.Join(os.Remove(iso), os.WriteFile(iso, b, 0o644)); err != nil {
		t.Fatal(err)
	}
}
