package registry

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/fault"
)

func serve(t *testing.T, referrers bool) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func layer(t *testing.T, title, content string, mediaType types.MediaType) *fileLayer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := newFileLayer(file, title, mediaType)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// tarOf is an archive of headers, each with "hello" as content where it has a size.
func tarOf(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = 5
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// put pushes a release of the given files, with each text as an evidence of it.
func put(t *testing.T, reference string, files []*fileLayer, evidence ...string) {
	t.Helper()
	ref, err := parse(reference)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newArtefact(ReleaseType, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), ref, a); err != nil {
		t.Fatal(err)
	}
	subject, err := a.descriptor()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range evidence {
		e, err := newArtefact(EvidenceType, []*fileLayer{layer(t, "evidence.tar", text, tarType)}, subject)
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.descriptor()
		if err != nil {
			t.Fatal(err)
		}
		if err := write(t.Context(), ref.Context().Digest(d.Digest.String()), e); err != nil {
			t.Fatal(err)
		}
	}
}

func member(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}
}

func TestThereAndBack(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		reference := serve(t, referrers) + "/images/x:1"
		put(t, reference, []*fileLayer{layer(t, "x.iso", "image", fileType), layer(t, "release/release.pub", "key", fileType)}, tarOf(t, member("isotrace.lock"), member("links/iso.link")))
		dir := filepath.Join(t.TempDir(), "got")
		if err := Fetch(t.Context(), reference, dir); err != nil {
			t.Fatalf("referrers %v: %v", referrers, err)
		}
		var have []string
		err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				text, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				have = append(have, strings.TrimPrefix(p, dir)+" "+string(text))
			}
			return err
		})
		want := []string{"/evidence/isotrace.lock hello", "/evidence/links/iso.link hello", "/release/release.pub key", "/x.iso image"}
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("referrers %v: %q, %v", referrers, have, err)
		}
		if err := Fetch(t.Context(), reference, dir); err == nil || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("over what is there: %v", err)
		}
	}
}

// TestHostileRegistries: nothing is left of what is refused.
func TestHostileRegistries(t *testing.T) {
	good := tarOf(t, member("isotrace.lock"))
	image := func() []*fileLayer { return []*fileLayer{layer(t, "x.iso", "image", fileType)} }
	for name, c := range map[string]struct {
		files    []*fileLayer
		evidence []string
		want     string
	}{
		"no evidence":       {image(), nil, "0 artefacts are its evidence"},
		"two evidences":     {image(), []string{good, tarOf(t, member("other"))}, "2 artefacts are its evidence"},
		"path out":          {append(image(), layer(t, "../x", "y", fileType)), []string{good}, `a file called "../x"`},
		"absolute path":     {append(image(), layer(t, "/etc/x", "y", fileType)), []string{good}, `a file called "/etc/x"`},
		"no name":           {append(image(), layer(t, "", "y", fileType)), []string{good}, `a file called ""`},
		"into the evidence": {append(image(), layer(t, "evidence/x", "y", fileType)), []string{good}, `a file called "evidence/x"`},
		"a name twice":      {append(image(), layer(t, "x.iso", "y", fileType)), []string{good}, "exists"},
		"member out":        {image(), []string{tarOf(t, member("../x"))}, "is no file of evidence"},
		"absolute member":   {image(), []string{tarOf(t, member("/x"))}, "is no file of evidence"},
		"symbolic link":     {image(), []string{tarOf(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "x", Linkname: "/etc"}, member("x/y"))}, "is no file of evidence"},
		"hard link":         {image(), []string{tarOf(t, tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: "/etc/passwd"})}, "is no file of evidence"},
		"device":            {image(), []string{tarOf(t, tar.Header{Typeflag: tar.TypeChar, Name: "x"})}, "is no file of evidence"},
		"member twice":      {image(), []string{tarOf(t, member("x"), member("x"))}, "exists"},
		"not a tar":         {image(), []string{strings.Repeat("x", 2000)}, "tar"},
		"a file as folder":  {image(), []string{tarOf(t, member("x"), member("x/y"))}, "evidence"},
		"no files":          {nil, []string{good}, "has 0 files"},
	} {
		reference := serve(t, true) + "/images/x:1"
		put(t, reference, c.files, c.evidence...)
		parent := t.TempDir()
		err := Fetch(t.Context(), reference, filepath.Join(parent, "got"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v (%v)", name, left, err)
		}
	}
	reference := serve(t, true)
	if err := Fetch(t.Context(), reference+"/not/there:1", filepath.Join(t.TempDir(), "x")); err == nil || fault.ClassOf(err) != fault.Failed {
		t.Errorf("nothing there: %v", err)
	}
	if err := Fetch(t.Context(), "UPPER CASE", filepath.Join(t.TempDir(), "x")); err == nil || fault.ClassOf(err) != fault.Usage {
		t.Errorf("no reference: %v", err)
	}
}

// TestSameDigest: what is pushed twice has one digest.
func TestSameDigest(t *testing.T) {
	var all []string
	for range 2 {
		a, err := newArtefact(ReleaseType, []*fileLayer{layer(t, "x.iso", "image", fileType)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d, err := a.descriptor()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d.Digest.String())
	}
	if all[0] != all[1] {
		t.Errorf("%q", all)
	}
	if _, err := name.ParseReference("x:1"); err != nil {
		t.Error(err)
	}
}
