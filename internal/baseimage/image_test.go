package baseimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
)

// A layout is written by hand, to have in it what no library writes.
type testLayout struct {
	t   *testing.T
	dir string
}

func newLayout(t *testing.T) *testLayout {
	t.Helper()
	l := &testLayout{t, t.TempDir()}
	if err := os.MkdirAll(filepath.Join(l.dir, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *testLayout) blob(mediaType types.MediaType, content []byte) v1.Descriptor {
	l.t.Helper()
	d := artifact.HashBytes(content)
	if err := os.WriteFile(filepath.Join(l.dir, "blobs", "sha256", string(d)), content, 0o644); err != nil {
		l.t.Fatal(err)
	}
	return v1.Descriptor{MediaType: mediaType, Size: int64(len(content)), Digest: v1.Hash{Algorithm: "sha256", Hex: string(d)}}
}

func (l *testLayout) json(mediaType types.MediaType, content any) v1.Descriptor {
	l.t.Helper()
	b, err := json.Marshal(content)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.blob(mediaType, b)
}

// image has a layer of its own for each text, and a config with the platform that text
// has before the first blank.
func (l *testLayout) image(text string, change func(*v1.Manifest)) v1.Descriptor {
	l.t.Helper()
	layer := l.blob(types.OCIUncompressedLayer, []byte(text))
	p, err := v1.ParsePlatform(strings.Fields(text)[0])
	if err != nil {
		l.t.Fatal(err)
	}
	if p.OS == "none" {
		p = &v1.Platform{}
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{layer}, Config: l.json(types.OCIConfigJSON, v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layer.Digest}},
	})}
	if change != nil {
		change(&m)
	}
	return l.json(types.OCIManifestSchema1, m)
}

func (l *testLayout) index(images ...v1.Descriptor) v1.Descriptor {
	l.t.Helper()
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: images}
	b, err := json.Marshal(m)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "index.json"), b, 0o644); err != nil {
		l.t.Fatal(err)
	}
	return l.blob(m.MediaType, b)
}

func on(d v1.Descriptor, platform string) v1.Descriptor {
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		panic(err)
	}
	d.Platform = p
	return d
}

func tagged(d v1.Descriptor, tag string) v1.Descriptor {
	d.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	return d
}

// TestLayouts: the one image for the platform, whatever stands beside it.
func TestLayouts(t *testing.T) {
	artefact := func(m *v1.Manifest) { m.Config.MediaType = "application/vnd.oci.empty.v1+json" }
	for name, c := range map[string]struct {
		images func(l *testLayout) []v1.Descriptor
		want   string // the text of the image's layer, or the error after a ! mark
	}{
		"two tags of one image": {func(l *testLayout) []v1.Descriptor {
			a := l.image("linux/amd64 a", nil)
			return []v1.Descriptor{tagged(a, "one"), tagged(on(a, "linux/amd64"), "two")}
		}, "linux/amd64 a"},
		"nested twice": {func(l *testLayout) []v1.Descriptor {
			a := l.image("linux/amd64 a", nil)
			i := l.index(a)
			return []v1.Descriptor{l.index(i), i}
		}, "linux/amd64 a"},
		"two images": {func(l *testLayout) []v1.Descriptor {
			return []v1.Descriptor{l.image("linux/amd64 a", nil), l.image("linux/amd64 b", nil)}
		}, "!2 images for linux/amd64: sha256:"},
		"two images, one below": {func(l *testLayout) []v1.Descriptor {
			return []v1.Descriptor{l.index(l.image("linux/amd64 a", nil)), l.index(l.image("linux/amd64 b", nil))}
		}, "!2 images for linux/amd64: sha256:"},
		"platform by config alone": {func(l *testLayout) []v1.Descriptor {
			return []v1.Descriptor{l.image("linux/arm64 a", nil), l.image("linux/amd64 b", nil), l.image("linux/arm/v7 c", nil)}
		}, "linux/amd64 b"},
		"another architecture": {func(l *testLayout) []v1.Descriptor {
			return []v1.Descriptor{l.image("linux/arm64 a", nil), l.image("windows/amd64 a", nil)}
		}, "!no image for linux/amd64, only for linux/arm64, windows/amd64"},
		"the index lies": {func(l *testLayout) []v1.Descriptor {
			return []v1.Descriptor{on(l.image("linux/arm64 a", nil), "linux/amd64")}
		}, "!the image is for linux/arm64 as its config says, want linux/amd64"},
		"variants": {func(l *testLayout) []v1.Descriptor {
			return []v1.Descriptor{on(l.image("linux/amd64/v3 a", nil), "linux/amd64/v3"), on(l.image("linux/amd64 b", nil), "linux/amd64"), on(l.image("linux/amd64/v2 c", nil), "linux/amd64/v2")}
		}, "linux/amd64 b"},
		"first variant": {func(l *testLayout) []v1.Descriptor {
			return []v1.Descriptor{on(l.image("linux/amd64/v1 a", nil), "linux/amd64/v1")}
		}, "linux/amd64/v1 a"},
		"later variant alone": {func(l *testLayout) []v1.Descriptor { return []v1.Descriptor{l.image("linux/amd64/v3 a", nil)} }, "!no image for linux/amd64, only for linux/amd64/v3"},
		"other name":          {func(l *testLayout) []v1.Descriptor { return []v1.Descriptor{l.image("linux/x86_64 a", nil)} }, "linux/x86_64 a"},
		"no platform at all":  {func(l *testLayout) []v1.Descriptor { return []v1.Descriptor{l.image("none/none a", nil)} }, "none/none a"},
		"attestations": {func(l *testLayout) []v1.Descriptor {
			return []v1.Descriptor{l.image("linux/amd64 a", nil), on(l.image("none/none b", nil), "unknown/unknown"), l.image("unknown/unknown c", nil)}
		}, "linux/amd64 a"},
		"artefacts": {func(l *testLayout) []v1.Descriptor {
			b := l.image("none/none b", nil)
			b.ArtifactType = "application/spdx+json"
			return []v1.Descriptor{l.image("linux/amd64 a", nil), b, l.image("none/none c", artefact)}
		}, "linux/amd64 a"},
		"other platforms' blobs missing": {func(l *testLayout) []v1.Descriptor {
			b := on(l.image("linux/arm64 b", nil), "linux/arm64")
			if err := os.Remove(filepath.Join(l.dir, "blobs", "sha256", b.Digest.Hex)); err != nil {
				l.t.Fatal(err)
			}
			return []v1.Descriptor{on(l.image("linux/amd64 a", nil), "linux/amd64"), b}
		}, "linux/amd64 a"},
		"nothing": {func(*testLayout) []v1.Descriptor { return nil }, "!no image for linux/amd64"},
		"nested too deeply": {func(l *testLayout) []v1.Descriptor {
			i := l.index(l.image("linux/amd64 a", nil))
			for range 5 {
				i = l.index(i)
			}
			return []v1.Descriptor{i}
		}, "!nested too deeply"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			l.index(c.images(l)...)
			img, err := Open(t.Context(), config.Base{OCI: "."}, l.dir, "amd64", nil)
			if says, wrong := strings.CutPrefix(c.want, "!"); wrong {
				if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v, want %q", err, says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if have := img.Locked.Layers[0].Digest; have != artifact.HashBytes([]byte(c.want)) {
				t.Errorf("it takes another image: %+v", img.Locked)
			}
		})
	}
}

// TestForeignLayer: what is not in the layout is said to be foreign, and where it is.
func TestForeignLayer(t *testing.T) {
	for name, c := range map[string]struct {
		layer v1.Descriptor
		says  string
	}{
		"foreign": {v1.Descriptor{MediaType: types.DockerForeignLayer, URLs: []string{"https://example.org/x"}}, "only a reference to https://example.org/x: it is a foreign layer, application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
		"missing": {v1.Descriptor{MediaType: types.OCILayer}, "is not in it"},
	} {
		l := newLayout(t)
		c.layer.Size, c.layer.Digest = 3, v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}
		l.index(l.image("linux/amd64 a", func(m *v1.Manifest) { m.Layers[0] = c.layer }))
		img, err := Open(t.Context(), config.Base{OCI: "."}, l.dir, "amd64", nil)
		if err != nil {
			t.Fatal(err)
		}
		store, err := artifact.OpenStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := img.Copy(t.Context(), store, img.Locked.Layers[0]); err == nil || !strings.Contains(err.Error(), "layer sha256:1111") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want %q", name, err, c.says)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

const (
	one         = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	two         = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	savedConfig = `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["` + one + `","` + two + `"]}}`
)

// savedTar is a tar archive; a content of "> NAME" makes a symbolic link.
func savedTar(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
		if to, link := strings.CutPrefix(files[name], "> "); link {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(files[name])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSaved: however a docker save archive is packed, it is the same image.
func TestSaved(t *testing.T) {
	with := func(changes map[string]string) []byte {
		files := map[string]string{
			"manifest.json": `[{"Config":"c.json","RepoTags":["a:1","a:2"],"Layers":["x/layer.tar","y/layer.tar"]}]`,
			"c.json":        savedConfig, "x/layer.tar": "one", "y/layer.tar": "two",
		}
		for name, text := range changes {
			if files[name] = text; text == "" {
				delete(files, name)
			}
		}
		return savedTar(t, files)
	}
	plain := with(nil)
	twice := `{"Config":"c.json","RepoTags":["b:1"],"Layers":["x/layer.tar","y/layer.tar"]}`
	good := map[string][]byte{
		"plain": plain, "gzip": gz(t, plain), "zstd": zst(t, plain),
		"compressed layers":    with(map[string]string{"x/layer.tar": string(gz(t, []byte("one"))), "y/layer.tar": string(zst(t, []byte("two")))}),
		"links":                with(map[string]string{"y/layer.tar": "> ../z/layer.tar", "z/layer.tar": "two"}),
		"two entries":          with(map[string]string{"manifest.json": "[" + twice + "," + twice + "]"}),
		"beside an OCI layout": with(map[string]string{"oci-layout": "{}", "index.json": "{}"}),
	}
	zeros := gz(t, make([]byte, 300<<20)) // a thousandth of that
	dir := t.TempDir()
	open := func(content []byte) (*Image, error) {
		if err := os.WriteFile(filepath.Join(dir, "saved"), content, 0o644); err != nil {
			t.Fatal(err)
		}
		return Open(t.Context(), config.Base{Archive: "saved"}, dir, "amd64", nil)
	}
	// What the code before gave for it: a lock stays valid.
	const digest = "98d559fa0d1ca45fb19e970fe8c3357ee697df8ef0e0cef911aa91ea72716795"
	for name, content := range good {
		img, err := open(content)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if img.Locked.Manifest.Digest != digest || img.Locked.Layers[1].Digest != artifact.HashBytes([]byte("two")) {
			t.Errorf("%s: %+v", name, img.Locked)
		}
		store, err := artifact.OpenStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range img.Locked.Blobs() {
			if err := img.Copy(t.Context(), store, b); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := errors.Join(img.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"another architecture": {with(map[string]string{"c.json": strings.Replace(savedConfig, "amd64", "arm64", 1)}), "the image is for linux/arm64 as its config says, want linux/amd64"},
		"two images":           {with(map[string]string{"manifest.json": "[" + twice + "," + strings.Replace(twice, "c.json", "d.json", 1) + "]"}), "it holds 2 images"},
		"a layer of zeros":     {with(map[string]string{"x/layer.tar": string(zeros)}), "decompressed content is longer than allowed"},
		"zeros as a whole":     {zeros, "decompressed content is longer than allowed"},
		"no image":             {with(map[string]string{"manifest.json": "[]"}), "names no image"},
		"an OCI layout":        {savedTar(t, map[string]string{"oci-layout": "{}", "index.json": "{}"}), "it is an OCI layout in a tar archive: unpack it"},
		"a tar of files":       {savedTar(t, map[string]string{"etc/passwd": "x"}), "manifest.json is not in it"},
		"missing layer":        {with(map[string]string{"y/layer.tar": ""}), "y/layer.tar is not in it"},
		"layers too many":      {with(map[string]string{"c.json": strings.Replace(savedConfig, `,"`+two+`"`, "", 1)}), "2 layers, but its config names 1"},
		"circle of links":      {with(map[string]string{"y/layer.tar": "> layer.tar"}), "too many links"},
		"zip":                  {append([]byte("PK\x03\x04"), make([]byte, 2000)...), "it is a zip archive"},
		"bzip2":                {append([]byte("BZh91AY"), bytes.Repeat([]byte("x"), 2000)...), "it is compressed by bzip2"},
		"text":                 {bytes.Repeat([]byte("text"), 500), "invalid tar header"},
		"cut off":              {gz(t, plain)[:60], "unexpected EOF"},
		"tar cut off":          {plain[:700], "unexpected EOF"},
		"foreign layer":        {with(map[string]string{"y/layer.tar": "", "manifest.json": `[{"Config":"c.json","Layers":["x/layer.tar","y/layer.tar"],"LayerSources":{"` + two + `":{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":1,"digest":"` + one + `","urls":["https://example.org/x"]}}}]`}), "it is a foreign layer, application/vnd.docker.image.rootfs.foreign.diff.tar.gzip, of which there is only a reference to https://example.org/x"},
	} {
		img, err := open(c.content)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "base image saved: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", name, err, c.says)
		}
		if err == nil {
			_ = img.Close()
		}
	}
}
