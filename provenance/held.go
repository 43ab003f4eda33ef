package provenance

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/regular"
)

// maxImage bounds an ISO in bytes, and a disk for which the config names no size.
const maxImage = 64 << 30

// hashed is an image that stays open from the first check to the last: all of them read
// this one file, whatever comes in its place.
type hashed struct {
	digest artifact.Digest // "" where err says why
	size   int64
	err    error
	file   *os.File
	// identity is as it was before the file was hashed.
	identity regular.Identity
}

// hashImages opens the images and reads each once; all checks take them from here.
func (v *verification) hashImages(ctx context.Context) error {
	v.images = map[string]hashed{}
	most := int64(maxImage)
	if size := v.Config.Disk.Bytes(); size > 0 {
		most = max(most, size+1<<30) // and what the format has beside the disk
	}
	for name := range v.imageRecords() {
		h := holdImage(ctx, filepath.Join(v.out, name), most)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), v.close())
		}
		v.images[name] = h
	}
	v.iso = v.images[v.ImageName()].digest
	return nil
}

func holdImage(ctx context.Context, path string, most int64) (h hashed) {
	f, err := regular.OpenFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hashed{err: fmt.Errorf("is missing: %w", fs.ErrNotExist)}
	case errors.Is(err, regular.ErrNotRegular):
		return hashed{err: regular.ErrNotRegular}
	case err != nil:
		return hashed{err: err}
	}
	st, err := f.Stat()
	if err == nil && st.Size() > most {
		err = fmt.Errorf("longer than %d bytes", most)
	}
	if err == nil {
		h.identity, err = regular.IdentityOf(f)
	}
	if err == nil {
		h.digest, h.size, err = artifact.HashReader(regular.Until(ctx, io.NewSectionReader(f, 0, st.Size())))
	}
	if err != nil {
		return hashed{err: errors.Join(err, f.Close())}
	}
	h.file = f
	return h
}

// sha512 reads an image and returns its SHA-512 in lower-case hexadecimal.
func (h hashed) sha512(ctx context.Context) (string, error) {
	if h.err != nil {
		return "", h.err
	}
	sum := sha512.New()
	r := regular.Until(ctx, io.NewSectionReader(h.file, 0, h.size))
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, r, make([]byte, 1<<18)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// content is an image as it was hashed, for a signer.
func (h hashed) content() Content {
	return Content{h.digest, func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(h.file, 0, h.size)), h.err
	}}
}

// openISO reads the folders of the image. Closing it leaves the file open.
func (v *verification) openISO() (*medium.ISO, error) {
	h := v.images[v.ImageName()]
	if h.err != nil {
		return nil, h.err
	}
	return medium.ReadISO(h.file)
}

// unchanged makes sure that nobody wrote to an image since it was hashed, and that its name
// still stands for it.
func (v *verification) unchanged(ctx context.Context) error {
	for _, name := range sortedKeys(v.images) {
		h := v.images[name]
		if h.err != nil {
			continue
		}
		same, err := h.unchanged(ctx, filepath.Join(v.out, name))
		if err != nil {
			return err
		}
		if !same {
			return fault.New(fault.Refused, "verify it again when nobody else works on it", "%s: has changed while it was checked", name)
		}
	}
	return nil
}

// unchanged tells whether a file is as it was when it was hashed, and still the one at path.
func (h hashed) unchanged(ctx context.Context, path string) (bool, error) {
	now, err := regular.IdentityOf(h.file)
	if err != nil {
		return false, err
	}
	if named, err := regular.IdentityAt(path); err != nil || !named.Same(now) {
		return false, nil
	}
	if now == h.identity {
		return true, nil
	}
	// Another name for it, or other permissions, change its state, too: the bytes tell.
	d, size, err := artifact.HashReader(regular.Until(ctx, io.NewSectionReader(h.file, 0, h.size+1)))
	return d == h.digest && size == h.size, err
}

// close closes the images. Whoever keeps a verification for more reading need not: they
// are closed with the process.
func (v *verification) close() error {
	var errs []error
	for name, h := range v.images {
		if h.file != nil {
			errs = append(errs, h.file.Close())
			v.images[name] = hashed{digest: h.digest, size: h.size, err: fs.ErrClosed}
		}
	}
	return errors.Join(errs...)
}

// seen are the digests of files when they were first read, by name.
type seen struct {
	mu    sync.Mutex
	files map[string]artifact.Digest
}

// note holds a file to what it was before.
func (s *seen) note(name string, d artifact.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.files[name]; ok && was != d {
		return fmt.Errorf("%s: has changed while it was checked", name)
	}
	if s.files == nil {
		s.files = map[string]artifact.Digest{}
	}
	s.files[name] = d
	return nil
}
