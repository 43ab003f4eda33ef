package medium

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat16"

	"github.com/isotrace/isotrace/internal/artifact"
)

// FAT16 lists the regular files of an image of a FAT16 file system, sorted by
// path, with the digest of each.
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
	fat, err := fat16.Read(storage, st.Size(), 0, 512)
	if err != nil {
		return nil, fmt.Errorf("read the FAT file system: %w", err)
	}
	var files []artifact.Ref
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		if depth > maxDepth || len(files) > maxFiles {
			return errors.New("the FAT file system is too deep or has too many files")
		}
		entries, err := fat.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("read the FAT file system: %s: %w", dir, err)
		}
		for _, e := range entries {
			at := path.Join(dir, e.Name())
			switch {
			case e.Name() == "." || e.Name() == "..":
				continue
			case e.IsDir():
				if err := walk(at, depth+1); err != nil {
					return err
				}
				continue
			}
			f, err := fat.OpenFile(at, os.O_RDONLY)
			if err != nil {
				return fmt.Errorf("read the FAT file system: %s: %w", at, err)
			}
			digest, size, err := artifact.HashReader(io.LimitReader(f, st.Size()))
			if err := errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("read the FAT file system: %s: %w", at, err)
			}
			files = append(files, artifact.Ref{Path: at, Digest: digest, Size: size})
		}
		return nil
	}
	if err := walk(".", 0); err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}
