package ext4

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
)

// walk gathers the tree.
type walk struct {
	fs    *FS
	found []found
	lists [][]extent // of regular files' first names, by the index of found
	later []bool     // the names after the first
	// names are the indexes of the names that an inode has.
	names map[uint32][]int
	bytes int64 // of all regular files
}

// add takes a name down.
func (w *walk) add(name string, n uint32, i *inode) error {
	e := roottree.Entry{Path: name, Mode: uint32(i.mode & 0o7777), UID: i.uid, GID: i.gid}
	if len(w.found) >= maxNames {
		return malformed("it has more than %d names", maxNames)
	}
	first := len(w.names[n]) == 0
	switch i.kind() {
	case typeFile:
		e.Type, e.Size = roottree.File, i.size
	case typeDir:
		e.Type = roottree.Dir
	case typeLink:
		e.Type = roottree.Link
	case typeFifo:
		e.Type = roottree.Fifo
	case typeSocket:
		e.Type = roottree.Socket
	case typeChar, typeBlock:
		if w.fs.strict {
			return malformed("%s: is a device", name) // no root tree has one
		}
		e.Type = roottree.Char
	default:
		return malformed("%s: is of no type", name)
	}
	if !first {
		if e.Type == roottree.Dir || w.fs.strict && e.Type != roottree.File {
			return malformed("%s: is there under two names", name)
		}
		of := &w.found[w.names[n][0]].entry
		e.Xattrs, e.Target = of.Xattrs, of.Target
	}
	var list []extent
	var err error
	if first {
		if e.Xattrs, err = w.fs.attributes(i); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		switch e.Type {
		case roottree.Link:
			e.Target, err = w.fs.target(i)
		case roottree.File:
			if w.bytes += i.size; w.bytes > w.fs.blocks*blockSize {
				return malformed("its files are larger than itself")
			}
			list, err = w.fs.extents(i)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	w.names[n] = append(w.names[n], len(w.found))
	w.found, w.lists, w.later = append(w.found, found{e, i}), append(w.lists, list), append(w.later, !first)
	return nil
}

// target is what a symbolic link says.
func (f *FS) target(i *inode) (string, error) {
	if i.size == 0 || i.size > blockSize {
		return "", malformed("a symbolic link of %d bytes", i.size)
	}
	if i.flags&extentsFlag == 0 {
		if i.size >= int64(len(i.block)) || f.strict && !zeros(i.block[i.size:]) {
			return "", malformed("a symbolic link of %d bytes", i.size)
		}
		return string(i.block[:i.size]), nil
	}
	list, err := f.extents(i)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(f.content(i.size, list))
	return string(b), err
}

// Bounds of what a file system may make us do.
const (
	maxFolder = 64 << 20 // bytes
	maxNames  = 4_000_000
)

// folder takes down what a folder holds. All its blocks are read one after another, as
// the index of a large one looks like empty entries.
func (w *walk) folder(ctx context.Context, dir string, i *inode, self, parent uint32, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if depth > maxDepth || i.size > maxFolder || i.size%blockSize != 0 {
		return malformed("%s: is nested too deeply or too large", dir)
	}
	list, err := w.fs.extents(i)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	b, err := io.ReadAll(w.fs.content(i.size, list))
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	seen := map[string]bool{}
	for at := 0; at < len(b); {
		rest := b[at:]
		n, length, size := binary.LittleEndian.Uint32(rest), int(binary.LittleEndian.Uint16(rest[4:])), int(rest[6])
		if length < 8 || length%4 != 0 || at%blockSize+length > blockSize || 8+size > length {
			return malformed("%s: an entry is damaged", dir)
		}
		name := string(rest[8 : 8+size])
		at += length
		if n == 0 {
			continue
		}
		switch {
		case name == "." && n == self, name == ".." && n == parent:
			continue
		case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || seen[name]:
			return malformed("%s: has an entry %q", dir, name)
		}
		seen[name] = true
		if err := w.entry(ctx, path.Join(dir, name), n, self, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(ctx context.Context, name string, n, parent uint32, depth int) error {
	i, err := w.fs.inode(n)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if n < firstInode {
		return malformed("%s: is inode %d", name, n)
	}
	if err := w.add(name, n, i); err != nil {
		return err
	}
	if i.kind() != typeDir {
		return nil
	}
	return w.folder(ctx, name, i, n, parent, depth+1)
}

// links says which names share a file.
func (w *walk) links() error {
	for _, at := range w.names {
		i := w.found[at[0]].inode
		if i.kind() == typeDir || !w.fs.strict && i.kind() != typeFile {
			continue // of others each name is a file of its own in an archive
		}
		if w.fs.strict && int(i.links) != len(at) {
			return malformed("%s: has %d names and says %d", w.found[at[0]].entry.Path, len(at), i.links)
		}
		if len(at) == 1 {
			continue
		}
		paths := make([]string, len(at))
		for k, x := range at {
			paths[k] = w.found[x].entry.Path
		}
		first := slices.Min(paths)
		for _, x := range at {
			w.found[x].entry.HardLink = first
		}
	}
	return nil
}

// hash reads every file, with all processors.
func (w *walk) hash(ctx context.Context) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			buf := make([]byte, 1<<18)
			for {
				k := int(next.Add(1)) - 1
				if k >= len(w.found) {
					return nil
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				e := &w.found[k].entry
				if e.Type != roottree.File || w.later[k] {
					continue
				}
				h := sha256.New()
				if _, err := io.CopyBuffer(h, struct{ io.Reader }{w.fs.content(e.Size, w.lists[k])}, buf); err != nil {
					return fmt.Errorf("%s: %w", e.Path, err)
				}
				e.SHA256 = artifact.Digest(hex.EncodeToString(h.Sum(nil)))
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, at := range w.names {
		for _, x := range at[1:] {
			w.found[x].entry.SHA256 = w.found[at[0]].entry.SHA256
		}
	}
	return nil
}
