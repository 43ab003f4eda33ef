package stages

import (
	"bytes"
	"crypto/sha512"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/fetch"
	"github.com/isotrace/isotrace/stages/sbom"
	"github.com/isotrace/isotrace/stages/trace"
)

// writeDraft lays out the image and its evidence.
func (s *Session) writeDraft(draft string, signer *provenance.Signer, b *Built) error {
	p := s.Project
	var images []artifact.Ref
	for _, i := range productsOf(p.Config) {
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
	for file, d := range provenance.BaseFiles(p.Lock) {
		copies[file] = s.Store.Path(d)
	}
	if name := p.Config.Base.Dockerfile; name != "" {
		copies[provenance.BaseDockerfile] = s.Store.Path(b.Results["base"].Record.Materials[RecordPath(config.Clean(name))])
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
	strong, err := s.Store.Sum(images[0].Digest, "sha512", sha512.New())
	if err != nil {
		return err
	}
	if err := provenance.Attest(draft, signer, images[0], strong); err != nil {
		return err
	}
	return provenance.WriteSums(evidence, images, signer)
}

// product is an image and the stage that makes it.
type product struct{ stage, file string }

// productsOf are the images that a config may have, the ISO first.
func productsOf(c *config.Config) []product {
	list := []product{{"iso", provenance.ImageName(c)}, {"sourceiso", provenance.SourcesName(c)}}
	for _, format := range c.DiskFormats() {
		list = append(list, product{"disk", provenance.DiskName(c, format)})
	}
	return list
}

// copyFile copies within the kernel, sharing blocks where the file system can.
func copyFile(from, to string) (err error) {
	in, err := regular.OpenFile(from)
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

// sameEvidence tells whether two folders have the same images and evidence, as their
// sums tell.
func sameEvidence(a, b string) (bool, error) {
	sums := filepath.Join(provenance.EvidenceDir, provenance.Sums)
	first, err := os.ReadFile(filepath.Join(a, sums))
	if err != nil {
		return false, err
	}
	second, err := os.ReadFile(filepath.Join(b, sums))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return bytes.Equal(first, second), err
}

// keepLinks takes over the links that other builders of the same image left.
func keepLinks(draft, out string) error {
	links := filepath.Join(provenance.EvidenceDir, provenance.LinksDir)
	entries, err := os.ReadDir(filepath.Join(out, links))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		to := filepath.Join(draft, links, e.Name())
		if err := copyFile(filepath.Join(out, links, e.Name()), to); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
