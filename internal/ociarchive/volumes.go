package ociarchive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/regular"
)

// Volumes are the files of an archive, read as one: the archive itself, or NAME.001,
// NAME.002 and so on.
type Volumes struct {
	Names []string
	files []*os.File
	ends  []int64 // of each, in the whole
}

const maxVolumes = 999

func volumeName(name string, n int) string { return fmt.Sprintf("%s.%03d", name, n) }

// OpenVolumes opens an archive by its name; that of its first volume will do, too.
func OpenVolumes(name string) (_ *Volumes, err error) {
	v := &Volumes{}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.Close())
		}
	}()
	if err := v.open(name); err == nil && !strings.HasSuffix(name, ".001") {
		return v, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	name = strings.TrimSuffix(name, ".001")
	if len(v.files) == 0 {
		if err := v.open(volumeName(name, 1)); err != nil {
			return nil, fmt.Errorf("%s: there is neither the archive nor its first volume: %w", name, err)
		}
	}
	for n := 2; n <= maxVolumes; n++ {
		if err := v.open(volumeName(name, n)); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *Volumes) open(name string) error {
	f, err := regular.OpenFile(name)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: is not a regular file", name)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	v.Names, v.files, v.ends = append(v.Names, name), append(v.files, f), append(v.ends, v.Size()+st.Size())
	return nil
}

// Size is that of the whole, in bytes.
func (v *Volumes) Size() int64 {
	if len(v.ends) == 0 {
		return 0
	}
	return v.ends[len(v.ends)-1]
}

// At names the volume that has a byte of the whole.
func (v *Volumes) At(offset int64) string {
	for i, end := range v.ends {
		if offset < end {
			return v.Names[i]
		}
	}
	return v.Names[len(v.Names)-1]
}

// ReadAt is io.ReaderAt over the whole.
func (v *Volumes) ReadAt(b []byte, offset int64) (n int, err error) {
	start := int64(0)
	for i, end := range v.ends {
		if n < len(b) && offset+int64(n) < end {
			at := offset + int64(n) - start
			part := b[n:min(int64(len(b)), int64(n)+end-start-at)]
			k, err := v.files[i].ReadAt(part, at)
			n += k
			if k < len(part) {
				return n, err
			}
		}
		start = end
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Close closes the files.
func (v *Volumes) Close() error {
	var err error
	for _, f := range v.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// WriteVolumes has fill write an archive into files of at most size bytes, NAME.001 and
// so on, or where size is 0 into the one file NAME. They get their names when all of it
// is on the disk. NAME.SHA256SUMS has the digests of volumes. It returns the files' names.
func WriteVolumes(name string, size int64, fill func(io.Writer) error) (_ []string, err error) {
	if size == 0 {
		return []string{name}, artifact.WriteFile(name, 0o644, fill)
	}
	dir, err := os.MkdirTemp(filepath.Dir(name), ".archive-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := &splitter{base: filepath.Join(dir, filepath.Base(name)), size: size}
	if err := errors.Join(fill(w), w.close()); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(volumeName(name, w.n+1)); err == nil {
		return nil, fmt.Errorf("%s: is there, of another archive of that name: move it away", volumeName(name, w.n+1))
	}
	var names []string
	var sums strings.Builder
	for n := 1; n <= w.n; n++ {
		d, _, err := artifact.HashFile(volumeName(w.base, n))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&sums, "%s  %s\n", d, filepath.Base(volumeName(name, n)))
		if err := os.Rename(volumeName(w.base, n), volumeName(name, n)); err != nil {
			return nil, err
		}
		names = append(names, volumeName(name, n))
	}
	list := name + "." + sumsTitle
	return append(names, list), errors.Join(artifact.WriteBytes(list, 0o644, []byte(sums.String())), artifact.SyncDir(filepath.Dir(name)))
}

// splitter writes volumes.
type splitter struct {
	base string
	size int64
	n    int // volumes so far
	f    *os.File
	left int64
}

func (s *splitter) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		if s.left == 0 {
			if err := s.close(); err != nil {
				return n, err
			}
			if s.n++; s.n > maxVolumes {
				return n, fmt.Errorf("more than %d volumes: let each be larger", maxVolumes)
			}
			if s.f, err = os.OpenFile(volumeName(s.base, s.n), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err != nil {
				return n, err
			}
			s.left = s.size
		}
		k, err := s.f.Write(b[:min(int64(len(b)), s.left)])
		n, s.left, b = n+k, s.left-int64(k), b[k:]
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *splitter) close() error {
	if s.f == nil {
		return nil
	}
	err := errors.Join(s.f.Sync(), s.f.Close())
	s.f = nil
	return err
}
