package initrd

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/roottree"
)

// tree is what the kernel makes of an archive's members, one after the other,
// in a root that is empty before. It follows do_name and its like of Linux,
// init/initramfs.c.
type tree struct {
	nodes map[string]*node
	left  *int // nodes that may yet come
	// links lead to the first path of each file that has several names.
	links map[linkKey]string
}

type node struct {
	file *file // nil where the path only leads to others
	held bool  // whether there is something below
}

// file is what the names of a file share. Its entry has no path.
type file struct{ entry roottree.Entry }

func newTree(left *int) *tree {
	return &tree{nodes: map[string]*node{}, left: left, links: map[linkKey]string{}}
}

var types = map[uint32]roottree.Type{
	regular: roottree.File, folder: roottree.Dir, symlink: roottree.Link, char: roottree.Char,
	block: roottree.Block, fifo: roottree.Fifo, socket: roottree.Socket,
}

// add puts a member into the tree.
func (t *tree) add(m *member) error {
	n, err := t.node(m.path)
	if err == nil {
		err = t.put(n, m)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", m.path, err)
	}
	return nil
}

func (t *tree) put(n *node, m *member) error {
	kind := types[m.mode&typeMask]
	if kind != roottree.Dir && n.held || m.path == "." && kind != roottree.Dir {
		return fmt.Errorf("%w: stands in the place of a folder with content", ErrFormat)
	}
	if kind == roottree.Link {
		n.file = &file{roottree.Entry{Type: kind, Mode: 0o777, UID: m.uid, GID: m.gid, Target: m.target}}
		return nil
	}
	linked := false
	if m.linked && kind != roottree.Dir {
		if first, ok := t.links[m.links]; ok {
			old := t.nodes[first].file
			if first == m.path || old.entry.Type != kind {
				return fmt.Errorf("%w: a hard link to %q, which cannot be", ErrFormat, first)
			}
			n.file, linked = old, true
		} else {
			t.links[m.links] = m.path
		}
	}
	// What is there stays if it is of the same type, and with it all its names.
	if n.file == nil || n.file.entry.Type != kind {
		n.file = &file{roottree.Entry{Type: kind, Major: m.major, Minor: m.minor}}
		if kind != roottree.Char && kind != roottree.Block {
			n.file.entry.Major, n.file.entry.Minor = 0, 0
		}
	}
	e := &n.file.entry
	if linked && kind != roottree.File {
		return nil
	}
	e.Mode, e.UID, e.GID = m.mode&0o7777, m.uid, m.gid
	// Of the names of a file, one alone need have the content.
	if kind == roottree.File && (!linked || m.size > 0) {
		e.Size, e.SHA256 = m.size, m.sha256
	}
	return nil
}

// node returns the node of a path, with those of the folders above it.
func (t *tree) node(p string) (*node, error) {
	if n := t.nodes[p]; n != nil {
		return n, nil
	}
	if *t.left == 0 {
		return nil, fmt.Errorf("%w: more entries than allowed", ErrFormat)
	}
	*t.left--
	n := &node{}
	t.nodes[p] = n
	if p == "." {
		return n, nil
	}
	// As deep as a path may be, no deeper.
	above, err := t.node(path.Dir(p))
	if err != nil {
		return nil, err
	}
	if above.file != nil && above.file.entry.Type != roottree.Dir {
		return nil, fmt.Errorf("%w: stands below what is no folder", ErrFormat)
	}
	above.held = true
	return n, nil
}

// manifest describes the tree as roottree.Walk does.
func (t *tree) manifest() *roottree.Manifest {
	paths := make([]string, 0, len(t.nodes))
	for p, n := range t.nodes {
		if n.file != nil {
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, strings.Compare)
	first := make(map[*file]string, len(paths))
	m := &roottree.Manifest{Entries: make([]roottree.Entry, len(paths))}
	for _, p := range paths {
		f := t.nodes[p].file
		if f.entry.Type == roottree.File {
			if other, ok := first[f]; !ok {
				first[f] = p
			} else {
				f.entry.HardLink = other // as all names of it are to have
			}
		}
	}
	for i, p := range paths {
		m.Entries[i] = t.nodes[p].file.entry
		m.Entries[i].Path = p
	}
	return m
}
