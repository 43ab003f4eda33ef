package ext4

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/roottree"
)

// WriteTar writes the files as a tar archive, in the order of their paths and without
// times: the same file system gives the same bytes. Left out are lost+found, sockets,
// devices below /dev, and access control lists. It can be called once.
func (f *FS) WriteTar(ctx context.Context, out io.Writer) error {
	w, err := f.walk(ctx)
	if err != nil {
		return err
	}
	order := make([]int, len(w.found))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(w.found[a].entry.Path, w.found[b].entry.Path) })
	// The first name of a file, by path, is the one that has its content.
	content := map[string]int{}
	for _, at := range w.names {
		for _, i := range at {
			content[w.found[i].entry.Path] = at[0]
		}
	}
	t := tar.NewWriter(out)
	for _, i := range order {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := &w.found[i].entry
		h, skip := header(e)
		if skip {
			continue
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = e.Size
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if _, err := io.Copy(t, w.fs.content(e.Size, w.lists[content[e.Path]])); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return t.Close()
}

func header(e *roottree.Entry) (_ *tar.Header, skip bool) {
	h := &tar.Header{Format: tar.FormatPAX, Name: e.Path, Mode: int64(e.Mode), Uid: int(e.UID), Gid: int(e.GID), ModTime: time.Unix(0, 0), PAXRecords: map[string]string{}}
	for _, x := range e.Xattrs {
		if x.Name != accessList && x.Name != defaultList {
			h.PAXRecords["SCHILY.xattr."+x.Name] = string(x.Value)
		}
	}
	switch e.Type {
	case roottree.File:
		h.Typeflag = tar.TypeReg
		if e.HardLink != "" && e.HardLink != e.Path {
			h.Typeflag, h.Linkname, h.PAXRecords = tar.TypeLink, e.HardLink, nil
		}
	case roottree.Dir:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
		skip = e.Path == "lost+found"
	case roottree.Link:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	case roottree.Fifo:
		h.Typeflag = tar.TypeFifo
	case roottree.Socket:
		skip = true
	default:
		h.Typeflag = tar.TypeChar // refused where it is unpacked, but below /dev
		skip = strings.HasPrefix(e.Path, "dev/")
	}
	return h, skip
}
