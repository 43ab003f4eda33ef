// Package trace says of each file of the image where it came from.
package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/grubimage"
	"github.com/isotrace/isotrace/internal/initrd"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/system"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/sbom"
)

// Output is the set of the trace's files.
const Output = "trace"

// Package is a package of the lock or the base image, and where the list of
// what its .deb installs stands among the lists; "" where there is none.
type Package struct {
	trace.Package
	List string `json:"list,omitempty"`
}

// Params are what the lock and the config say.
type Params struct {
	Name     string        `json:"name"`
	Release  string        `json:"release"`
	Archives []trace.Suite `json:"archives"`
	Packages []Package     `json:"packages"`
	Asked    []trace.Asked `json:"asked,omitempty"`
	// Remove are the packages that the config has purged, with what only they needed.
	Remove []string `json:"remove,omitempty"`
	// Requirements with the project's files and settings that serve them.
	Requirements []trace.Requirement `json:"requirements,omitempty"`
	// Installer is the stage that installs packages.
	Installer string `json:"installer"`
	// Allow are files that nothing needs to explain.
	Allow []Allowed `json:"allow,omitempty"`
	// Paths on the medium of the kernel and its initrd, and who patches or adds
	// what after the medium's tree was laid out.
	Kernel string `json:"kernel"`
	Initrd string `json:"initrd"`
	// Own are files of the project on the medium: their record paths by the paths there.
	Own map[string]string `json:"own,omitempty"`
}

// Allowed is a pattern, path.Match, and why what it matches may stay unexplained.
type Allowed struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Turn is a stage that changed the root tree, and its changes.
type Turn struct {
	Stage   string
	Changes stage.File
}

// Inputs are all that the trace rests on.
type Inputs struct {
	Root stage.Tree
	// Boot is the tree of the boot set.
	Boot stage.Tree
	// Turns of the stages at the root tree, the last first.
	Turns []Turn
	// Lists are what the packages' .debs install.
	Lists stage.Set
	// System is the kernel stage's word on the root tree; Initrd is what Program of
	// the root tree made in that stage, unless the tree has it.
	System, Initrd stage.File
	Program        string
	// BIOS, EFI, ESP and MBR are boot parts; Medium is the tree of the ISO.
	BIOS, ESP, MBR stage.File
	EFI, Medium    stage.Set
	// Catalogue has the packages' licences.
	Catalogue stage.File
	// Disk is what starts a disk; nil where none is made.
	Disk *Disk
	// Products are what stages made that stands on the medium as it is.
	Products []stage.File
}

// Stage takes the root tree, what surrounds it and what is known of both, and
// gives the origin of every file. A file that nothing explains ends the build.
func Stage(in Inputs, p Params) stage.Stage {
	s := stage.Stage{
		Name: "trace", Version: 6, Params: p,
		Takes: "root tree, who changed what, what each .deb installs, licences, boot parts, the medium's tree", Gives: "the origin of every file",
		Inputs: []stage.Input{
			{Name: "root", From: in.Root}, {Name: "boot", From: in.Boot}, {Name: "lists", From: in.Lists}, {Name: "system", From: in.System}, {Name: "initrd", From: in.Initrd},
			{Name: "bios", From: in.BIOS}, {Name: "efi", From: in.EFI}, {Name: "esp", From: in.ESP}, {Name: "mbr", From: in.MBR}, {Name: "medium", From: in.Medium},
			{Name: "catalogue", From: in.Catalogue},
		},
		Outputs: []stage.Output{{Name: Output, Kind: stage.KindSet}},
	}
	for _, t := range in.Turns {
		s.Inputs = append(s.Inputs, stage.Input{Name: t.Stage, From: t.Changes})
	}
	if in.Disk != nil {
		s.Inputs = append(s.Inputs, in.Disk.inputs()...)
	}
	products := map[string]string{} // stage by input
	for _, f := range in.Products {
		name := stage.MakerOf(f) + "-" + stage.NameOf(f)
		products[name] = stage.MakerOf(f)
		s.Inputs = append(s.Inputs, stage.Input{Name: name, From: f})
	}
	s.Run = func(ctx context.Context, w *stage.Work) error {
		r := &run{work: w, params: p, products: products, bootStage: stage.MakerOf(in.BIOS), mediumStage: stage.MakerOf(in.Medium),
			initrdStage: stage.MakerOf(in.Initrd), initrdProgram: in.Program}
		if in.Disk != nil {
			r.diskStage = stage.MakerOf(in.Disk.Core)
		}
		for _, t := range in.Turns {
			r.turns = append(r.turns, t.Stage)
		}
		return r.all(ctx)
	}
	return s
}

type run struct {
	work                       *stage.Work
	params                     Params
	turns                      []string
	products                   map[string]string
	bootStage, mediumStage     string
	initrdStage, initrdProgram string
	diskStage                  string // "" where no disk is made

	system      system.Facts
	absent      []sbom.Absent
	tracer      *trace.Tracer
	tree        *roottree.Manifest
	initrdBy    *int // who made the initrd
	unexplained []string
}

func (r *run) all(ctx context.Context) (err error) {
	dir, err := r.work.View("root")
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if r.system, err = system.Read(r.work.File("system")); err != nil {
		return err
	}
	licences, err := r.catalogue()
	if err != nil {
		return err
	}
	packages := make([]trace.Package, len(r.params.Packages))
	for i, p := range r.params.Packages {
		packages[i] = p.Package
		packages[i].Licence = licences[p.Set+"/"+p.ID()]
	}
	r.tracer = trace.NewTracer(r.params.Name, r.params.Release, r.params.Archives, packages)
	r.tracer.Head.Requirements = append(r.tracer.Head.Requirements, r.params.Requirements...)
	if err := r.root(root); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{r.initrd, r.grub, r.esp, r.medium, r.disk} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if err := r.judge(); err != nil {
		return err
	}
	text, err := r.tracer.Finish().Encode()
	if err != nil {
		return err
	}
	return r.add(trace.HeadFile, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// catalogue reads which packages are absent, and returns what the copyright files of the
// others declare, by SET/ID.
func (r *run) catalogue() (_ map[string]string, err error) {
	f, err := regular.OpenFile(r.work.File("catalogue"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	c, err := sbom.ReadCatalogue(f)
	if err != nil {
		return nil, err
	}
	r.absent = c.Absent
	licences := make(map[string]string, len(c.Packages))
	for i := range c.Packages {
		licences[c.Packages[i].ID()] = c.Packages[i].Licence.Declared
	}
	return licences, nil
}

// root traces the root tree.
func (r *run) root(root *os.Root) (err error) {
	db, err := dpkgdb.Read(root)
	if err != nil {
		return err
	}
	if r.tree, err = r.work.Manifest("root"); err != nil {
		return err
	}
	ids := map[string]int{}
	for i := range r.params.Packages {
		if p := &r.params.Packages[i]; p.Set == "target" {
			ids[p.ID()] = i
		}
	}
	owner := func(id string) (int, bool) {
		i, ok := ids[id]
		return i, ok
	}
	target, boot, err := r.debs()
	if err != nil {
		return err
	}
	accounts, err := owners(root)
	if err != nil {
		return err
	}
	in := &trace.Root{Tree: r.tree, DB: db, Owners: accounts, Installer: r.params.Installer, Debs: target, Owner: owner, Allow: r.allow}
	for _, name := range r.turns {
		changes, err := stage.ReadChanges(r.work.File(name))
		if err != nil {
			return fmt.Errorf("stage %s: %w", name, err)
		}
		in.Turns = append(in.Turns, trace.Turn{Stage: name, Changes: changes})
	}
	r.gone(db, in.Turns)
	r.tracer.Boot(boot)
	r.tracer.Needs(db, owner, r.params.Asked)
	origins, err := r.tracer.Root(in)
	if err != nil {
		return err
	}
	return r.part(trace.PartRoot, origins)
}

// maxAccounts bounds the tree's passwd and group, in bytes.
const maxAccounts = 16 << 20

// owners reads the tree's accounts and groups; a tree may lack the files.
func owners(root *os.Root) (trace.Owners, error) {
	var texts [2][]byte
	for i, name := range []string{"etc/passwd", "etc/group"} {
		text, err := regular.Read(root, name, maxAccounts)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return trace.Owners{}, err
		}
		texts[i] = text
	}
	return trace.ParseOwners(texts[0], texts[1]), nil
}

// debs reads the lists of the target's and the boot set's packages.
func (r *run) debs() (target, boot []trace.Deb, err error) {
	lists := map[string]artifact.Ref{}
	for _, ref := range r.work.Set("lists") {
		lists[ref.Path] = ref
	}
	for i, p := range r.params.Packages {
		if p.List == "" {
			continue
		}
		ref, ok := lists[p.List]
		if !ok {
			return nil, nil, fmt.Errorf("package %s: there is no list of what it installs", p.ID())
		}
		m, err := readManifest(r.work.Content(ref))
		if err != nil {
			return nil, nil, fmt.Errorf("package %s: %w", p.ID(), err)
		}
		if p.Set == "boot" {
			boot = append(boot, trace.Deb{Package: i, List: m})
		} else {
			target = append(target, trace.Deb{Package: i, List: m})
		}
	}
	return target, boot, nil
}

func readManifest(file string) (_ *roottree.Manifest, err error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return roottree.Parse(f)
}

func (r *run) allow(p string) string {
	for _, a := range r.params.Allow {
		if ok, err := path.Match(strings.TrimPrefix(a.Path, "/"), p); err == nil && ok {
			return a.Reason
		}
	}
	return ""
}

func (r *run) initrd(ctx context.Context) (err error) {
	at := r.system.InitrdPath()
	f, err := regular.OpenFile(r.work.File("initrd"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	segments, err := initrd.Read(ctx, "/"+at, f, st.Size(), initrd.Limits{})
	if err != nil {
		return err
	}
	if e, ok := r.tree.Lookup(at); ok && e.SHA256 == r.work.FileRef("initrd").Digest {
		if r.initrdBy, err = r.tracer.Maker(at); err != nil {
			return err
		}
	} else {
		r.initrdBy = r.tracer.Program(r.initrdStage, r.initrdProgram)
	}
	return r.part(trace.PartInitrd, r.tracer.Initrd(segments, r.tree, r.initrdBy))
}

// grub traces what is built into GRUB. One that a package has as a whole, as the
// distribution signed it, is that package's file.
func (r *run) grub(context.Context) error {
	origins, err := r.grubImage(trace.PartBIOS, r.work.FileRef("bios"), r.bootStage, "cdboot.img", "diskboot.img", "lzma_decompress.img", "kernel.img")
	if err != nil {
		return err
	}
	if err := r.part(trace.PartBIOS, origins); err != nil {
		return err
	}
	origins, _, err = r.grubEFI(r.work.Set("efi"), r.bootStage)
	if err != nil {
		return err
	}
	return r.part(trace.PartEFI, origins)
}

// grubEFI traces the GRUB for UEFI among the files of an EFI system partition, where it
// was made here, and tells which it is.
func (r *run) grubEFI(files []artifact.Ref, madeBy string) (_ []trace.Origin, at string, err error) {
	for _, ref := range files {
		if path.Ext(ref.Path) == ".EFI" && !r.tracer.InBoot(ref.Digest) {
			origins, err := r.grubImage(trace.PartEFI, ref, madeBy, "kernel.img")
			return origins, ref.Path, err
		}
	}
	return nil, "", nil
}

func (r *run) grubImage(name string, ref artifact.Ref, madeBy string, files ...string) ([]trace.Origin, error) {
	b, err := os.ReadFile(r.work.Content(ref))
	if err != nil {
		return nil, err
	}
	image, err := grubimage.Open(name, b)
	if err != nil {
		return nil, err
	}
	kernel, err := r.grubKernel(image, files)
	if err != nil {
		return nil, err
	}
	return append(r.tracer.GRUB(image, madeBy), r.tracer.Around(kernel)...), nil
}

// grubKernel holds what of an image is not modules against the files of the boot
// set that it is made from. What differs is of unknown origin.
func (r *run) grubKernel(image *grubimage.Image, files []string) ([]trace.Placed, error) {
	dir, err := r.work.View("boot")
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	var placed []trace.Placed
	for _, name := range files {
		b, rerr := regular.Read(root, "usr/lib/grub/"+image.Platform+"/"+name, 16<<20)
		if rerr != nil {
			err = rerr
			break
		}
		p := trace.Placed{Path: image.Platform + "/" + name}
		if image.Verify(name, b) == nil {
			p.Ref = artifact.Ref{Digest: artifact.HashBytes(b), Size: int64(len(b))}
		}
		placed = append(placed, p)
	}
	return placed, errors.Join(err, root.Close())
}

func (r *run) esp(context.Context) error {
	placed, err := r.systemPartition("esp", "efi", r.bootStage)
	if err != nil {
		return err
	}
	return r.part(trace.PartESP, r.tracer.Around(placed))
}

// systemPartition lists an EFI system partition; what is not in the set is of unknown
// origin.
func (r *run) systemPartition(input, set, madeBy string) ([]trace.Placed, error) {
	files, err := medium.FAT16(r.work.File(input))
	if err != nil {
		return nil, err
	}
	ours := map[artifact.Digest]bool{}
	for _, ref := range r.work.Set(set) {
		ours[ref.Digest] = true
	}
	var placed []trace.Placed
	for _, f := range files {
		p := trace.Placed{Path: f.Path, Ref: f}
		if ours[f.Digest] {
			p.Stage = madeBy
		}
		placed = append(placed, p)
	}
	return placed, nil
}

// medium traces the tree of the ISO: what stands on it as another stage made it
// is that stage's, the rest is of the stage that laid it out. What has no path,
// beside the tree, stands in brackets.
func (r *run) medium(context.Context) error {
	made := map[artifact.Digest]string{}
	for input, by := range r.products {
		made[r.work.FileRef(input).Digest] = by
	}
	for _, ref := range r.work.Set("efi") {
		made[ref.Digest] = r.bootStage
	}
	inRoot := map[string]string{r.params.Kernel: r.system.KernelPath(), r.params.Initrd: r.system.InitrdPath()}
	placed := []trace.Placed{
		{Path: "[master boot record]", Ref: r.work.FileRef("mbr"), Stage: r.bootStage},
		{Path: "[EFI system partition]", Ref: r.work.FileRef("esp"), Stage: r.bootStage},
	}
	for _, f := range r.work.Set("medium") {
		by, ok := made[f.Digest]
		if !ok || f.Size == 0 {
			by = r.mediumStage
		}
		p := trace.Placed{Path: f.Path, Ref: f, Root: inRoot[f.Path], Project: r.params.Own[f.Path], Stage: by}
		if f.Path == r.params.Initrd {
			p.By = r.initrdBy
		}
		placed = append(placed, p)
	}
	return r.part(trace.PartMedium, r.tracer.Around(placed))
}

// part writes a part's file.
func (r *run) part(name string, origins []trace.Origin) error {
	for _, o := range origins {
		if o.Kind == trace.Unexplained && o.Allowed == "" {
			r.unexplained = append(r.unexplained, name+":/"+o.Path)
		}
	}
	return r.add(name+trace.Suffix, func(w io.Writer) error {
		part, err := trace.WritePart(w, name, origins)
		r.tracer.Head.Parts = append(r.tracer.Head.Parts, part)
		return err
	})
}

func (r *run) add(name string, write func(io.Writer) error) error {
	file := filepath.Join(r.work.Temp(), name)
	if err := artifact.WriteFile(file, 0o444, write); err != nil {
		return err
	}
	ref, err := r.work.Store().Adopt(file, "")
	if err != nil {
		return err
	}
	ref.Path = name
	return r.work.AddToSet(Output, ref)
}

// judge ends the build where something stays unexplained, and writes the shares.
func (r *run) judge() error {
	for _, p := range r.tracer.Head.Parts {
		var shares bytes.Buffer
		for _, c := range p.Counts {
			fmt.Fprintf(&shares, "  %s %d", c.Kind, c.Files)
		}
		if _, err := fmt.Fprintf(r.work.Log, "%s: %d files:%s\n", p.Name, p.Files, shares.String()); err != nil {
			return err
		}
	}
	for _, f := range r.unexplained {
		if _, err := fmt.Fprintf(r.work.Log, "unexplained: %s\n", f); err != nil {
			return err
		}
	}
	if len(r.unexplained) == 0 {
		return nil
	}
	slices.Sort(r.unexplained)
	shown := r.unexplained[:min(len(r.unexplained), 10)]
	more := ""
	if n := len(r.unexplained) - len(shown); n > 0 {
		more = fmt.Sprintf(", and %d more, which the journal lists", n)
	}
	return fault.New(fault.Refused, "find out who made them; a file that is known and accepted can be named, with the reason, under unexplained in isotrace.yaml",
		"%d files are of unknown origin: %s%s", len(r.unexplained), strings.Join(shown, ", "), more)
}
