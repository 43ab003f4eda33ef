package stages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/ociarchive"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/secret"
	"github.com/isotrace/isotrace/policy"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/fetch"
)

// The folders of an archive; docs/formats/archive.md describes them.
const (
	archivedProject = "project"      // what the project says
	archivedOut     = "out"          // images, evidence, release
	archivedMirror  = "archives"     // .debs, sources and indexes, as a mirror has them
	archivedImage   = "image"        // blobs of the base image
	archivedKeys    = "keyrings"     // keys of archives, by digest
	archivedProgram = "bin/isotrace" // the program that wrote the archive
)

// archiver gathers the files of an archive.
type archiver struct {
	files []ociarchive.File
	paths map[artifact.Digest]string // where the content is
	seen  map[string]bool            // titles
}

// put adds a file once.
func (a *archiver) put(f ociarchive.File) {
	if !a.seen[f.Title] {
		a.seen[f.Title] = true
		a.files = append(a.files, f)
	}
}

// Archive writes all that the image in the folder of was made from, and the image with
// its evidence, into the archive name; program is isotrace's own file. Volumes are of
// volume bytes, 0 for one file. The evidence has to hold.
func (s *Session) Archive(ctx context.Context, of, name string, volume int64, program string, o provenance.VerifyOptions) (_ *Archived, err error) {
	p := s.Project
	v, err := provenance.OpenVerified(ctx, of, o)
	if err != nil {
		return nil, err
	}
	if err := v.MadeFrom(p.ConfigText, p.LockText); err != nil {
		return nil, err
	}
	if err := s.bringAll(ctx); err != nil {
		return nil, err
	}
	var images []string
	for _, i := range v.Images {
		images = append(images, i.Path)
	}
	a := &archiver{paths: map[artifact.Digest]string{}, seen: map[string]bool{}}
	if err := errors.Join(a.project(p), a.output(of, images), a.locked(s), a.add(archivedProgram, program, true)); err != nil {
		return nil, err
	}
	c := ociarchive.Contents{Epoch: time.Unix(int64(p.Lock.Epoch), 0).UTC(), Files: a.files, About: about(v)}
	made := &Archived{Contents: len(a.files)}
	made.Files, err = ociarchive.WriteVolumes(name, volume, func(w io.Writer) (err error) {
		made.Digest, err = ociarchive.Write(ctx, w, c, func(d artifact.Digest) (io.ReadCloser, error) { return regular.OpenFile(a.paths[d]) })
		return err
	})
	return made, artifact.ExplainWrite(err)
}

// Archived is an archive that was written.
type Archived struct {
	Files []string `json:"files"`
	// Digest is that of the archive's manifest, which names all the rest.
	Digest   artifact.Digest `json:"sha256"`
	Contents int             `json:"contents"`
}

// about says what an archive is of.
func about(v *provenance.Verified) map[string]string {
	version, source := "not recorded", "not recorded"
	if b, ok := debug.ReadBuildInfo(); ok {
		version = b.Main.Version
		if b.Main.Sum != "" {
			source = b.Main.Sum
		}
		for _, set := range b.Settings {
			if set.Key == "vcs.revision" {
				source = "git " + set.Value
			}
		}
	}
	return map[string]string{
		"org.isotrace.image": v.ImageName(), "org.isotrace.image.sha256": string(v.Result.Digest), "org.isotrace.release": v.Config.Release,
		"org.isotrace.version": version, "org.isotrace.source": source,
	}
}

// bringAll fetches what the store lacks of the lock.
func (s *Session) bringAll(ctx context.Context) error {
	if err := errors.Join(s.copyReleases(), s.copyImage(ctx)); err != nil {
		return err
	}
	if _, err := s.Project.Collect(ctx, s.Store); err != nil { // package files are among it
		return err
	}
	items := slices.DeleteFunc(s.lockedItems(), func(i fetch.Item) bool { return s.Store.Has(i.Digest) })
	if len(items) == 0 {
		return nil
	}
	return s.fetch(ctx, s.Store, items, func(int64, int64) {})
}

// lockedItems are all files of the lock, those of tools among them that no build needs.
func (s *Session) lockedItems() []fetch.Item {
	items := Items(s.Project.Lock)
	for _, t := range s.Project.Lock.Tools {
		items = append(items, item(s.Project.Lock, fetch.Tools, t))
	}
	return items
}

// add adds a file; a path that has it already has the same content.
func (a *archiver) add(title, from string, executable bool) error {
	d, size, err := artifact.HashFile(from)
	if err != nil {
		return fault.New(fault.Failed, "an archive has all that the build had", "%s: %w", title, err)
	}
	a.paths[d] = from
	a.put(ociarchive.File{Title: title, Digest: d, Size: size, Executable: executable})
	return nil
}

// project adds what the config names, and what says who may build and what may be built.
func (a *archiver) project(p *Project) (err error) {
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	c := p.Config
	names := []string{config.FileName, "isotrace.lock", ReleasesDir, provenance.LayoutFile, policy.FileName, policy.RulesDir}
	optional := len(names)
	names = append(names, c.RequirementsFile, c.Boot.Menu, c.Base.Dockerfile, c.Base.SignedBy)
	for _, s := range slices.Concat(c.Scripts, c.Preseed) {
		names = append(names, s.From)
	}
	for _, d := range c.Debs {
		names = append(names, d.File)
	}
	for _, t := range c.Boot.MemoryTests {
		names = append(names, t.File)
	}
	for _, o := range c.Overlay {
		names = append(names, o.From)
	}
	for _, k := range slices.Concat(c.Archives, c.BootArchives(), c.ToolArchives()) {
		names = append(names, k.SignedBy)
	}
	for i, name := range names {
		if name == "" {
			continue
		}
		name = config.Clean(name)
		if _, err := root.Lstat(name); i < optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := a.tree(root, p.Dir, name); err != nil {
			return err
		}
	}
	return nil
}

// tree adds a file or a folder of the project.
func (a *archiver) tree(root *os.Root, dir, name string) error {
	return fs.WalkDir(root.FS(), name, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		title := path.Join(archivedProject, at)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			to, err := root.Readlink(at)
			if err != nil {
				return err
			}
			a.put(ociarchive.File{Title: title, Digest: artifact.HashBytes(nil), Link: to})
			return nil
		case !d.Type().IsRegular():
			return fault.New(fault.Usage, "", "%s: is not a regular file", at)
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if err := secret.Refuse(root, at, "an archive goes to others: keep it outside of what the config names, or take it out of the file"); err != nil {
			return err
		}
		return a.add(title, filepath.Join(dir, filepath.FromSlash(at)), st.Mode()&0o100 != 0)
	})
}

// output adds the images, the evidence and the release of an output folder.
func (a *archiver) output(dir string, images []string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	const hint = "an archive goes to others: take the file out of the output folder"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			if !slices.Contains(images, e.Name()) { // they are what the project makes
				if err := secret.Refuse(root, e.Name(), hint); err != nil {
					return err
				}
			}
			if err := a.add(path.Join(archivedOut, e.Name()), filepath.Join(dir, e.Name()), false); err != nil {
				return err
			}
		}
		if e.IsDir() && (e.Name() == provenance.EvidenceDir || e.Name() == provenance.ReleaseDir) {
			err := filepath.WalkDir(filepath.Join(dir, e.Name()), func(at string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				rel, err := filepath.Rel(dir, at)
				if err != nil {
					return err
				}
				if err := secret.Refuse(root, rel, hint); err != nil {
					return err
				}
				return a.add(path.Join(archivedOut, filepath.ToSlash(rel)), at, false)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// locked adds what the lock names, from the store.
func (a *archiver) locked(s *Session) error {
	for _, i := range s.lockedItems() {
		title := path.Join(archivedMirror, i.Repository, i.Path)
		if i.Repository == fetch.ImageRepository {
			title = path.Join(archivedImage, i.Path)
		}
		if _, err := s.Store.Verify(i.Digest); err != nil {
			return fmt.Errorf("%s: %w", i.Path, err)
		}
		if err := a.add(title, s.Store.Path(i.Digest), false); err != nil {
			return err
		}
	}
	for _, ar := range s.Project.Lock.Archives {
		if s.Store.Has(ar.Keyring.Digest) {
			if err := a.add(path.Join(archivedKeys, string(ar.Keyring.Digest)), s.Store.Path(ar.Keyring.Digest), false); err != nil {
				return err
			}
		}
	}
	return nil
}

// Unpacked are the folders of an archive that was taken apart.
type Unpacked struct {
	Project, Out string
}

// Unpack takes an archive apart: project and output folder into the new folder dir, and
// what a build fetches into the store.
func Unpack(ctx context.Context, a *ociarchive.Archive, dir string, store *artifact.Store) (_ *Unpacked, err error) {
	if _, err := os.Lstat(dir); err == nil {
		return nil, fault.New(fault.Usage, "name a folder that is not there yet", "%s: is there already", dir)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755); err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	aside, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".archive-")
	if err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(aside)) }()
	if err := unpackTo(ctx, a, aside, store); err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	if err := errors.Join(os.Chmod(aside, 0o755), os.Rename(aside, dir)); err != nil {
		return nil, err
	}
	return &Unpacked{filepath.Join(dir, archivedProject), filepath.Join(dir, archivedOut)}, artifact.SyncDir(filepath.Dir(filepath.Clean(dir)))
}

func unpackTo(ctx context.Context, a *ociarchive.Archive, dir string, store *artifact.Store) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var links []ociarchive.File
	err = a.Each(ctx, func(files []ociarchive.File, content io.ReadSeeker) error {
		for _, f := range files {
			if _, err := content.Seek(0, io.SeekStart); err != nil {
				return err
			}
			top, _, _ := strings.Cut(f.Title, "/")
			switch {
			case f.Link != "":
				links = append(links, f)
			case top == archivedProject || top == archivedOut:
				if err := unpackFile(root, f, content); err != nil {
					return err
				}
			case top == archivedMirror || top == archivedImage || top == archivedKeys:
				if err := addArchived(store, f, content); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range links { // last, so that nothing is written through one
		if err := errors.Join(root.MkdirAll(path.Dir(l.Title), 0o755), root.Symlink(l.Link, l.Title)); err != nil {
			return err
		}
	}
	return nil
}

func unpackFile(root *os.Root, f ociarchive.File, content io.Reader) (err error) {
	if err := root.MkdirAll(path.Dir(f.Title), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if f.Executable {
		mode = 0o755
	}
	w, err := root.OpenFile(f.Title, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	have, _, err := artifact.HashReader(io.TeeReader(content, w))
	if err == nil && have != f.Digest {
		err = fmt.Errorf("%s: its SHA-256 is %s, the archive says %s", f.Title, have, f.Digest)
	}
	return err
}

func addArchived(store *artifact.Store, f ociarchive.File, content io.Reader) error {
	if store.Has(f.Digest) {
		return nil
	}
	have, err := store.Add(content, f.Size)
	if err == nil && have.Digest != f.Digest {
		err = fmt.Errorf("its SHA-256 is %s, the archive says %s", have.Digest, f.Digest)
	}
	return err
}
