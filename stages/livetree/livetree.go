// Package livetree lays out the tree of the medium: kernel, initial RAM file
// system, squashfs, manifests, boot menu and checksums.
package livetree

import (
	"bytes"
	"context"
	"crypto/md5" // md5sum.txt is what casper and live-boot check
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/secureboot"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/system"
)

// Output is the set of the medium's files, by path.
const Output = "tree"

// Paths on the medium.
const (
	BIOSImage = "boot/grub/bios.img" // patched by xorriso: no checksum file can name it
	Checksums = "md5sum.txt"
	Kernel    = "casper/vmlinuz"
	Initrd    = "casper/initrd"

	squashfs = "casper/filesystem.squashfs"
	hashTree = squashfs + ".verity" // where live-boot looks for it
	programs = "EFI/"               // of UEFI
)

// verityInputs are the names of what Inputs.Verity holds.
var verityInputs = [2]string{"hash-tree", "root-hash"}

// Params name the product and how it boots.
type Params struct {
	Name         string   `json:"name"`
	Title        string   `json:"title"`
	Release      string   `json:"release"`
	Architecture string   `json:"architecture"`
	Live         string   `json:"live"` // live-boot or casper
	Parameters   []string `json:"parameters,omitempty"`
	Timeout      int      `json:"timeout"`
	Serial       bool     `json:"serial"`
	// Persistence keeps what users change, where there is a partition for it.
	Persistence bool `json:"persistence,omitempty"`
	// SecureBoot has signatures checked as shim checks them when it boots.
	SecureBoot bool `json:"secure-boot"`
	// MemoryTests are the project's, in the order of the menu.
	MemoryTests []MemoryTest `json:"memory-tests,omitempty"`
	// Template is the digest of the built-in menu: another one makes another tree.
	Template artifact.Digest `json:"template"`
}

// MemoryTest is a program of the project that tests memory.
type MemoryTest struct {
	File     string   `json:"file"` // record path
	Path     string   `json:"path"` // on the medium
	Title    string   `json:"title"`
	Firmware string   `json:"firmware"` // uefi or bios
	Options  []string `json:"options,omitempty"`
}

// Marker is the path by which GRUB knows the medium.
func Marker(name, release string) string { return "/.disk/isotrace/" + name + "_" + release }

// Inputs are what the medium holds.
type Inputs struct {
	Kernel, Initrd stage.File
	// System describes the root tree: system.Facts.
	System   stage.File
	Squashfs stage.File
	// Manifests go to casper/filesystem.NAME.
	Manifests map[string]stage.File
	BIOS      stage.File
	// EFI is what the EFI system partition holds: its programs also stand in the tree.
	EFI, Memtest stage.Set
	// Verity are the hash tree of the squashfs and its root hash, or nil.
	Verity []stage.File
	// Config is the project's: what the medium is called and how it boots. It
	// binds the image to the config as it stood.
	Config stage.Material
	// MemoryTests are the files of Params.MemoryTests.
	MemoryTests []stage.Material
	// Menu is the template of grub.cfg; the built-in one when nil.
	Menu *stage.Material
}

// Stage takes all that the medium holds and gives its tree.
func Stage(in Inputs, p Params) stage.Stage {
	p.Template = artifact.HashBytes([]byte(builtin))
	s := stage.Stage{
		Name: "livetree", Version: 3, Params: p,
		Takes: "kernel, initrd, squashfs, manifests, boot parts, config, memory tests", Gives: "the medium's tree with grub.cfg, md5sum.txt and .disk/",
		Inputs: []stage.Input{
			{Name: "kernel", From: in.Kernel}, {Name: "initrd", From: in.Initrd}, {Name: "system", From: in.System}, {Name: "squashfs", From: in.Squashfs}, {Name: "bios", From: in.BIOS},
			{Name: "efi", From: in.EFI}, {Name: "memtest", From: in.Memtest},
		},
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindSet}},
	}
	for i, f := range in.Verity {
		s.Inputs = append(s.Inputs, stage.Input{Name: verityInputs[i], From: f})
	}
	names := make([]string, 0, len(in.Manifests))
	for name := range in.Manifests {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s.Inputs = append(s.Inputs, stage.Input{Name: name, From: in.Manifests[name]})
	}
	s.Materials = append([]stage.Material{in.Config}, in.MemoryTests...)
	menu := ""
	if in.Menu != nil {
		s.Materials, menu = append(s.Materials, *in.Menu), in.Menu.Path
	}
	s.Run = func(ctx context.Context, w *stage.Work) error {
		t := &tree{work: w, params: p, verity: len(in.Verity) > 0}
		return t.lay(ctx, names, menu)
	}
	return s
}

// tree is the medium's tree in the making.
type tree struct {
	work   *stage.Work
	params Params
	verity bool
	files  []artifact.Ref
}

func (t *tree) lay(ctx context.Context, manifests []string, menu string) error {
	facts, err := system.Read(t.work.File("system"))
	if err != nil {
		return err
	}
	for _, name := range manifests {
		t.add("casper/filesystem."+name, t.work.FileRef(name))
	}
	for at, input := range map[string]string{Kernel: "kernel", Initrd: "initrd", squashfs: "squashfs", BIOSImage: "bios"} {
		t.add(at, t.work.FileRef(input))
	}
	for _, ref := range t.work.Set("efi") {
		if strings.HasPrefix(ref.Path, programs) {
			t.add(ref.Path, ref)
		}
	}
	if t.params.SecureBoot {
		if err := t.secureBoot(); err != nil {
			return err
		}
	}
	memtest := map[string]string{} // paths on the medium by "bin" and "efi"
	for _, ref := range t.work.Set("memtest") {
		t.add("boot/"+ref.Path, ref)
		memtest[strings.TrimPrefix(path.Ext(ref.Path), ".")] = "/boot/" + ref.Path
	}
	vendor, err := t.memoryTests()
	if err != nil {
		return err
	}
	rootHash := ""
	if t.verity {
		t.add(hashTree, t.work.FileRef(verityInputs[0]))
		b, err := os.ReadFile(t.work.File(verityInputs[1]))
		if err != nil {
			return err
		}
		rootHash = strings.TrimSpace(string(b))
	}
	template := builtin
	if menu != "" {
		b, err := os.ReadFile(t.work.Material(menu))
		if err != nil {
			return err
		}
		template = string(b)
	}
	m := menuOf(t.params, facts, memtest, rootHash)
	m.MemoryTests = vendor
	grub, err := render(template, m)
	if err != nil {
		return err
	}
	for at, text := range t.describe(facts) {
		if err := t.addBytes(at, []byte(text)); err != nil {
			return err
		}
	}
	if err := t.addBytes("boot/grub/grub.cfg", []byte(grub)); err != nil {
		return err
	}
	if err := t.checksums(ctx); err != nil {
		return err
	}
	for _, ref := range t.files {
		if err := t.work.AddToSet(Output, ref); err != nil {
			return err
		}
	}
	return nil
}

// describe are the files by which installers and live systems know a medium.
func (t *tree) describe(s system.Facts) map[string]string {
	p := t.params
	files := map[string]string{
		".disk/info":                  fmt.Sprintf("%s %s %q - Release %s (%s)", p.Title, p.Release, s.Codename, p.Architecture, t.work.Epoch.Time().Format("20060102")),
		Marker(p.Name, p.Release)[1:]: p.Name + " " + p.Release + "\n",
		".disk/cd_type":               "full_cd/single\n",
		".disk/base_installable":      "",
	}
	if p.Live != "casper" {
		return files
	}
	files["README.diskdefines"] = diskDefines(p.Title+" "+p.Release, p.Architecture)
	if s.Medium != "" {
		files[".disk/casper-uuid"] = s.Medium + "\n"
	}
	return files
}

// diskDefines tells Ubuntu's tools of a medium that it is the only one of its set.
func diskDefines(name, arch string) string {
	var b strings.Builder
	for _, d := range [][2]string{
		{"DISKNAME", name}, {"TYPE", "binary"}, {"TYPEbinary", "1"}, {"ARCH", arch}, {"ARCH" + arch, "1"},
		{"DISKNUM", "1"}, {"DISKNUM1", "1"}, {"TOTALNUM", "0"}, {"TOTALNUM0", "1"},
	} {
		fmt.Fprintf(&b, "#define %s  %s\n", d[0], d[1])
	}
	return b.String()
}

// secureBoot checks that a machine with Secure Boot goes from shim to the kernel.
func (t *tree) secureBoot() error {
	programs := map[string][]byte{}
	for _, ref := range t.work.Set("efi") {
		b, err := os.ReadFile(t.work.Content(ref))
		if err != nil {
			return err
		}
		programs[ref.Path] = b
	}
	kernel, err := os.ReadFile(t.work.File("kernel"))
	if err != nil {
		return err
	}
	report, err := secureboot.Check(programs[secureboot.FirstPath], programs[secureboot.GRUBPath], kernel)
	if errors.Is(err, secureboot.ErrUnsigned) {
		return fault.WithHint(err, "use the kernel that the distribution signed, and boot loaders of the same distribution; or set boot.secure-boot to false")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.work.Log, "Secure Boot: shim is signed by %s and trusts %s; GRUB is signed by %s, the kernel by %s\n",
		strings.Join(report.Shim, " and "), report.Vendor, report.GRUB, report.Kernel)
	return err
}

func (t *tree) add(at string, ref artifact.Ref) {
	ref.Path = at
	t.files = append(t.files, ref)
}

func (t *tree) addBytes(at string, b []byte) error {
	ref, err := t.work.Store().Add(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	ref.Path = at
	t.files = append(t.files, ref)
	return nil
}

// checksums writes md5sum.txt over every file but itself and the image that
// xorriso patches. casper wants 32 digits, two spaces and "./".
func (t *tree) checksums(ctx context.Context) error {
	slices.SortFunc(t.files, func(a, b artifact.Ref) int { return strings.Compare(a.Path, b.Path) })
	var text bytes.Buffer
	for _, ref := range t.files {
		if ref.Path == BIOSImage {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		sum, err := t.work.Store().Sum(ref.Digest, "md5", md5.New())
		if err != nil {
			return fmt.Errorf("%s: %w", ref.Path, err)
		}
		fmt.Fprintf(&text, "%s  ./%s\n", sum, ref.Path)
	}
	return t.addBytes(Checksums, text.Bytes())
}
