package sbom

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/sbom"
)

// The names of trees in the documents.
const (
	treeRoot = "root"
	treeISO  = "iso"
)

// efiPartition is the trace's name of it: it has no path.
const efiPartition = "[EFI system partition]"

// infoDir is where dpkg keeps each package's own control files.
const infoDir = "var/lib/dpkg/info/"

// files adds the files that are in no package.
func (r *run) files(ctx context.Context) (err error) {
	dir, err := r.work.View("root")
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	tree, err := r.work.Manifest("root")
	if err != nil {
		return err
	}
	medium := map[string]artifact.Ref{efiPartition: r.work.FileRef("esp")}
	for _, ref := range r.work.Set("medium") {
		medium[ref.Path] = ref
	}
	r.ids = map[string]bool{}
	for i := range r.doc.Packages {
		r.ids[r.doc.Packages[i].ID()] = true
	}
	control := r.controlFiles()
	for _, t := range []struct {
		part, name string
		look       looker
	}{
		{trace.PartRoot, treeRoot, func(name string) (seen, error) {
			e, ok := tree.Lookup(name)
			if !ok || e.Type != roottree.File {
				return seen{}, fmt.Errorf("/%s: is no file of the root tree", name)
			}
			f, err := regular.Open(root, name)
			if err != nil {
				return seen{}, err
			}
			return look(f, e.Size, e.Mode)
		}},
		{trace.PartMedium, treeISO, func(name string) (seen, error) {
			ref, ok := medium[name]
			if !ok {
				return seen{}, fmt.Errorf("/%s: is no file of the medium", name)
			}
			return r.lookOnce(ctx, ref)
		}},
	} {
		var list []trace.Origin
		err := r.trace.Each(t.part, nil, func(o trace.Origin) bool {
			if isComponent(&o) && !(t.part == trace.PartRoot && control(o.Path)) {
				list = append(list, o)
			}
			return true
		})
		if err != nil {
			return err
		}
		files := make([]sbom.File, len(list))
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(runtime.GOMAXPROCS(0))
		for i := range list {
			group.Go(func() (err error) {
				if gctx.Err() != nil {
					return context.Cause(gctx)
				}
				files[i], err = r.file(t.name, &list[i], t.look)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		r.doc.Files = append(r.doc.Files, files...)
	}
	return nil
}

// isComponent tells a regular file that is in no package as it is, and no copy
// of one that is a component itself.
func isComponent(o *trace.Origin) bool {
	if o.Type != roottree.File || o.Of != "" {
		return false
	}
	switch o.Kind {
	case trace.Archive:
		return false
	case trace.Base:
		return o.Package == nil
	case trace.Overlay:
		return o.Package == nil || o.Was != nil // else it is in a .deb of the project
	}
	return true
}

// controlFiles tells the files in which dpkg keeps what an installed package
// brought in its control part: they are the package's.
func (r *run) controlFiles() func(name string) bool {
	installed := map[string]bool{}
	for i := range r.doc.Packages {
		if p := &r.doc.Packages[i]; p.Set == sbom.Target {
			installed[p.Name], installed[p.Name+":"+p.Architecture] = true, true
		}
	}
	return func(name string) bool {
		base, ok := strings.CutPrefix(name, infoDir)
		ext := path.Ext(base)
		return ok && ext != "" && installed[strings.TrimSuffix(base, ext)]
	}
}

// seen is what a look at a file tells.
type seen struct {
	Hashes sbom.Hashes `json:"hashes"`
	Size   int64       `json:"size"`
	Nature sbom.Nature `json:"nature"`
}

// looker looks at a file of a tree.
type looker func(name string) (seen, error)

// look reads a file of about that size and closes it.
func look(in io.ReadCloser, size int64, mode uint32) (s seen, err error) {
	defer func() { err = errors.Join(err, in.Close()) }()
	head := &bytes.Buffer{}
	weak, sum, strong := sha1.New(), sha256.New(), sha512.New()
	tee := io.TeeReader(io.LimitReader(in, headSize), head)
	s.Size, err = io.CopyBuffer(together{weak, sum, strong}, io.MultiReader(tee, in), make([]byte, min(max(size, 1), 1<<20)))
	s.Hashes = sbom.Hashes{SHA1: hex.EncodeToString(weak.Sum(nil)), SHA256: hex.EncodeToString(sum.Sum(nil)), SHA512: hex.EncodeToString(strong.Sum(nil))}
	s.Nature = nature(head.Bytes(), mode)
	return s, err
}

// maxSeen bounds what is kept of a look at a file, in bytes.
const maxSeen = 1 << 12

// lookOnce looks at content of the store that may be in many builds.
func (r *run) lookOnce(ctx context.Context, ref artifact.Ref) (s seen, err error) {
	made, err := r.work.Remember(ctx, "look", ref, func(to string) error {
		f, err := regular.OpenFile(r.work.Content(ref))
		if err != nil {
			return err
		}
		s, err := look(f, ref.Size, 0o444)
		if err != nil {
			return err
		}
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		return artifact.WriteBytes(to, 0o444, b)
	})
	if err != nil {
		return s, err
	}
	f, err := regular.OpenFile(r.work.Content(made))
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = json.NewDecoder(io.LimitReader(f, maxSeen)).Decode(&s)
	return s, err
}

func (r *run) file(tree string, o *trace.Origin, look looker) (sbom.File, error) {
	f := sbom.File{Tree: tree, Path: sbom.Path(o.Path), Size: o.Size, Origin: string(o.Kind), Reason: o.Allowed}
	if o.By != nil {
		r.maker(&f, *o.By)
	}
	s, err := look(o.Path)
	if err != nil {
		return f, err
	}
	f.Hashes, f.Nature = s.Hashes, s.Nature
	if s.Size != o.Size || artifact.Digest(f.Hashes.SHA256) != o.SHA256 {
		return f, fault.New(fault.Refused, "", "%s:/%s: is not as the trace has it", tree, f.Path)
	}
	if tree == treeISO {
		f.Licence.Declared = r.params.Licences[o.Path]
	}
	if tree == treeISO && o.Path == r.params.BIOSImage {
		f.Nature.Executable = sbom.Yes // a boot sector and what follows it has no mark of its own
	}
	return f, nil
}

// together takes several digests of what is written, those of much at once side by
// side.
type together []hash.Hash

func (t together) Write(p []byte) (int, error) {
	const much = 1 << 16 // bytes
	var group sync.WaitGroup
	for _, h := range t {
		if len(p) < much {
			h.Write(p) // it never fails, see package hash
			continue
		}
		group.Go(func() { h.Write(p) })
	}
	group.Wait()
	return len(p), nil
}

// maker says who made a file.
func (r *run) maker(f *sbom.File, by int) {
	a := &r.trace.Actors[by]
	f.Reason = a.Actor.String()
	if a.Kind != stage.ByStage {
		f.Reason += ", in stage " + a.Stage
	}
	if a.Package != nil {
		p := &r.trace.Packages[*a.Package]
		if id := p.Set + "/" + p.ID(); r.ids[id] {
			f.By = id
		}
	}
	for _, q := range r.trace.Requirements {
		if slices.ContainsFunc(q.Files, func(file string) bool { return a.Name == file || strings.HasPrefix(a.Name, file+"/") }) {
			f.Requirements = append(f.Requirements, q.ID)
		}
	}
}
