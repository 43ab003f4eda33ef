package stages

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/fetch"
	"github.com/isotrace/isotrace/stages/sbom"
	"github.com/isotrace/isotrace/stages/trace"
)

// writeDraft lays out the image and its evidence.
func (s *Session) writeDraft(draft string, signer *provenance.Signer, b *Built) error {
	p := s.Project
	var images []artifact.Ref
	for _, i := range []struct{ stage, file string }{{"iso", provenance.ImageName(p.Config)}, {"sourceiso", provenance.SourcesName(p.Config)}} {
		if r, ok := b.Results[i.stage]; ok {
			made := r.Outputs[i.file].File
			images = append(images, artifact.Ref{Path: i.file, Digest: made.Digest, Size: made.Size})
		}
	}
	b.Digest, b.Size = images[0].Digest, images[0].Size
	// An image shares its bytes with the store where it can: it is read-only in
	// both, and a store that was tampered with is found out.
	for _, i := range images {
		to := filepath.Join(draft, i.Path)
		if os.Link(s.Store.Path(i.Digest), to) != nil {
			if err := copyFile(s.Store.Path(i.Digest), to); err != nil {
				return err
			}
		}
	}
	evidence := filepath.Join(draft, provenance.EvidenceDir)
	copies := map[string]string{} // of stored content, by path
	texts := map[string][]byte{
		config.FileName: p.ConfigText, lockfile.FileName: p.LockText, provenance.BuilderKey: signer.Public().PEM,
	}
	if p.LayoutText != nil {
		texts[provenance.LayoutFile] = p.LayoutText
	}
	for stageName, r := range b.Results {
		texts[filepath.Join(provenance.LinksDir, provenance.LinkName(stageName, signer.Public().KeyID()))] = r.Link
		for output, o := range r.Outputs {
			if o.Tree != nil {
				copies[filepath.Join(provenance.ManifestDir, stageName, output+".mtree")] = s.Store.Path(o.Tree.Manifest.Digest)
			}
		}
	}
	for _, ref := range b.Results["fetch"].Outputs[fetch.Archives].Set {
		copies[filepath.Join(provenance.ArchivesDir, ref.Path)] = s.Store.Path(ref.Digest)
	}
	for _, ref := range b.Results["trace"].Outputs[trace.Output].Set {
		copies[filepath.Join(provenance.TraceDir, ref.Path)] = s.Store.Path(ref.Digest)
	}
	for _, ref := range b.Results["sbom"].Outputs[sbom.Output].Set {
		copies[filepath.Join(provenance.SbomDir, ref.Path)] = s.Store.Path(ref.Digest)
	}
	for _, a := range p.Lock.Archives {
		copies[provenance.KeyringName(a.Keyring.Digest)] = s.Store.Path(a.Keyring.Digest)
	}
	for to, from := range copies {
		at := filepath.Join(evidence, to)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := copyFile(from, at); err != nil {
			return err
		}
	}
	for to, text := range texts {
		at := filepath.Join(evidence, to)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := artifact.WriteBytes(at, 0o644, text); err != nil {
			return err
		}
	}
	return provenance.WriteSums(evidence, images, signer)
}

// copyFile copies within the kernel, sharing blocks where the file system can.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
	return out.Sync()
}

// draftPrefix marks folders that a build has not finished.
const draftPrefix = ".isotrace-draft-"

// sweep removes what a killed build has left in the output folder.
func sweep(out string) error {
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), draftPrefix) {
			if err := os.RemoveAll(filepath.Join(out, e.Name())); err != nil {
				return fmt.Errorf("remove what an earlier build left: %w", err)
			}
		}
	}
	return nil
}

// publish moves a verified draft into place, of the images those that it has.
// The first image goes last: whoever finds it finds its evidence. Between the
// steps there is no image at all.
func publish(draft, out string, images ...string) error {
	for _, i := range images {
		if err := os.Remove(filepath.Join(out, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	old := filepath.Join(out, provenance.EvidenceDir)
	if err := os.Rename(old, filepath.Join(draft, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(filepath.Join(draft, provenance.EvidenceDir), old); err != nil {
		return err
	}
	for _, i := range slices.Backward(images) {
		if err := os.Rename(filepath.Join(draft, i), filepath.Join(out, i)); err != nil && (i == images[0] || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return artifact.SyncDir(out)
}
