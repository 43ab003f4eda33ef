package stages

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/artifact/artifacttest"
	"github.com/isotrace/isotrace/internal/baseimage"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/stages/base"
	"github.com/isotrace/isotrace/stages/fetch"
)

var update = flag.Bool("update", false, "write the goldens")

func TestMain(m *testing.M) {
	inside, code, err := sandbox.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !inside {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestPipelineDoc keeps docs/pipeline.md as the pipeline is.
func TestPipelineDoc(t *testing.T) {
	const golden = "../docs/pipeline.md"
	have := Markdown()
	if *update {
		if err := os.WriteFile(golden, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("%s is not what the pipeline is: make docs", golden)
	}
}

// TestSameSteps makes sure that one config has one pipeline: a layout that is written
// again is the same layout.
func TestSameSteps(t *testing.T) {
	c := &config.Config{Name: "x", Release: "1", Sources: true, Boot: config.Boot{Timeout: new(int)}}
	want := Steps(c)
	for range 20 {
		if have := Steps(c); !reflect.DeepEqual(have, want) {
			t.Fatalf("the steps differ:\n%v\n%v", have, want)
		}
	}
}

func TestMirrors(t *testing.T) {
	m := Mirrors{
		Config: map[string][]string{"debian": {"http://config.example/debian"}},
		Given:  []string{"http://given.example/debian", "ports=http://given.example/odd/place", "http://config.example/debian"},
		Host:   []archive.Source{{Types: []string{"deb"}, URIs: []string{"http://host.example/debian", "http://host.example/debian-security"}, Suites: []string{"x"}}},
	}
	have, err := m.ByRepository()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"debian":          {"http://config.example/debian", "http://given.example/debian", "http://host.example/debian"},
		"ports":           {"http://given.example/odd/place"},
		"debian-security": {"http://host.example/debian-security"},
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
	if _, err := (Mirrors{Given: []string{"http://nothing.example"}}).ByRepository(); fault.ClassOf(err) != fault.Usage {
		t.Errorf("a mirror without a name: %v", err)
	}
}

func TestWhy(t *testing.T) {
	p := func(name, depends string) *archive.Package {
		return &archive.Package{Name: name, Version: "1", Architecture: "amd64", Depends: depends, SHA256: artifact.HashBytes([]byte(name))}
	}
	essential := p("dash", "libc6")
	essential.Essential = true
	provider := p("exim4", "")
	provider.Provides = "mail-transport-agent"
	chosen := []*archive.Package{essential, p("libc6", ""), p("mutt", "libc6, mail-transport-agent | x"), provider, p("stray", "")}
	c, err := config.Parse("c", []byte("name: x\nrelease: \"1\"\nbase: {oci: l}\npackages: [vim, mutt]\n"))
	if err != nil {
		t.Fatal(err)
	}
	have := why(c, chosen, map[artifact.Digest]bool{essential.SHA256: true})
	want := map[string]string{
		"mutt": "packages[1]: mutt", "dash": "minimal system: essential", "libc6": "needed by mutt: libc6",
		"exim4": "needed by mutt: mail-transport-agent | x", "stray": "apt's choice",
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %v\nwant %v", have, want)
	}
}

func TestCollect(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(config.FileName, "name: x\nrelease: \"1\"\nbase: {oci: l}\noverlay: [{from: files, to: /}, {from: ./one, to: /opt/, mode: \"0600\", uid: 7}]\nscripts: [s.sh]\n", 0o600)
	write("files/etc/motd", "hello", 0o640)
	write("files/usr/bin/run", "#!", 0o700)
	write("one", "1", 0o644)
	write("s.sh", "#!", 0o755)
	if err := os.Symlink("motd", filepath.Join(dir, "files/etc/link")); err != nil {
		t.Fatal(err)
	}
	p, err := OpenProject(dir)
	if err != nil {
		t.Fatal(err)
	}
	store := openStore(t)
	m, err := p.Collect(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, f := range m.Overlay {
		have = append(have, fmt.Sprintf("%s %o %d %s%s", f.To, f.Mode, f.UID, f.Material, f.Link))
	}
	want := []string{"/etc/link 0 0 motd", "/etc/motd 644 0 project/files/etc/motd", "/usr/bin/run 755 0 project/files/usr/bin/run", "/opt/one 600 7 project/one"}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("overlay:\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if len(m.OverlayFiles) != 3 || len(m.Scripts) != 1 || !store.Has(m.Scripts[0].Digest) {
		t.Errorf("materials: %+v", m)
	}
	// A link in the project must not bring in the host's files.
	if err := os.Remove(filepath.Join(dir, "one")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "s2.sh")); err != nil {
		t.Fatal(err)
	}
	p.Config.Overlay, p.Config.Scripts = nil, []config.Source{{From: "s2.sh"}}
	if _, err := p.Collect(t.Context(), store); err == nil {
		t.Error("a script was read through a link out of the project")
	}
}

// TestCollectNames: what records cannot name is refused before anything is built.
func TestCollectNames(t *testing.T) {
	for name, lay := range map[string]func(at string) error{
		"file":   func(at string) error { return os.WriteFile(filepath.Join(at, "caf\xe9"), nil, 0o644) },
		"folder": func(at string) error { return os.MkdirAll(filepath.Join(at, "caf\xe9/b"), 0o755) },
		"link":   func(at string) error { return os.Symlink("b", filepath.Join(at, "caf\xe9")) },
		"target": func(at string) error { return os.Symlink("caf\xe9", filepath.Join(at, "b")) },
	} {
		dir := t.TempDir()
		text := "name: x\nrelease: \"1\"\nbase: {oci: l}\noverlay: [{from: files, to: /}]\n"
		err := errors.Join(os.WriteFile(filepath.Join(dir, config.FileName), []byte(text), 0o644), os.MkdirAll(filepath.Join(dir, "files/a"), 0o755), lay(filepath.Join(dir, "files/a")))
		if err != nil {
			t.Fatal(err)
		}
		p, err := OpenProject(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Collect(t.Context(), openStore(t))
		if fault.ClassOf(err) != fault.Usage || !strings.Contains(fmt.Sprint(err), `caf\xe9": `) && !strings.Contains(fmt.Sprint(err), `caf\xe9" is`) || !strings.Contains(fmt.Sprint(err), "is not UTF-8") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func openStore(t *testing.T) *artifact.Store {
	t.Helper()
	return artifacttest.Open(t, filepath.Join(t.TempDir(), "store"))
}

// layerOf makes an image layer of files; a name that ends in a slash is a folder.
func layerOf(t *testing.T, files ...string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		path, text, _ := strings.Cut(f, "=")
		h := &tar.Header{Name: path, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(path, "/") {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// treeOf builds the base stage of an image and returns the tree's manifest.
func treeOf(t *testing.T, b config.Base, dir string) (*roottree.Manifest, lockfile.Image) {
	t.Helper()
	img, err := baseimage.Open(t.Context(), b, dir, "amd64", nil)
	if err != nil {
		t.Fatal(err)
	}
	store := openStore(t)
	for _, blob := range img.Locked.Blobs() {
		if err := img.Copy(t.Context(), store, blob); err != nil {
			t.Fatal(err)
		}
	}
	g := &stage.Graph{}
	lock := stage.Material{Ref: artifact.Ref{Path: "lock", Digest: artifact.HashBytes(nil)}}
	fetched := g.Add(fetch.Stage(lock, nil, Items(&lockfile.Lock{Image: &img.Locked}), haveAll))
	tree := g.Add(base.Image(fetched.Set(fetch.Base), img.Locked.Manifest.Digest)).Tree("root")
	var m *roottree.Manifest
	runner := &stage.Runner{Store: store}
	err = runner.WithTree(t.Context(), g, tree, func(dir string) (err error) {
		m, err = roottree.Walk(t.Context(), dir, roottree.WalkOptions{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, img.Locked
}

// TestBaseImage reads one image from an OCI layout, a docker save archive and a
// registry: whiteouts apply, and all give one tree.
func TestBaseImage(t *testing.T) {
	img, err := mutate.AppendLayers(empty.Image,
		layerOf(t, "etc/", "etc/a=1", "etc/b=2", "var/", "var/old/", "var/old/x=3"),
		layerOf(t, "etc/.wh.a=", "etc/c=4", "var/old/.wh..wh..opq=", "var/old/y=5"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg.OS, cfg.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendImage(img, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag("example/image:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "saved.tar"), ref, img); err != nil {
		t.Fatal(err)
	}
	fromLayout, locked := treeOf(t, config.Base{OCI: "layout"}, dir)
	fromSaved, _ := treeOf(t, config.Base{Archive: "saved.tar"}, dir)
	var paths []string
	for _, e := range fromLayout.Entries {
		if e.Type == roottree.File {
			paths = append(paths, e.Path)
		}
	}
	if have := strings.Join(paths, " "); have != "etc/b etc/c var/old/y" {
		t.Errorf("files: %s", have)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	pushed, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/example/image:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(pushed, img); err != nil {
		t.Fatal(err)
	}
	fromRegistry, lockedRegistry := treeOf(t, config.Base{Image: pushed.String()}, dir)
	if fromRegistry.Digest() != fromLayout.Digest() || !reflect.DeepEqual(lockedRegistry, locked) {
		t.Errorf("the registry's image is another: %+v, %+v", lockedRegistry, locked)
	}
	if fromLayout.Digest() != fromSaved.Digest() {
		t.Errorf("two trees: %v", roottree.Compare(fromLayout, fromSaved, roottree.CompareOptions{}))
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if digest.Hex != string(locked.Manifest.Digest) {
		t.Errorf("the image's digest is %s, locked %s", digest.Hex, locked.Manifest.Digest)
	}
	_, err = baseimage.Open(t.Context(), config.Base{OCI: "layout", Digest: "sha256:" + strings.Repeat("0", 64)}, dir, "amd64", nil)
	if fault.ClassOf(err) != fault.Refused {
		t.Errorf("another digest: %v", err)
	}
	// A blob that was changed after it was named.
	blob := filepath.Join(dir, "layout", "blobs", "sha256", string(locked.Layers[0].Digest))
	b, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(blob, b, 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := baseimage.Open(t.Context(), config.Base{OCI: "layout"}, dir, "amd64", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Copy(t.Context(), openStore(t), again.Locked.Layers[0]); err == nil {
		t.Error("a changed layer was taken")
	}
}

// TestOnly: a stage that is said to be in some builds alone is in no other.
func TestOnly(t *testing.T) {
	c, err := config.Parse("starter", []byte(config.Starter("live", "trixie")))
	if err != nil {
		t.Fatal(err)
	}
	g, _ := Pipeline(c, &lockfile.Lock{}, &Materials{}, nil)
	always := map[string]bool{}
	for _, s := range g.Stages() {
		always[s.Name] = true
	}
	for _, a := range List() {
		if always[a.Name] != (a.Only == "") {
			t.Errorf("stage %s: in every build %t, said to need %q", a.Name, always[a.Name], a.Only)
		}
	}
}
