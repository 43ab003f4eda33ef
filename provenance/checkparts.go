package provenance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/grubimage"
	"github.com/isotrace/isotrace/internal/initrd"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
)

// initrdPath is the initial RAM file system on the medium.
const initrdPath = "casper/initrd"

// What has no path on the medium, as the trace calls it.
const (
	mbrName = "[master boot record]"
	espName = "[EFI system partition]"
)

// The files of which an image of GRUB is made besides its modules.
var (
	kernelOfBIOS = []string{"cdboot.img", "diskboot.img", "lzma_decompress.img", "kernel.img"}
	kernelOfEFI  = []string{"kernel.img"}
)

// piece is a file of a part, as the image's own bytes have it.
type piece struct {
	entry roottree.Entry // without a digest where the image has the file in another form
	// of is the path of the root tree's file that it is a copy of, or "".
	of string
	// kinds are the origins that it may have, where it is no copy; nil for all.
	kinds []trace.Kind
}

// rereading is the image, read again to be compared with its trace.
type rereading struct {
	parts map[string]map[string]piece
	grub  map[string]*grubimage.Image // by part
	// copied are the paths of the root tree of which others have copies, with their
	// origins once the part root has been read.
	copied map[string]*trace.Origin
}

// reread reads the parts of the ISO from its bytes: the initial RAM file system, the
// images of GRUB, the EFI system partition.
func (v *verification) reread(ctx context.Context, tree *roottree.Manifest) (_ *rereading, problems []Problem, err error) {
	iso, err := v.openISO()
	if err != nil {
		return nil, []Problem{problemOf(v.ImageName(), err)}, nil
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	r := &rereading{parts: map[string]map[string]piece{}, grub: map[string]*grubimage.Image{}, copied: map[string]*trace.Origin{}}
	for _, part := range []struct {
		file string
		read func() error
	}{
		{initrdPath, func() error { return r.initrd(ctx, iso, tree) }},
		{biosImagePath, func() error { return r.bios(iso) }},
		{espName, func() error { return r.esp(iso) }},
		{v.ImageName(), func() error { return v.mediumPieces(r, iso) }},
	} {
		err := part.read()
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if err != nil {
			problems = append(problems, problemOf(part.file, err))
		}
	}
	return r, problems, nil
}

func (r *rereading) initrd(ctx context.Context, iso *medium.ISO, tree *roottree.Manifest) error {
	f, err := iso.Open(initrdPath)
	if err != nil {
		return err
	}
	segments, err := initrd.Read(ctx, initrdPath, f, f.Size(), initrd.Limits{})
	if err != nil {
		return err
	}
	byContent := map[artifact.Digest]string{}
	for i := len(tree.Entries) - 1; i >= 0; i-- { // the first path counts
		if e := &tree.Entries[i]; e.Type == roottree.File && e.Size > 0 {
			byContent[e.SHA256] = e.Path
		}
	}
	pieces := map[string]piece{}
	for name, e := range trace.Unpacked(segments) {
		p := piece{entry: *e, kinds: []trace.Kind{trace.Generated}}
		if at, ok := trace.AtOwnPath(e, tree); ok {
			p.of = at
		} else if e.Type == roottree.File && e.Size > 0 {
			p.of = byContent[e.SHA256]
		}
		if p.of != "" {
			r.copied[p.of] = nil
		}
		pieces[name] = p
	}
	r.parts[trace.PartInitrd] = pieces
	return nil
}

func (r *rereading) bios(iso *medium.ISO) error {
	b, err := iso.Unpatched(biosImagePath)
	if err != nil {
		return err
	}
	pieces, image, err := grubPieces(biosImagePath, b, kernelOfBIOS)
	r.parts[trace.PartBIOS], r.grub[trace.PartBIOS] = pieces, image
	return err
}

// grubPieces are the files that an image of GRUB was made of.
func grubPieces(name string, content []byte, kernel []string) (map[string]piece, *grubimage.Image, error) {
	image, err := grubimage.Open(name, content)
	if err != nil {
		return nil, nil, err
	}
	pieces := map[string]piece{}
	for i, at := range trace.BuiltIn(image) {
		m := image.Modules[i]
		p := piece{entry: roottree.Entry{Type: roottree.File, SHA256: m.SHA256, Size: m.Size}, kinds: []trace.Kind{trace.Stage}}
		if m.Kind == "module" {
			p.kinds = []trace.Kind{trace.Archive}
		}
		pieces[at] = p
	}
	for _, k := range kernel {
		pieces[image.Platform+"/"+k] = piece{entry: roottree.Entry{Type: roottree.File}, kinds: []trace.Kind{trace.Archive}}
	}
	return pieces, image, nil
}

// esp lists the EFI system partition. The GRUB in it that no package has is read from
// the medium, where the same file stands.
func (r *rereading) esp(iso *medium.ISO) error {
	files, err := iso.SystemFiles()
	if err != nil {
		return err
	}
	pieces := map[string]piece{}
	for _, f := range files {
		pieces[f.Path] = piece{entry: roottree.Entry{Type: roottree.File, SHA256: f.Digest, Size: f.Size}, kinds: []trace.Kind{trace.Archive, trace.Stage}}
	}
	r.parts[trace.PartESP] = pieces
	return nil
}

// mediumPieces are the files of the ISO, and what of it has no path.
func (v *verification) mediumPieces(r *rereading, iso *medium.ISO) error {
	pieces := map[string]piece{}
	for name, d := range v.mediumTree() {
		pieces[name] = piece{entry: roottree.Entry{Type: roottree.File, SHA256: d, Size: iso.Files[name].Size}}
	}
	at, digest, err := iso.SystemPartition()
	if err != nil {
		return err
	}
	pieces[espName] = piece{entry: roottree.Entry{Type: roottree.File, SHA256: digest, Size: at.Size}, kinds: []trace.Kind{trace.Stage}}
	pieces[mbrName] = piece{entry: roottree.Entry{Type: roottree.File, SHA256: v.made[recordMBR], Size: 512}, kinds: []trace.Kind{trace.Archive}}
	r.parts[trace.PartMedium] = pieces
	return nil
}

// readEFI reads the GRUB for UEFI, which is none of a package's where the trace says that
// the stage made it.
func (v *verification) readEFI(t *Tracing, r *rereading) (err error) {
	pieces := map[string]piece{}
	r.parts[trace.PartEFI] = pieces
	iso, err := v.openISO()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iso.Close()) }()
	made := ""
	err = t.Each(trace.PartESP, nil, func(o trace.Origin) bool {
		if path.Ext(o.Path) == ".EFI" && o.Kind != trace.Archive && made == "" {
			made = o.Path
		}
		return true
	})
	if err != nil || made == "" {
		return err
	}
	f, err := iso.Open(made)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLoader+1))
	if err != nil {
		return err
	}
	if have := r.parts[trace.PartESP][made].entry.SHA256; artifact.HashBytes(b) != have {
		return fmt.Errorf("%s: is another file on the medium than in the EFI system partition", made)
	}
	r.parts[trace.PartEFI], r.grub[trace.PartEFI], err = grubPieces(made, b, kernelOfEFI)
	return err
}

// wantCopies notes of which files of the root tree the other parts say to be copies, and
// reads the GRUB for UEFI.
func (v *verification) wantCopies(t *Tracing, r *rereading) error {
	if err := v.readEFI(t, r); err != nil {
		return err
	}
	for _, part := range []string{trace.PartMedium, trace.PartDisk} {
		err := t.Each(part, nil, func(o trace.Origin) bool {
			if of, ok := strings.CutPrefix(o.Of, trace.PartRoot+":"); ok {
				r.copied[of] = nil
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// maxLoader bounds an image of GRUB, in bytes.
const maxLoader = 16 << 20

// compare says what is wrong with the line of a part's piece; "" for nothing.
func (r *rereading) compare(o *trace.Origin, p piece) string {
	e := &p.entry
	if e.Type != o.Type || e.Target != o.Target || e.SHA256 != "" && (e.SHA256 != o.SHA256 || e.Size != o.Size) {
		return "is another file in the image"
	}
	of := ""
	if p.of != "" {
		of = trace.PartRoot + ":" + p.of
	}
	if p.kinds == nil && o.Of != "" {
		of = o.Of
	}
	switch {
	case o.Of != of && of == "":
		return "is said to be a copy of " + o.Of + ", and is none"
	case o.Of != of:
		return "is a copy of " + of + ", which is not said"
	case of == "" && p.kinds != nil && !slices.Contains(p.kinds, o.Kind):
		return fmt.Sprintf("is said to be %s, which it cannot be", o.Kind)
	}
	return ""
}

// copyOf tells whether a line says of a copy what the trace says of the file of the root
// tree.
func copyOf(o, of *trace.Origin) bool {
	return of != nil && of.Type == o.Type && of.SHA256 == o.SHA256 && of.Size == o.Size && of.Target == o.Target && of.Kind == o.Kind && of.Allowed == o.Allowed &&
		reflect.DeepEqual(of.Package, o.Package) && slices.Equal(of.Others, o.Others) && reflect.DeepEqual(of.By, o.By) && reflect.DeepEqual(of.Was, o.Was)
}

// makers are who can have given a file an origin.
var makers = map[trace.Kind][]stage.ActorKind{
	trace.Base:      {stage.ByLayer},
	trace.Generated: {stage.ByPackage, stage.ByProgram},
	trace.Overlay:   {stage.ByOverlay, stage.ByScript},
	trace.Stage:     {stage.ByStage, stage.BySetting, stage.ByPass},
	trace.Modified:  {stage.ByPackage, stage.ByProgram, stage.ByScript, stage.BySetting, stage.ByStage, stage.ByPass},
}

// made says what is wrong with who is said to have made a file that is no copy; "" for
// nothing. A file of the project has to be the one that the stage took.
func (v *verification) madeBy(h *trace.Head, part string, o *trace.Origin) string {
	switch {
	case o.Kind == trace.Unexplained:
		if !accepted(v.Config.Unexplained, part, *o) {
			return "is of unknown origin"
		}
		return ""
	case o.Kind == trace.Archive && (o.Package == nil || h.Packages[*o.Package].Origin != trace.Archive):
		return "is said to be of a .deb, but not of which"
	case o.Kind == trace.Archive && (o.By != nil || o.Was != nil):
		return "is said to be of a .deb as it is, and to be changed"
	case o.Kind == trace.Archive:
		return ""
	case o.By == nil:
		return fmt.Sprintf("is said to be %s, but not by whom", o.Kind)
	}
	by := &h.Actors[*o.By]
	if !slices.Contains(makers[o.Kind], by.Kind) {
		return fmt.Sprintf("is said to be %s by a %s", o.Kind, by.Kind)
	}
	if by.Kind != stage.ByOverlay || o.Type != roottree.File {
		return ""
	}
	if o.Package != nil && o.Was == nil { // of the project's .deb
		if p := &h.Packages[*o.Package]; p.Origin != trace.Overlay || by.Name != p.Archive+"/"+p.Path {
			return fmt.Sprintf("is said to be of %s by %s", p.ID(), by.Name)
		}
		return ""
	}
	if have := v.links[by.Stage].Materials[by.Name]; have != o.SHA256 {
		return fmt.Sprintf("is said to be the project's %s, whose SHA-256 is %q", strings.TrimPrefix(by.Name, recordProject), have)
	}
	return ""
}

// tracedActors checks whom the trace names: stages that have a link, packages of the
// image, files of the project that a stage took, layers of the locked base image.
func (v *verification) tracedActors(h *trace.Head) (problems []Problem) {
	layers := map[string]bool{}
	if v.Lock.Image != nil {
		for _, l := range v.Lock.Image.Layers {
			layers[string(l.Digest)] = true
		}
	}
	named := map[string]bool{}
	for i := range h.Packages {
		if h.Packages[i].Set == "target" {
			named[h.Packages[i].Name] = true
		}
	}
	for _, a := range h.Actors {
		wrong := ""
		_, ran := v.links[a.Stage]
		switch {
		case !ran:
			wrong = fmt.Sprintf("there is no stage %q", a.Stage)
		case a.Kind == stage.ByPackage && !named[a.Name]:
			wrong = "it is no package of the image"
		case a.Kind == stage.ByPackage && a.Package != nil && h.Packages[*a.Package].Name != a.Name:
			wrong = fmt.Sprintf("it is not of %s", h.Packages[*a.Package].ID())
		case a.Kind == stage.ByScript && v.links[a.Stage].Materials[a.Name] == "":
			wrong = "the stage took no such file of the project"
		case a.Kind == stage.ByLayer && !layers[a.Name]:
			wrong = "it is no layer of the locked base image"
		case a.Kind == stage.ByStage && a.Name != a.Stage:
			wrong = "it is another stage"
		}
		if wrong != "" {
			problems = append(problems, Problem{TraceDir + "/" + trace.HeadFile, fmt.Sprintf("%s %s of stage %s: %s", a.Kind, a.Name, a.Stage, wrong)})
		}
	}
	return problems
}
