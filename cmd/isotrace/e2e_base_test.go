package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// cosignBinary builds the cosign that go.mod names.
func cosignBinary(t *testing.T, to string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", to, "github.com/sigstore/cosign/v2/cmd/cosign")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build cosign: %v\n%s", err, out)
	}
}

const baseDockerfile = "FROM scratch\nADD root.tar /\nADD sources.tar /\n"

// signBase takes a project's OCI layout through a registry, where it gets provenance as
// BuildKit writes it and a signature by cosign, and has the project ask for both.
func signBase(t *testing.T, p *project) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	dir := filepath.Join(p.dir, "base.oci")
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	statement, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2",
		"subject": []any{map[string]any{"name": "base", "digest": map[string]string{"sha256": m.Manifests[0].Digest.Hex}}},
		"predicate": map[string]any{"metadata": map[string]any{"https://mobyproject.org/buildkit@v1#metadata": map[string]any{"source": map[string]any{"infos": []any{
			map[string]string{"filename": "Dockerfile", "language": "Dockerfile", "data": base64.StdEncoding.EncodeToString([]byte(baseDockerfile))},
		}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	proof, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:       static.NewLayer(statement, types.MediaType("application/vnd.in-toto+json")),
		Annotations: map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	whole := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: proof, Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": m.Manifests[0].Digest.String()},
		}})
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/base/system:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, whole); err != nil {
		t.Fatal(err)
	}
	digest, err := whole.Digest()
	if err != nil {
		t.Fatal(err)
	}
	signed := ref.Context().Digest(digest.String()).String()
	cosign := filepath.Join(t.TempDir(), "cosign")
	cosignBinary(t, cosign)
	if out, code := p.run("keys", "new", "--role", "release"); code != 0 {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"sign", "--key", filepath.Join(p.dir, "keys", "release.key"), "--tlog-upload=false", "--yes", signed},
		{"save", "--dir", dir, signed},
	} {
		c := exec.Command(cosign, args...)
		c.Env = p.command().Env
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("cosign %v: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(p.dir, "Dockerfile"), []byte(baseDockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, "isotrace.yaml")
	text := string(readAll(t, file))
	ask := func(key string) {
		t.Helper()
		changed := strings.Replace(text, "base: {oci: base.oci}", "base: {oci: base.oci, signed-by: keys/"+key+".pub, dockerfile: Dockerfile}", 1)
		if changed == text {
			t.Fatalf("%s has another base", file)
		}
		if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ask("builder")
	if out, code := p.run("lock"); code != 3 || !strings.Contains(out, "no signature of key ") {
		t.Errorf("a base image that another key signed: exit status %d\n%s", code, out)
	}
	ask("release")
}
