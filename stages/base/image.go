package base

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
)

// ImageParams name the image.
type ImageParams struct {
	Digest artifact.Digest `json:"sha256"` // of its manifest
}

// Image takes the blobs of an OCI or Docker image and gives its tree, layer
// upon layer as the OCI image specification says.
func Image(blobs stage.Set, digest artifact.Digest) stage.Stage {
	return stage.Stage{
		Name: "base", Version: 3, Params: ImageParams{Digest: digest},
		Takes: "base image's blobs", Gives: "base tree",
		Inputs:  []stage.Input{{Name: "blobs", From: blobs}},
		Outputs: []stage.Output{{Name: "root", Kind: stage.KindTree}, {Name: Changes, Kind: stage.KindFile}},
		Run:     func(ctx context.Context, w *stage.Work) error { return extractImage(ctx, w, digest) },
	}
}

// Bounds of an image's parts, in bytes.
const (
	maxJSON  = 16 << 20 // a manifest or config
	maxLayer = 64 << 30 // a layer, uncompressed
)

func extractImage(ctx context.Context, w *stage.Work, digest artifact.Digest) error {
	dir, err := w.NewTree("root")
	if err != nil {
		return err
	}
	blobs := map[artifact.Digest]artifact.Ref{}
	var total int64
	for _, ref := range w.Set("blobs") {
		blobs[ref.Digest] = ref
		total += ref.Size
	}
	read := func(d artifact.Digest) ([]byte, error) {
		ref, ok := blobs[d]
		if !ok || ref.Size > maxJSON {
			return nil, fmt.Errorf("image: blob %s is missing or too big", d.Short())
		}
		return os.ReadFile(w.Content(ref))
	}
	text, err := read(digest)
	if err != nil {
		return err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(text))
	if err != nil {
		return fault.New(fault.Refused, "", "image manifest %s: %w", digest.Short(), err)
	}
	text, err = read(artifact.Digest(manifest.Config.Digest.Hex))
	if err != nil {
		return err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(text))
	if err != nil {
		return fault.New(fault.Refused, "", "image config: %w", err)
	}
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		return fault.New(fault.Refused, "", "image %s: %d layers, but its config names %d", digest.Short(), len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	var done int64
	for i, layer := range manifest.Layers {
		ref, ok := blobs[artifact.Digest(layer.Digest.Hex)]
		if !ok {
			return fmt.Errorf("image: layer %s is missing", layer.Digest.Hex)
		}
		by := stage.Actor{Kind: stage.ByLayer, Name: string(ref.Digest)}
		placed := func(path string) { w.Did(path, by) }
		if err := extractLayer(ctx, dir, w.Content(ref), config.RootFS.DiffIDs[i].Hex, placed); err != nil {
			return fmt.Errorf("layer %d, %s: %w", i+1, ref.Digest.Short(), err)
		}
		done += ref.Size
		w.Progress(done, total)
	}
	return w.WriteChanges(ctx, "root", Changes)
}

func extractLayer(ctx context.Context, dir, file, diffID string, placed func(path string)) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewReaderSize(f, 1<<16)
	format, err := decompress.Detect(buffered)
	if err != nil {
		return err
	}
	plain, err := decompress.NewReader(buffered, format, layerLimit(f))
	if err != nil {
		return err
	}
	h := sha256.New()
	tee := io.TeeReader(plain, h)
	if _, err := roottree.Extract(ctx, dir, tar.NewReader(tee), roottree.ExtractOptions{OCILayer: true, Placed: placed}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil { // the padding after the archive's end
		return err
	}
	if have := hex.EncodeToString(h.Sum(nil)); have != diffID {
		return fault.New(fault.Refused, "", "uncompressed it is %s, the image's config says %s", have, diffID)
	}
	return nil
}
