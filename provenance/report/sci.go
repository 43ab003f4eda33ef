package report

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// sci has the items of DO-178B 11.16.
func sci(p *page) error {
	identification(p)
	if err := objectCode(p); err != nil {
		return err
	}
	sources(p)
	p.section("previously-developed", "Previously developed software", "What the image has of others.", "Document", "Components")
	p.row(from(traceCite), "pds", strconv.Itoa(len(p.d.installed())))
	lifeCycleData(p)
	media(p)
	p.section("build", "Instructions for building the object code and for recovering it", "", "What", "Where")
	p.row(from(intent, lockCite), "each stage with its programs, in order", "document build")
	p.row(from(intent, lockCite), "building it again and comparing every stage", "isotrace rebuild")
	p.section("seci", "Reference to the life cycle environment", "", "Document", "Tools")
	p.row(from(lockCite), "seci", fmt.Sprintf("%d packages", len(p.d.Lock.Tools)))
	integrity(p)
	userModifiable(p)
	p.section("load", "Load procedure", "What went onto which medium is in the load records that isotrace write makes; the evidence of a build has none.", "Step", "How")
	p.row(from(intent), "onto a USB stick, read back and compared", "isotrace write "+p.d.ImageName()+" DEVICE")
	p.row(nil, "load records", "")
	return nil
}

func identification(p *page) {
	d, c := p.d, p.d.Config
	p.section("identification", "Product", "", "Item", "Value")
	p.row(from(intent), "product", c.Name)
	p.row(from(intent), "title", c.Title)
	p.row(from(intent), "release", c.Release)
	p.row(nil, "part number", "")
	supplier := ""
	if c.Supplier != nil {
		supplier = c.Supplier.Name
	}
	p.row(cite(supplier, intent), "supplier", supplier)
	p.row(from(lockCite), "architecture", d.Lock.Architecture)
	p.row(from(lockCite), "time of the build, as far as it knows any", time.Unix(int64(d.Lock.Epoch), 0).UTC().Format(time.RFC3339))
	p.row(from(intent), "intent, SHA-256", string(d.cited[intent].Digest))
	p.row(from(lockCite), "lock, SHA-256", string(d.cited[lockCite].Digest))
	p.row(from(sumsCite), "evidence, SHA-256 of its list", string(d.cited[sumsCite].Digest))
	p.row(from(provenance.BuilderKey), "builder's key", d.Builder().KeyID())
	p.row(cite(d.Owner(), provenance.LayoutFile), "owner's key", d.Owner())
}

// cite names files where there is something to cite them for.
func cite(value string, names ...string) []string {
	if value == "" {
		return nil
	}
	return names
}

func objectCode(p *page) error {
	d := p.d
	p.section("object-code", "Executable object code", "The images, and the files on the medium.", "File", "In", "SHA-256", "Bytes")
	for _, i := range d.Images {
		p.row(from("../"+i.Path, sumsCite), i.Path, "output folder", string(i.Digest), strconv.FormatInt(i.Size, 10))
	}
	return d.trace.Each(trace.PartMedium, nil, func(o trace.Origin) bool {
		if o.SHA256 != "" {
			p.row(from(provenance.TraceDir+"/medium.jsonl.zst", d.link("livetree")), o.Path, d.ImageName(), string(o.SHA256), strconv.FormatInt(o.Size, 10))
		}
		return true
	})
}

func sources(p *page) {
	d := p.d
	p.section("sources", "Source components", "The source packages that the packages of the image and of what boots it were built from, and the project's own files. A source package has a digest where the config locks sources.", "Component", "Version", "Used for", "SHA-256", "Requirements")
	type source struct{ name, version string }
	for _, s := range collect(d.installed(), func(t *trace.Package) source { return source{t.Source, t.SourceVersion} }) {
		digest, cites := "", from(traceCite, lockCite)
		var names []string
		needed := map[string]bool{}
		for _, t := range s.of {
			names = append(names, t.Name)
			for _, f := range t.SourceFiles {
				if strings.HasSuffix(f.Path, ".dsc") {
					digest = string(f.Digest)
				}
			}
			for _, r := range t.Requirements {
				needed[r.ID] = true
			}
		}
		slices.Sort(names)
		p.row(cites, s.key.name, s.key.version, joined(slices.Compact(names)), digest, named(sortedKeys(needed)))
	}
	files := provenance.ProjectFiles(d.Records)
	for _, name := range sortedKeys(files) {
		var needed []string
		for _, r := range d.trace.Requirements {
			if slices.ContainsFunc(r.Files, func(f string) bool { return name == f || strings.HasPrefix(name, f+"/") }) {
				needed = append(needed, r.ID)
			}
		}
		var links []string
		for _, s := range d.order {
			if _, ok := d.Records[s].Materials[name]; ok {
				links = append(links, d.link(s))
			}
		}
		p.row(links, name, d.Config.Release, "a file of the project", string(files[name]), named(needed))
	}
}

func lifeCycleData(p *page) {
	p.section("data", "Life cycle data", "Every file of the evidence, and of the release where there is one.", "File", "SHA-256", "Bytes", "What it is")
	for _, name := range sortedKeys(p.d.cited) {
		ref := p.d.cited[name]
		p.row(from(name), ref.Path, string(ref.Digest), strconv.FormatInt(ref.Size, 10), natureOf(name))
	}
}

// natures say by the beginning of a file's name what it is.
var natures = []struct{ prefix, what string }{
	{config.FileName, "intent: what the project asks for"}, {lockCite, "lock: the exact content"}, {provenance.LayoutFile, "who may build, and how"},
	{provenance.LinksDir + "/", "record of a stage, signed"}, {"attestations/", "statement about the image, signed"},
	{provenance.KeyringsDir + "/", "keys of an archive"}, {provenance.ArchivesDir + "/", "index of an archive, signed by it"},
	{provenance.ManifestDir + "/", "contents of a tree"}, {provenance.SbomDir + "/", "bill of materials"}, {provenance.TraceDir + "/", "origins of files"},
	{"base/", "base image: manifest, config, proof"}, {provenance.BuilderKey, "the builder's public key"}, {sumsCite, "list of the evidence"},
	{"../" + provenance.PolicyFile, "what policy says, attested"}, {"../" + provenance.ReleaseDir + "/", "of the release"},
	{"../" + provenance.ReleaseSums, "list of the release, and its signatures"},
}

func natureOf(name string) string {
	for _, n := range natures {
		if strings.HasPrefix(name, n.prefix) {
			return n.what
		}
	}
	switch {
	case strings.HasSuffix(name, ".sig"), strings.HasSuffix(name, ".sig.raw"), strings.HasSuffix(name, provenance.BundleSuffix):
		return "signature"
	case strings.HasPrefix(name, "../"):
		return "image"
	}
	return ""
}

func media(p *page) {
	p.section("media", "Archive and release media", "The medium of release is the image. Where archives are kept is the project's affair.", "Medium", "SHA-256", "Signature")
	for _, i := range p.d.Images {
		signature := i.Path + provenance.BundleSuffix
		if _, ok := p.d.cited["../"+signature]; !ok {
			signature = ""
		}
		p.row(from("../"+i.Path, "../"+signature), i.Path, string(i.Digest), signature)
	}
	p.row(nil, "archive", "", "")
}

func integrity(p *page) {
	d := p.d
	p.section("integrity", "Data integrity checks", "", "What", "Over what", "How to check it")
	p.row(from(sumsCite), path.Join(provenance.EvidenceDir, sumsCite), "evidence and images", "sha256sum -c, isotrace verify")
	if _, ok := d.cited["../"+provenance.ReleaseSums]; ok {
		p.row(from("../"+provenance.ReleaseSums), provenance.ReleaseSums, "the whole release", "sha256sum -c, cosign verify-blob, isotrace verify")
	}
	p.row(from(d.link("livetree")), "md5sum.txt on the medium", "files of the medium", "the boot menu's entry check")
	for _, c := range d.Result.Checks {
		if c.Rule == "verity" && c.State == provenance.Valid {
			p.row(from(intent, d.link("livetree")), "dm-verity", "the squashfs, whenever it is read", c.What)
		}
	}
}

func userModifiable(p *page) {
	c := p.d.Config
	p.section("user-modifiable", "User-modifiable software", "What the config lets users of the image keep.", "What", "Declared")
	persistence := "no: what users change is gone when the machine stops"
	if c.Boot.Persistence {
		persistence = "yes: on a partition that users bring; the evidence does not speak of what it holds"
	}
	p.row(from(intent), "persistence of the live system", persistence)
	if formats := c.DiskFormats(); len(formats) > 0 {
		p.row(from(intent), "disks ("+joined(formats)+")", "yes: the root file system of a disk can be written to by the system on it")
	}
	for _, u := range c.Users {
		p.row(from(intent), "account "+u.Name, "groups: "+joined(u.Groups))
	}
}

// named are requirements in one cell.
func named(ids []string) string {
	if len(ids) == 0 {
		return "none named"
	}
	return joined(ids)
}

// grouped are packages with one key.
type grouped[K comparable] struct {
	key K
	of  []*trace.Package
}

// collect groups packages, in the order in which the keys come first.
func collect[K comparable](all []*trace.Package, key func(*trace.Package) K) []grouped[K] {
	var groups []grouped[K]
	at := map[K]int{}
	for _, t := range all {
		k := key(t)
		i, ok := at[k]
		if !ok {
			i = len(groups)
			at[k] = i
			groups = append(groups, grouped[K]{key: k})
		}
		groups[i].of = append(groups[i].of, t)
	}
	return groups
}

// installed are the packages of the image and of what boots it, by source and name.
func (d *dossier) installed() []*trace.Package {
	var all []*trace.Package
	for i := range d.trace.Packages {
		if d.trace.Packages[i].Gone == "" {
			all = append(all, &d.trace.Packages[i])
		}
	}
	slices.SortStableFunc(all, func(a, b *trace.Package) int {
		return strings.Compare(a.Source+"\x00"+a.SourceVersion+"\x00"+a.ID(), b.Source+"\x00"+b.SourceVersion+"\x00"+b.ID())
	})
	return all
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// refOf writes a file that is signed for.
func refOf(r *artifact.Ref) string {
	if r == nil {
		return ""
	}
	return r.Path + " sha256:" + string(r.Digest)
}
