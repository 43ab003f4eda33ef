package squashfs

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/roottree"
)

// fragment is a block in which the ends of several files stand.
type fragment struct {
	start  int64
	stored uint32
	used   ranges // by files
}

// Tree describes the tree: every file is decompressed and hashed, with all cores. The
// names of one file are not told apart from copies.
func (f *FS) Tree(ctx context.Context) (*roottree.Manifest, error) {
	sums, err := f.hash(ctx)
	if err != nil {
		return nil, err
	}
	m := &roottree.Manifest{}
	for _, n := range f.names {
		e := n.node.entry(n.path)
		e.SHA256 = sums[n.node]
		m.Entries = append(m.Entries, e)
	}
	slices.SortFunc(m.Entries, func(a, b roottree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return m, nil
}

func (n *inode) entry(name string) roottree.Entry {
	e := roottree.Entry{Path: name, Mode: n.mode, UID: n.uid, GID: n.gid, Xattrs: n.xattrs}
	switch n.kind {
	case typeFile:
		e.Type, e.Size = roottree.File, n.size
	case typeDir:
		e.Type = roottree.Dir
	case typeLink:
		e.Type, e.Target = roottree.Link, n.target
	case typeFifo:
		e.Type = roottree.Fifo
	case typeSocket:
		e.Type = roottree.Socket
	}
	return e
}

// hash returns the SHA-256 of each file. A share of the work is a fragment with all files
// that end in it, or one file that has none.
func (f *FS) hash(ctx context.Context) (map[*inode]artifact.Digest, error) {
	var shares [][]*inode
	ending := make([][]*inode, len(f.fragments))
	for _, n := range f.inodes {
		switch {
		case n.kind != typeFile:
		case n.fragment == noFragment:
			shares = append(shares, []*inode{n})
		default:
			ending[n.fragment] = append(ending[n.fragment], n)
		}
	}
	shares = append(shares, ending...)
	sums := make([][]artifact.Digest, len(shares))
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			r, err := f.newReader()
			if err != nil {
				return err
			}
			defer r.close()
			for k := next.Add(1) - 1; k < int64(len(shares)); k = next.Add(1) - 1 {
				if sums[k], err = r.share(ctx, shares[k]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := map[*inode]artifact.Digest{}
	for k, share := range shares {
		for i, n := range share {
			all[n] = sums[k][i]
		}
	}
	return all, nil
}

// reader reads files' content, one at a time.
type reader struct {
	*FS
	*decompressor
	in, out, end []byte
	holes        []byte
	last         int64 // number of the fragment in end
}

func (f *FS) newReader() (*reader, error) {
	d, err := newDecompressor(f.super.Compression, int(f.super.BlockSize))
	size := f.super.BlockSize
	return &reader{FS: f, decompressor: d, in: make([]byte, size), out: make([]byte, 0, size), end: make([]byte, 0, size), holes: make([]byte, size), last: -1}, err
}

func (r *reader) share(ctx context.Context, files []*inode) (sums []artifact.Digest, err error) {
	h := sha256.New()
	for _, n := range files {
		h.Reset()
		if err := r.content(ctx, n, h); err != nil {
			return nil, fmt.Errorf("squashfs: inode %d: %w", n.number, err)
		}
		sums = append(sums, artifact.Digest(hex.EncodeToString(h.Sum(nil))))
	}
	return sums, nil
}

// content writes a file's.
func (r *reader) content(ctx context.Context, n *inode, w io.Writer) error {
	at, left, full := n.start, n.size, int64(r.super.BlockSize)
	for b := n.blocks; len(b) > 0; b = b[4:] {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		size, want := binary.LittleEndian.Uint32(b), min(left, full)
		part := r.holes[:want]
		if size != 0 {
			var err error
			if part, err = r.data(at, size, r.out); err != nil {
				return err
			}
		}
		if int64(len(part)) != want {
			return malformed("a block holds %d bytes, want %d", len(part), want)
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		at, left = at+int64(size&^stored), left-want
	}
	if left == 0 {
		return nil
	}
	if r.last != int64(n.fragment) {
		f := r.fragments[n.fragment]
		end, err := r.data(f.start, f.stored, r.end)
		if err != nil {
			return err
		}
		if err := f.used.cover(0, int64(len(end))); err != nil {
			return malformed("fragment %d: %w", n.fragment, err)
		}
		r.end, r.last = end, int64(n.fragment)
	}
	_, err := w.Write(r.end[n.offset : n.offset+left])
	return err
}

// data reads a block of data.
func (r *reader) data(at int64, size uint32, out []byte) ([]byte, error) {
	b := r.in[:size&^stored]
	if _, err := r.image.ReadAt(b, at); err != nil {
		return nil, err
	}
	if size&stored != 0 {
		return append(out[:0], b...), nil
	}
	return r.decompress(b, out)
}

// Files reads chosen regular files and lets visit have the first limit bytes of each.
func (f *FS) Files(ctx context.Context, paths []string, limit int64, visit func(path string, content []byte) error) error {
	r, err := f.newReader()
	if err != nil {
		return err
	}
	defer r.close()
	byPath := map[string]*inode{}
	for _, n := range f.names {
		byPath[n.path] = n.node
	}
	for _, p := range paths {
		n := byPath[path.Clean(p)]
		if n == nil || n.kind != typeFile {
			return fmt.Errorf("%s: %w", p, fs.ErrNotExist)
		}
		first := firstBytes{limit: limit}
		if err := r.content(ctx, n, &first); err != nil && !errors.Is(err, errEnough) {
			return fmt.Errorf("%s: %w", p, err)
		}
		if err := visit(p, first.b); err != nil {
			return err
		}
	}
	return nil
}

var errEnough = errors.New("no more is wanted")

// firstBytes keeps the first ones of what is written.
type firstBytes struct {
	limit int64
	b     []byte
}

func (f *firstBytes) Write(b []byte) (int, error) {
	if room := f.limit - int64(len(f.b)); int64(len(b)) > room {
		f.b = append(f.b, b[:room]...)
		return int(room), errEnough
	}
	f.b = append(f.b, b...)
	return len(b), nil
}
