// Package disk writes disk images: a GUID partition table, what BIOS and UEFI start,
// and an ext4 file system with the root tree, without mounting anything.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend/file"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/tool"
)

// The formats of a disk.
const (
	VHD   = "vhd"   // fixed, as Azure takes it
	Raw   = "raw"   // the disk's bytes
	QCOW2 = "qcow2" // QEMU's
)

// Output is a format and the file that has it.
type Output struct {
	Format string `json:"format"`
	File   string `json:"file"`
}

// Params say what is written.
type Params struct {
	Outputs []Output `json:"outputs"`
	// Size of the disk in bytes, 0 for what the tree needs and a quarter.
	Size int64 `json:"size,omitempty"`
}

// Inputs are what stands on the disk.
type Inputs struct {
	Root   stage.Tree
	Initrd stage.File
	// System is the kernel stage's word on the root tree.
	System stage.File
	// BootCode and BIOSBoot are GRUB for BIOS, ESP is what UEFI starts.
	BootCode, BIOSBoot, ESP stage.File
	// Files are what the root file system has besides the root tree and the initrd.
	Files stage.Set
}

// Stage takes the root tree and what starts it, and gives disk images.
func Stage(toolbox stage.Tree, in Inputs, p Params) stage.Stage {
	s := stage.Stage{
		Name: "disk", Version: 2, Params: p,
		Takes: "root tree, initrd, GRUB for a disk", Gives: "disk images: GPT, BIOS and UEFI, ext4; fixed VHD, raw, qcow2",
		Inputs: []stage.Input{
			{Name: "toolbox", From: toolbox}, {Name: "root", From: in.Root}, {Name: "initrd", From: in.Initrd}, {Name: "system", From: in.System},
			{Name: "boot-code", From: in.BootCode}, {Name: "bios-boot", From: in.BIOSBoot}, {Name: "esp", From: in.ESP}, {Name: "files", From: in.Files},
		},
		Run: func(ctx context.Context, w *stage.Work) error { return (&disk{work: w, params: p}).make(ctx) },
	}
	for _, o := range p.Outputs {
		s.Outputs = append(s.Outputs, stage.Output{Name: o.File, Kind: stage.KindFile})
	}
	return s
}

// Files of the stage's own, in its scratch folder.
const (
	imageName   = "disk.img"
	archiveName = "root.tar"
)

type disk struct {
	work   *stage.Work
	params Params
	tree   artifact.Digest // what the UUIDs follow from
	layout diskimage.Layout
}

func (d *disk) make(ctx context.Context) (err error) {
	w := d.work
	if d.tree, err = w.TreeIdentity("root"); err != nil {
		return err
	}
	need, err := d.writeArchive(ctx, filepath.Join(w.Given(), archiveName))
	if err != nil {
		return err
	}
	if err := d.lay(need); err != nil {
		return err
	}
	if err := d.writeAround(); err != nil {
		return err
	}
	if err := w.Run(ctx, FileSystem(d.layout.Root, need, d.tree, w.Epoch)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(w.Given(), archiveName)); err != nil {
		return err
	}
	return d.convert(ctx)
}

// lay decides the sizes: a quarter more than the tree needs and 256 MiB, or what the
// config says.
func (d *disk) lay(need room) (err error) {
	const spare, least = 256 << 20, 64 << 20 // the latter for the journal
	root := need.bytes + need.bytes/4 + spare
	if d.params.Size != 0 {
		root = need.bytes + need.bytes/16 + least
	}
	d.layout, err = diskimage.NewLayout(d.work.FileRef("esp").Size, root, d.params.Size)
	return fault.WithHint(err, "disk.size says how large the disk is; what is needed where it is left out")
}

// writeAround writes all but the root file system.
func (d *disk) writeAround() (err error) {
	w, l := d.work, d.layout
	f, err := regular.Create(w.Out(), imageName, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(l.Size); err != nil {
		return artifact.ExplainWrite(err)
	}
	writable, err := file.New(f, false).Writable()
	if err != nil {
		return err
	}
	if err := l.WriteTable(writable, d.tree); err != nil {
		return artifact.ExplainWrite(err)
	}
	for _, part := range []struct {
		input string
		at    int64
	}{{"boot-code", 0}, {"bios-boot", l.BIOS.Offset}, {"esp", l.ESP.Offset}} {
		b, err := os.ReadFile(w.File(part.input))
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(b, part.at); err != nil {
			return artifact.ExplainWrite(err)
		}
	}
	return nil
}

// features are all that the file system has, whatever the tool's own defaults: GRUB
// 2.04 and Linux 5.4 read it.
const features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// FileSystem makes the root file system in its place in /tmp/disk.img, of /tmp/root.tar.
// From an archive mke2fs takes order, owners and times as they stand there.
func FileSystem(at diskimage.Extent, need room, tree artifact.Digest, e epoch.Epoch) tool.Command {
	const block, perInode = 4096, 16384 // bytes
	inodes := max(at.Size/perInode, 2*need.inodes)
	return tool.New("mke2fs", "-q", "-F", "-t", "ext4", "-b", fmt.Sprint(block), "-I", "256", "-N", fmt.Sprint(inodes), "-m", "1", "-O", features,
		"-U", diskimage.UUID(tree, diskimage.ForFiles), "-d", "/in/given/"+archiveName,
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard", at.Offset, diskimage.UUID(tree, diskimage.ForHashSeed)),
		"/out/"+imageName, fmt.Sprint(at.Size/block)).With(e.Env())
}

// convert makes the outputs of the image.
func (d *disk) convert(ctx context.Context) error {
	w := d.work
	var last *Output // takes the image over
	for i, o := range d.params.Outputs {
		switch o.Format {
		case QCOW2:
			if err := w.Run(ctx, tool.New("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "/out/"+imageName, "/out/"+o.File).With(w.Epoch.Env())); err != nil {
				return err
			}
		case Raw, VHD:
			if last != nil {
				if err := copySparse(ctx, w.Out(), imageName, last.File); err != nil {
					return err
				}
				if err := d.finish(*last); err != nil {
					return err
				}
			}
			last = &d.params.Outputs[i]
		default:
			return fmt.Errorf("a disk of format %s", o.Format)
		}
	}
	if last == nil {
		return nil
	}
	if err := w.Out().Rename(imageName, last.File); err != nil {
		return err
	}
	return d.finish(*last)
}

// finish appends what the format has behind the disk.
func (d *disk) finish(o Output) (err error) {
	if o.Format != VHD {
		return nil
	}
	footer, err := diskimage.Footer(d.layout.Size, d.tree, d.work.Epoch)
	if err != nil {
		return err
	}
	f, err := regular.Edit(d.work.Out(), o.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.WriteAt(footer, d.layout.Size)
	return artifact.ExplainWrite(err)
}

// copySparse copies a file and leaves out blocks of zeros.
func copySparse(ctx context.Context, dir *os.Root, from, to string) (err error) {
	in, err := regular.Open(dir, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := regular.Create(dir, to, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf, zero := make([]byte, diskimage.MiB), make([]byte, diskimage.MiB)
	for at := int64(0); ; at += int64(len(buf)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(in, buf)
		if n > 0 && string(buf[:n]) != string(zero[:n]) {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return artifact.ExplainWrite(err)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return artifact.ExplainWrite(out.Truncate(at + int64(n)))
		}
		if err != nil {
			return err
		}
	}
}
