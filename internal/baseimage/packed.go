package baseimage

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/regular"
)

// openPlain opens a file that the user named. What is compressed by gzip, xz or zstd is
// unpacked, limit bytes at most, to a file without a name.
func openPlain(ctx context.Context, name string, limit int64) (_ *os.File, err error) {
	f, err := regular.OpenFile(name)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(f, 1<<16)
	format, err := decompress.Detect(r)
	if err == nil && format == "" {
		_, err = f.Seek(0, io.SeekStart)
		if err == nil {
			return f, nil
		}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err != nil {
		return nil, err
	}
	plain, err := decompress.NewReader(r, format, limit)
	if err != nil {
		return nil, err
	}
	return spool(ctx, plain)
}

// spool writes what r holds to a file without a name, zeros left out.
func spool(ctx context.Context, r io.Reader) (_ *os.File, err error) {
	out, err := os.CreateTemp("", "isotrace-base-*")
	if err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close())
		}
	}()
	if err := os.Remove(out.Name()); err != nil {
		return nil, err
	}
	if err := writeSparse(ctx, out, r); err != nil {
		return nil, err
	}
	return out, nil
}

// writeSparse leaves out what is zeros.
func writeSparse(ctx context.Context, out *os.File, r io.Reader) error {
	buf, zero := make([]byte, diskimage.MiB), make([]byte, diskimage.MiB)
	for at := int64(0); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := 0, error(nil)
		for n < len(buf) && err == nil { // not io.ReadFull: it makes one error of an end and a cut
			var more int
			more, err = r.Read(buf[n:])
			n += more
		}
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		if !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return artifact.ExplainWrite(err)
			}
		}
		if at += int64(n); end {
			return artifact.ExplainWrite(out.Truncate(at))
		}
	}
}

// kinds are files that users take for what they are not, by what stands in them at a place.
var kinds = []struct {
	at         int64
	magic, say string
}{
	{0, "BZh", "it is compressed by bzip2: bunzip2 unpacks it"},
	{0, "PK\x03\x04", "it is a zip archive: unpack it"},
	{0, "7z\xbc\xaf\x27\x1c", "it is a 7z archive: unpack it"},
	{0, "\x04\x22\x4d\x18", "it is compressed by lz4: unlz4 unpacks it"},
	{0, "LZIP", "it is compressed by lzip: lzip -d unpacks it"},
	{0, "QFI\xfb", "it is a qcow2 disk: qemu-img convert -O raw makes a raw one of it"},
	{0, "KDMV", "it is a VMDK disk: qemu-img convert -O raw makes a raw one of it"},
	{0, "vhdxfile", "it is a VHDX disk: qemu-img convert -O raw makes a raw one of it"},
	{0, "hsqs", "it is a squashfs"},
	{32769, "CD001", "it is an ISO 9660 image"},
}

// unlike says what a file is that is not what was wanted, or returns nil.
func unlike(f io.ReaderAt) error {
	for _, k := range kinds {
		b := make([]byte, len(k.magic))
		if _, err := f.ReadAt(b, k.at); err == nil && string(b) == k.magic {
			return errors.New(k.say)
		}
	}
	return nil
}

// isTar tells whether a file begins as POSIX and GNU tar archives do.
func isTar(f io.ReaderAt) bool {
	b := make([]byte, len("ustar"))
	_, err := f.ReadAt(b, 257)
	return err == nil && string(b) == "ustar"
}
