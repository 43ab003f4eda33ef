// Package sourceiso writes the source packages of an image onto a medium of
// their own, as they stand in their archives: REPOSITORY/pool/…, and SHA256SUMS.
package sourceiso

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// Sums is the file of the medium that sha256sum -c reads.
const Sums = "SHA256SUMS"

// Params name the image's file, which is the stage's output, and its volume.
type Params struct {
	File   string `json:"file"`
	Volume string `json:"volume"`
}

// Stage takes the source packages' files and gives a data ISO.
func Stage(toolbox stage.Tree, sources stage.Set, p Params) stage.Stage {
	return stage.Stage{
		Name: "sourceiso", Version: 3, Params: p,
		Takes: "source packages", Gives: "ISO of the source packages",
		Inputs:  []stage.Input{{Name: "toolbox", From: toolbox}, {Name: "sources", From: sources}},
		Outputs: []stage.Output{{Name: p.File, Kind: stage.KindFile}},
		Run: func(ctx context.Context, w *stage.Work) error {
			if err := artifact.WriteBytes(filepath.Join(w.Given(), Sums), 0o444, Checksums(w.Set("sources"))); err != nil {
				return err
			}
			return w.Run(ctx, Command(p, w.Epoch))
		},
	}
}

// Checksums lists the medium's files as sha256sum does.
func Checksums(files []artifact.Ref) []byte {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) })
	var text bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&text, "%s  %s\n", f.Digest, f.Path)
	}
	return text.Bytes()
}

// Command writes /in/sources and /in/given/SHA256SUMS. The preparer is set because
// xorriso would name its version.
func Command(p Params, e epoch.Epoch) tool.Command {
	return tool.New("xorriso", "-as", "mkisofs",
		"-iso-level", "3", "-full-iso9660-filenames", "-rational-rock", "-joliet", "-joliet-long",
		"-volid", p.Volume, "-preparer", "isotrace", "-appid", "", "-sysid", "", "-publisher", "",
		"--set_all_file_dates", "="+e.String(),
		"-o", "/out/"+p.File, "-graft-points", "/=/in/sources", "/"+Sums+"=/in/given/"+Sums,
	).With(e.Env(), "TZ=UTC")
}
