package provenance

import (
	"encoding/json"
	"fmt"
	"path"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// BuildType says in SLSA provenance how an image is made; docs/formats/build.md
// defines it.
const BuildType = "https://github.com/isotrace/isotrace/docs/formats/build/v1"

// builderID names a builder as SLSA does. isotrace runs where its user runs it, with
// a key that the user keeps: that is Build L1 and a signature, and no more.
const builderID = "https://github.com/isotrace/isotrace/docs/formats/build/local"

// slsaPredicate is SLSA provenance, version 1, as far as a build has what to say.
type slsaPredicate struct {
	BuildDefinition struct {
		BuildType          string         `json:"buildType"`
		ExternalParameters slsaExternal   `json:"externalParameters"`
		InternalParameters map[string]any `json:"internalParameters"`
		// ResolvedDependencies are the base image, the signed Release files, every
		// .deb and every file of the project.
		ResolvedDependencies []Resource `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version"`
		} `json:"builder"`
		Byproducts []Resource `json:"byproducts"`
	} `json:"runDetails"`
}

// slsaExternal is what the user gave: a config, and the lock that it came to.
type slsaExternal struct {
	Name    string   `json:"name"`
	Release string   `json:"release"`
	Config  Resource `json:"config"`
	Lock    Resource `json:"lock"`
}

func (a attested) slsa() (*slsaPredicate, error) {
	var params struct {
		Isotrace string `json:"isotrace"`
	}
	if err := json.Unmarshal(a.links[sbomStage].Params, &params); err != nil {
		return nil, fmt.Errorf("link %s: parameters: %w", sbomStage, err)
	}
	p := &slsaPredicate{}
	d, r := &p.BuildDefinition, &p.RunDetails
	d.BuildType, r.Builder.ID = BuildType, builderID
	r.Builder.Version = map[string]string{"isotrace": params.Isotrace}
	d.ExternalParameters = slsaExternal{
		Name: a.Config.Name, Release: a.Config.Release,
		Config: Resource{Name: config.FileName, Digest: sha256Of(artifact.HashBytes(a.configText))},
		Lock:   Resource{Name: lockfile.FileName, Digest: sha256Of(artifact.HashBytes(a.lockText))},
	}
	stages := map[string]int{}
	project := map[string]artifact.Digest{}
	for name, rec := range a.links {
		stages[name] = rec.Version
		for m, digest := range rec.Materials {
			if isProject(m) {
				project[m] = digest
			}
		}
	}
	d.InternalParameters = map[string]any{"epoch": a.Lock.Epoch.String(), "stageVersions": stages}
	d.ResolvedDependencies = append(a.lockedResources(), resources(project)...)
	r.Byproducts = []Resource{}
	for _, name := range sortedKeys(a.links) {
		for _, product := range resources(a.links[name].Products) {
			if name != isoStage && name != diskStage && name != fetchStage {
				r.Byproducts = append(r.Byproducts, product)
			}
		}
	}
	return p, nil
}

// lockedResources are what the lock names, in its order.
func (a attested) lockedResources() []Resource {
	list := []Resource{}
	if i := a.Lock.Image; i != nil {
		list = append(list, Resource{Name: "base image", Digest: sha256Of(i.Manifest.Digest)})
	}
	for _, ar := range a.Lock.Archives {
		list = append(list, Resource{Name: path.Join(ar.Repository, ar.Release.Path), Digest: sha256Of(ar.Release.Digest), Annotations: map[string]string{"codename": ar.Codename}})
	}
	for _, set := range []struct {
		name     string
		packages []lockfile.Package
	}{{"target", a.Lock.Target}, {"boot", a.Lock.Boot}, {"tools", a.Lock.Tools}} {
		for _, p := range set.packages {
			list = append(list, Resource{Name: p.Path, Digest: sha256Of(p.SHA256), Annotations: map[string]string{
				"archive": p.Archive, "package": p.ID(), "set": set.name,
			}})
		}
	}
	for _, s := range a.Lock.Sources {
		for _, f := range s.Files {
			list = append(list, Resource{Name: f.Path, Digest: sha256Of(f.Digest), Annotations: map[string]string{"archive": s.Archive, "source": s.ID(), "set": "sources"}})
		}
	}
	return list
}
