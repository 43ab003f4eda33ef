// Package baseimage finds base images: in a registry, in an OCI image layout,
// in a file that docker save has written, on a disk.
package baseimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// Image is an image that was found. What its source says is checked when its
// parts are copied.
type Image struct {
	Locked lockfile.Image
	// Signatures are those that its source holds for it; whose they are is not known.
	Signatures []Signature
	parts      map[artifact.Digest]func() (io.ReadCloser, error)
	close      func() error // nil where nothing is held
}

// Close lets go of what the image's parts are read from.
func (i *Image) Close() error {
	if i.close == nil {
		return nil
	}
	return i.close()
}

// Open finds the image that the config names for the architecture, in OCI's
// terms linux/ARCHITECTURE. Paths are relative to dir. A lock's image, when not
// nil, is what a registry is asked for.
func Open(ctx context.Context, b config.Base, dir, architecture string, locked *lockfile.Image) (_ *Image, err error) {
	platform := v1.Platform{OS: "linux", Architecture: architecture}
	var img *Image
	switch {
	case b.Image != "":
		img, err = fromRegistry(ctx, b.Image, platform, locked)
	case b.OCI != "":
		img, err = fromLayout(within(dir, b.OCI), platform)
	case b.Archive != "":
		img, err = fromArchive(ctx, within(dir, b.Archive), platform)
	case b.Disk != "":
		img, err = fromDisk(ctx, within(dir, b.Disk), platform)
	default:
		return nil, errors.New("the config names no base image")
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, img.Close())
		}
	}()
	if b.Digest != "" {
		want, err := artifact.ParseDigest(b.Digest)
		if err != nil {
			return nil, err
		}
		if have := img.Locked.Manifest.Digest; have != want {
			return nil, fault.New(fault.Refused, "the image is another one than base.digest names", "base image: its digest is %s, want %s", have, want)
		}
	}
	return img, nil
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func fromRegistry(ctx context.Context, reference string, platform v1.Platform, locked *lockfile.Image) (*Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, fault.New(fault.Usage, "such as debian:trixie", "base image %q: %w", reference, err)
	}
	r := &registry{ref.Context(), []remote.Option{remote.WithContext(ctx), remote.WithPlatform(platform), remote.WithAuthFromKeychain(authn.DefaultKeychain)}}
	img, err := r.image(ref, platform, locked)
	if err != nil {
		return nil, fault.New(fault.Failed, "check the name and the network, or use an OCI layout or a docker save archive", "base image %s: %w", ref, err)
	}
	return img, nil
}

// onlyFiles makes sure that what a library will open below a path, by names that it takes
// from there, is a file.
func onlyFiles(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if st, err := os.Stat(p); err != nil || st.IsDir() {
			return err
		}
		f, err := regular.OpenFile(p)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

func fromLayout(dir string, platform v1.Platform) (*Image, error) {
	if err := onlyFiles(dir); err != nil {
		return nil, fault.New(fault.Usage, "an OCI image layout has oci-layout, index.json and blobs/", "base image %s: %w", filepath.Base(dir), err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fault.New(fault.Usage, "an OCI image layout has oci-layout, index.json and blobs/", "base image %s: %w", filepath.Base(dir), err)
	}
	f, err := pick(index, platform, false)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", filepath.Base(dir), err)
	}
	img, err := describe(f.image, platform)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", filepath.Base(dir), err)
	}
	if err := img.addProof(f.index, f.nested); err != nil {
		return nil, fmt.Errorf("base image %s: %w", filepath.Base(dir), err)
	}
	// The layout's own index has no digest that anybody would name.
	return img, img.addLayoutSignatures(index)
}

// describe notes the parts of an image of the platform as its manifest names them.
func describe(img v1.Image, platform v1.Platform) (*Image, error) {
	text, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	m, err := checkedManifest(img)
	if err != nil {
		return nil, fault.New(fault.Refused, "", "image manifest: %w", err)
	}
	config, err := rawConfig(img)
	if err != nil {
		return nil, err
	}
	if err := checkPlatform(config, platform); err != nil {
		return nil, err
	}
	i := &Image{parts: map[artifact.Digest]func() (io.ReadCloser, error){}}
	i.Locked.Manifest = i.bytes(string(m.MediaType), text)
	i.Locked.Config = i.bytes(string(m.Config.MediaType), config)
	for _, d := range m.Layers {
		layer, err := img.LayerByDigest(d.Digest)
		if err != nil {
			return nil, err
		}
		b, err := blobOf(d)
		if err != nil {
			return nil, err
		}
		i.Locked.Layers = append(i.Locked.Layers, b)
		i.parts[b.Digest] = layerOf(layer, d)
	}
	return i, nil
}

// layerOf opens a layer, and says why it is missing where it is.
func layerOf(layer v1.Layer, d v1.Descriptor) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, err := layer.Compressed()
		if !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
		if !d.MediaType.IsDistributable() || len(d.URLs) > 0 {
			return nil, fault.New(fault.Usage, "copy the image with its foreign layers, as skopeo copy does from where they are",
				"base image: layer %s is not in it, only a reference to %s: it is a foreign layer, %s", d.Digest, strings.Join(d.URLs, ", "), d.MediaType)
		}
		return nil, fault.New(fault.Usage, "copy the image again, whole", "base image: layer %s is not in it", d.Digest)
	}
}

func rawConfig(img v1.Image) ([]byte, error) {
	text, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	if err := strictjson.Check(text); err != nil {
		return nil, fault.New(fault.Refused, "", "image config: %w", err)
	}
	return text, nil
}

func blobOf(d v1.Descriptor) (lockfile.Blob, error) {
	if d.Digest.Algorithm != "sha256" {
		return lockfile.Blob{}, fmt.Errorf("digest %s: only sha256 is supported", d.Digest)
	}
	digest, err := artifact.ParseDigest(d.Digest.Hex)
	return lockfile.Blob{MediaType: string(d.MediaType), Digest: digest, Size: d.Size}, err
}

func (i *Image) bytes(mediaType string, b []byte) lockfile.Blob {
	d := artifact.HashBytes(b)
	i.parts[d] = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	return lockfile.Blob{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func descriptor(b lockfile.Blob) v1.Descriptor {
	return v1.Descriptor{MediaType: types.MediaType(b.MediaType), Size: b.Size, Digest: v1.Hash{Algorithm: "sha256", Hex: string(b.Digest)}}
}

// Copy brings a part into the store, checked against its digest and size.
func (i *Image) Copy(ctx context.Context, store *artifact.Store, b lockfile.Blob) (err error) {
	if store.Has(b.Digest) {
		return nil
	}
	open, ok := i.parts[b.Digest]
	if !ok {
		return fault.New(fault.Refused, "the base image has changed: run isotrace lock", "base image: has no part %s", b.Digest)
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	part := store.Partial(b.Digest) + ".image"
	err = artifact.WriteFile(part, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, &contextReader{ctx: ctx, r: io.LimitReader(r, b.Size+1)})
		return err
	})
	if err != nil {
		return err
	}
	if _, err := store.Adopt(part, b.Digest); err != nil {
		return errors.Join(fmt.Errorf("base image: %w", err), os.Remove(part))
	}
	return nil
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
