package stages

import (
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/provenance"
)

// ArchiveKeys are the keys that the project's config names for its archives, as they are in
// the project's folder; none where it leaves the archives to the base image.
func (p *Project) ArchiveKeys() (k provenance.ArchiveKeys, err error) {
	var seen []string
	for _, list := range [][]config.Archive{p.Config.Archives, p.Config.BootArchives(), p.Config.ToolArchives()} {
		for _, a := range list {
			if slices.Contains(seen, config.Clean(a.SignedBy)) {
				continue
			}
			seen = append(seen, config.Clean(a.SignedBy))
			ring, _, err := p.Keyring(a.SignedBy)
			if err != nil {
				return k, err
			}
			k.Rings = append(k.Rings, ring)
		}
	}
	return k, nil
}

// archiveKeys are whom a build believes when it verifies what it made: those whom the
// session was told of, or else the project's, and the base image's where the lock has its
// archives from there.
func (s *Session) archiveKeys() (provenance.ArchiveKeys, error) {
	if s.Believed.Named() {
		return s.Believed, nil
	}
	k, err := s.Project.ArchiveKeys()
	if err != nil {
		return k, err
	}
	var seen []string
	for _, a := range s.Project.Lock.Archives {
		if !strings.HasPrefix(a.Keyring.Path, lockfile.BasePrefix) || slices.Contains(seen, string(a.Keyring.Digest)) {
			continue
		}
		seen = append(seen, string(a.Keyring.Digest))
		text, err := regular.ReadFile(s.Store.Path(a.Keyring.Digest), 4<<20)
		if err != nil {
			return k, err
		}
		ring, err := archive.ReadKeyring(a.Keyring.Path, text)
		if err != nil {
			return k, err
		}
		k.Rings = append(k.Rings, ring)
	}
	return k, nil
}
