package baseimage

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// Bounds of a file that docker save has written.
const (
	maxSaved      = 256 << 30 // bytes, uncompressed
	maxSavedParts = 100_000
	maxSavedJSON  = 16 << 20 // bytes
	maxSavedLayer = 64 << 30 // bytes, uncompressed
)

// saved is a tar archive of docker save, whose members are found by their names.
type saved struct {
	file  *os.File
	parts map[string]savedPart
}

type savedPart struct {
	offset, size int64
	link         string // in the place of another
	sparse       bool
}

// savedImage is an entry of manifest.json.
type savedImage struct {
	Config       string
	Layers       []string
	LayerSources map[string]v1.Descriptor // by the digest of the uncompressed layer
}

// fromArchive reads what docker save writes, compressed or not. It holds no manifest in
// the sense of OCI: one is made that names the config and the uncompressed layers, so
// that its digest follows from these alone.
func fromArchive(ctx context.Context, file string, platform v1.Platform) (_ *Image, err error) {
	explain := func(err error) error {
		return fault.New(fault.Usage, "a file with one image, as docker save writes it; it may be compressed by gzip, xz or zstd", "base image %s: %w", filepath.Base(file), err)
	}
	limit := int64(maxSaved)
	if st, err := os.Stat(file); err == nil { // else opening it says more
		limit = decompress.LayerLimit(st.Size(), maxSaved)
	}
	plain, err := openPlain(ctx, file, limit)
	if err != nil {
		return nil, explain(err)
	}
	i := &Image{parts: map[artifact.Digest]func() (io.ReadCloser, error){}, close: plain.Close}
	if err := i.addSaved(ctx, plain, platform); err != nil {
		return nil, errors.Join(explain(err), plain.Close())
	}
	return i, nil
}

func (i *Image) addSaved(ctx context.Context, file *os.File, platform v1.Platform) error {
	s, err := indexSaved(ctx, file)
	if err != nil {
		return err
	}
	img, err := s.image()
	if err != nil {
		return err
	}
	config, err := s.json(img.Config)
	if err != nil {
		return err
	}
	if err := checkPlatform(config, platform); err != nil {
		return err
	}
	var named v1.ConfigFile
	if err := strictjson.UnmarshalOpen(config, &named); err != nil {
		return fmt.Errorf("%s: %w", img.Config, err)
	}
	if len(named.RootFS.DiffIDs) != len(img.Layers) {
		return fmt.Errorf("%d layers, but its config names %d", len(img.Layers), len(named.RootFS.DiffIDs))
	}
	i.Locked.Config = i.bytes(string(types.OCIConfigJSON), config)
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: descriptor(i.Locked.Config)}
	for n, name := range img.Layers {
		open := func() (io.ReadCloser, error) {
			r, err := s.layer(name)
			return io.NopCloser(r), err
		}
		r, err := open()
		if errors.Is(err, os.ErrNotExist) {
			if d, foreign := img.LayerSources[named.RootFS.DiffIDs[n].String()]; foreign {
				err = fmt.Errorf("%w: it is a foreign layer, %s, of which there is only a reference to %s", err, d.MediaType, strings.Join(d.URLs, ", "))
			}
		}
		if err != nil {
			return err
		}
		digest, size, err := artifact.HashReader(&contextReader{ctx, r})
		if err != nil {
			return fmt.Errorf("layer %s: %w", name, err)
		}
		b := lockfile.Blob{MediaType: string(types.OCIUncompressedLayer), Digest: digest, Size: size}
		i.Locked.Layers = append(i.Locked.Layers, b)
		i.parts[digest] = open
		m.Layers = append(m.Layers, descriptor(b))
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	i.Locked.Manifest = i.bytes(string(m.MediaType), text)
	return nil
}

// indexSaved notes where each member of the archive stands.
func indexSaved(ctx context.Context, file *os.File) (*saved, error) {
	s := &saved{file: file, parts: map[string]savedPart{}}
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	for t := tar.NewReader(file); ; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, cmp.Or(unlike(file), err)
		}
		if len(s.parts) == maxSavedParts {
			return nil, fmt.Errorf("more than %d members", maxSavedParts)
		}
		name, part := path.Clean("/"+h.Name), savedPart{size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg:
			// A tar.Reader reads no further than the header.
			if part.offset, err = file.Seek(0, io.SeekCurrent); err != nil {
				return nil, err
			}
			if part.offset > st.Size()-part.size {
				return nil, fmt.Errorf("%s: %w", h.Name, io.ErrUnexpectedEOF)
			}
			part.sparse = h.PAXRecords["GNU.sparse.major"] != "" || h.PAXRecords["GNU.sparse.map"] != ""
		case tar.TypeGNUSparse:
			part.sparse = true
		case tar.TypeSymlink: // of a layer that is there already, by versions before 25
			part.link = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			part.link = path.Clean("/" + h.Linkname)
		default:
			continue
		}
		s.parts[name] = part
	}
}

// image is the one image of the archive, which may have several entries for its names.
func (s *saved) image() (*savedImage, error) {
	text, err := s.json("manifest.json")
	if errors.Is(err, os.ErrNotExist) {
		if _, err := s.find("oci-layout"); err == nil {
			return nil, errors.New("it is an OCI layout in a tar archive: unpack it, and name its folder as base.oci")
		}
	}
	if err != nil {
		return nil, err
	}
	var all []savedImage
	if err := strictjson.UnmarshalOpen(text, &all); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	if len(all) == 0 {
		return nil, errors.New("manifest.json names no image")
	}
	images := map[string]bool{}
	for _, img := range all {
		images[path.Clean("/"+img.Config)] = true
	}
	if len(images) > 1 {
		return nil, fmt.Errorf("it holds %d images", len(images))
	}
	return &all[0], nil
}

// find returns the member of a name, links followed.
func (s *saved) find(name string) (savedPart, error) {
	at := path.Clean("/" + name)
	for range 16 {
		part, ok := s.parts[at]
		switch {
		case !ok:
			return part, fmt.Errorf("%s is not in it: %w", name, os.ErrNotExist)
		case part.sparse:
			return part, fmt.Errorf("%s is stored as a sparse file", name)
		case part.link == "":
			return part, nil
		}
		at = part.link
	}
	return savedPart{}, fmt.Errorf("%s: too many links", name)
}

func (s *saved) json(name string) ([]byte, error) {
	part, err := s.find(name)
	if err != nil {
		return nil, err
	}
	return regular.ReadAll(io.NewSectionReader(s.file, part.offset, part.size), name, maxSavedJSON)
}

// layer reads a layer, uncompressed.
func (s *saved) layer(name string) (io.Reader, error) {
	part, err := s.find(name)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(s.file, part.offset, part.size), 1<<16)
	format, err := decompress.Detect(r)
	if err != nil {
		return nil, err
	}
	return decompress.NewReader(r, format, decompress.LayerLimit(part.size, maxSavedLayer))
}
