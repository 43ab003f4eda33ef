package provenance

import (
	"encoding/base64"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestStagesOfDockerfile(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		from []string
	}{
		"one":                    {"FROM debian:trixie\nRUN true\n", []string{"debian:trixie"}},
		"arguments and comments": {"# syntax=docker/dockerfile:1\nARG V=trixie\nFROM --platform=linux/amd64 debian:$V AS base\nCOPY . /\n", []string{"debian:$V"}},
		"two":                    {"FROM golang:1 AS build\nFROM debian\nCOPY --from=build /x /x\n", []string{"golang:1", "debian"}},
		"by number":              {"FROM golang\nfrom debian\nCOPY --from=0 /x /x\n", []string{"golang", "debian"}},
		"another image's file":   {"FROM debian\nCOPY --chown=1:1 --from=busybox:1 /bin/sh /sh\n", []string{"debian", "busybox:1"}},
		"a mount":                {"FROM debian\nRUN --mount=type=bind,from=busybox,target=/b cp /b/x /x\n", []string{"debian", "busybox"}},
		"in a text":              {"FROM debian\nRUN <<EOF\necho FROM x\nEOF\n", []string{"debian"}},
		"continued":              {"FROM \\\n debian\n", []string{"debian"}},
	} {
		s, err := stagesOfDockerfile([]byte(c.text))
		if err != nil || !slices.Equal(s.From, c.from) {
			t.Errorf("%s: %q, %v, want %q", name, s.From, err, c.from)
		}
	}
	if _, err := stagesOfDockerfile(nil); err == nil {
		t.Error("an empty Dockerfile was taken")
	}
}

func TestStagesOfHistory(t *testing.T) {
	for name, c := range map[string]struct {
		history []v1.History
		stages  int
	}{
		"docker":  {[]v1.History{{CreatedBy: "# debian.sh --arch 'amd64'"}, {CreatedBy: "COPY /x /x # buildkit", Comment: "buildkit.dockerfile.v0"}}, 0},
		"buildah": {[]v1.History{{Comment: "FROM debian"}, {Comment: "FROM debian"}}, 1},
		"both":    {[]v1.History{{Comment: "FROM golang"}, {Comment: "FROM debian"}}, 2},
		"kaniko":  {[]v1.History{{CreatedBy: "COPY --from=build /x /x"}}, 2},
	} {
		if s := stagesOfHistory(c.history); len(s.From) != c.stages {
			t.Errorf("%s: %q, want %d", name, s.From, c.stages)
		}
	}
}

func TestStagesOfProvenance(t *testing.T) {
	file := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for name, c := range map[string]struct {
		predicate string
		from      []string
	}{
		"nothing": {`{}`, []string{}},
		"least, version 0.2": {`{"materials":[{"uri":"pkg:docker/docker/dockerfile@1"},{"uri":"pkg:docker/debian@trixie?platform=linux%2Famd64"},{"uri":"https://example.org/x.tar"}]}`,
			[]string{"debian@trixie"}},
		"least, version 1": {`{"buildDefinition":{"resolvedDependencies":[{"uri":"pkg:docker/golang@1"},{"uri":"pkg:docker/debian@trixie"}]}}`, []string{"golang@1", "debian@trixie"}},
		"full, version 0.2": {`{"metadata":{"https://mobyproject.org/buildkit@v1#metadata":{"source":{"infos":[{"filename":"Dockerfile","language":"Dockerfile","data":"` + file("FROM a AS x\nFROM b\n") + `"}]}}}}`,
			[]string{"a", "b"}},
		"full, version 1": {`{"runDetails":{"metadata":{"buildkit_metadata":{"source":{"infos":[{"filename":"Dockerfile","data":"` + file("FROM a\n") + `"}]}}}},"buildDefinition":{"resolvedDependencies":[{"uri":"pkg:docker/a@1"}]}}`,
			[]string{"a"}},
	} {
		s, err := stagesOfProvenance([]byte(c.predicate))
		if err != nil || !slices.Equal(s.From, c.from) {
			t.Errorf("%s: %q, %v, want %q", name, s.From, err, c.from)
		}
	}
}

func FuzzStagesOfDockerfile(f *testing.F) {
	f.Add([]byte("FROM a AS b\nCOPY --from=c x y\nRUN --mount=from=d <<E\nE\n"))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = stagesOfDockerfile(text) })
}

func FuzzStagesOfProvenance(f *testing.F) {
	f.Add([]byte(`{"materials":[{"uri":"pkg:docker/a"}],"metadata":{"buildkit_metadata":{"source":{"infos":[{"data":"RlJPTSBhCg=="}]}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) { _, _ = stagesOfProvenance(text) })
}
