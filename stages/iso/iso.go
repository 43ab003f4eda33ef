// Package iso writes the hybrid image: it boots by BIOS and by UEFI, from a CD
// and, written as it is, from a USB stick.
package iso

import (
	"context"

	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// Params name the image's file, which is the stage's output, and its volume.
type Params struct {
	File   string `json:"file"`
	Volume string `json:"volume"`
}

// Inputs are the medium's tree and what stands around it.
type Inputs struct {
	Tree     stage.Set
	ESP, MBR stage.File
	// BIOSImage is the El Torito image's path in the tree.
	BIOSImage string
}

// Stage takes the medium's tree and gives the ISO.
func Stage(toolbox stage.Tree, in Inputs, p Params) stage.Stage {
	return stage.Stage{
		Name: "iso", Version: 2, Params: p,
		Takes: "the medium's tree", Gives: "hybrid ISO: BIOS and UEFI, CD and USB",
		Inputs: []stage.Input{
			{Name: "toolbox", From: toolbox}, {Name: "tree", From: in.Tree}, {Name: "esp", From: in.ESP}, {Name: "mbr", From: in.MBR},
		},
		Outputs: []stage.Output{{Name: p.File, Kind: stage.KindFile}},
		Run: func(ctx context.Context, w *stage.Work) error {
			return w.Run(ctx, Command(p, in.BIOSImage, w.Epoch))
		},
	}
}

// Partition types of the GPT: basic data for the ISO itself, EFI system for
// the appended partition.
const (
	basicData = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
	efiSystem = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
)

// Command writes /in/tree. SOURCE_DATE_EPOCH also decides the GUIDs of the
// partition table. The preparer is set because xorriso would name its version.
func Command(p Params, biosImage string, e epoch.Epoch) tool.Command {
	return tool.New("xorriso", "-as", "mkisofs",
		"-iso-level", "3", "-full-iso9660-filenames", "-rational-rock", "-joliet", "-joliet-long",
		"-volid", p.Volume, "-preparer", "isotrace", "-appid", "", "-sysid", "", "-publisher", "",
		"--set_all_file_dates", "="+e.String(),
		"-eltorito-boot", biosImage, "-eltorito-catalog", "boot/grub/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info",
		"--grub2-mbr", "/in/mbr", "--mbr-force-bootable", "-partition_offset", "16", "-iso_mbr_part_type", basicData,
		"-append_partition", "2", efiSystem, "/in/esp", "-appended_part_as_gpt",
		"-eltorito-alt-boot", "-e", "--interval:appended_partition_2:all::", "-no-emul-boot",
		"-o", "/out/"+p.File, "/in/tree",
	).With(e.Env(), "TZ=UTC")
}
