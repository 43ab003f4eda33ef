package blockdev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

const (
	chunk = 4 << 20 // bytes at once
	// alignment of lengths for O_DIRECT: no disk's sectors are larger.
	alignment = 4096
	// tail is what is cleared at the disk's end: an older partition table has its second
	// copy there, and firmware and kernels would rather believe that.
	tail = 1 << 20
)

// Write copies an image to the disk and reads it back, past every cache. The image has to
// be the one of the digest: it is hashed as it is written, and the disk's bytes as they are
// read. Progress is told of bytes of size, twice over; it may be nil. Whatever the disk held
// is lost, also where the copy fails.
func (d *Disk) Write(ctx context.Context, image io.Reader, size int64, want artifact.Digest, progress func(verb string, done int64)) (err error) {
	if progress == nil {
		progress = func(string, int64) {}
	}
	// Where a file system or volume holds the disk or a part of it, the kernel refuses.
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return explain(d.Path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if have := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)); st.Mode&unix.S_IFMT != unix.S_IFBLK || have != d.number {
		return fault.New(fault.Refused, "look again which disk is which", "%s: is another device than it was", d.Path)
	}
	h := sha256.New()
	if err := d.copy(ctx, f, io.TeeReader(image, h), size, func(n int64) { progress("write", n) }); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%s: %w", d.Path, err)
	}
	if have := sum(h); have != want {
		return fault.New(fault.Refused, "verify the image; the disk holds nothing of use", "the image: its SHA-256 is %s, want %s", have, want)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("%s: flush its buffers: %w", d.Path, err)
	}
	have, err := d.read(ctx, size, func(n int64) { progress("read back", n) })
	if err != nil {
		return err
	}
	if have != want {
		return fault.New(fault.Refused, "the disk is worn out, or lies about its size: take another", "%s: what it gives back has the SHA-256 %s, want %s", d.Path, have, want)
	}
	// The kernel looks at the new partitions; where it will not, the next plugging in does.
	_ = unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
	return nil
}

func explain(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fault.New(fault.Usage, "writing to disks needs root, or the group disk", "%w", err)
	case errors.Is(err, unix.EBUSY):
		return fault.New(fault.Refused, "unmount it, or look again whether it is the right one", "%s: is in use", path)
	case errors.Is(err, unix.ENOMEDIUM):
		return fault.New(fault.Usage, "put one in", "%s: holds no medium", path)
	}
	return err
}

func sum(h hash.Hash) artifact.Digest { return artifact.Digest(hex.EncodeToString(h.Sum(nil))) }

// copy writes the image from the disk's start and clears what is left of its end.
func (d *Disk) copy(ctx context.Context, f *os.File, image io.Reader, size int64, progress func(int64)) error {
	buf := make([]byte, chunk)
	var done int64
	for done < size {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: holds a part of the image only: %w", d.Path, context.Cause(ctx))
		}
		n, err := io.ReadFull(image, buf[:min(chunk, size-done)])
		if err != nil {
			return fmt.Errorf("the image ends after %d of %d bytes: %w", done+int64(n), size, err)
		}
		if _, err := f.WriteAt(buf[:n], done); err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
		done += int64(n)
		progress(done)
	}
	end := max(size, d.Size-tail)
	clear(buf)
	if _, err := f.WriteAt(buf[:d.Size-end], end); err != nil {
		return fmt.Errorf("%s: clear its end: %w", d.Path, err)
	}
	return nil
}

// read hashes the disk's first bytes as the disk has them, not as a cache does.
func (d *Disk) read(ctx context.Context, size int64, progress func(int64)) (_ artifact.Digest, err error) {
	f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return "", explain(d.Path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// A mapping of its own is as O_DIRECT wants memory to be.
	buf, err := unix.Mmap(-1, 0, chunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unix.Munmap(buf)) }()
	h := sha256.New()
	for done := int64(0); done < size; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		// The last block may go beyond the image.
		n := min(chunk, (size-done+alignment-1)/alignment*alignment)
		got, err := f.ReadAt(buf[:n], done)
		if int64(got) < min(n, size-done) {
			return "", fmt.Errorf("%s: read back: %w", d.Path, err)
		}
		h.Write(buf[:min(int64(got), size-done)])
		done += min(int64(got), size-done)
		progress(done)
	}
	return sum(h), nil
}
