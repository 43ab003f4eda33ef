package medium

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat12"
	"github.com/diskfs/go-diskfs/filesystem/fat16"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Bounds of a FAT16 file system. They are those of an EFI system partition's:
// the library reads a folder, and all above it, anew for each file in it.
const (
	maxFATNames  = 500
	maxFATDepth  = 8
	maxFATFolder = 16 << 10 // bytes, which are 512 entries
)

// FAT16 lists the regular files of an image of a FAT16 file system, sorted by
// path, with the digest of each. It refuses an image that holds anything
// besides: clusters that belong to no file that it lists, or to two.
func FAT16(name string) (_ []artifact.Ref, err error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	storage, err := file.OpenFromPath(name, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, storage.Close()) }()
	defer recovered(&err, "read the FAT file system")
	return listFAT16(storage, st.Size())
}

// ListFAT16 does what FAT16 does for an image that is open, of so many bytes.
func ListFAT16(image io.ReaderAt, size int64) (_ []artifact.Ref, err error) {
	defer recovered(&err, "read the FAT file system")
	return listFAT16(storage{io.NewSectionReader(image, 0, size)}, size)
}

func listFAT16(image backend.Storage, size int64) ([]artifact.Ref, error) {
	files, err := readFAT(image, size)
	if err != nil {
		return nil, fmt.Errorf("read the FAT file system: %w", err)
	}
	slices.SortFunc(files, func(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}

// fatReader walks a FAT16 file system and keeps account of its clusters.
type fatReader struct {
	fatTable
	image io.ReaderAt
	fs    *fat16.FileSystem
	names int
	files []artifact.Ref
}

func readFAT(image backend.Storage, size int64) ([]artifact.Ref, error) {
	table, err := readFATTable(image, size)
	if err != nil {
		return nil, err
	}
	fs, err := fat16.Read(image, size, 0, 512)
	if err != nil {
		return nil, err
	}
	r := &fatReader{fatTable: *table, image: image, fs: fs}
	if err := r.walk(".", 0); err != nil {
		return nil, err
	}
	if len(r.unclaimed) > 0 {
		return nil, fmt.Errorf("%d clusters belong to no file", len(r.unclaimed))
	}
	return r.files, nil
}

func (r *fatReader) walk(dir string, depth int) error {
	if depth > maxFATDepth {
		return fmt.Errorf("%s: folders are nested too deeply", dir)
	}
	entries, err := r.fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, e := range entries {
		if r.names++; r.names > maxFATNames {
			return fmt.Errorf("more than %d files and folders", maxFATNames)
		}
		at := path.Join(dir, e.Name())
		ranges, size, err := r.claim(at)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if e.IsDir() {
			if length(ranges) > maxFATFolder {
				return fmt.Errorf("%s: the folder is longer than %d bytes", at, maxFATFolder)
			}
			if err := r.walk(at, depth+1); err != nil {
				return err
			}
			continue
		}
		// An empty file may have a cluster, or none.
		if over := length(ranges) - size; over < 0 || over > r.cluster || over == r.cluster && size > 0 {
			return fmt.Errorf("%s: its %d bytes do not fit its clusters", at, size)
		}
		ref, err := r.content(ranges, size)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		ref.Path = at
		r.files = append(r.files, ref)
	}
	return nil
}

// claim takes the clusters of a file or folder, which none may have taken, and
// returns where they lie and the size that its entry names.
func (r *fatReader) claim(at string) (ranges []fat12.DiskRange, size int64, err error) {
	f, err := r.fs.OpenFile("/"+at, os.O_RDONLY) // without the slash the library takes x/x for x
	if err != nil {
		return nil, 0, err
	}
	opened, ok := f.(*fat12.File)
	if !ok {
		return nil, 0, errors.New("has no place in the image")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if ranges, err = opened.GetDiskRanges(); err != nil {
		if size := st.Size(); size == 0 && !st.IsDir() {
			return nil, 0, nil // an empty file needs no cluster
		}
		return nil, 0, err
	}
	for _, x := range ranges {
		for n := int64(0); n < int64(x.Length); n += r.cluster {
			c := (int64(x.Offset)+n-r.data)/r.cluster + 2
			if !r.unclaimed[c] {
				return nil, 0, fmt.Errorf("cluster %d is another file's", c)
			}
			delete(r.unclaimed, c)
		}
	}
	return ranges, st.Size(), nil
}

func length(ranges []fat12.DiskRange) int64 {
	var n int64
	for _, x := range ranges {
		n += int64(x.Length)
	}
	return n
}

func (r *fatReader) content(ranges []fat12.DiskRange, size int64) (artifact.Ref, error) {
	parts := make([]io.Reader, len(ranges))
	for i, x := range ranges {
		parts[i] = io.NewSectionReader(r.image, int64(x.Offset), int64(x.Length))
	}
	digest, n, err := artifact.HashReader(io.LimitReader(io.MultiReader(parts...), size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return artifact.Ref{Digest: digest, Size: n}, err
}
