package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Intent returns the digest of the part of the config that decides which
// content is locked. A lock belongs to every config with its intent: the boot
// menu or the overlay may change without it.
func (c *Config) Intent() (artifact.Digest, error) {
	names := make([]string, len(c.Packages))
	for i, p := range c.Packages {
		names[i] = p.Name
	}
	slices.Sort(names)
	var debs []Deb
	for _, d := range c.Debs {
		debs = append(debs, Deb{File: Clean(d.File), SHA256: d.SHA256})
	}
	slices.SortFunc(debs, func(a, b Deb) int { return strings.Compare(a.File, b.File) })
	b, err := json.Marshal(struct {
		Format       int       `json:"format"`
		Architecture string    `json:"architecture"`
		Base         Base      `json:"base"`
		Archives     []Archive `json:"archives"`
		Boot         []Archive `json:"boot"`
		Tools        []Archive `json:"tools"`
		Live         string    `json:"live"`
		Packages     []string  `json:"packages"`
		Debs         []Deb     `json:"debs,omitempty"`
		Recommends   bool      `json:"recommends"`
		Memtest      bool      `json:"memtest"`
		SecureBoot   bool      `json:"secure-boot,omitempty"`
		Verity       bool      `json:"verity,omitempty"`
		Disks        []string  `json:"disks,omitempty"`
		Epoch        string    `json:"epoch"`
		Sources      bool      `json:"sources,omitempty"`
	}{1, c.Architecture, c.Base, c.Archives, c.BootArchives(), c.ToolArchives(), c.Live, names, debs, c.Recommends, c.Boot.WithMemtest(), c.Boot.SecureBoot, c.Squashfs.Verity, c.DiskFormats(), c.Epoch, c.Sources})
	if err != nil {
		return "", fmt.Errorf("digest of the config: %w", err)
	}
	return artifact.HashBytes(b), nil
}
