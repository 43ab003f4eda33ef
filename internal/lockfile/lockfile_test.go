package lockfile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
)

func digest(c string) artifact.Digest { return artifact.Digest(strings.Repeat(c, 64)) }

// sample is a lock with one of everything, out of order.
func sample() *Lock {
	pkg := func(name, version string, uses ...Use) Package {
		return Package{
			Name: name, Version: version, Architecture: "amd64", Source: name, SourceVersion: version, Archive: "debian/stable",
			Path: "pool/" + name + ".deb", Size: 10, SHA256: artifact.HashBytes([]byte(name)), For: uses, Why: "a test",
		}
	}
	return &Lock{
		Format: Format, Intent: digest("a"), Epoch: 1700000000, Architecture: "amd64",
		Image: &Image{
			Manifest: Blob{"application/vnd.oci.image.manifest.v1+json", digest("1"), 1},
			Config:   Blob{"application/vnd.oci.image.config.v1+json", digest("2"), 2},
			Layers:   []Blob{{"application/vnd.oci.image.layer.v1.tar+gzip", digest("3"), 3}},
			Packages: []string{"base-files:amd64=1", "left:all=1", "zsh:amd64=1"},
		},
		Archives: []Archive{{
			ID: "debian/stable", Repository: "debian", Suite: "stable", Codename: "trixie", Date: "2026-01-01T00:00:00Z",
			Keyring:       artifact.Ref{Path: "k.asc", Digest: digest("b"), Size: 5},
			Signers:       []Signer{{"AA", "BB"}},
			Release:       artifact.Ref{Path: "dists/stable/InRelease", Digest: digest("c"), Size: 6},
			Indexes:       []Index{{artifact.Ref{Path: "dists/stable/main/binary-amd64/Packages.xz", Digest: digest("d"), Size: 7}, "main"}},
			SourceIndexes: []Index{{artifact.Ref{Path: "dists/stable/main/source/Sources.xz", Digest: digest("e"), Size: 8}, "main"}},
		}},
		Target: []Package{pkg("zsh", "2", UseInstall), pkg("base-files", "1", UseProof), pkg("apt", "1", UseInstall)},
		Boot:   []Package{pkg("grub-pc-bin", "1", UseBoot)},
		Tools:  []Package{pkg("xorriso", "1", UseBuild), pkg("libc6", "1", UseBuild, UseEmulator)},
		Sources: []Source{
			source("zsh", "2", "zsh:amd64=2"), source("apt", "1", "zsh:amd64=2", "apt:amd64=1"), source("base-files", "1", "base-files:amd64=1"),
		},
		SourcesMissing: []MissingSource{{"old", "7", []string{"left:all=1"}}, {"grub-pc-bin", "1", []string{"grub-pc-bin:amd64=1"}}},
	}
}

func source(name, version string, users ...string) Source {
	return Source{
		Name: name, Version: version, Archive: "debian/stable", For: users,
		Files: []artifact.Ref{
			{Path: "pool/" + name + ".orig.tar.xz", Digest: artifact.HashBytes([]byte(name + " orig")), Size: 3},
			{Path: "pool/" + name + ".dsc", Digest: artifact.HashBytes([]byte(name + " dsc")), Size: 0},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	text, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Decode("isotrace.lock", text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, again) {
		t.Error("encoding is not canonical")
	}
	if l.Target[0].Name != "apt" || l.Tools[0].Name != "libc6" {
		t.Error("packages are not sorted")
	}
	if have := strings.Join(l.Installed(), " "); have != "apt:amd64=1 base-files:amd64=1 left:all=1 zsh:amd64=2" {
		t.Errorf("installed: %s", have)
	}
	if l.Sources[0].Name != "apt" || l.Sources[0].For[0] != "apt:amd64=1" || l.Sources[0].Files[0].Path != "pool/apt.dsc" || l.SourcesMissing[0].Name != "grub-pc-bin" {
		t.Error("sources are not sorted")
	}
	if files := l.Archives[0].Files(); len(files) != 3 || files[2].Path != "dists/stable/main/source/Sources.xz" {
		t.Errorf("the archive's files: %v", files)
	}
	if Count(l.Target, UseProof) != 1 || Count(l.Target, UseBase, UseInstall) != 2 {
		t.Error("counts")
	}
	if l.Pin("zsh") != "zsh=2" || l.Pin("zsh=2") != "zsh=2" || l.Pin("base-files") != "base-files" {
		t.Error("pins")
	}
	if len(l.Image.Blobs()) != 3 || l.ArchiveOf("debian/stable").Suite != "stable" || !l.Tools[0].Is(UseEmulator) {
		t.Error("lookups")
	}
}

// TestInstalled: a package of the target set takes the place of the base image's.
func TestInstalled(t *testing.T) {
	for _, c := range []struct{ base, target, want string }{
		{"a:amd64=1 b:all=1:2-3", "", "a:amd64=1 b:all=1:2-3"},
		{"a:amd64=1 b:all=1", "a:amd64=2", "a:amd64=2 b:all=1"},
		{"a:amd64=1 b:all=1", "b:amd64=2", "a:amd64=1 b:amd64=2"}, // no longer for all architectures
		{"a:amd64=1", "a:i386=1", "a:amd64=1 a:i386=1"},
		{"a:amd64=1", "a:all=2", "a:all=2"},
		{"", "a:amd64=2", "a:amd64=2"},
	} {
		l := &Lock{Architecture: "amd64", Image: &Image{Packages: strings.Fields(c.base)}}
		for _, id := range l.Image.Packages {
			name, arch, version := SplitID(id)
			l.Target = append(l.Target, Package{Name: name, Architecture: arch, Version: version, For: []Use{UseProof}})
			if l.Target[len(l.Target)-1].ID() != id {
				t.Errorf("%s was taken apart as %s %s %s", id, name, arch, version)
			}
		}
		for _, id := range strings.Fields(c.target) {
			name, arch, version := SplitID(id)
			l.Target = append(l.Target, Package{Name: name, Architecture: arch, Version: version, For: []Use{UseInstall}})
		}
		if have := strings.Join(l.Installed(), " "); have != c.want {
			t.Errorf("%s with %s: %s, want %s", c.base, c.target, have, c.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	text, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, with, want string }{
		{"format: 1\n", "format: 2\n", "format 2, this isotrace reads 1"},
		{"format: 1\n", "format: 1\nnew: 1\n", "field new not found"},
		{"epoch: 1700000000", "epoch: 0", "epoch 0"},
		{"epoch: 1700000000", "epoch: 1700000000 # note", "isotrace.lock:4: was changed by hand"},
		{"config: aa", "config: AA", "config: sha256"},
		{"path: pool/apt.deb", "path: ../../apt.deb", "apt"},
		{"path: pool/apt.deb", "path: /pool/apt.deb", "apt"},
		{"name: apt\n", "name: base-files\n", "base-files: listed twice"},
		{"for: [boot]", "for: [install]", `is for "install"`},
		{"for: [boot]", "for: []", "does not say what it is for"},
		{"archive: debian/stable\n    path: pool/apt", "archive: debian/sid\n    path: pool/apt", "is not in the lock"},
		{"version: \"1\"\n    architecture: amd64\n    source: apt", "version: \"-\"\n    architecture: amd64\n    source: apt", "apt"},
		{"size: 10\n", "size: 0\n", "size 0"},
		{"id: debian/stable", "id: debian/other", "misnamed"},
		{"for: [proof]", "for: [proof, install]", "base-files: is for proof, and for something else too"},
		{"for: [boot]", "for: [proof]", `is for "proof", which its set is not`},
		{"- base-files:amd64=1", "- base-files:amd64=2", "the base image does not have base-files:amd64=1"},
		{"name: zsh\n", "name: base-files\n", "base-files: listed twice"},
		{"name: zsh\n    version: \"2\"\n    architecture: amd64", "name: base-files\n    version: \"2\"\n    architecture: all", "base-files: listed twice"},
		{"- left:all=1\n", "- left=1\n", `image: package "left=1": architecture`},
		{"- left:all=1\n", "- \"le\\eft:all=1\"\n", "image: package"},
		{"path: dists/stable/main/source/Sources.xz", "path: /dists/stable/main/source/Sources.xz", "archive debian/stable: path"},
		{"path: pool/apt.dsc", "path: ../apt.dsc", "sources: apt: path"},
		{"path: pool/apt.dsc", "path: pool/apt.txt", "sources: apt: want one .dsc, have 0"},
		{"path: pool/apt.orig.tar.xz", "path: pool/apt.dsc", "sources: apt: pool/apt.dsc: listed twice"},
		{"path: pool/zsh.orig.tar.xz", "path: pool/apt.orig.tar.xz", "sources: zsh: pool/apt.orig.tar.xz: another source package has it with other content"},
		{"name: apt\n    version: \"1\"\n    archive", "name: a/t\n    version: \"1\"\n    archive", "sources: a/t: "},
		{"name: apt\n    version: \"1\"\n    archive", "name: apt\n    version: \"-\"\n    archive", "sources: apt: "},
		{"name: apt\n    version: \"1\"\n    archive", "name: apt\n    version: \"2\"\n    archive", "sources: there is none of apt:amd64=1"},
		{"name: apt\n    version: \"1\"\n    archive: debian/stable", "name: apt\n    version: \"1\"\n    archive: debian/sid", `archive "debian/sid" is not in the lock`},
		{"name: apt\n    version: \"1\"\n    archive", "name: base-files\n    version: \"1\"\n    archive", "sources: base-files: listed twice"},
		{"for:\n      - apt:amd64=1\n", "for:\n      - apt:amd64=2\n", `sources: apt: is for "apt:amd64=2", which is neither in the image`},
		{"for:\n      - apt:amd64=1\n      - zsh:amd64=2\n", "for: []\n", "sources: apt: does not say what it is for"},
		{"for:\n      - apt:amd64=1\n      - zsh:amd64=2\n", "for:\n      - zsh:amd64=2\n      - zsh:amd64=2\n", "sources: apt: is for zsh:amd64=2 twice"},
		{"for:\n      - apt:amd64=1\n      - zsh:amd64=2\n", "for:\n      - xorriso:amd64=1\n", "which is neither in the image"}, // a tool
		{"name: old\n    version: \"7\"", "name: apt\n    version: \"1\"", "sources-missing: apt: listed twice"},
		{"  - name: old\n    version: \"7\"\n    for:\n      - left:all=1\n", "", "sources: there is none of left:all=1"},
		{"path: dists/stable/InRelease", "path: dists/../../x", "debian/stable"},
	} {
		changed := strings.Replace(string(text), c.old, c.with, 1)
		if changed == string(text) {
			t.Fatalf("%q does not occur", c.old)
		}
		_, err := Decode("isotrace.lock", []byte(changed))
		if err == nil || !strings.Contains(err.Error(), c.want) || fault.ClassOf(err) != fault.Usage || fault.HintOf(err) == "" {
			t.Errorf("%q for %q: error %v, want %q", c.with, c.old, err, c.want)
		}
	}
	if _, err := Decode("isotrace.lock", nil); err == nil {
		t.Error("an empty lock was read")
	}
}

func TestCheckConfig(t *testing.T) {
	parse := func(more string) *config.Config {
		c, err := config.Parse("c", []byte("name: x\nrelease: \"1\"\nbase: {oci: l}\n"+more))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := parse("")
	l := sample()
	l.Archives[0].Keyring.Path, l.Epoch = "base:/k.asc", 1767225600 // as openBase and archives leave it
	var err error
	if l.Intent, err = c.Intent(); err != nil {
		t.Fatal(err)
	}
	if err := l.CheckConfig(c); err != nil {
		t.Error(err)
	}
	if err := l.CheckConfig(parse("hostname: y\n")); err != nil {
		t.Error(err)
	}
	if err := l.CheckConfig(parse("packages: [sudo]\n")); err == nil {
		t.Error("a drifted config was taken")
	}
	c = parse("sources: true\n")
	if l.Intent, err = c.Intent(); err != nil {
		t.Fatal(err)
	}
	if err := l.CheckConfig(c); err != nil {
		t.Error(err)
	}
	l.Sources = l.Sources[:1]
	if err := l.CheckConfig(c); err == nil || !strings.Contains(err.Error(), "where the source of apt:amd64=1 is") {
		t.Errorf("a lock without sources: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	text, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("format: 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Decode("isotrace.lock", b)
		if err != nil {
			return
		}
		again, err := l.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("what was read is not what is written: %v", err)
		}
	})
}

// TestProjectDebs: a package file of the project is the config's, and is installed.
func TestProjectDebs(t *testing.T) {
	own := Package{
		Name: "agent", Version: "1", Architecture: "all", Source: "agent", SourceVersion: "1", Archive: Project, Path: "debs/agent.deb",
		Size: 10, SHA256: artifact.HashBytes([]byte("agent")), For: []Use{UseInstall}, Why: "debs[0]: debs/agent.deb",
	}
	lock := func(change func(*Lock)) error {
		l := sample()
		l.Sources, l.SourcesMissing = nil, nil
		l.Target = append(l.Target, own)
		change(l)
		text, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, err = Decode(FileName, text)
		return err
	}
	for _, use := range []Use{UseInstall, UseBase} { // the latter in place of one of the minimal system
		if err := lock(func(l *Lock) { l.Target[3].For = []Use{use} }); err != nil {
			t.Error(err)
		}
	}
	for name, change := range map[string]func(*Lock){
		"proof":  func(l *Lock) { l.Target[3].For = []Use{UseProof} },
		"two":    func(l *Lock) { l.Target[3].For = []Use{UseBase, UseInstall} },
		"a tool": func(l *Lock) { l.Tools = append(l.Tools, own); l.Target = l.Target[:3] },
		"escape": func(l *Lock) { l.Target[3].Path = "../agent.deb" },
	} {
		if err := lock(change); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
	l := sample()
	l.Target = append(l.Target, own)
	if a := l.ArchiveOf(Project); a.Repository != Project || len(l.ProjectDebs()) != 1 {
		t.Errorf("%+v, %v", a, l.ProjectDebs())
	}
	for _, c := range []struct {
		debs []config.Deb
		want string
	}{
		{[]config.Deb{{File: "./debs/agent.deb", SHA256: own.SHA256}}, ""},
		{nil, "is not among the debs"},
		{[]config.Deb{{File: "debs/agent.deb", SHA256: digest("f")}}, "is not among the debs"},
		{[]config.Deb{{File: "debs/agent.deb", SHA256: own.SHA256}, {File: "debs/b.deb", SHA256: own.SHA256}}, "does not have debs/b.deb"},
	} {
		err := l.checkDebs(&config.Config{Debs: c.debs})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v, want %q", c.debs, err, c.want)
		}
	}
}
