package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/baseimage"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/stages"
	"github.com/isotrace/isotrace/stages/base"
	"github.com/isotrace/isotrace/stages/fetch"
)

// member makes a member of a layer: "NAME/" a folder, "NAME=TEXT" a file, "NAME>TARGET" a
// symbolic link, "NAME&TARGET" a hard link, "NAME|" a FIFO.
func member(text string) (tar.Header, string) {
	h := tar.Header{Mode: 0o640, Uid: 7, Gid: 8, Format: tar.FormatPAX}
	at := strings.IndexAny(text, "=>&|")
	if at < 0 {
		h.Name, h.Typeflag, h.Mode = text, tar.TypeDir, 0o2750
		return h, ""
	}
	h.Name = text[:at]
	content := text[at+1:]
	switch text[at] {
	case '=':
		h.Typeflag, h.Size = tar.TypeReg, int64(len(content))
		return h, content
	case '>':
		h.Typeflag, h.Linkname = tar.TypeSymlink, content
	case '&':
		h.Typeflag, h.Linkname = tar.TypeLink, content
	case '|':
		h.Typeflag = tar.TypeFifo
	}
	return h, ""
}

// layerTar is a layer; a member that ends in a ! mark has a capability and an unknown record.
func layerTar(members string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, text := range strings.Fields(members) {
		plain, marked := strings.CutSuffix(text, "!")
		h, content := member(plain)
		if marked {
			h.PAXRecords = map[string]string{"ORG.example": "1", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// writeLayers writes an image of layers into an OCI layout, under the tag "image".
func writeLayers(t *testing.T, dir string, layers []string) {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, members := range layers {
		b, err := layerTar(members)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	img, err := mutate.ConfigFile(img, withPlatform(t, img))
	if err != nil {
		t.Fatal(err)
	}
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "image"})); err != nil {
		t.Fatal(err)
	}
}

func withPlatform(t *testing.T, img v1.Image) *v1.ConfigFile {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c.OS, c.Architecture = "linux", "amd64"
	return c
}

// oddLayers are images that tools other than docker build make.
var oddLayers = map[string][]string{
	"plain":                      {"./ etc/ etc/a=1 usr/ usr/b=2! l>etc/a", "etc/a=3 usr/c=4"},
	"parents not named":          {"a/b/c=1 d/e>../a", "a/b/d=2"},
	"whiteouts":                  {"d/ d/a=1 d/b=2 e/ e/f=3 g=4", "d/.wh.a= .wh.e= .wh.g= .wh.nothing="},
	"whiteout, then the file":    {"d/ d/a=1", "d/.wh.a= d/a=2"},
	"opaque first":               {"d/ d/a=1 d/s/ d/s/b=2", "d/ d/.wh..wh..opq= d/n=3"},
	"opaque last":                {"d/ d/a=1 d/s/ d/s/b=2", "d/ d/n=3 d/s/ d/s/m=4 d/.wh..wh..opq="},
	"opaque root":                {"a/ a/b=1 c=2", ".wh..wh..opq= d=3"},
	"empty layers":               {"a=1", "", "", "b=2"},
	"the same layer twice":       {"a=1 d/ d/b=2", "a=1 d/ d/b=2"},
	"absolute names":             {"/ /a/ /a/b=1", "/a/c=2 /d>/a"},
	"hard links":                 {"a/ a/b=1 c&a/b", "d&/a/b a/e=2 a/f&/a/e"},
	"hard links cut":             {"a=1 b&a", "a=2"},
	"hard link to link":          {"a=1 s>a t&s"},
	"FIFO":                       {"p| d/ d/q|", "p=1 r&d/q"},
	"members twice":              {"a=1 a=2 d/ d/b=3 d/ a>d"},
	"file in place of folder":    {"d/ d/a=1", "d=2"},
	"link in place of folder":    {"d/ d/a=1", "d>/etc"},
	"folder in place of link":    {"u/ u/a=1 l>u", "l/ l/b=2"},
	"folder in place of file":    {"a=1", "a/ a/b=2"},
	"below link of same layer":   {"etc/", "l>/etc l/a=1 m>../../etc m/b=2"},
	"below absent link's folder": {"l>/x/y l/a=1"},
	"whiteout through link":      {"etc/ etc/a=1 etc/b=2", "l>/etc l/.wh.a="},
	"names of AUFS":              {"a=1", ".wh..wh.aufs= .wh..wh.orph/ .wh..wh.plnk/ .wh.a= b=2"},
	"odd names":                  {"caf\u00e9=1 back\\slash=2 \xff=3 .wh=4 ..a=5 -=6"},
}

// Where containerd on overlayfs and umoci differ, the former counts: what isotrace says of
// umoci's tree. umoci applies a layer to the joined tree, and containerd to an empty folder.
var notAsUmoci = map[string]struct {
	layers []string
	says   []string
}{
	"below link of lower layer": {[]string{"run/ var/ var/run>/run", "var/run/pid=1"},
		[]string{"run/pid: extra", "var/run: type is link, want dir", "var/run/pid: missing"}},
	"whiteout below nothing": {[]string{"a=1", "d/.wh.x="}, []string{"d: missing"}},
}

// TestLayersAsUmoci: isotrace and Debian's umoci unpack the same images to the same trees.
func TestLayersAsUmoci(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	unpackDebian(t, root, "bookworm", "umoci", "base-files", "libc-bin")
	work := filepath.Join(root, "work")
	want := map[string][]string{}
	for name, layers := range oddLayers {
		writeLayers(t, filepath.Join(work, name, "layout"), layers)
		want[name] = nil
	}
	for name, c := range notAsUmoci {
		writeLayers(t, filepath.Join(work, name, "layout"), c.layers)
		want[name] = c.says
	}
	c := namespaced("umoci", root)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		own, other := readManifest(t, filepath.Join(work, name, "isotrace.mtree")), readManifest(t, filepath.Join(work, name, "umoci.mtree"))
		var have []string
		for _, d := range roottree.Compare(own, other, roottree.CompareOptions{}) {
			have = append(have, d.String())
		}
		if !slices.Equal(have, want[name]) {
			t.Errorf("%s: umoci's tree differs by %q, want %q", name, have, want[name])
		}
		if len(own.Entries) < 2 {
			t.Errorf("%s: an empty tree", name)
		}
	}
}

func readManifest(t *testing.T, name string) *roottree.Manifest {
	t.Helper()
	m, err := roottree.Parse(bytes.NewReader(readAll(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// unpackBoth unpacks the images below root/work by isotrace's stage and by the umoci in
// root, and leaves manifests of the trees.
func unpackBoth(root string) (err error) {
	ctx := context.Background()
	storeDir, err := os.MkdirTemp("", "layers-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(storeDir)) }()
	store, err := artifact.OpenStore(storeDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	work := filepath.Join(root, "work")
	names, err := os.ReadDir(work)
	if err != nil {
		return err
	}
	for _, e := range names {
		dir := filepath.Join(work, e.Name())
		if err := unpackOwn(ctx, store, dir); err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
		c := exec.Command("/usr/bin/umoci", "unpack", "--image", filepath.Join("/work", e.Name(), "layout")+":image", "/bundle")
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		c.Dir, c.Env = "/", []string{"PATH=/usr/bin", "HOME=/"}
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: umoci: %w\n%s", e.Name(), err, out)
		}
		bundle := filepath.Join(root, "bundle")
		m, err := roottree.Walk(ctx, filepath.Join(bundle, "rootfs"), roottree.WalkOptions{})
		if err != nil {
			return err
		}
		if err := errors.Join(writeManifest(m, filepath.Join(dir, "umoci.mtree")), os.RemoveAll(bundle)); err != nil {
			return err
		}
	}
	return nil
}

func unpackOwn(ctx context.Context, store *artifact.Store, dir string) (err error) {
	img, err := baseimage.Open(ctx, config.Base{OCI: "layout"}, dir, "amd64", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, img.Close()) }()
	for _, b := range img.Locked.Blobs() {
		if err := img.Copy(ctx, store, b); err != nil {
			return err
		}
	}
	g := &stage.Graph{}
	lock := stage.Material{Ref: artifact.Ref{Path: "lock", Digest: artifact.HashBytes(nil)}}
	none := func(context.Context, *artifact.Store, []fetch.Item, func(done, total int64)) error { return nil }
	fetched := g.Add(fetch.Stage(lock, nil, stages.Items(&lockfile.Lock{Image: &img.Locked}), none))
	tree := g.Add(base.Image(fetched.Set(fetch.Base), img.Locked.Manifest.Digest)).Tree("root")
	runner := &stage.Runner{Store: store}
	return runner.WithTree(ctx, g, tree, func(root string) error {
		m, err := roottree.Walk(ctx, root, roottree.WalkOptions{})
		if err != nil {
			return err
		}
		return writeManifest(m, filepath.Join(dir, "isotrace.mtree"))
	})
}

func writeManifest(m *roottree.Manifest, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(m.Write(f), f.Close())
}

// umociHelper is the helper "umoci ROOT", within the namespaces of a build.
func umociHelper(root string) error {
	inside, code, err := sandbox.Enter()
	if err != nil {
		return err
	}
	if inside {
		return ended(unpackBoth(root))
	}
	os.Exit(code)
	return nil
}
