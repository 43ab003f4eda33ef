package trace

import (
	"bytes"
	"context"
	"errors"
	"os"

	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

// Disk is what starts a disk, all of it of one stage.
type Disk struct {
	// Core is GRUB for BIOS, BIOSBoot the partition that holds it, BootCode what starts it.
	Core, BIOSBoot, BootCode, ESP stage.File
	// EFI is what ESP holds; Files are what the root file system has besides.
	EFI, Files stage.Set
}

func (d *Disk) inputs() []stage.Input {
	return []stage.Input{
		{Name: "disk-core", From: d.Core}, {Name: "disk-bios", From: d.BIOSBoot}, {Name: "disk-code", From: d.BootCode}, {Name: "disk-esp", From: d.ESP},
		{Name: "disk-efi", From: d.EFI}, {Name: "disk-files", From: d.Files},
	}
}

// What of a disk has no path stands in brackets, and what is in it behind that.
const (
	inBIOS = "[BIOS boot partition]"
	inESP  = "[EFI system partition]"
)

// disk traces what a disk has besides the root tree.
func (r *run) disk(context.Context) error {
	if r.diskStage == "" {
		return r.part(trace.PartDisk, nil)
	}
	core, err := os.ReadFile(r.work.File("disk-core"))
	if err != nil {
		return err
	}
	partition, err := os.ReadFile(r.work.File("disk-bios"))
	if err != nil {
		return err
	}
	if want, err := diskimage.BIOSBoot(core); err != nil || !bytes.Equal(want, partition) {
		return errors.Join(err, errors.New("the BIOS boot partition holds more than GRUB's core image"))
	}
	grub, err := r.grubImage("core.img", r.work.FileRef("disk-core"), r.diskStage, "diskboot.img", "lzma_decompress.img", "kernel.img")
	if err != nil {
		return err
	}
	origins := within(inBIOS, grub)
	efi, at, err := r.grubEFI(r.work.Set("disk-efi"), r.diskStage)
	if err != nil {
		return err
	}
	origins = append(origins, within(inESP+"/"+at, efi)...)
	system, err := r.systemPartition("disk-esp", "disk-efi", r.diskStage)
	if err != nil {
		return err
	}
	origins = append(origins, within(inESP, r.tracer.Around(system))...)
	initrd := r.system.InitrdPath()
	placed := []trace.Placed{
		{Path: "[boot code]", Ref: r.work.FileRef("disk-code"), Stage: r.diskStage},
		{Path: inBIOS, Ref: r.work.FileRef("disk-bios"), Stage: r.diskStage},
		{Path: inESP, Ref: r.work.FileRef("disk-esp"), Stage: r.diskStage},
		{Path: initrd, Ref: r.work.FileRef("initrd"), Root: initrd, By: r.initrdBy},
	}
	for _, f := range r.work.Set("disk-files") {
		placed = append(placed, trace.Placed{Path: f.Path, Ref: f, Stage: r.diskStage})
	}
	return r.part(trace.PartDisk, append(origins, r.tracer.Around(placed)...))
}

// within puts origins below what holds them.
func within(holder string, origins []trace.Origin) []trace.Origin {
	for i := range origins {
		origins[i].Path = holder + "/" + origins[i].Path
	}
	return origins
}
