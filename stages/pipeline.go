// Package stages wires the pipeline: read Pipeline downwards.
package stages

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/medium"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages/base"
	"github.com/isotrace/isotrace/stages/bootparts"
	"github.com/isotrace/isotrace/stages/catalogue"
	"github.com/isotrace/isotrace/stages/contents"
	"github.com/isotrace/isotrace/stages/customise"
	"github.com/isotrace/isotrace/stages/debs"
	"github.com/isotrace/isotrace/stages/disk"
	"github.com/isotrace/isotrace/stages/fetch"
	"github.com/isotrace/isotrace/stages/install"
	"github.com/isotrace/isotrace/stages/iso"
	"github.com/isotrace/isotrace/stages/kernel"
	"github.com/isotrace/isotrace/stages/livetree"
	"github.com/isotrace/isotrace/stages/manifest"
	"github.com/isotrace/isotrace/stages/sanitise"
	"github.com/isotrace/isotrace/stages/sbom"
	"github.com/isotrace/isotrace/stages/sourceiso"
	"github.com/isotrace/isotrace/stages/squashfs"
	"github.com/isotrace/isotrace/stages/toolbox"
	"github.com/isotrace/isotrace/stages/trace"
)

// Products are the handles of what a pipeline makes for people.
type Products struct {
	ISO stage.File
	// Trace says where each file of the image came from.
	Trace stage.Set
	// Sbom are the bills of materials.
	Sbom stage.Set
	// Sources is the ISO of the source packages; nil where the config wants none.
	Sources *stage.File
	// Disks are the disk images, in the order of their formats.
	Disks []stage.File
	// Base is the tree that packages are added to, Root the one in the squashfs, Tools the
	// one with the programs that make the image.
	Base, Root, Tools stage.Tree
}

// Goals are all that a build makes for people.
func (p Products) Goals() []stage.Handle {
	goals := []stage.Handle{p.ISO, p.Trace, p.Sbom}
	if p.Sources != nil {
		goals = append(goals, *p.Sources)
	}
	for _, d := range p.Disks {
		goals = append(goals, d)
	}
	return goals
}

// Pipeline is the graph from a lock to its products.
func Pipeline(c *config.Config, l *lockfile.Lock, m *Materials, fetcher fetch.Fetcher) (*stage.Graph, Products) {
	g := &stage.Graph{}

	fetched := g.Add(fetch.Stage(m.Lock, m.Debs, Items(l), fetcher))
	installable := []stage.Set{fetched.Set(fetch.Target), fetched.Set(fetch.Proof)} // .debs of what is in the root tree
	first := base.Bootstrap(fetched.Set(fetch.Base))
	if l.Image != nil {
		first = base.Image(fetched.Set(fetch.Base), l.Image.Manifest.Digest)
		for _, proof := range []*stage.Material{m.Dockerfile, m.BaseKey} {
			if proof != nil {
				first.Materials = append(first.Materials, *proof)
			}
		}
	} else {
		installable = append(installable, fetched.Set(fetch.Base))
	}
	minimal := g.Add(first)
	after := func(s stage.Stage, wait stage.Tree) stage.Node {
		s.After = []stage.Handle{wait}
		return g.Add(s)
	}
	// What the .debs say runs beside the installation, which uses little more than
	// one processor; what little is missing for the medium then, beside kernel.
	lists := after(contents.Stage(append(installable, fetched.Set(fetch.Boot))...), minimal.Tree("root")).Set(contents.Output)
	facts := after(debs.Stage(debs.Sets{Target: installable, Boot: fetched.Set(fetch.Boot), Tools: fetched.Set(fetch.Tools)}), minimal.Tree("root")).File(debs.Output)

	installed := g.Add(install.Stage(minimal.Tree("root"), fetched.Set(fetch.Target), m.Preseed, installParams(c, l, m)))
	tools := after(toolbox.Stage(fetched.Set(fetch.Tools)), installed.Tree("root")).Tree("tools")
	boot := after(toolbox.BootStage(fetched.Set(fetch.Boot)), installed.Tree("root")).Tree("boot")

	customised := g.Add(customise.Stage(installed.Tree("root"), append(m.OverlayFiles, m.Scripts...), customiseParams(c, m)))
	sanitised := g.Add(sanitise.Stage(customised.Tree("root"), sanitise.Params{Keep: c.Sanitise.Keep, Protect: overlayPaths(m)}))
	root := sanitised.Tree("root")

	boots := g.Add(kernel.Stage(root, kernelParams(c)))
	manifests := g.Add(manifest.Stage(root, manifest.Params{LiveOnly: c.Manifest.LiveOnly}))
	packed := g.Add(squashfs.Stage(tools, root, squashfs.Params{Compression: c.Squashfs.Compression, Level: c.Squashfs.Level, Verity: c.Squashfs.Verity}))
	squash := packed.File(squashfs.Output)
	parts := g.Add(bootparts.Stage(tools, boot, bootparts.Params{Marker: livetree.Marker(c.Name, c.Release), Memtest: c.Boot.WithMemtest(), SecureBoot: c.Boot.SecureBoot}))

	live := livetree.Inputs{
		Kernel: boots.File(kernel.Kernel), Initrd: boots.File(kernel.Initrd), System: boots.File(kernel.Facts), Squashfs: squash, Manifests: map[string]stage.File{},
		BIOS: parts.File(bootparts.BIOS), EFI: parts.Set(bootparts.EFI), Memtest: parts.Set(bootparts.Memory), MemoryTests: m.MemoryTests, Config: m.Config, Menu: m.Menu,
	}
	products := []stage.File{squash, parts.File(bootparts.BIOS)}
	if c.Squashfs.Verity {
		live.Verity = []stage.File{packed.File(squashfs.HashTree), packed.File(squashfs.RootHash)}
		products = append(products, live.Verity[0])
	}
	for _, name := range manifest.Outputs {
		live.Manifests[name] = manifests.File(name)
		products = append(products, manifests.File(name))
	}
	tree := g.Add(livetree.Stage(live, livetree.Params{
		Name: c.Name, Title: c.Title, Release: c.Release, Architecture: c.Architecture,
		Live: c.Live, Parameters: c.Boot.Parameters, Timeout: *c.Boot.Timeout, Serial: c.Boot.Serial, SecureBoot: c.Boot.SecureBoot, Persistence: c.Boot.Persistence,
		MemoryTests: memoryTests(c),
	})).Set(livetree.Output)

	image := g.Add(iso.Stage(tools, iso.Inputs{
		Tree: tree, ESP: parts.File(bootparts.ESP), MBR: parts.File(bootparts.MBR), BIOSImage: livetree.BIOSImage,
	}, iso.Params{File: provenance.ImageName(c), Volume: medium.VolumeID(c.Name, c.Release)})).File(provenance.ImageName(c))

	var disks []stage.File
	var starting *trace.Disk
	if formats := c.DiskFormats(); len(formats) > 0 {
		starts := g.Add(bootparts.DiskStage(tools, boot, root, boots.File(kernel.Facts), bootparts.DiskParams{
			Title: c.Title, Release: c.Release, Timeout: *c.Boot.Timeout, Serial: c.Boot.Serial, Parameters: c.Disk.Parameters, SecureBoot: c.Boot.SecureBoot,
		}))
		starting = &trace.Disk{
			Core: starts.File(bootparts.Core), BIOSBoot: starts.File(bootparts.BIOSBoot), BootCode: starts.File(bootparts.BootCode),
			ESP: starts.File(bootparts.ESP), EFI: starts.Set(bootparts.EFI), Files: starts.Set(bootparts.Files),
		}
		p := disk.Params{Size: c.Disk.Bytes()}
		for _, format := range formats {
			p.Outputs = append(p.Outputs, disk.Output{Format: format, File: provenance.DiskName(c, format)})
		}
		made := g.Add(disk.Stage(tools, disk.Inputs{
			Root: root, Initrd: boots.File(kernel.Initrd), System: boots.File(kernel.Facts),
			BootCode: starts.File(bootparts.BootCode), BIOSBoot: starts.File(bootparts.BIOSBoot), ESP: starts.File(bootparts.ESP), Files: starts.Set(bootparts.Files),
		}, p))
		for _, o := range p.Outputs {
			disks = append(disks, made.File(o.File))
		}
	}

	known := g.Add(catalogue.Stage(root, facts, catalogue.Params{Expect: l.Installed()})).File(catalogue.Output)
	traced := g.Add(trace.Stage(trace.Inputs{
		Root: root, Boot: boot, Lists: lists, Catalogue: known, System: boots.File(kernel.Facts), Initrd: boots.File(kernel.Initrd), Program: kernel.Program,
		BIOS: parts.File(bootparts.BIOS), EFI: parts.Set(bootparts.EFI), ESP: parts.File(bootparts.ESP), MBR: parts.File(bootparts.MBR), Medium: tree,
		Turns: []trace.Turn{
			{Stage: "sanitise", Changes: sanitised.File(sanitise.Changes)}, {Stage: "customise", Changes: customised.File(customise.Changes)},
			{Stage: "install", Changes: installed.File(install.Changes)}, {Stage: "base", Changes: minimal.File(base.Changes)},
		},
		Disk:     starting,
		Products: products,
	}, traceParams(c, l, m))).Set(trace.Output)

	bills := g.Add(sbom.Stage(sbom.Inputs{
		Catalogue: known, Trace: traced, Root: root, Medium: tree, ESP: parts.File(bootparts.ESP), ISO: image,
	}, sbomParams(c, l))).Set(sbom.Output)

	var sources *stage.File
	if c.Sources {
		made := g.Add(sourceiso.Stage(tools, fetched.Set(fetch.Sources), sourceiso.Params{
			File: provenance.SourcesName(c), Volume: medium.VolumeID(c.Name+"-src", c.Release),
		})).File(provenance.SourcesName(c))
		sources = &made
	}
	return g, Products{ISO: image, Sources: sources, Disks: disks, Trace: traced, Sbom: bills, Base: minimal.Tree("root"), Root: root, Tools: tools}
}

// ToolGraph is the part of the pipeline that unpacks the tools of one use.
func ToolGraph(l *lockfile.Lock, use lockfile.Use, lock stage.Material, fetcher fetch.Fetcher) (*stage.Graph, stage.Tree) {
	g := &stage.Graph{}
	fetched := g.Add(fetch.Stage(lock, nil, toolItems(l, use), fetcher))
	return g, g.Add(toolbox.Stage(fetched.Set(fetch.Tools))).Tree("tools")
}

// Items are the files that a build fetches.
func Items(l *lockfile.Lock) []fetch.Item {
	var items []fetch.Item
	for _, a := range l.Archives {
		for _, r := range a.Files() {
			items = append(items, fetch.Item{Set: fetch.Archives, Repository: a.Repository, Path: r.Path, Digest: r.Digest, Size: r.Size})
		}
	}
	if l.Image != nil {
		for _, b := range l.Image.Blobs() {
			items = append(items, fetch.Item{Set: fetch.Base, Repository: fetch.ImageRepository, Path: "blobs/sha256/" + string(b.Digest), Digest: b.Digest, Size: b.Size})
		}
	}
	for _, p := range l.Target {
		set := fetch.Target
		switch {
		case p.Is(lockfile.UseBase):
			set = fetch.Base
		case p.Is(lockfile.UseProof):
			set = fetch.Proof
		}
		items = append(items, item(l, set, p))
	}
	for _, p := range l.Boot {
		items = append(items, item(l, fetch.Boot, p))
	}
	items = append(items, toolItems(l, lockfile.UseBuild)...)
	return append(items, sourceItems(l)...)
}

// sourceItems are the files of the source packages, each once: two versions may
// have the same upstream's.
func sourceItems(l *lockfile.Lock) []fetch.Item {
	var items []fetch.Item
	seen := map[string]bool{}
	for _, s := range l.Sources {
		repository := l.ArchiveOf(s.Archive).Repository
		for _, f := range s.Files {
			if at := repository + "/" + f.Path; !seen[at] {
				seen[at] = true
				items = append(items, fetch.Item{Set: fetch.Sources, Repository: repository, Path: f.Path, Digest: f.Digest, Size: f.Size})
			}
		}
	}
	return items
}

func toolItems(l *lockfile.Lock, use lockfile.Use) []fetch.Item {
	var items []fetch.Item
	for _, p := range l.Tools {
		if p.Is(use) {
			items = append(items, item(l, fetch.Tools, p))
		}
	}
	return items
}

func item(l *lockfile.Lock, set string, p lockfile.Package) fetch.Item {
	return fetch.Item{Set: set, Repository: l.ArchiveOf(p.Archive).Repository, Path: p.Path, Digest: p.SHA256, Size: p.Size}
}

func installParams(c *config.Config, l *lockfile.Lock, m *Materials) install.Params {
	p := install.Params{Expect: l.Installed(), Remove: c.Remove}
	for i, want := range c.Packages {
		p.Manual = append(p.Manual, l.Pin(want.Name))
		p.Places = append(p.Places, fmt.Sprintf("packages[%d]", i))
	}
	for _, d := range l.ProjectDebs() {
		p.Manual = append(p.Manual, d.Name+"="+d.Version)
		p.Places = append(p.Places, "debs ("+d.Path+")")
	}
	for _, s := range m.Preseed {
		p.Preseed = append(p.Preseed, s.Path)
	}
	return p
}

func kernelParams(c *config.Config) kernel.Params {
	p := kernel.Params{Verity: c.Squashfs.Verity, Casper: c.Live == "casper", Live: c.Live, Persistence: c.Boot.Persistence, Init: kernel.Init(c.Boot.Parameters)}
	if len(c.DiskFormats()) > 0 {
		p.Disk, p.Init = true, kernel.Init(c.Boot.Parameters, c.Disk.Parameters)
	}
	return p
}

func customiseParams(c *config.Config, m *Materials) customise.Params {
	p := customise.Params{
		Files: m.Overlay, Hostname: c.Hostname, Locale: c.Locale, Locales: c.Locales, Timezone: c.Timezone,
		Keyboard: c.Keyboard, RootPasswordHash: c.RootPasswordHash, LiveSession: liveSession(c),
	}
	for _, s := range m.Scripts {
		p.Scripts = append(p.Scripts, s.Path)
	}
	for _, u := range c.Users {
		p.Users = append(p.Users, customise.User{
			Name: u.Name, UID: u.UID, Gecos: u.Comment, Shell: u.Shell, Groups: u.Groups, PasswordHash: u.PasswordHash, SSHKeys: u.SSHKeys,
		})
	}
	return p
}

// liveSession are the variables of casper.conf.
func liveSession(c *config.Config) []customise.Variable {
	s := c.LiveSession
	var list []customise.Variable
	for _, v := range []customise.Variable{{Name: "USERNAME", Value: s.User}, {Name: "USERFULLNAME", Value: s.FullName}, {Name: "HOST", Value: s.Host}, {Name: "FLAVOUR", Value: s.Flavour}} {
		if v.Value != "" {
			list = append(list, v)
		}
	}
	return list
}

func memoryTests(c *config.Config) []livetree.MemoryTest {
	var tests []livetree.MemoryTest
	for _, t := range c.Boot.MemoryTests {
		tests = append(tests, livetree.MemoryTest{File: RecordPath(config.Clean(t.File)), Path: t.OnMedium(), Title: t.Title, Firmware: t.Firmware, Options: t.Options})
	}
	return tests
}

func overlayPaths(m *Materials) []string {
	var paths []string
	for _, f := range m.Overlay {
		paths = append(paths, f.To)
	}
	return paths
}

// About describes a stage for people.
type About struct {
	Name  string `json:"name"`
	Takes string `json:"takes"`
	Gives string `json:"gives"`
	// From are the stages whose outputs it takes.
	From []string `json:"from"`
	// Only says what in the config brings the stage in, where not all do.
	Only string `json:"only,omitempty"`
}

// only are the stages that not every config has.
var only = map[string]string{"sourceiso": "sources: true", "diskboot": "outputs: [iso, vhd]", "disk": "outputs: [iso, vhd]"}

// List describes the pipeline, in order.
func List() []About {
	c, err := config.Parse("starter", []byte(config.Starter("live", "trixie")+"sources: true\noutputs: [iso, vhd]\n"))
	if err != nil {
		panic(err) // the starter is ours, and a test parses it
	}
	g, _ := Pipeline(c, &lockfile.Lock{}, &Materials{}, nil)
	var list []About
	for _, s := range g.Stages() {
		a := About{Name: s.Name, Takes: s.Takes, Gives: s.Gives, From: []string{}, Only: only[s.Name]}
		for _, in := range s.Inputs {
			if name := stage.MakerOf(in.From); !slices.Contains(a.From, name) {
				a.From = append(a.From, name)
			}
		}
		list = append(list, a)
	}
	return list
}

// Markdown is docs/pipeline.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# The pipeline\n\nMade from `stages/pipeline.go` by `isotrace stages --markdown`. Each stage leaves one signed link.\n\n| stage | takes | gives | after |\n|---|---|---|---|\n")
	for _, a := range List() {
		gives := a.Gives
		if a.Only != "" {
			gives += " (with `" + a.Only + "`)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", a.Name, a.Takes, gives, strings.Join(a.From, ", "))
	}
	return b.String()
}
