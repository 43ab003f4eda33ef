package stages

import (
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/fault"
)

// Mirrors are the places that the mirrors' addresses may come from, in the
// order in which they are tried.
type Mirrors struct {
	Config map[string][]string
	// Given are --mirror and ISOTRACE_MIRROR: URI or NAME=URI.
	Given []string
	// Base and Host are apt's sources of the base image and of this host.
	Base, Host []archive.Source
}

// ByRepository merges them.
func (m Mirrors) ByRepository() (map[string][]string, error) {
	all := map[string][]string{}
	add := func(repository, uri string) {
		if !slices.Contains(all[repository], uri) {
			all[repository] = append(all[repository], uri)
		}
	}
	for repository, uris := range m.Config {
		for _, uri := range uris {
			add(repository, uri)
		}
	}
	for _, given := range m.Given {
		repository, uri, named := strings.Cut(given, "=")
		if !named || strings.Contains(repository, "/") {
			uri = given
			var err error
			if repository, err = archive.RepositoryOf(uri); err != nil {
				return nil, fault.New(fault.Usage, "such as --mirror debian=http://HOST/debian", "mirror %q: %w", given, err)
			}
		}
		add(repository, uri)
	}
	for _, sources := range [][]archive.Source{m.Base, m.Host} {
		for repository, uris := range archive.MirrorsOf(sources) {
			for _, uri := range uris {
				add(repository, uri)
			}
		}
	}
	return all, nil
}
