// Package bootparts makes what firmware starts: GRUB for BIOS and UEFI, the
// EFI system partition, and memtest86+.
package bootparts

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// The files that the stage gives.
const (
	BIOS   = "bios.img"        // El Torito image for BIOS
	MBR    = "boot_hybrid.img" // boot code of the master boot record
	EFI    = "bootx64.efi"     // GRUB for UEFI
	ESP    = "efiboot.img"     // EFI system partition, FAT16
	Memory = "memtest"         // set: memtest86+ as memtest.bin and memtest.efi
)

// Params say what GRUB looks for and whether there is a memory test.
type Params struct {
	// Marker is a path on the medium by which GRUB knows it.
	Marker  string `json:"marker"`
	Memtest bool   `json:"memtest"`
}

// Stage takes the tree of the boot set and gives the boot parts.
func Stage(toolbox, boot stage.Tree, p Params) stage.Stage {
	return stage.Stage{
		Name: "bootparts", Version: 1, Params: p,
		Takes: "tree of the boot set", Gives: "GRUB for BIOS and UEFI, EFI system partition, memtest86+",
		Inputs: []stage.Input{{Name: "toolbox", From: toolbox}, {Name: "boot", From: boot}},
		Outputs: []stage.Output{
			{Name: BIOS, Kind: stage.KindFile}, {Name: MBR, Kind: stage.KindFile}, {Name: EFI, Kind: stage.KindFile},
			{Name: ESP, Kind: stage.KindFile}, {Name: Memory, Kind: stage.KindSet},
		},
		Run: func(ctx context.Context, w *stage.Work) error { return run(ctx, w, p) },
	}
}

// modules are built into GRUB, so that the medium needs no folder of them.
var modules = []string{
	"all_video", "boot", "cat", "chain", "configfile", "cpuid", "echo", "fat", "font", "gfxterm", "gzio", "halt", "help", "iso9660", "keystatus",
	"linux", "loadenv", "ls", "memdisk", "minicmd", "normal", "part_gpt", "part_msdos", "probe", "read", "reboot", "regexp",
	"search", "search_fs_file", "search_label", "serial", "sleep", "tar", "terminal", "test", "true",
}

// grub is one build of GRUB.
type grub struct {
	format, folder, output string
	modules                []string
}

var grubs = []grub{
	{"i386-pc-eltorito", "i386-pc", BIOS, []string{"biosdisk", "linux16", "vbe", "vga"}},
	{"x86_64-efi", "x86_64-efi", EFI, []string{"efi_gop", "efi_uga", "efifwsetup"}},
}

// command builds GRUB with the memory disk at /tmp/memdisk.tar.
func (g grub) command(e epoch.Epoch) tool.Command {
	c := tool.New("grub-mkimage", "--format", g.format, "--directory", "/in/boot/usr/lib/grub/"+g.folder,
		"--memdisk", "/tmp/memdisk.tar", "--prefix", "(memdisk)/boot/grub", "--output", "/out/"+g.output)
	c.Argv = append(append(c.Argv, modules...), g.modules...)
	return c.With(e.Env())
}

func run(ctx context.Context, w *stage.Work, p Params) (err error) {
	if err := writeMemdisk(filepath.Join(w.Temp(), "memdisk.tar"), p.Marker, w.Epoch); err != nil {
		return err
	}
	for _, g := range grubs {
		if err := w.Run(ctx, g.command(w.Epoch)); err != nil {
			return err
		}
	}
	if err := systemPartition(ctx, w); err != nil {
		return err
	}
	dir, err := w.View("boot")
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := copyOut(root, "usr/lib/grub/i386-pc/boot_hybrid.img", w.OutFile(MBR)); err != nil {
		return err
	}
	if !p.Memtest {
		return nil
	}
	return memtest(w, root)
}

// writeMemdisk makes the archive in which GRUB finds its first config, which
// looks for the medium and goes on with the config there.
func writeMemdisk(path, marker string, e epoch.Epoch) error {
	cfg := fmt.Sprintf("search --no-floppy --set=root --file %s\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n", marker)
	return artifact.WriteFile(path, 0o644, func(out io.Writer) error {
		t := tar.NewWriter(out)
		for _, h := range []*tar.Header{
			{Name: "boot/", Typeflag: tar.TypeDir, Mode: 0o755},
			{Name: "boot/grub/", Typeflag: tar.TypeDir, Mode: 0o755},
			{Name: "boot/grub/grub.cfg", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(cfg))},
		} {
			h.Format, h.ModTime = tar.FormatUSTAR, e.Time()
			if err := t.WriteHeader(h); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(t, cfg); err != nil {
			return err
		}
		return t.Close()
	})
}

// systemPartition makes the FAT16 file system from which UEFI starts GRUB.
func systemPartition(ctx context.Context, w *stage.Work) error {
	st, err := os.Stat(w.OutFile(EFI))
	if err != nil {
		return err
	}
	for _, c := range SystemPartition(st.Size(), w.Epoch) {
		if err := w.Run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// SystemPartition are the commands that make the file system for a GRUB of so
// many bytes. FAT16 has at least 4,085 clusters; one of a sector each keeps it
// small. The volume's serial number is the epoch, for lack of anything better.
func SystemPartition(size int64, e epoch.Epoch) []tool.Command {
	const mib = 1 << 20
	kib := (size + 4*mib + mib - 1) / mib * 1024
	env := []string{e.Env(), "TZ=UTC", "MTOOLS_SKIP_CHECK=1"}
	return []tool.Command{
		tool.New("mkfs.vfat", "-C", "-F", "16", "-s", "1", "-i", fmt.Sprintf("%08x", uint32(e)), "--invariant", "/out/"+ESP, fmt.Sprint(kib)).With(env...),
		tool.New("mmd", "-i", "/out/"+ESP, "::/EFI", "::/EFI/BOOT").With(env...),
		tool.New("mcopy", "-i", "/out/"+ESP, "/out/"+EFI, "::/EFI/BOOT/BOOTX64.EFI").With(env...),
	}
}

// memtests are the places of memtest86+ in its package, newest first, for BIOS
// and for UEFI.
var memtests = map[string][]string{
	"memtest.bin": {"boot/memtest86+x64.bin", "boot/memtest86+.bin"},
	"memtest.efi": {"boot/memtest86+x64.efi", "boot/memtest86+.efi"},
}

func memtest(w *stage.Work, root *os.Root) error {
	found := false
	for name, places := range memtests {
		for _, place := range places {
			f, err := root.Open(place)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			ref, err := w.Store().Add(f, 16<<20)
			if err := errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("%s: %w", place, err)
			}
			ref.Path = name
			if err := w.AddToSet(Memory, ref); err != nil {
				return err
			}
			found = true
			break
		}
	}
	if !found {
		return fault.New(fault.Failed, "set boot.memtest to false", "memtest86+: none of %s in its package", strings.Join(memtests["memtest.bin"], ", "))
	}
	return nil
}

func copyOut(root *os.Root, from, to string) (err error) {
	f, err := root.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return artifact.WriteFile(to, 0o644, func(out io.Writer) error {
		_, err := io.Copy(out, f)
		return err
	})
}
