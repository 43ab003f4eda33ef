package disk

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/system"
)

// room is what a tree takes in a file system.
type room struct{ bytes, inodes int64 }

func (r *room) add(size int64) {
	const block = 4096
	r.bytes += (size + block - 1) / block * block
	r.inodes++
}

// added is a file that the root file system has besides the root tree.
type added struct {
	roottree.Entry
	file string // of the host
}

// additions are the initrd, which a root tree may have in another form, and the files of
// the stage that made GRUB, with the folders that they lack.
func (d *disk) additions(tree *roottree.Manifest) (map[string]added, error) {
	facts, err := system.Read(d.work.File("system"))
	if err != nil {
		return nil, err
	}
	all := map[string]added{}
	put := func(p string, ref artifact.Ref) {
		all[p] = added{roottree.Entry{Path: p, Type: roottree.File, Mode: 0o644, Size: ref.Size, SHA256: ref.Digest}, d.work.Content(ref)}
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if _, ok := tree.Lookup(dir); !ok {
				all[dir] = added{Entry: roottree.Entry{Path: dir, Type: roottree.Dir, Mode: 0o755}}
			}
		}
	}
	put(facts.InitrdPath(), d.work.FileRef("initrd"))
	for _, ref := range d.work.Set("files") {
		put(ref.Path, ref)
	}
	return all, nil
}

// writeArchive writes the root tree and the additions as a tar file, in the order of
// the paths, which decides where mke2fs puts what.
func (d *disk) writeArchive(ctx context.Context, to string) (need room, err error) {
	tree, err := d.work.Manifest("root")
	if err != nil {
		return need, err
	}
	more, err := d.additions(tree)
	if err != nil {
		return need, err
	}
	dir, err := d.work.View("root")
	if err != nil {
		return need, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return need, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	entries := slices.DeleteFunc(slices.Clone(tree.Entries), func(e roottree.Entry) bool { _, ok := more[e.Path]; return ok })
	for _, a := range more {
		entries = append(entries, a.Entry)
	}
	slices.SortFunc(entries, func(a, b roottree.Entry) int { return strings.Compare(a.Path, b.Path) })
	for _, c := range crowded(entries) {
		_, _ = fmt.Fprintf(d.work.Log, "isotrace: mke2fs takes long for a folder of many names: /%s has %d\n", c.path, c.names) // the journal is unsigned
	}
	err = artifact.WriteFile(to, 0o644, func(out io.Writer) error {
		t := tar.NewWriter(out)
		for _, e := range entries {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := d.member(t, e, func() (*os.File, error) {
				if a, ok := more[e.Path]; ok {
					return regular.OpenFile(a.file)
				}
				return regular.Open(root, e.Path)
			}); err != nil {
				return fmt.Errorf("/%s: %w", e.Path, err)
			}
			if e.HardLink == "" || e.HardLink == e.Path {
				need.add(max(e.Size, int64(len(e.Target)), 1))
			}
		}
		return t.Close()
	})
	return need, err
}

// folder is one of a tree, and how many names it has.
type folder struct {
	path  string
	names int
}

// crowded are the folders for which mke2fs takes long, as its time grows with the square
// of a folder's names: 7 s for these many, see adr 17.
func crowded(entries []roottree.Entry) []folder {
	const many = 10_000
	names := map[string]int{}
	for _, e := range entries {
		if e.Path != "." {
			names[path.Dir(e.Path)]++
		}
	}
	var all []folder
	for p, n := range names {
		if n >= many {
			all = append(all, folder{p, n})
		}
	}
	slices.SortFunc(all, func(a, b folder) int { return strings.Compare(a.path, b.path) })
	return all
}

// capability is the one extended attribute that mke2fs takes from an archive: in
// e2fsprogs 1.47.2 it passes over all others without a word.
const capability = "security.capability"

// member writes one entry. The GNU format keeps the bytes of a name as they are and has
// three times; extended attributes need the PAX format.
func (d *disk) member(t *tar.Writer, e roottree.Entry, open func() (*os.File, error)) error {
	at := d.work.Epoch.Time()
	h := &tar.Header{
		Format: tar.FormatGNU, Name: "./" + e.Path, Mode: int64(e.Mode), Uid: int(e.UID), Gid: int(e.GID),
		ModTime: at, AccessTime: at, ChangeTime: at, Devmajor: int64(e.Major), Devminor: int64(e.Minor),
	}
	if len(e.Xattrs) > 0 {
		h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{}
		for _, x := range e.Xattrs {
			if x.Name != capability {
				return fault.New(fault.Usage, "take the attribute off in a script of the project, or the disks out of outputs",
					"has the extended attribute %s: mke2fs puts none but %s on a disk", x.Name, capability)
			}
			h.PAXRecords["SCHILY.xattr."+x.Name] = string(x.Value)
		}
	}
	content := false
	switch e.Type {
	case roottree.File:
		if e.HardLink != "" && e.HardLink != e.Path {
			h.Typeflag, h.Linkname = tar.TypeLink, "./"+e.HardLink
			break
		}
		h.Typeflag, h.Size, content = tar.TypeReg, e.Size, true
	case roottree.Dir:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(h.Name, "/.")+"/"
	case roottree.Link:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	case roottree.Char:
		h.Typeflag = tar.TypeChar
	case roottree.Block:
		h.Typeflag = tar.TypeBlock
	case roottree.Fifo:
		h.Typeflag = tar.TypeFifo
	default:
		return fmt.Errorf("a %s cannot be put on a disk", e.Type)
	}
	if err := t.WriteHeader(h); err != nil || !content {
		return err
	}
	f, err := open()
	if err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return errors.Join(err, f.Close())
}
