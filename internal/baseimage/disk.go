package baseimage

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/ext4"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
)

// maxDisk bounds a disk image, in bytes: the largest that Azure takes.
const maxDisk = 2040 << 30

// fromDisk takes the largest ext4 file system of a disk image for an image of one layer:
// a raw disk or a fixed VHD, which may be compressed, in a tar archive, or both. The image's config names the disk
// by its SHA-256, so that the image's digest follows from the disk's bytes.
func fromDisk(ctx context.Context, name string, platform v1.Platform) (_ *Image, err error) {
	explain := func(err error) error {
		return fault.New(fault.Usage, "a raw disk or a fixed VHD, which may be compressed by gzip, xz or zstd or be alone in a tar archive, with an ext4 file system that was unmounted cleanly", "base disk %s: %w", filepath.Base(name), err)
	}
	disk, err := openDisk(ctx, name)
	if err != nil {
		return nil, explain(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, disk.Close())
		}
	}()
	size, err := diskSize(disk)
	if err != nil {
		return nil, explain(err)
	}
	at, err := largest(disk, size)
	if err != nil {
		return nil, explain(cmp.Or(unlike(disk), err))
	}
	digest, _, err := artifact.HashReader(io.NewSectionReader(disk, 0, size))
	if err != nil {
		return nil, err
	}
	i := &Image{parts: map[artifact.Digest]func() (io.ReadCloser, error){}, close: disk.Close}
	open := func() (io.ReadCloser, error) {
		fs, err := ext4.OpenAny(io.NewSectionReader(disk, at.Offset, at.Size), at.Size)
		if err != nil {
			return nil, err
		}
		r, w := io.Pipe()
		go func() { w.CloseWithError(fs.WriteTar(ctx, w)) }()
		return r, nil
	}
	layer, err := open()
	if err != nil {
		return nil, explain(err)
	}
	sum, length, err := artifact.HashReader(layer)
	if err := errors.Join(err, layer.Close()); err != nil {
		return nil, explain(err)
	}
	b := lockfile.Blob{MediaType: string(types.OCIUncompressedLayer), Digest: sum, Size: length}
	i.Locked.Layers, i.parts[sum] = []lockfile.Blob{b}, open
	config, err := json.Marshal(v1.ConfigFile{
		OS: platform.OS, Architecture: platform.Architecture,
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{descriptor(b).Digest}},
		History: []v1.History{{CreatedBy: fmt.Sprintf("the ext4 file system at byte %d of the disk sha256:%s, %d bytes", at.Offset, digest, size)}},
	})
	if err != nil {
		return nil, err
	}
	i.Locked.Config = i.bytes(string(types.OCIConfigJSON), config)
	text, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: descriptor(i.Locked.Config), Layers: []v1.Descriptor{descriptor(b)}})
	if err != nil {
		return nil, err
	}
	i.Locked.Manifest = i.bytes(string(types.OCIManifestSchema1), text)
	return i, nil
}

// openDisk opens a disk image. What is compressed or in a tar archive, or both, is
// unpacked to a file without a name.
func openDisk(ctx context.Context, name string) (_ *os.File, err error) {
	f, err := regular.OpenFile(name)
	if err != nil {
		return nil, err
	}
	keep := false
	defer func() {
		if !keep {
			err = errors.Join(err, f.Close())
		}
	}()
	r := bufio.NewReaderSize(f, 1<<16)
	format, err := decompress.Detect(r)
	if err != nil {
		return nil, err
	}
	plain, err := decompress.NewReader(r, format, maxDisk+diskimage.MiB) // a tar archive's headers
	if err != nil {
		return nil, err
	}
	inner := bufio.NewReaderSize(plain, 1<<16)
	switch head, err := inner.Peek(512); {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case isTar(bytes.NewReader(head)):
		return diskInTar(ctx, tar.NewReader(inner))
	case format != "":
		return spool(ctx, inner)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	keep = true
	return f, nil
}

// diskInTar unpacks the one file of a tar archive.
func diskInTar(ctx context.Context, t *tar.Reader) (_ *os.File, err error) {
	isFile := func(h *tar.Header) bool { return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse }
	h, err := t.Next()
	for err == nil && !isFile(h) {
		h, err = t.Next()
	}
	if err != nil {
		return nil, fmt.Errorf("it holds no file: %w", err)
	}
	if h.Size > maxDisk {
		return nil, fmt.Errorf("%s: %d bytes", h.Name, h.Size)
	}
	out, err := spool(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Name, err)
	}
	for {
		switch more, err := t.Next(); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, errors.Join(err, out.Close())
		case isFile(more):
			return nil, errors.Join(fmt.Errorf("it holds two files, %s and %s", h.Name, more.Name), out.Close())
		}
	}
}

// diskSize is that of the disk in a file, in bytes, without the footer of a fixed VHD.
func diskSize(f *os.File) (int64, error) {
	const cookie, typeAt, sizeAt, fixed = "conectix", 60, 48, 2
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := st.Size()
	if !st.Mode().IsRegular() || size < diskimage.MiB || size > maxDisk+diskimage.FooterSize {
		return 0, fmt.Errorf("%d bytes are no disk", size)
	}
	footer, first := make([]byte, diskimage.FooterSize), make([]byte, len(cookie))
	if _, err := f.ReadAt(footer, size-diskimage.FooterSize); err != nil {
		return 0, err
	}
	if _, err := f.ReadAt(first, 0); err != nil {
		return 0, err
	}
	vhd := strings.Contains(strings.ToLower(filepath.Ext(f.Name())), "vhd")
	switch {
	case !bytes.HasPrefix(footer, []byte(cookie)):
		if vhd || string(first) == cookie {
			return 0, errors.New("the VHD is cut off: it has no footer")
		}
		return size, nil
	case binary.BigEndian.Uint32(footer[typeAt:]) != fixed:
		return 0, errors.New("the VHD is dynamic: qemu-img convert -O vpc -o subformat=fixed makes a fixed one of it")
	case binary.BigEndian.Uint64(footer[sizeAt:]) != uint64(size-diskimage.FooterSize):
		return 0, fmt.Errorf("the VHD is cut off: its footer says %d bytes, there are %d", binary.BigEndian.Uint64(footer[sizeAt:]), size-diskimage.FooterSize)
	}
	return size - diskimage.FooterSize, nil
}

// largest finds the largest ext4 file system among the partitions, or on the whole disk.
func largest(f *os.File, size int64) (best diskimage.Extent, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read the partition table: it is damaged: %v", p)
		}
	}()
	if ext4.IsAny(f) {
		return diskimage.Extent{Size: size}, nil
	}
	table, err := partition.Read(file.New(f, true), diskimage.Sector, diskimage.Sector)
	if err != nil {
		return best, fmt.Errorf("read the partition table: %w", err)
	}
	for _, p := range table.GetPartitions() {
		at := diskimage.Extent{Offset: p.GetStart(), Size: p.GetSize()}
		if at.Offset < 0 || at.Size <= best.Size || at.Size > size || at.Offset > size-at.Size {
			continue
		}
		if ext4.IsAny(io.NewSectionReader(f, at.Offset, at.Size)) {
			best = at
		}
	}
	if best.Size == 0 {
		return best, errors.New("no partition has an ext4 file system")
	}
	return best, nil
}
