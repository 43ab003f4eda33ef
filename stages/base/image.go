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

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// ImageParams name the image.
type ImageParams struct {
	Digest artifact.Digest `json:"sha256"` // of its manifest
}

// Image takes the blobs of an OCI or Docker image and gives its tree, layer
// upon layer as the OCI image specification says.
func Image(blobs stage.Set, digest artifact.Digest) stage.Stage {
	return stage.Stage{
		Name: "base", Version: 4, Params: ImageParams{Digest: digest},
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
		return regular.ReadFile(w.Content(ref), maxJSON)
	}
	text, err := read(digest)
	if err != nil {
		return err
	}
	if err := strictjson.UnmarshalOpen(text, &v1.Manifest{}); err != nil {
		return fault.New(fault.Refused, "", "image manifest %s: %w", digest.Short(), err)
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(text))
	if err != nil {
		return fault.New(fault.Refused, "", "image manifest %s: %w", digest.Short(), err)
	}
	text, err = read(artifact.Digest(manifest.Config.Digest.Hex))
	if err != nil {
		return err
	}
	if err := strictjson.Check(text); err != nil {
		return fault.New(fault.Refused, "", "image config: %w", err)
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
		did, err := extractLayer(ctx, dir, w.Content(ref), config.RootFS.DiffIDs[i].Hex, placed)
		if err != nil {
			return fmt.Errorf("layer %d, %s: %w", i+1, ref.Digest.Short(), err)
		}
		for _, name := range did.SkippedDevices {
			_, _ = fmt.Fprintf(w.Log, "isotrace: layer %d: passed over the device %s\n", i+1, name) // the journal is unsigned
		}
		done += ref.Size
		w.Progress(done, total)
	}
	return w.WriteChanges(ctx, "root", Changes)
}

func extractLayer(ctx context.Context, dir, file, diffID string, placed func(path string)) (did roottree.Extracted, err error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return did, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewReaderSize(f, 1<<16)
	format, err := decompress.Detect(buffered)
	if err != nil {
		return did, err
	}
	plain, err := decompress.NewReader(buffered, format, layerLimit(f))
	if err != nil {
		return did, err
	}
	h := sha256.New()
	tee := io.TeeReader(plain, h)
	if did, err = roottree.Extract(ctx, dir, tar.NewReader(tee), roottree.ExtractOptions{OCILayer: true, Placed: placed}); err != nil {
		return did, err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil { // the padding after the archive's end
		return did, err
	}
	if have := hex.EncodeToString(h.Sum(nil)); have != diffID {
		return did, fault.New(fault.Refused, "", "uncompressed it is %s, the image's config says %s", have, diffID)
	}
	return did, nil
}
