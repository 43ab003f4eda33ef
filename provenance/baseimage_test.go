package provenance

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
)

// sampleBase is an image with all that can prove it, signed over its index: the
// evidence's files, and the lock of just these.
func sampleBase(t *testing.T, s *Signer) (files map[string]string, lock func() *lockfile.Lock) {
	t.Helper()
	layer := artifact.HashBytes([]byte("layer"))
	files = map[string]string{
		baseConfig:     `{"architecture":"amd64","os":"linux"}`,
		baseKey:        string(s.Public().PEM),
		BaseDockerfile: "FROM scratch\n",
	}
	digest := func(name string) artifact.Digest { return artifact.HashBytes([]byte(files[name])) }
	const oci = "application/vnd.oci.image."
	files[baseManifest] = fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%smanifest.v1+json","config":{"mediaType":"%sconfig.v1+json","size":1,"digest":"sha256:%s"},"layers":[{"mediaType":"%slayer.v1.tar","size":5,"digest":"sha256:%s"}]}`, oci, oci, digest(baseConfig), oci, layer)
	files[baseIndex] = fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%sindex.v1+json","manifests":[{"mediaType":"%smanifest.v1+json","size":1,"digest":"sha256:%s"}]}`, oci, oci, digest(baseManifest))
	files[baseProvenance(0)] = fmt.Sprintf(`{"subject":[{"name":"x","digest":{"sha256":"%s"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`, digest(baseManifest))
	files[basePayload] = fmt.Sprintf(`{"critical":{"identity":{"docker-reference":"example.org/base"},"image":{"docker-manifest-digest":"sha256:%s"},"type":"cosign container image signature"},"optional":null}`, digest(baseIndex))
	return files, func() *lockfile.Lock {
		sig, err := s.signFile([]byte(files[basePayload]))
		if err != nil {
			t.Fatal(err)
		}
		blob := func(name string) lockfile.Blob { return lockfile.Blob{Digest: digest(name)} }
		index := blob(baseIndex)
		return &lockfile.Lock{Image: &lockfile.Image{
			Manifest: blob(baseManifest), Config: blob(baseConfig), Layers: []lockfile.Blob{{Digest: layer}},
			Index: &index, Provenance: []lockfile.Blob{blob(baseProvenance(0))},
			Signature: &lockfile.ImageSignature{Payload: blob(basePayload), Value: base64.StdEncoding.EncodeToString(sig), Key: artifact.Ref{Digest: digest(baseKey)}},
		}}
	}
}

// TestBaseChecked changes what the evidence has of a base image. Where the lock is made
// after that, the change is one that a builder could make.
func TestBaseChecked(t *testing.T) {
	signer, other := newSigner(t), newSigner(t)
	change := func(file, old, with string) func(map[string]string) {
		return func(files map[string]string) { files[file] = strings.Replace(files[file], old, with, 1) }
	}
	for name, c := range map[string]struct {
		before, after func(files map[string]string) // the lock
		says          string
	}{
		"nothing":                 {nil, nil, ""},
		"config":                  {nil, change(baseConfig, "amd64", "arm64"), "base/config.json: its SHA-256 is "},
		"Dockerfile":              {nil, change(BaseDockerfile, "scratch", "debian"), "base/Dockerfile: its SHA-256 is "},
		"signer":                  {nil, func(f map[string]string) { f[baseKey] = string(other.Public().PEM) }, "base/signer.pub: its SHA-256 is "},
		"file gone":               {nil, func(f map[string]string) { delete(f, basePayload) }, `base/signature.json: its SHA-256 is ""`},
		"file too many":           {nil, func(f map[string]string) { f["base/more.json"] = "{}" }, "base/more.json: is not of the base image"},
		"manifest of other parts": {change(baseManifest, `"digest":"sha256:`, `"digest":"sha256:`+strings.Repeat("0", 64)+`","x":"`), nil, "base/manifest.json: is not of the locked config and layers"},
		"manifest that is none":   {change(baseManifest, "{", ""), nil, "base/manifest.json: "},
		"index of another image":  {change(baseIndex, `"digest":"sha256:`, `"digest":"sha256:`+strings.Repeat("0", 64)+`","x":"`), nil, "base/index.json: does not name the image"},
		"provenance of another":   {change(baseProvenance(0), `"sha256":"`, `"sha256":"0`), nil, "base/provenance-1.json: is not about the image"},
		"signature of another image": {change(basePayload, "sha256:", "sha256:"+strings.Repeat("0", 64)+`"},"x":{"y":"`), nil,
			"base/signature.json: is about sha256:" + strings.Repeat("0", 64)},
		"signed by another": {func(f map[string]string) { f[baseKey] = string(other.Public().PEM) }, nil, "base/signature.json: is not signed by key " + other.Public().KeyID()[:8]},
	} {
		files, lock := sampleBase(t, signer)
		if c.before != nil {
			c.before(files)
		}
		l := lock()
		dockerfile := artifact.HashBytes([]byte(files[BaseDockerfile]))
		if c.after != nil {
			c.after(files)
		}
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, BaseDir), 0o755); err != nil {
			t.Fatal(err)
		}
		v := &verification{
			Bundle: &Bundle{dir: dir, Lock: l, Config: &config.Config{Base: config.Base{Dockerfile: "Dockerfile"}}}, files: map[string]artifact.Digest{},
			links: map[string]stage.Record{baseStage: {Materials: map[string]artifact.Digest{"project/Dockerfile": dockerfile}}},
		}
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			v.files[file] = artifact.HashBytes([]byte(text))
		}
		what, problems, err := v.checkBase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.says == "" {
			for says, key := range map[string]*PublicKey{"": signer.Public(), baseKey + ": is key " + signer.Public().KeyID()[:8] + ", and ": other.Public()} {
				v.opts.BaseKey = key
				if _, named, err := v.checkBase(t.Context()); err != nil || len(named) > 0 != (says != "") || says != "" && !strings.HasPrefix(named[0].String(), says) {
					t.Errorf("named: %v, %v, want %q", named, err, says)
				}
			}
			v.opts.BaseKey, l.Image.Signature = signer.Public(), nil
			if _, named, err := v.checkBase(t.Context()); err != nil || !slices.ContainsFunc(named, func(p Problem) bool { return strings.HasPrefix(p.Detail, "is missing, and the key") }) {
				t.Errorf("not signed: %v, %v", named, err)
			}
		}
		switch {
		case c.says == "" && (len(problems) > 0 || !strings.HasSuffix(what, "signed by "+signer.Public().KeyID()[:8])):
			t.Errorf("%s: %s, %v", name, what, problems)
		case c.says != "" && (len(problems) == 0 || !strings.HasPrefix(problems[0].String(), c.says)):
			t.Errorf("%s: %v, want %q", name, problems, c.says)
		}
	}
}
