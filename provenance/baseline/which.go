package baseline

import (
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
)

// Hit is something of a baseline that was asked for.
type Hit struct {
	Baseline string `json:"baseline"`
	Release  string `json:"release"`
	Date     string `json:"date"`
	// Kind is image, package, file, or evidence.
	Kind string `json:"kind"`
	// What it is: a file's name, a package's set and ID.
	What   string          `json:"what"`
	SHA256 artifact.Digest `json:"sha256,omitempty"`
}

// Which finds the baselines that hold a package, by its name or that of its source, with
// or without architecture and version (NAME[:ARCH][=VERSION]), or content by its SHA-256.
func (r *Register) Which(query string) ([]Hit, error) {
	hits := []Hit{}
	d, err := artifact.ParseDigest(query)
	if err == nil {
		for _, e := range r.Entries {
			found, err := r.holds(e, d)
			if err != nil {
				return nil, err
			}
			hits = append(hits, found...)
		}
		return hits, nil
	}
	name, version, versioned := strings.Cut(query, "=")
	if name == "" || versioned && version == "" {
		return nil, fault.New(fault.Usage, "such as openssl, openssl=3.5.1-1, or a SHA-256", "%.120q: is neither a package nor a digest", query)
	}
	for _, e := range r.Entries {
		for _, p := range e.Packages {
			if p.is(name, version) {
				hits = append(hits, e.hit("package", p.Set+" "+p.ID, p.SHA256))
			}
		}
	}
	return hits, nil
}

// is tells whether a package, or its source, has the name and, where one is given, the
// version.
func (p Package) is(name, version string) bool {
	full, own, _ := strings.Cut(p.ID, "=")
	bare, _, _ := strings.Cut(full, ":")
	return (name == full || name == bare) && (version == "" || version == own) ||
		name == p.Source && (version == "" || version == p.SourceVersion)
}

func (e *Entry) hit(kind, what string, d artifact.Digest) Hit {
	return Hit{e.Name, e.Release, e.Date, kind, what, d}
}

// holds lists what of a baseline has a digest.
func (r *Register) holds(e *Entry, d artifact.Digest) ([]Hit, error) {
	var hits []Hit
	for _, i := range e.Images {
		if i.Digest == d {
			hits = append(hits, e.hit("image", i.Path, d))
		}
	}
	for _, p := range e.Packages {
		if p.SHA256 == d {
			hits = append(hits, e.hit("package", p.Set+" "+p.ID, d))
		}
	}
	for _, f := range []File{{"evidence/SHA256SUMS", e.Evidence}, {"SHA256SUMS", e.ReleaseSums}, {"isotrace.yaml", e.Config}, {"isotrace.lock", e.Lock}} {
		if f.SHA256 == d {
			hits = append(hits, e.hit("evidence", f.File, d))
		}
	}
	index, err := r.index(e)
	if err != nil {
		return nil, err
	}
	name, ok, err := findIn(index, d)
	if ok {
		hits = append(hits, e.hit("file", name, d))
	}
	return hits, err
}
