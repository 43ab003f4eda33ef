// Package bootparts makes what firmware starts: GRUB for BIOS and UEFI, with or
// without shim, the EFI system partition, and memtest86+.
package bootparts

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/secureboot"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// The files that the stage gives.
const (
	BIOS   = "bios.img"        // El Torito image for BIOS
	MBR    = "boot_hybrid.img" // boot code of the master boot record
	EFI    = "efi"             // set: what the EFI system partition holds, by path
	ESP    = "efiboot.img"     // EFI system partition, FAT16
	Memory = "memtest"         // set: memtest86+ as memtest.bin and memtest.efi
)

// configPath is what a signed GRUB reads first, in the EFI system partition.
const configPath = "BOOT/GRUB/GRUB.CFG"

// Params say what GRUB looks for and whether there is a memory test.
type Params struct {
	// Marker is a path on the medium by which GRUB knows it.
	Marker  string `json:"marker"`
	Memtest bool   `json:"memtest"`
	// SecureBoot takes shim and the GRUB that the distribution signed, in place of
	// one that is made here.
	SecureBoot bool `json:"secure-boot"`
}

// Stage takes the tree of the boot set and gives the boot parts.
func Stage(toolbox, boot stage.Tree, p Params) stage.Stage {
	return stage.Stage{
		Name: "bootparts", Version: 3, Params: p,
		Takes: "tree of the boot set", Gives: "GRUB for BIOS and UEFI, EFI system partition, memtest86+",
		Inputs: []stage.Input{{Name: "toolbox", From: toolbox}, {Name: "boot", From: boot}},
		Outputs: []stage.Output{
			{Name: BIOS, Kind: stage.KindFile}, {Name: MBR, Kind: stage.KindFile}, {Name: EFI, Kind: stage.KindSet},
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
	format, folder string
	modules        []string
}

var (
	grubBIOS = grub{"i386-pc-eltorito", "i386-pc", []string{"biosdisk", "linux16", "vbe", "vga"}}
	grubEFI  = grub{"x86_64-efi", "x86_64-efi", []string{"efi_gop", "efi_uga", "efifwsetup"}}
)

// first is how GRUB comes to its config.
type first struct {
	config string // what it reads before all else
	efi    grub   // where it is made here
	signed bool   // by the distribution
}

// command builds GRUB with the memory disk at /in/given/memdisk.tar.
func (g grub) command(output string, e epoch.Epoch) tool.Command {
	c := tool.New("grub-mkimage", "--format", g.format, "--directory", "/in/boot/usr/lib/grub/"+g.folder,
		"--memdisk", "/in/given/memdisk.tar", "--prefix", "(memdisk)/boot/grub", "--output", output)
	c.Argv = append(append(c.Argv, modules...), g.modules...)
	return c.With(e.Env())
}

func run(ctx context.Context, w *stage.Work, p Params) (err error) {
	root, err := openBoot(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	f := first{config: firstConfig("--file " + p.Marker), efi: grubEFI, signed: p.SecureBoot}
	if err := start(ctx, w, root, f, grubBIOS, BIOS); err != nil {
		return err
	}
	if err := copyOut(root, "usr/lib/grub/i386-pc/boot_hybrid.img", w, MBR); err != nil {
		return err
	}
	if !p.Memtest {
		return nil
	}
	return memtest(w, root)
}

func openBoot(w *stage.Work) (*os.Root, error) {
	dir, err := w.View("boot")
	if err != nil {
		return nil, err
	}
	return os.OpenRoot(dir)
}

// start makes what BIOS and UEFI start: an image of GRUB, and a file system.
func start(ctx context.Context, w *stage.Work, root *os.Root, f first, bios grub, output string) error {
	if err := w.Give("memdisk.tar", 0o644, func(out io.Writer) error { return writeMemdisk(out, f.config, w.Epoch) }); err != nil {
		return err
	}
	if err := w.Run(ctx, bios.command("/out/"+output, w.Epoch)); err != nil {
		return err
	}
	files, err := loaders(ctx, w, root, f)
	if err != nil {
		return err
	}
	return systemPartition(ctx, w, files)
}

// The places of what is signed in its packages, newest first. gcdx64 is the GRUB
// for media: its prefix is /boot/grub of where it was started from.
var signed = []struct {
	path, what string
	places     []string
}{
	{secureboot.FirstPath, "shim", []string{"usr/lib/shim/shimx64.efi.signed.latest", "usr/lib/shim/shimx64.efi.signed"}},
	{secureboot.GRUBPath, "GRUB", []string{"usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed"}},
}

// loaders gives what the EFI system partition holds, in the order of the paths.
func loaders(ctx context.Context, w *stage.Work, root *os.Root, f first) ([]artifact.Ref, error) {
	if !f.signed {
		const made = "grub.efi"
		if err := w.Run(ctx, f.efi.command("/out/"+made, w.Epoch)); err != nil {
			return nil, err
		}
		ref, err := w.Adopt(made)
		if err != nil {
			return nil, err
		}
		ref.Path = secureboot.FirstPath
		return []artifact.Ref{ref}, w.AddToSet(EFI, ref)
	}
	ref, err := w.Store().Add(strings.NewReader(f.config), int64(len(f.config)))
	if err != nil {
		return nil, err
	}
	ref.Path = configPath
	files := []artifact.Ref{ref}
	for _, s := range signed {
		ref, found, err := keepFirst(w, root, s.places)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fault.New(fault.Failed, "set boot.secure-boot to false, or name archives that have it under boot.archives",
				"signed %s: none of %s in its package", s.what, strings.Join(s.places, ", "))
		}
		ref.Path = s.path
		files = append(files, ref)
	}
	for _, ref := range files {
		if err := w.AddToSet(EFI, ref); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// keepFirst stores the first file of the boot set that is there.
func keepFirst(w *stage.Work, root *os.Root, places []string) (ref artifact.Ref, found bool, err error) {
	for _, place := range places {
		f, err := regular.Open(root, place)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return ref, false, err
		}
		ref, err := w.Store().Add(f, 16<<20)
		if err := errors.Join(err, f.Close()); err != nil {
			return ref, false, fmt.Errorf("%s: %w", place, err)
		}
		return ref, true, nil
	}
	return ref, false, nil
}

// firstConfig looks for the medium, by what search(1) of GRUB knows it by, and goes on
// with the config there.
func firstConfig(by string) string {
	return fmt.Sprintf("search --no-floppy --set=root %s\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n", by)
}

// writeMemdisk makes the archive in which GRUB finds its first config.
func writeMemdisk(out io.Writer, cfg string, e epoch.Epoch) error {
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
}

// systemPartition makes the FAT16 file system from which UEFI starts GRUB.
func systemPartition(ctx context.Context, w *stage.Work, files []artifact.Ref) error {
	for i, ref := range files {
		if err := give(w, fmt.Sprint("esp-", i), w.Content(ref)); err != nil {
			return err
		}
	}
	for _, c := range SystemPartition(files, w.Epoch) {
		if err := w.Run(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// SystemPartition are the commands that make the file system of the files, which
// stand in order as /in/given/esp-N. FAT16 has at least 4,085 clusters; one of a
// sector each keeps it small. The volume's serial number is the epoch, for lack
// of anything better.
func SystemPartition(files []artifact.Ref, e epoch.Epoch) []tool.Command {
	const mib = 1 << 20
	var size int64
	var folders []string
	for _, f := range files {
		size += f.Size
		for at := path.Dir(f.Path); at != "."; at = path.Dir(at) {
			folders = append(folders, "::/"+at)
		}
	}
	slices.Sort(folders)
	folders = slices.Compact(folders)
	kib := (size + 4*mib + mib - 1) / mib * 1024
	env := []string{e.Env(), "TZ=UTC", "MTOOLS_SKIP_CHECK=1"}
	commands := []tool.Command{
		tool.New("mkfs.vfat", "-C", "-F", "16", "-s", "1", "-i", fmt.Sprintf("%08x", uint32(e)), "--invariant", "/out/"+ESP, fmt.Sprint(kib)).With(env...),
		tool.New(append([]string{"mmd", "-i", "/out/" + ESP}, folders...)...).With(env...),
	}
	for i, f := range files {
		commands = append(commands, tool.New("mcopy", "-i", "/out/"+ESP, fmt.Sprint("/in/given/esp-", i), "::/"+f.Path).With(env...))
	}
	return commands
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
		ref, ok, err := keepFirst(w, root, places)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		ref.Path = name
		if err := w.AddToSet(Memory, ref); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fault.New(fault.Failed, "set boot.memtest to false", "memtest86+: none of %s in its package", strings.Join(memtests["memtest.bin"], ", "))
	}
	return nil
}

func copyOut(root *os.Root, from string, w *stage.Work, output string) (err error) {
	f, err := regular.Open(root, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return w.Write(output, func(out io.Writer) error {
		_, err := io.Copy(out, f)
		return err
	})
}

// give shows a program the store's content under a name.
func give(w *stage.Work, name, content string) (err error) {
	f, err := regular.OpenFile(content)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return w.Give(name, 0o644, func(out io.Writer) error {
		_, err := io.Copy(out, f)
		return err
	})
}
