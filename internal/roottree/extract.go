package roottree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ExtractOptions say what a tar archive may do to a tree.
type ExtractOptions struct {
	// MergeUsr lets a folder of the archive stand for the folder that a
	// symbolic link of the tree leads to, as dpkg does: lib → usr/lib.
	MergeUsr bool
	// OCILayer takes the archive for a layer of an image: see layer.go.
	OCILayer bool
	// IgnoreOwners leaves every file to the caller, who has no others.
	IgnoreOwners bool
	// Placed is told of each path that the archive brings, links above it
	// followed; it may be nil.
	Placed func(path string)
	// MaxBytes and MaxEntries bound the archive; zero means 32 GiB and 2 million.
	MaxBytes   int64
	MaxEntries int
}

// Extracted says what Extract did.
type Extracted struct {
	Entries int
	Bytes   int64
	// SkippedDevices are paths that were passed over.
	SkippedDevices []string
}

// Extract writes the members of a tar archive into the tree at dir. Every
// write goes through an os.Root: no name, link or order of members leads out
// of dir. Members that no honest archive has are refused: absolute names, "..",
// hard links to what is not there, devices, FIFOs; of these, layers of images may
// have absolute names and FIFOs. Nothing is undone on error: the tree is to be
// thrown away.
func Extract(ctx context.Context, dir string, tr *tar.Reader, opts ExtractOptions) (_ Extracted, err error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 32 << 30
	}
	if opts.MaxEntries == 0 {
		opts.MaxEntries = 2_000_000
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Extracted{}, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := &extraction{root: root, opts: opts, fresh: map[string]bool{}, links: map[string]bool{}, hidden: map[string]bool{}, buf: make([]byte, 1<<18)}
	for {
		if ctx.Err() != nil {
			return x.did, context.Cause(ctx)
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return x.did, fmt.Errorf("read the archive: %w", err)
		}
		if err := x.member(h, tr); err != nil {
			return x.did, fmt.Errorf("member %q: %w", h.Name, err)
		}
	}
	return x.did, x.folderTimes()
}

type extraction struct {
	root *os.Root
	opts ExtractOptions
	did  Extracted
	buf  []byte
	// folders get their modes and times last: writing into them changes those,
	// and may need a mode that they are not to have.
	folders []folderHeader
	// fresh are the paths that this archive brought, links the symbolic links
	// among them, some of which may have been replaced since.
	fresh, links map[string]bool
	// hidden are folders in whose place this layer put something else.
	hidden map[string]bool
}

type folderHeader struct {
	path string
	*tar.Header
}

func (x *extraction) member(h *tar.Header, r io.Reader) error {
	if x.did.Entries++; x.did.Entries > x.opts.MaxEntries {
		return fmt.Errorf("more than %d members", x.opts.MaxEntries)
	}
	if h.Size < 0 || h.Size > x.opts.MaxBytes-x.did.Bytes {
		return fmt.Errorf("more than %d bytes", x.opts.MaxBytes)
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // its name is that of no file
	}
	name, err := x.path(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the root is no folder")
		}
		x.folders = append(x.folders, folderHeader{name, h})
		return nil
	}
	if x.opts.OCILayer && ofAUFS(name) {
		return nil
	}
	if err := x.parents(path.Dir(name)); err != nil {
		return err
	}
	if x.opts.OCILayer {
		if done, err := x.whiteout(name); done || err != nil {
			return err
		}
	}
	for p := name; p != "." && !x.fresh[p]; p = path.Dir(p) {
		x.fresh[p] = true
	}
	if x.opts.Placed != nil {
		at, err := Resolve(name, func(p string) (string, bool) {
			target, err := x.root.Readlink(p)
			return target, err == nil
		})
		if err != nil {
			return err
		}
		x.opts.Placed(at)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return x.folder(name, h)
	case tar.TypeReg:
		return x.file(name, h, r)
	case tar.TypeGNUSparse: // its holes read as zeros
		if x.opts.OCILayer {
			return x.file(name, h, r)
		}
	case tar.TypeSymlink:
		return x.symlink(name, h)
	case tar.TypeLink:
		return x.hardlink(name, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		if x.opts.OCILayer {
			return x.special(name, h)
		}
		return errors.New("devices and FIFOs are refused")
	}
	return fmt.Errorf("type %q is not known", h.Typeflag)
}

// memberPath cleans a member's name: "./usr/bin/" becomes "usr/bin".
func memberPath(name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return "", errors.New("an absolute name is refused")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errors.New(`".." is refused`)
	}
	clean := path.Clean(name)
	if clean == "." && strings.Trim(name, "./") == "" && name != "" {
		return clean, nil
	}
	if !validPath(clean) {
		return "", errors.New("the name is refused")
	}
	if strings.Count(clean, "/") >= maxDepth {
		return "", fmt.Errorf("more than %d folders deep", maxDepth)
	}
	return clean, nil
}

// path is where the tree has what the archive calls name.
func (x *extraction) path(name string) (string, error) {
	if x.opts.OCILayer {
		return x.layerPath(name)
	}
	return memberPath(name)
}

// parents makes the folders above a member that the archive does not name.
func (x *extraction) parents(dir string) error {
	if dir == "." {
		return nil
	}
	if x.opts.OCILayer {
		return x.layerParents(dir)
	}
	st, err := x.root.Stat(dir)
	if err == nil && st.IsDir() {
		return nil
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s is no folder", dir)
		}
		return err
	}
	if err := x.parents(path.Dir(dir)); err != nil {
		return err
	}
	return x.plainFolder(dir)
}

func (x *extraction) plainFolder(dir string) error {
	if err := x.root.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return x.root.Chmod(dir, 0o755)
}

// clear takes away what stands at name, unless both are folders.
func (x *extraction) clear(name string, folder bool) (there bool, err error) {
	st, err := x.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch {
	case folder && st.IsDir():
		return true, nil
	case folder && x.opts.MergeUsr && st.Mode()&fs.ModeSymlink != 0:
		if to, err := x.root.Stat(name); err == nil && to.IsDir() {
			return true, nil
		}
	case st.IsDir() && !x.opts.OCILayer:
		return false, errors.New("a folder stands in its place")
	case st.IsDir():
		x.hidden[name] = true
		return false, x.root.RemoveAll(name)
	}
	return false, x.root.Remove(name)
}

func (x *extraction) folder(name string, h *tar.Header) error {
	if x.hidden[name] {
		return errors.New("a folder again, in place of what the layer put in its place")
	}
	there, err := x.clear(name, true)
	if err != nil {
		return err
	}
	if !there {
		if err := x.root.Mkdir(name, 0o755); err != nil {
			return err
		}
	} else if st, err := x.root.Lstat(name); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return nil // the link's folder keeps what it has
	}
	x.folders = append(x.folders, folderHeader{name, h})
	return nil
}

func (x *extraction) file(name string, h *tar.Header, r io.Reader) (err error) {
	if _, err := x.clear(name, false); err != nil {
		return err
	}
	f, err := x.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, r, x.buf)
	x.did.Bytes += n
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return x.attributes(name, h)
}

func (x *extraction) symlink(name string, h *tar.Header) error {
	if h.Linkname == "" || strings.Contains(h.Linkname, "\x00") || len(h.Linkname) >= unix.PathMax {
		return errors.New("the link's target is refused")
	}
	if _, err := x.clear(name, false); err != nil {
		return err
	}
	// Where it leads is for the image to decide; no write of ours follows it out.
	if err := x.root.Symlink(h.Linkname, name); err != nil {
		return err
	}
	x.links[name] = true
	if x.opts.IgnoreOwners {
		return nil
	}
	return x.root.Lchown(name, h.Uid, h.Gid)
}

func (x *extraction) hardlink(name string, h *tar.Header) error {
	target, err := x.path(h.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	}
	st, err := x.root.Lstat(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
	}
	switch {
	case x.opts.OCILayer && st.IsDir():
		return fmt.Errorf("hard link to %q: a folder", h.Linkname)
	case !x.opts.OCILayer && !st.Mode().IsRegular():
		return fmt.Errorf("hard link to %q: no regular file", h.Linkname)
	case target == name:
		return errors.New("a hard link to itself")
	}
	if _, err := x.clear(name, false); err != nil {
		return err
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		x.links[name] = true
	}
	if err := x.root.Link(target, name); err != nil || !x.opts.OCILayer {
		return err
	}
	switch st.Mode().Type() {
	case 0:
		return x.attributes(name, h)
	case fs.ModeNamedPipe:
		return x.plainAttributes(name, h)
	}
	if x.opts.IgnoreOwners {
		return nil
	}
	return x.root.Lchown(name, h.Uid, h.Gid)
}

// attributes sets owner, mode, xattrs and time of a file or folder, in the
// order in which none undoes another.
func (x *extraction) attributes(name string, h *tar.Header) error {
	if !x.opts.IgnoreOwners {
		if err := x.root.Lchown(name, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	// Before the mode, which may keep a caller who is not root from setting them.
	if err := x.xattrs(name, h); err != nil {
		return err
	}
	if err := x.root.Chmod(name, goMode(h.Mode)); err != nil {
		return err
	}
	return x.root.Chtimes(name, h.ModTime, h.ModTime)
}

// xattrs sets what the archive has, PAX records SCHILY.xattr.NAME: file
// capabilities and user attributes. Others, which are a host's own, are refused;
// but of a layer, those of the kernel's own use are passed over, as containerd does.
func (x *extraction) xattrs(name string, h *tar.Header) (err error) {
	const prefix = "SCHILY.xattr."
	var names []string
	for key := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, prefix)
		if ok && ownXattr(attr) && !(x.opts.OCILayer && strings.HasPrefix(attr, "trusted.")) {
			names = append(names, attr)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	f, err := x.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, attr := range names {
		if attr != "security.capability" && !strings.HasPrefix(attr, "user.") {
			return fmt.Errorf("xattr %q is refused: only security.capability and user attributes can be set by every user and kept by a squashfs", attr)
		}
		if err := unix.Fsetxattr(int(f.Fd()), attr, []byte(h.PAXRecords[prefix+attr]), 0); err != nil {
			return fmt.Errorf("set xattr %s: %w", attr, err)
		}
	}
	return nil
}

func (x *extraction) folderTimes() error {
	done := map[string]bool{}
	for _, h := range slices.Backward(x.folders) {
		name := h.path
		if done[name] {
			continue // the last of its headers counts
		}
		done[name] = true
		// A later member may have replaced it.
		st, err := x.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
			continue
		}
		if err != nil {
			return err
		}
		if err := x.attributes(name, h.Header); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// goMode turns the twelve permission bits of a tar header into Go's.
func goMode(bits int64) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	if bits&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if bits&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if bits&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}
