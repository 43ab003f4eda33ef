package baseimage

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
)

func push(t *testing.T, statement []byte) (ref name.Reference, index v1.Hash) {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	img, err := random.Image(100, 2)
	must(err)
	digest, err := img.Digest()
	must(err)
	proof, err := mutate.Append(empty.Image,
		mutate.Addendum{Layer: static.NewLayer(statement, statementMediaType), Annotations: map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}},
		mutate.Addendum{Layer: static.NewLayer([]byte("{}"), statementMediaType), Annotations: map[string]string{"in-toto.io/predicate-type": "https://spdx.dev/Document"}})
	must(err)
	describes := func(d v1.Hash) v1.Descriptor {
		return v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": attestationType, "vnd.docker.reference.digest": d.String()},
		}
	}
	whole := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: proof, Descriptor: describes(digest)},
		mutate.IndexAddendum{Add: proof, Descriptor: describes(v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)})}) // of another image
	ref, err = name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/a/b:1")
	must(err)
	must(remote.WriteIndex(ref, whole))
	index, err = whole.Digest()
	must(err)
	signature, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:       static.NewLayer([]byte("payload"), types.MediaType("application/vnd.dev.cosign.simplesigning.v1+json")),
		Annotations: map[string]string{signatureAnnotation: "c2ln"},
	})
	must(err)
	must(remote.Write(ref.Context().Tag("sha256-"+index.Hex+signatureTag), signature))
	return ref, index
}

// TestProofs takes an index with provenance and a signature from a registry, and then
// again what was locked of it.
func TestProofs(t *testing.T) {
	statement := []byte(`{"predicate":{}}`)
	ref, index := push(t, statement)
	base := config.Base{Image: ref.String()}
	img, err := Open(t.Context(), base, "", "amd64", nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &img.Locked
	if l.Index == nil || string(l.Index.Digest) != index.Hex {
		t.Errorf("index: %+v, want %s", l.Index, index)
	}
	if len(l.Provenance) != 1 || l.Provenance[0].Digest != artifact.HashBytes(statement) {
		t.Errorf("provenance: %+v", l.Provenance)
	}
	if len(img.Signatures) != 1 || string(img.Signatures[0].Payload) != "payload" || img.Signatures[0].Value != "c2ln" {
		t.Fatalf("signatures: %+v", img.Signatures)
	}
	img.TakeSignature(img.Signatures[0])
	again, err := Open(t.Context(), base, "", "amd64", l)
	if err != nil {
		t.Fatal(err)
	}
	store, err := artifact.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, i := range []*Image{img, again} {
		for _, b := range l.Blobs() {
			if err := i.Copy(t.Context(), store, b); err != nil {
				t.Errorf("%s: %v", b.MediaType, err)
			}
		}
	}
}

// TestHostileProofs: more than anybody needs is refused.
func TestHostileProofs(t *testing.T) {
	ref, _ := push(t, bytes.Repeat([]byte(" "), maxStatement+1))
	if _, err := Open(t.Context(), config.Base{Image: ref.String()}, "", "amd64", nil); err == nil || !strings.Contains(err.Error(), "too large statements") {
		t.Errorf("a large statement: %v", err)
	}
}
