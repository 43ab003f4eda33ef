// Package squashfs packs the root tree.
package squashfs

import (
	"context"
	"errors"
	"strconv"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// The files that the stage gives; the last two where verity is wanted.
const (
	Output   = "filesystem.squashfs"
	HashTree = Output + ".verity"
	RootHash = Output + ".roothash" // in hexadecimal
)

// Params say how the tree is compressed.
type Params struct {
	Compression string `json:"compression"` // zstd, gzip or xz
	Level       int    `json:"level,omitempty"`
	Verity      bool   `json:"verity,omitempty"`
}

// Stage takes the root tree and gives it as a squashfs.
func Stage(toolbox, root stage.Tree, p Params) stage.Stage {
	s := stage.Stage{
		Name: "squashfs", Version: 1, Params: p,
		Takes: "root tree", Gives: "filesystem.squashfs",
		Inputs:  []stage.Input{{Name: "toolbox", From: toolbox}, {Name: "root", From: root}},
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindFile}},
		Run: func(ctx context.Context, w *stage.Work) error {
			if err := w.Run(ctx, Command(p, w.Epoch)); err != nil || !p.Verity {
				return err
			}
			f, err := regular.Open(w.Out(), Output)
			if err != nil {
				return err
			}
			digest, _, err := artifact.HashReader(f)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			return w.Run(ctx, HashCommand(digest, w.Epoch))
		},
	}
	if p.Verity {
		s.Outputs = append(s.Outputs, stage.Output{Name: HashTree, Kind: stage.KindFile}, stage.Output{Name: RootHash, Kind: stage.KindFile})
	}
	return s
}

// HashCommand makes dm-verity's hash tree of a squashfs. Salt and UUID, which are
// otherwise random, follow from the content.
func HashCommand(squashfs artifact.Digest, e epoch.Epoch) tool.Command {
	d := string(squashfs)
	uuid := d[:8] + "-" + d[8:12] + "-8" + d[13:16] + "-8" + d[17:20] + "-" + d[20:32] // version 8, RFC 9562
	return tool.New("veritysetup", "format", "--hash", "sha256", "--data-block-size", "4096", "--hash-block-size", "4096",
		"--salt", d, "--uuid", uuid, "--root-hash-file", "/out/"+RootHash, "/out/"+Output, "/out/"+HashTree).With(e.Env())
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
