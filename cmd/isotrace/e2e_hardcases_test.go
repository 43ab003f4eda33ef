package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/ext4"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/squashfs"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/stages"
	"github.com/isotrace/isotrace/stages/disk"
	packing "github.com/isotrace/isotrace/stages/squashfs"
)

// TestHardCases packs trees of what file systems find hard with the toolbox's own mksquashfs,
// and wants our reader to find in them just what the trees have.
func TestHardCases(t *testing.T) {
	t.Parallel()
	p := rescue(t)
	if out, err := namespaced("hard-cases", p.dir, e2e.store).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// hardCases does it, as root of a namespace.
func hardCases(dir, store string) error {
	return withPipeline(dir, store, func(ctx context.Context, r *stage.Runner, g *stage.Graph, p stages.Products) error {
		small := g.Add(hardTree("hard-tree", func(dir string) error { return hardFiles(dir, 70_000, true) }))
		large := g.Add(hardTree("hard-tree-large", func(dir string) error {
			return errors.Join(hardFiles(dir, 70_000, true), socket(filepath.Join(dir, "socket")), sparse(filepath.Join(dir, "large"), 4<<30+5000))
		}))
		for compression, from := range map[string]stage.Node{"zstd": large, "gzip": small, "xz": small} {
			s := packing.Stage(p.Tools, from.Tree("root"), packing.Params{Compression: compression})
			s.Name = "hard-" + compression
			if err := samePacked(ctx, r, g, from.Tree("root"), g.Add(s).File(packing.Output), readSquashfs); err != nil {
				return fmt.Errorf("%s: %w", compression, err)
			}
		}
		return nil
	})
}

// hardCasesOfDisks does it with mke2fs, in a project that has disks; for that the time grows
// with the square of a folder's names.
func hardCasesOfDisks(dir, store string) error {
	return withPipeline(dir, store, func(ctx context.Context, r *stage.Runner, g *stage.Graph, p stages.Products) error {
		tree := g.Add(hardTree("hard-tree-disk", func(dir string) error {
			return errors.Join(hardFiles(dir, 3_000, false), os.WriteFile(filepath.Join(dir, "boot/vmlinuz-1"), []byte("kernel"), 0o644), sparse(filepath.Join(dir, "large"), 4<<30+5000))
		}))
		s := disk.Stage(p.Tools, disk.Inputs{
			Root: tree.Tree("root"), Initrd: tree.File("initrd"), System: tree.File("system"), BootCode: tree.File("boot-code"),
			BIOSBoot: tree.File("bios-boot"), ESP: tree.File("esp"), Files: tree.Set("files"),
		}, disk.Params{Outputs: []disk.Output{{Format: disk.Raw, File: "hard.img"}}})
		s.Name = "hard-disk"
		return samePacked(ctx, r, g, tree.Tree("root"), g.Add(s).File("hard.img"), readDisk)
	})
}

// samePacked makes an image of a tree and compares what is read from it with the tree.
func samePacked(ctx context.Context, r *stage.Runner, g *stage.Graph, tree stage.Tree, image stage.File,
	read func(context.Context, *os.File, int64, artifact.Digest) (*roottree.Manifest, error)) (err error) {
	results, err := r.Run(ctx, g, tree, image)
	if err != nil {
		return err
	}
	id := results[stage.MakerOf(tree)].Outputs["root"].Tree.Manifest.Digest
	text, err := os.ReadFile(r.Store.Path(id))
	if err != nil {
		return err
	}
	want, err := roottree.Parse(bytes.NewReader(text))
	if err != nil {
		return err
	}
	made := results[stage.MakerOf(image)].Outputs[stage.NameOf(image)].File
	f, err := os.Open(r.Store.Path(made.Digest))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	have, err := read(ctx, f, made.Size, want.Identity())
	if err != nil {
		return err
	}
	for i, d := range roottree.Compare(want, have, roottree.CompareOptions{NoHardLinks: true}) {
		if i < 20 {
			err = errors.Join(err, errors.New(d.String()))
		}
	}
	return err
}

func readSquashfs(ctx context.Context, f *os.File, size int64, _ artifact.Digest) (*roottree.Manifest, error) {
	s, err := squashfs.Open(f, size)
	if err != nil {
		return nil, err
	}
	return s.Tree(ctx)
}

// readDisk reads the root file system of a disk, but for what it has besides a tree.
func readDisk(ctx context.Context, f *os.File, size int64, tree artifact.Digest) (*roottree.Manifest, error) {
	layout, _, err := diskimage.ReadLayout(f, size, tree)
	if err != nil {
		return nil, err
	}
	fs, err := ext4.Open(io.NewSectionReader(f, layout.Root.Offset, layout.Root.Size), layout.Root.Size)
	if err != nil {
		return nil, err
	}
	m, err := fs.Tree(ctx)
	if err != nil {
		return nil, err
	}
	m.Entries = slices.DeleteFunc(m.Entries, func(e roottree.Entry) bool { return e.Path == "lost+found" || e.Path == "boot/initrd.img-1" })
	return m, nil
}

// hardTree is a stage that makes a tree, and what a disk takes besides one.
func hardTree(name string, fill func(dir string) error) stage.Stage {
	files := map[string][]byte{
		"initrd": []byte("initrd"), "system": []byte(`{"kernel": "1", "codename": "", "installer": false}`),
		"boot-code": make([]byte, diskimage.BootCodeSize), "bios-boot": make([]byte, diskimage.MiB), "esp": make([]byte, diskimage.MiB),
	}
	s := stage.Stage{
		Name: name, Version: os.Getpid(), // never from the store
		Outputs: []stage.Output{{Name: "root", Kind: stage.KindTree}, {Name: "files", Kind: stage.KindSet}},
		Run: func(_ context.Context, w *stage.Work) error {
			for name, b := range files {
				if err := w.WriteBytes(name, b); err != nil {
					return err
				}
			}
			dir, err := w.NewTree("root")
			if err != nil {
				return err
			}
			return fill(dir)
		},
	}
	for name := range files {
		s.Outputs = append(s.Outputs, stage.Output{Name: name, Kind: stage.KindFile})
	}
	slices.SortFunc(s.Outputs, func(a, b stage.Output) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// hardFiles fills a folder with what goes wrong most easily, and one in it with so many names;
// attributes adds extended attributes of all kinds.
func hardFiles(dir string, many int, attributes bool) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	var err error
	try := func(e error) { err = errors.Join(err, e) }
	write := func(name string, b []byte) { try(os.WriteFile(at(name), b, 0o644)) }
	random := make([]byte, 3<<20)
	rand.New(rand.NewSource(1)).Read(random)
	for _, d := range []string{"boot", "empty", "many", "dir\xff", "sticky", "deep/" + strings.Repeat("d/", 120) + "end"} {
		try(os.MkdirAll(at(d), 0o755))
	}
	write("dir\xff/f\xfe", []byte("y"))
	write("nothing", nil)
	for i, size := range []int{1, 4095, 4096, 131071, 131072, 131073, 262144 + 17, len(random)} {
		write(fmt.Sprint("random-", size), random[:size])
		write(fmt.Sprint("zeros-", size), make([]byte, size))
		write(fmt.Sprint("text-", size), bytes.Repeat([]byte{byte('a' + i), '\n'}, size)[:size])
	}
	write("copy", random[:131073])
	try(os.Link(at("copy"), at("copy-linked")))
	try(os.Link(at("copy"), at("dir\xff/copy-linked")))
	try(os.WriteFile(at("set-id"), []byte("x"), 0o755))
	try(os.Lchown(at("set-id"), 0, 42))
	try(unix.Chmod(at("set-id"), 0o6755))
	try(unix.Chmod(at("sticky"), 0o1777))
	try(os.Lchown(at("empty"), 1000, 65533))
	for n := range many {
		if f, e := os.Create(at(fmt.Sprintf("many/%d-%s", n, strings.Repeat("n", n%40)))); e != nil {
			try(e)
		} else {
			try(f.Close())
		}
	}
	long := strings.Repeat("l", 255)
	write(long, []byte("long"))
	try(os.Symlink(strings.Repeat("/t", 2047)+"t", at("link-4095")))
	try(os.Symlink("\xff", at("link-raw")))
	try(unix.Mkfifo(at("fifo"), 0o640))
	try(sparse(at("sparse"), 9<<20+77))
	// cap_net_raw+ep, version 2 of struct vfs_cap_data.
	capability := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	capability = append(binary.LittleEndian.AppendUint32(capability, 1<<13), make([]byte, 12)...)
	attribute := func(name, key, value string) { try(unix.Lsetxattr(at(name), key, []byte(value), 0)) }
	for _, name := range []string{"cap", "cap-same"} {
		write(name, []byte(name))
		attribute(name, "security.capability", string(capability))
	}
	if !attributes {
		return err
	}
	for name, attributes := range map[string]map[string]string{
		"three": {"security.capability": string(capability), "user.a": "first", "user.zz": strings.Repeat("z", 300)},
		"user":  {"user.capability": "not one"}, "empty-value": {"user.none": ""},
		"many-attributes": manyAttributes(),
	} {
		write(name, []byte(name))
		for key, value := range attributes {
			attribute(name, key, value)
		}
	}
	attribute("empty", "user.of-a-folder", "v")
	return err
}

func manyAttributes() map[string]string {
	m := map[string]string{}
	for n := range 40 {
		m[fmt.Sprintf("user.%d-%d", n%7, n)] = fmt.Sprint("value ", n)
	}
	return m
}

// sparse makes a file that holds little besides holes.
func sparse(name string, size int64) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	for _, at := range []int64{0, size / 2, size - 3} {
		if _, err := f.WriteAt([]byte("abc"), at); err != nil {
			return err
		}
	}
	return nil
}

// socket leaves a socket in a tree.
func socket(name string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}
