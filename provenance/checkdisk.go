package provenance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/ext4"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/system"
)

// Record paths of what starts a disk, and of what its root file system has besides the
// root tree.
const (
	recordBootCode  = "diskboot/boot.code"
	recordBIOSBoot  = "diskboot/bios.part"
	recordDiskESP   = "diskboot/efiboot.img"
	recordDiskEFI   = "diskboot/efi/"
	recordDiskFiles = "diskboot/files/"
	recordDiskBoot  = "diskboot/"
	recordInitrd    = "kernel/initrd"
)

// checkDisks reads the disk images, from the partition table to the last file.
func (v *verification) checkDisks(ctx context.Context) (string, []Problem, error) {
	formats := v.Config.DiskFormats()
	if len(formats) == 0 {
		return "the config asks for none", nil, nil
	}
	tree, problems := v.rootManifest()
	if len(problems) > 0 {
		return "", problems, nil
	}
	var found []string
	for _, format := range formats {
		name := DiskName(v.Config, format)
		what, wrong, err := v.checkDisk(ctx, name, format, tree)
		if err != nil {
			return "", nil, err
		}
		problems, found = append(problems, wrong...), append(found, name+": "+what)
	}
	return strings.Join(found, "; "), bounded(problems), nil
}

func (v *verification) checkDisk(ctx context.Context, name, format string, tree *roottree.Manifest) (_ string, problems []Problem, err error) {
	_, record := v.rootRecord()
	what := fmt.Sprintf("partition table, boot loaders and %d files, each as its stage gave it", len(tree.Entries)+len(v.diskFiles(tree)))
	remembered, known := v.known("disk "+format, append(sorted(v.diskFiles(tree)), v.images[name].digest, v.made[record], v.made[recordBootCode], v.made[recordBIOSBoot], v.made[recordDiskESP])...)
	if known {
		return what, nil, nil
	}
	if err := v.images[name].err; err != nil {
		return "", []Problem{problemOf(name, err)}, nil
	}
	wrong, err := v.diskProblems(ctx, v.images[name].file, v.images[name].size, format, tree)
	if ctx.Err() != nil {
		return "", nil, context.Cause(ctx)
	}
	if err != nil {
		return "", []Problem{problemOf(name, err)}, nil
	}
	for _, w := range wrong {
		problems = append(problems, Problem{name, w})
	}
	v.hold(remembered, problems)
	return what, problems, nil
}

// diskProblems says what of a disk is not as it should be.
func (v *verification) diskProblems(ctx context.Context, f io.ReaderAt, size int64, format string, tree *roottree.Manifest) (wrong []string, err error) {
	id := tree.Identity()
	switch format {
	case "qcow2":
		disk, err := diskimage.OpenQCOW2(ctx, f, size)
		if err != nil {
			return nil, err
		}
		f, size = disk, disk.Size()
	case "vhd":
		footer := make([]byte, diskimage.FooterSize)
		if size -= diskimage.FooterSize; size < 0 {
			return nil, errors.New("is too short for a VHD")
		}
		if _, err := f.ReadAt(footer, size); err != nil {
			return nil, err
		}
		if err := diskimage.CheckFooter(footer, size, id, v.Lock.Epoch); err != nil {
			return nil, err
		}
	}
	layout, code, err := diskimage.ReadLayout(f, size, id)
	if err != nil {
		return nil, err
	}
	if artifact.HashBytes(code) != v.made[recordBootCode] {
		wrong = append(wrong, "the boot code is not the one that stage diskboot gave")
	}
	for _, part := range []struct {
		what, record string
		at           diskimage.Extent
	}{{diskimage.ForBIOS, recordBIOSBoot, layout.BIOS}, {diskimage.ForESP, recordDiskESP, layout.ESP}} {
		have, _, err := artifact.HashReader(io.NewSectionReader(f, part.at.Offset, part.at.Size))
		if err != nil {
			return nil, err
		}
		if want := v.made[part.record]; have != want {
			wrong = append(wrong, fmt.Sprintf("the SHA-256 of its %s is %s, stage diskboot gave %q", part.what, have, want))
		}
	}
	esp := io.NewSectionReader(f, layout.ESP.Offset, layout.ESP.Size)
	files, err := medium.ListFAT16(esp, layout.ESP.Size)
	if err == nil {
		err = medium.AccountFAT16(esp, layout.ESP.Size, files, v.Lock.Epoch)
	}
	if err != nil {
		return nil, fmt.Errorf("EFI system partition: %w", err)
	}
	for _, p := range v.compareSystem("", recordDiskEFI, files) {
		wrong = append(wrong, p.Detail)
	}
	fs, err := ext4.Open(io.NewSectionReader(f, layout.Root.Offset, layout.Root.Size), layout.Root.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", diskimage.ForFiles, err)
	}
	if want := diskimage.UUID(id, diskimage.ForFiles); fs.UUID != want {
		wrong = append(wrong, fmt.Sprintf("the UUID of its %s is %s, want %s", diskimage.ForFiles, fs.UUID, want))
	}
	have, err := fs.Tree(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", diskimage.ForFiles, err)
	}
	for _, d := range roottree.Compare(v.diskTree(tree, have), have, roottree.CompareOptions{}) {
		wrong = append(wrong, "/"+d.String())
	}
	return wrong, nil
}

// diskFiles are what a disk's root file system has besides the root tree, by path.
func (v *verification) diskFiles(tree *roottree.Manifest) map[string]artifact.Digest {
	files := map[string]artifact.Digest{}
	if len(v.Config.DiskFormats()) == 0 {
		return files
	}
	for _, e := range tree.Entries {
		if kernel, ok := strings.CutPrefix(e.Path, system.KernelPrefix); ok {
			files[system.InitrdPrefix+kernel] = v.made[recordInitrd]
		}
	}
	for p, d := range v.made {
		if name, ok := strings.CutPrefix(p, recordDiskFiles); ok {
			files[name] = d
		}
	}
	return files
}

// diskTree is the tree that a disk has to have: the root tree, the files besides with
// the folders that they need, and the one that mke2fs makes. The sizes of the files
// besides follow from their content, which is found by its digest.
func (v *verification) diskTree(tree, have *roottree.Manifest) *roottree.Manifest {
	more := map[string]roottree.Entry{"lost+found": {Path: "lost+found", Type: roottree.Dir, Mode: 0o700}}
	for p, d := range v.diskFiles(tree) {
		e := roottree.Entry{Path: p, Type: roottree.File, Mode: 0o644, SHA256: d}
		if found, ok := have.Lookup(p); ok {
			e.Size = found.Size
		}
		more[p] = e
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if _, ok := tree.Lookup(dir); !ok {
				more[dir] = roottree.Entry{Path: dir, Type: roottree.Dir, Mode: 0o755}
			}
		}
	}
	want := &roottree.Manifest{}
	for _, e := range tree.Entries {
		if _, ok := more[e.Path]; !ok {
			want.Entries = append(want.Entries, e)
		}
	}
	for _, e := range more {
		want.Entries = append(want.Entries, e)
	}
	slices.SortFunc(want.Entries, func(a, b roottree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return want
}

// disksState: where there is no disk, nothing is proved.
func (v *verification) disksState() State {
	if len(v.Config.DiskFormats()) > 0 {
		return Valid
	}
	return CannotTell
}
