package bootparts

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"slices"
	"text/template"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/system"
)

// The files that the stage for disks gives, beside EFI and ESP.
const (
	Core     = "core.img"  // GRUB for BIOS, as grub-mkimage made it
	BIOSBoot = "bios.part" // the BIOS boot partition, with GRUB in it
	BootCode = "boot.code" // what starts it, in front of the partition table
	Files    = "files"     // set: what the root file system has besides the root tree, by path
)

// Paths in a disk's root file system.
const (
	MenuPath  = "boot/grub/grub.cfg"
	mountPath = "etc/fstab"
)

// DiskParams say how a disk boots.
type DiskParams struct {
	Title      string   `json:"title"`
	Release    string   `json:"release"`
	Timeout    int      `json:"timeout"`
	Serial     bool     `json:"serial"`
	Parameters []string `json:"parameters,omitempty"`
	SecureBoot bool     `json:"secure-boot"`
	// Template is the digest of the menu: another one makes other files.
	Template artifact.Digest `json:"template"`
}

var (
	// What a disk needs besides: GRUB finds the root file system by its UUID.
	diskModules = []string{"ext2", "search_fs_uuid"}
	diskBIOS    = grub{"i386-pc", "i386-pc", append(slices.Clone(diskModules), "biosdisk", "vbe", "vga")}
	diskEFI     = grub{"x86_64-efi", "x86_64-efi", append(slices.Clone(diskModules), grubEFI.modules...)}
)

//go:embed disk.cfg.tmpl
var diskMenu string

// DiskStage takes the tree of the boot set, and the root tree that a disk is for, and
// gives what starts that disk.
func DiskStage(toolbox, boot, root stage.Tree, system stage.File, p DiskParams) stage.Stage {
	p.Template = artifact.HashBytes([]byte(diskMenu))
	return stage.Stage{
		Name: "diskboot", Version: 2, Params: p,
		Takes: "tree of the boot set, root tree", Gives: "GRUB for a disk by BIOS and UEFI, EFI system partition, boot menu, fstab",
		Inputs: []stage.Input{{Name: "toolbox", From: toolbox}, {Name: "boot", From: boot}, {Name: "root", From: root}, {Name: "system", From: system}},
		Outputs: []stage.Output{
			{Name: Core, Kind: stage.KindFile}, {Name: BIOSBoot, Kind: stage.KindFile}, {Name: BootCode, Kind: stage.KindFile}, {Name: EFI, Kind: stage.KindSet},
			{Name: ESP, Kind: stage.KindFile}, {Name: Files, Kind: stage.KindSet},
		},
		Run: func(ctx context.Context, w *stage.Work) error { return runDisk(ctx, w, p) },
	}
}

// maxCore bounds a file of GRUB for BIOS, in bytes.
const maxCore = 16 << 20

func runDisk(ctx context.Context, w *stage.Work, p DiskParams) (err error) {
	tree, err := w.TreeIdentity("root")
	if err != nil {
		return err
	}
	id := diskimage.UUID(tree, diskimage.ForFiles)
	root, err := openBoot(w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	f := first{config: firstConfig("--fs-uuid " + id), efi: diskEFI, signed: p.SecureBoot}
	if err := start(ctx, w, root, f, diskBIOS, Core); err != nil {
		return err
	}
	code, err := regular.Read(root, "usr/lib/grub/i386-pc/boot.img", maxCore)
	if err != nil {
		return err
	}
	if code, err = diskimage.BootCode(code); err != nil {
		return err
	}
	core, err := regular.Read(w.Out(), Core, maxCore)
	if err != nil {
		return err
	}
	partition, err := diskimage.BIOSBoot(core)
	if err != nil {
		return err
	}
	if err := errors.Join(w.WriteBytes(BootCode, code), w.WriteBytes(BIOSBoot, partition)); err != nil {
		return err
	}
	return rootFiles(w, p, id)
}

// rootFiles are the boot menu and, where the root tree has none, the fstab.
func rootFiles(w *stage.Work, p DiskParams, id string) error {
	tree, err := w.Manifest("root")
	if err != nil {
		return err
	}
	if _, ok := tree.Lookup(MenuPath); ok {
		return fault.New(fault.Usage, "remove it with a script of the project's: a disk gets its own", "the root tree has a /%s", MenuPath)
	}
	facts, err := system.Read(w.File("system"))
	if err != nil {
		return err
	}
	menu := struct {
		DiskParams
		Kernel, UUID string
	}{p, facts.Kernel, id}
	t, err := template.New("grub.cfg").Parse(diskMenu)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, menu); err != nil {
		return err
	}
	files := []struct {
		path string
		text []byte
	}{{MenuPath, text.Bytes()}}
	if _, ok := tree.Lookup(mountPath); !ok {
		files = append(files, struct {
			path string
			text []byte
		}{mountPath, []byte("UUID=" + id + " / ext4 errors=remount-ro 0 1\n")})
	}
	for _, f := range files {
		ref, err := w.Store().Add(bytes.NewReader(f.text), int64(len(f.text)))
		if err != nil {
			return err
		}
		ref.Path = f.path
		if err := w.AddToSet(Files, ref); err != nil {
			return err
		}
	}
	return nil
}
