package provenance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/isotrace/isotrace/internal/strictjson"
	"github.com/isotrace/isotrace/policy"
)

// policyBase is what is known of how a base image was built.
func (v *verification) policyBase() (policy.Base, error) {
	b := policy.Base{Stages: []policy.BuildStages{}}
	i := v.Lock.Image
	if i == nil {
		return b, nil
	}
	b.Image = string(i.Manifest.Digest)
	if i.Signature != nil {
		key, err := v.baseSigner()
		if err != nil {
			return b, err
		}
		b.Signer = key.KeyID()
	}
	text, err := v.read(baseConfig, maxBasePart)
	if err != nil {
		return b, err
	}
	if err := strictjson.Check(text); err != nil {
		return b, err
	}
	c, err := v1.ParseConfigFile(bytes.NewReader(text))
	if err != nil {
		return b, err
	}
	b.Stages = append(b.Stages, stagesOfHistory(c.History))
	if v.Config.Base.Dockerfile != "" {
		text, err := v.read(BaseDockerfile, maxBasePart)
		if err != nil {
			return b, err
		}
		s, err := stagesOfDockerfile(text)
		if err != nil {
			return b, fmt.Errorf("%s: %w", BaseDockerfile, err)
		}
		b.Stages = append(b.Stages, s)
	}
	for n := range i.Provenance {
		statement, err := v.baseStatement(baseProvenance(n))
		if err != nil {
			return b, err
		}
		s, err := stagesOfProvenance(statement.Predicate)
		if err != nil {
			return b, fmt.Errorf("%s: %w", baseProvenance(n), err)
		}
		s.Of = baseProvenance(n)
		b.Stages = append(b.Stages, s)
	}
	return b, nil
}

// stagesOfDockerfile counts the FROMs, and what is taken from other images without one.
func stagesOfDockerfile(text []byte) (policy.BuildStages, error) {
	s := policy.BuildStages{Of: BaseDockerfile, From: []string{}}
	r, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return s, err
	}
	names := map[string]bool{}
	for _, n := range r.AST.Children {
		args := []string{}
		for a := n.Next; a != nil; a = a.Next {
			args = append(args, a.Value)
		}
		if strings.EqualFold(n.Value, "from") && len(args) > 0 {
			names[fmt.Sprint(len(s.From))] = true
			s.From = append(s.From, args[0])
			if len(args) == 3 {
				names[strings.ToLower(args[2])] = true
			}
			continue
		}
		for _, f := range n.Flags {
			if from := takenFrom(f); from != "" && !names[strings.ToLower(from)] {
				s.From = append(s.From, from)
			}
		}
	}
	return s, nil
}

// flagFrom is the source of a COPY --from=SOURCE or a RUN --mount=…,from=SOURCE.
var flagFrom = regexp.MustCompile(`--from=(?:"([^"]*)"|(\S+))|--mount=(?:\S*,)?from=([^\s,]+)`)

func takenFrom(text string) string {
	m := flagFrom.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1] + m[2] + m[3]
}

// stagesOfHistory looks at what tools note of each layer: copies from other stages
// (kaniko), and FROMs (Buildah). Docker's own history shows no other stage.
func stagesOfHistory(history []v1.History) policy.BuildStages {
	s := policy.BuildStages{Of: baseConfig, From: []string{}}
	for _, h := range history {
		if from, ok := strings.CutPrefix(h.Comment, "FROM "); ok && !slices.Contains(s.From, from) {
			s.From = append(s.From, from)
		}
		if from := takenFrom(h.CreatedBy); from != "" {
			s.From = append(s.From, "…", from)
		}
	}
	return s
}

// buildkitPredicate is what BuildKit says in SLSA provenance, versions 0.2 and 1: the
// images it used, and in full also the Dockerfile.
type buildkitPredicate struct {
	Materials       []buildkitMaterial `json:"materials"`
	BuildDefinition struct {
		ResolvedDependencies []buildkitMaterial `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	Metadata   map[string]json.RawMessage `json:"metadata"`
	RunDetails struct {
		Metadata map[string]json.RawMessage `json:"metadata"`
	} `json:"runDetails"`
}

type buildkitMaterial struct {
	URI string `json:"uri"`
}

type buildkitMetadata struct {
	Source struct {
		Infos []struct {
			Filename string `json:"filename"`
			Language string `json:"language"`
			Data     string `json:"data"`
		} `json:"infos"`
	} `json:"source"`
}

// dockerImage is a material's URI where it is an image.
var dockerImage = regexp.MustCompile(`^pkg:docker/([^?]+)`)

func stagesOfProvenance(predicate []byte) (policy.BuildStages, error) {
	s := policy.BuildStages{From: []string{}}
	var p buildkitPredicate
	if err := strictjson.UnmarshalOpen(predicate, &p); err != nil {
		return s, err
	}
	for _, metadata := range []map[string]json.RawMessage{p.Metadata, p.RunDetails.Metadata} {
		for _, name := range []string{"https://mobyproject.org/buildkit@v1#metadata", "buildkit_metadata"} {
			var m buildkitMetadata
			if text, ok := metadata[name]; !ok || strictjson.UnmarshalOpen(text, &m) != nil {
				continue // it is not ours to judge; the images used are below
			}
			for _, i := range m.Source.Infos {
				text, err := base64.StdEncoding.DecodeString(i.Data)
				if err != nil || (i.Language != "" && i.Language != "Dockerfile") {
					continue
				}
				d, err := stagesOfDockerfile(text)
				if err != nil {
					return s, fmt.Errorf("its %s: %w", path.Base(i.Filename), err)
				}
				s.From = append(s.From, d.From...)
			}
		}
	}
	if len(s.From) > 0 {
		return s, nil
	}
	for _, m := range append(p.Materials, p.BuildDefinition.ResolvedDependencies...) {
		image := dockerImage.FindStringSubmatch(m.URI)
		// The frontend reads the Dockerfile and gives nothing to the image.
		if image != nil && !strings.HasPrefix(image[1], "docker/dockerfile@") && !strings.HasPrefix(image[1], "docker/dockerfile:") {
			s.From = append(s.From, image[1])
		}
	}
	return s, nil
}
