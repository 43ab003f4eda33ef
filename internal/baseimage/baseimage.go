// Package baseimage finds base images: in a registry, in an OCI image layout,
// in a file that docker save has written, on a disk.
package baseimage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
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
		img, err = fromArchive(within(dir, b.Archive))
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
	f, err := pick(index, platform, 0)
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", filepath.Base(dir), err)
	}
	img, err := describe(f.image)
	if err != nil {
		return nil, err
	}
	if err := img.addProof(f.index, f.nested); err != nil {
		return nil, fmt.Errorf("base image %s: %w", filepath.Base(dir), err)
	}
	// The layout's own index has no digest that anybody would name.
	return img, img.addLayoutSignatures(index)
}

// found is an image, and the index that names it; nested tells that the index is
// content with a digest of its own.
type found struct {
	image  v1.Image
	index  v1.ImageIndex
	nested bool
}

// pick takes the one image of the platform from an index, looking into nested
// indexes.
func pick(index v1.ImageIndex, platform v1.Platform, depth int) (found, error) {
	if depth > 4 {
		return found{}, errors.New("indexes are nested too deeply")
	}
	text, err := index.RawManifest()
	if err != nil {
		return found{}, err
	}
	if err := strictjson.UnmarshalOpen(text, &v1.IndexManifest{}); err != nil {
		return found{}, fault.New(fault.Refused, "", "index: %w", err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return found{}, err
	}
	var all []found
	for _, d := range m.Manifests {
		switch {
		case d.MediaType.IsIndex():
			nested, err := index.ImageIndex(d.Digest)
			if err != nil {
				return found{}, err
			}
			if f, err := pick(nested, platform, depth+1); err == nil {
				all = append(all, f)
			}
		case isProof(d):
		case d.MediaType.IsImage() && (d.Platform == nil || d.Platform.Satisfies(platform)):
			img, err := index.Image(d.Digest)
			if err != nil {
				return found{}, err
			}
			all = append(all, found{img, index, depth > 0})
		}
	}
	if len(all) != 1 {
		return found{}, fault.New(fault.Usage, "keep one image for the platform in the layout", "%d images for %s", len(all), platform)
	}
	return all[0], nil
}

// describe notes the parts of an image as its manifest names them.
func describe(img v1.Image) (*Image, error) {
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
		i.parts[b.Digest] = layer.Compressed
	}
	return i, nil
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

// fromArchive reads what docker save writes. It holds no manifest in the sense
// of OCI: one is made that names the config and the uncompressed layers, so
// that its digest follows from these alone.
func fromArchive(file string) (*Image, error) {
	if err := onlyFiles(file); err != nil {
		return nil, fault.New(fault.Usage, "a file with one image, as docker save writes it", "base image %s: %w", filepath.Base(file), err)
	}
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		return nil, fault.New(fault.Usage, "a file with one image, as docker save writes it", "base image %s: %w", filepath.Base(file), err)
	}
	config, err := rawConfig(img)
	if err != nil {
		return nil, err
	}
	i := &Image{parts: map[artifact.Digest]func() (io.ReadCloser, error){}}
	i.Locked.Config = i.bytes(string(types.OCIConfigJSON), config)
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: descriptor(i.Locked.Config)}
	for _, layer := range layers {
		r, err := layer.Uncompressed()
		if err != nil {
			return nil, err
		}
		digest, size, err := artifact.HashReader(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		b := lockfile.Blob{MediaType: string(types.OCIUncompressedLayer), Digest: digest, Size: size}
		i.Locked.Layers = append(i.Locked.Layers, b)
		i.parts[digest] = layer.Uncompressed
		m.Layers = append(m.Layers, descriptor(b))
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	i.Locked.Manifest = i.bytes(string(m.MediaType), text)
	return i, nil
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
