// Package squashfs packs the root tree.
package squashfs

import (
	"context"
	"strconv"

	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// Output is the name of the stage's file.
const Output = "filesystem.squashfs"

// Params say how the tree is compressed.
type Params struct {
	Compression string `json:"compression"` // zstd, gzip or xz
	Level       int    `json:"level,omitempty"`
}

// Stage takes the root tree and gives it as a squashfs.
func Stage(toolbox, root stage.Tree, p Params) stage.Stage {
	return stage.Stage{
		Name: "squashfs", Version: 1, Params: p,
		Takes: "root tree", Gives: "filesystem.squashfs",
		Inputs:  []stage.Input{{Name: "toolbox", From: toolbox}, {Name: "root", From: root}},
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindFile}},
		Run: func(ctx context.Context, w *stage.Work) error {
			return w.Run(ctx, Command(p, w.Epoch))
		},
	}
}

// Command packs /in/root. All times are set to the epoch: mksquashfs would
// otherwise keep those that are older.
func Command(p Params, e epoch.Epoch) tool.Command {
	c := tool.New("mksquashfs", "/in/root", "/out/"+Output,
		"-comp", p.Compression, "-noappend", "-no-progress", "-no-recovery", "-xattrs",
		"-all-time", e.String(), "-mkfs-time", e.String())
	c.Background = true // beside update-initramfs, which takes longer
	if p.Level != 0 {
		c.Argv = append(c.Argv, "-Xcompression-level", strconv.Itoa(p.Level))
	}
	return c
}
