package stages

import (
	"path"
	"runtime/debug"
	"slices"

	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/provenance"
	bills "github.com/isotrace/isotrace/sbom"
	"github.com/isotrace/isotrace/stages/livetree"
	"github.com/isotrace/isotrace/stages/sbom"
)

// sbomParams are what config and lock say of the product and its packages.
func sbomParams(c *config.Config, l *lockfile.Lock) sbom.Params {
	p := sbom.Params{
		Isotrace: version(), Name: c.Name, Release: c.Release, FileName: provenance.ImageName(c), BIOSImage: livetree.BIOSImage,
		Location: "../../" + provenance.ImageName(c), Supplier: supplier(c), // from evidence/sbom
		Archives: []sbom.Archive{}, Packages: []sbom.Locked{}, Base: baseImage(c, l), Licences: map[string]string{},
	}
	for _, t := range c.Boot.MemoryTests {
		p.Licences[t.OnMedium()] = t.Licence
	}
	if c.Title != c.Name {
		p.Title = c.Title
	}
	foreign := foreignArchives(c)
	for _, a := range l.Archives {
		p.Archives = append(p.Archives, sbom.Archive{
			ID: a.ID, Repository: a.Repository, Suite: a.Suite, Codename: a.Codename, Release: a.Release.Digest, Foreign: foreign[a.ID],
		})
	}
	for _, set := range []struct {
		set  bills.Set
		list []lockfile.Package
	}{{bills.Target, l.Target}, {bills.Boot, l.Boot}, {bills.Tools, l.Tools}} {
		for _, pkg := range set.list {
			if set.set == bills.Tools && !pkg.Is(lockfile.UseBuild) {
				continue // it runs the image, and has no part in it
			}
			p.Packages = append(p.Packages, sbom.Locked{
				Set: set.set, ID: pkg.ID(), Archive: pkg.Archive, Path: pkg.Path, SHA256: pkg.SHA256, Base: pkg.Is(lockfile.UseProof),
			})
		}
	}
	for _, s := range l.Sources {
		p.Sources = append(p.Sources, lockedSource(s))
	}
	p.Sources = slices.CompactFunc(p.Sources, func(a, b bills.Source) bool { return a.ID() == b.ID() }) // in two archives
	return p
}

// version is that of the program, as go build notes it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func supplier(c *config.Config) bills.Party {
	if c.Supplier == nil {
		return bills.Party{}
	}
	return bills.Party{Name: c.Supplier.Name, Email: c.Supplier.Contact, URL: c.Supplier.URL, Organisation: true}
}

// foreignArchives are those that only the boot set or the tools come from.
func foreignArchives(c *config.Config) map[string]bool {
	foreign := map[string]bool{}
	for _, a := range append(slices.Clone(c.Boot.Archives), c.Tools.Archives...) {
		foreign[a.Repo()+"/"+a.Suite] = true
	}
	for _, a := range c.Archives {
		delete(foreign, a.Repo()+"/"+a.Suite)
	}
	return foreign
}

func baseImage(c *config.Config, l *lockfile.Lock) *bills.BaseImage {
	if l.Image == nil {
		return nil
	}
	b := &bills.BaseImage{Reference: c.Base.Image, Manifest: l.Image.Manifest.Digest, Config: l.Image.Config.Digest}
	for _, name := range []string{c.Base.OCI, c.Base.Archive, c.Base.Disk, "image"} {
		if b.Reference == "" && name != "" {
			b.Reference = path.Base(name)
		}
	}
	for _, layer := range l.Image.Layers {
		b.Layers = append(b.Layers, bills.Layer{Digest: layer.Digest, Size: layer.Size, MediaType: layer.MediaType})
	}
	return b
}

func lockedSource(s lockfile.Source) bills.Source {
	out := bills.Source{SourceID: bills.SourceID{Name: s.Name, Version: s.Version}}
	for _, f := range s.Files {
		out.Directory = path.Dir(f.Path)
		out.Files = append(out.Files, bills.SourceFile{Name: path.Base(f.Path), Size: f.Size, Hashes: bills.Hashes{SHA256: string(f.Digest)}})
	}
	return out
}
