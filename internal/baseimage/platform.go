package baseimage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isotrace/isotrace/internal/fault"
)

// Bounds of indexes.
const (
	maxIndexDepth = 4
	maxIndexed    = 1000 // images that are looked at
)

// found is an image, and the index that names it; nested tells that the index is
// content with a digest of its own.
type found struct {
	image  v1.Image
	index  v1.ImageIndex
	nested bool
}

// pick takes the one image of the platform from an index, looking into nested
// indexes. An image that is there under several names is one.
func pick(index v1.ImageIndex, platform v1.Platform, nested bool) (found, error) {
	p := picking{want: normal(platform), images: map[v1.Hash]found{}}
	if err := p.index(index, nested, 0); err != nil {
		return found{}, err
	}
	switch {
	case len(p.images) == 1:
		for _, f := range p.images {
			return f, nil
		}
	case len(p.images) > 1:
		return found{}, fault.New(fault.Usage, "keep one image for the platform", "%d images for %s: %s", len(p.images), platform, strings.Join(p.names, ", "))
	case len(p.others) > 0:
		slices.Sort(p.others)
		return found{}, fault.New(fault.Usage, "take an image for the platform", "no image for %s, only for %s", platform, strings.Join(slices.Compact(p.others), ", "))
	}
	return found{}, fault.New(fault.Usage, "an index of images names some", "no image for %s", platform)
}

type picking struct {
	want   v1.Platform
	looked int
	images map[v1.Hash]found
	names  []string // of images
	others []string // platforms of the other images
}

func (p *picking) index(index v1.ImageIndex, nested bool, depth int) error {
	if depth > maxIndexDepth {
		return errors.New("indexes are nested too deeply")
	}
	m, err := checkedIndex(index)
	if err != nil {
		return err
	}
	for _, d := range m.Manifests {
		if p.looked++; p.looked > maxIndexed {
			return fmt.Errorf("an index of more than %d images", maxIndexed)
		}
		switch {
		case isProof(d) || d.ArtifactType != "" && !types.MediaType(d.ArtifactType).IsConfig():
		case d.MediaType.IsIndex():
			below, err := index.ImageIndex(d.Digest)
			if err != nil {
				return err
			}
			if err := p.index(below, true, depth+1); err != nil {
				return err
			}
		case d.MediaType.IsImage():
			if err := p.image(index, nested, d); err != nil {
				return fmt.Errorf("image %s: %w", d.Digest, err)
			}
		}
	}
	return nil
}

// image takes what a descriptor names, if that is an image of the platform. A
// descriptor need not name a platform: the image's config does.
func (p *picking) image(index v1.ImageIndex, nested bool, d v1.Descriptor) error {
	if _, again := p.images[d.Digest]; again {
		return nil
	}
	said := d.Platform != nil && d.Platform.Architecture != ""
	if said && !p.take(*d.Platform) {
		return nil
	}
	img, err := index.Image(d.Digest)
	if err != nil {
		return err
	}
	if !said {
		m, err := checkedManifest(img)
		if err != nil {
			return err
		}
		if !m.Config.MediaType.IsConfig() {
			return nil // an artefact of another kind
		}
		if _, err := rawConfig(img); err != nil {
			return err
		}
		c, err := img.ConfigFile()
		if err != nil {
			return err
		}
		if c.Architecture != "" && !p.take(configPlatform(c)) {
			return nil
		}
	}
	p.images[d.Digest] = found{img, index, nested}
	p.names = append(p.names, d.Digest.String())
	return nil
}

func (p *picking) take(have v1.Platform) bool {
	if normal(have).Equals(p.want) {
		return true
	}
	if have.OS != "unknown" || have.Architecture != "unknown" { // as BuildKit marks attestations
		have = normal(have)
		p.others = append(p.others, have.String())
	}
	return false
}

// checkPlatform holds the config of an image to the platform. Old images say nothing of it.
func checkPlatform(config []byte, want v1.Platform) error {
	c, err := v1.ParseConfigFile(bytes.NewReader(config))
	if err != nil {
		return fmt.Errorf("the image's config: %w", err)
	}
	if have := configPlatform(c); c.Architecture != "" && !normal(have).Equals(normal(want)) {
		return fault.New(fault.Usage, "take an image for the platform", "the image is for %s as its config says, want %s", have, want)
	}
	return nil
}

func configPlatform(c *v1.ConfigFile) v1.Platform {
	return v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
}

// normal is a platform by the names that OCI takes from Go, without what any system of
// that architecture has.
func normal(p v1.Platform) v1.Platform {
	n := v1.Platform{OS: strings.ToLower(p.OS), Architecture: strings.ToLower(p.Architecture), Variant: strings.ToLower(p.Variant)}
	if n.OS == "" {
		n.OS = "linux"
	}
	switch n.Architecture {
	case "x86_64", "x86-64":
		n.Architecture = "amd64"
	case "aarch64":
		n.Architecture = "arm64"
	case "i386":
		n.Architecture = "386"
	}
	if n.Architecture == "amd64" && n.Variant == "v1" || n.Architecture == "arm64" && n.Variant == "v8" {
		n.Variant = ""
	}
	return n
}
