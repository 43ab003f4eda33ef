package squashfs

import (
	"math"
	"strings"
)

// tree visits every folder from the root: each inode and each byte of the table of
// listings has to be reached.
func (f *FS) tree() error {
	w := walker{FS: f, byPlace: make(map[int64]*inode, len(f.inodes))}
	for _, n := range f.inodes {
		w.byPlace[n.at] = n
	}
	root := f.inodes[len(f.inodes)-1] // mksquashfs writes it last
	if f.super.Root != f.inodeStarts.reference(root.at) || root.kind != typeDir || root.parent != f.super.Inodes+1 {
		return malformed("the root folder is not the last inode")
	}
	root.names = 1
	f.names = append(f.names, name{".", root})
	if err := w.folder(".", root, 0); err != nil {
		return err
	}
	for _, n := range f.inodes {
		if n.names == 0 || n.kind != typeDir && n.names != n.links {
			return malformed("inode %d has %d names and %d links", n.number, n.names, n.links)
		}
	}
	if err := w.lists.cover(0, int64(len(f.dirs.bytes))); err != nil {
		return malformed("directory table: %w", err)
	}
	return nil
}

type walker struct {
	*FS
	byPlace map[int64]*inode
	lists   ranges
	paths   int // bytes of them all
}

func (w *walker) folder(path string, dir *inode, depth int) error {
	if depth > maxDepth {
		return malformed("%s: folders are nested too deeply", path)
	}
	if dir.size == 0 {
		return w.checkIndex(path, dir, nil)
	}
	w.lists.add(dir.list, dir.size)
	list := fields{b: w.dirs.bytes[dir.list : dir.list+dir.size]}
	heads := map[int64]string{}
	last, folders := "", uint32(0)
	var below []name
	for len(list.b) > 0 {
		at := dir.size - int64(len(list.b))
		count, block, number := list.u32(), int64(list.u32()), list.u32()
		if count >= 256 {
			return malformed("%s: %d entries below one head", path, count+1)
		}
		for k := range count + 1 {
			offset, delta, kind := int64(list.u16()), int16(list.u16()), list.u16()
			entry := string(list.take(int64(list.u16()) + 1))
			if list.bad {
				return malformed("%s: its listing is cut off", path)
			}
			if k == 0 {
				heads[at] = entry
			}
			n, ok := w.inodeAt(block, offset)
			switch {
			case entry <= last || len(entry) > 255 || strings.ContainsAny(entry, "/\x00") || entry == "." || entry == "..":
				return malformed("%s: %q is out of order, or no name", path, entry)
			case !ok || n.kind != kind || n.number != uint32(int64(number)+int64(delta)):
				return malformed("%s: %q leads to no inode of its kind and number", path, entry)
			case n.kind == typeDir && (n.names > 0 || n.parent != dir.number):
				return malformed("%s: %q is another's folder", path, entry)
			case len(w.names) >= maxNames || n.names == math.MaxUint32:
				return malformed("it has more than %d names", maxNames)
			}
			last = entry
			n.names++
			full := entry
			if path != "." {
				full = path + "/" + entry
			}
			if w.paths += len(full); w.paths > maxMetadata {
				return malformed("its paths have more than %d bytes", maxMetadata)
			}
			w.names = append(w.names, name{full, n})
			if n.kind == typeDir {
				folders++
				below = append(below, name{full, n})
			}
		}
	}
	if dir.links != folders+2 {
		return malformed("%s: has %d links, want %d", path, dir.links, folders+2)
	}
	if err := w.checkIndex(path, dir, heads); err != nil {
		return err
	}
	for _, b := range below {
		if err := w.folder(b.path, b.node, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// inodeAt finds the inode that a listing names.
func (w *walker) inodeAt(block, offset int64) (*inode, bool) {
	at, ok := w.inodeStarts.place(block, offset)
	if !ok {
		return nil, false
	}
	n, ok := w.byPlace[at]
	return n, ok
}

// checkIndex wants a long folder's index to lead to heads of its listing, whose places
// and first names are given: the kernel looks names up in it.
func (w *walker) checkIndex(path string, dir *inode, heads map[int64]string) error {
	index := fields{b: dir.index}
	for range dir.counts {
		at, block := int64(index.u32()), int64(index.u32())
		first := string(index.take(int64(index.u32()) + 1))
		if have, ok := heads[at]; !ok || have != first || w.dirs.starts[(dir.list+at)/metaSize] != block {
			return malformed("%s: its index does not fit its listing", path)
		}
	}
	return nil
}
