package desk

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"slices"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/printable"
	"github.com/isotrace/isotrace/internal/tool"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/provenance/report"
)

// head is all of the data but the columns; the page's data.ts has the same names.
type head struct {
	Name    string          `json:"name"`
	Release string          `json:"release"`
	Image   string          `json:"image"`
	SHA256  artifact.Digest `json:"sha256"`
	Size    int64           `json:"size"`
	Verdict verdict         `json:"verdict"`

	Kinds        []trace.Kind        `json:"kinds"`
	Types        []string            `json:"types"`
	Parts        []part              `json:"parts"`
	Suites       []trace.Suite       `json:"suites"`
	Packages     []pkg               `json:"packages"`
	Actors       []actor             `json:"actors"`
	Requirements []trace.Requirement `json:"requirements"`
	Findings     []trace.Finding     `json:"findings"`
	Removed      []removed           `json:"removed"`
	Links        []link              `json:"links"`
	Documents    []report.Document   `json:"documents"`
	Files        *columns            `json:"files"`
	// Columns are where those of the files lie behind the head: their lengths.
	Columns []int `json:"columns"`
}

type verdict struct {
	Key           string   `json:"key"`
	KeyFromBundle bool     `json:"key-from-bundle"`
	Expired       []string `json:"expired"`
	Checks        []check  `json:"checks"`
}

type check struct {
	provenance.Check
	About string `json:"about"`
}

type part struct {
	Name   string                 `json:"name"`
	Files  int                    `json:"files"`
	Counts []trace.Count          `json:"counts"`
	Within []provenance.Container `json:"within"`
	Image  string                 `json:"image"`
	SHA256 artifact.Digest        `json:"sha256"`
}

type pkg struct {
	*trace.Package
	ID string `json:"id"`
	// Suite and Index are those that name the .deb, by place; -1 for none.
	Suite int           `json:"suite"`
	Index *artifact.Ref `json:"index,omitempty"`
	// From is the package before it on the path from what the config asks for, -1 at
	// its start, -2 where no path leads to it.
	From   int                      `json:"path-from"`
	Serves []provenance.ServesChain `json:"serves,omitempty"`
}

type actor struct {
	trace.Actor
	Text string `json:"text"`
	Link string `json:"link"`
	// Own are requirements that a file of the project serves.
	Own []provenance.ServesChain `json:"own,omitempty"`
}

type removed struct {
	Path    string `json:"path"`
	Package int    `json:"package"`
	By      *int   `json:"by,omitempty"`
}

type link struct {
	Stage     string         `json:"stage"`
	File      string         `json:"file"`
	Signer    string         `json:"signer"`
	Version   int            `json:"version"`
	Epoch     string         `json:"epoch"`
	Params    string         `json:"params"`
	Materials [][2]string    `json:"materials"`
	Products  [][2]string    `json:"products"`
	Commands  []tool.Command `json:"commands"`
}

// pack writes head and columns, compressed: the length of the head in four bytes, the
// head, the columns.
func pack(in Input) ([]byte, error) {
	t := in.Tracing
	h := &head{
		Name: t.Name, Release: t.Release, Image: t.Image, SHA256: t.ISO, Size: in.Size,
		Kinds: trace.Kinds, Suites: t.Archives, Requirements: t.Requirements, Findings: t.Findings,
		Packages: packages(t), Documents: in.Documents, Links: links(in.Verdict.Links), Files: &columns{},
	}
	for _, kind := range types {
		h.Types = append(h.Types, string(kind))
	}
	h.Verdict = judged(in.Verdict)
	var err error
	if h.Actors, err = actors(t); err != nil {
		return nil, err
	}
	for _, r := range t.Removed {
		h.Removed = append(h.Removed, removed{printable.Line(r.Path), r.Package, r.By})
	}
	for _, name := range trace.Parts {
		p, ok := t.Part(name)
		if !ok {
			continue
		}
		files, err := h.Files.addPart(t, p.Name)
		if err != nil {
			return nil, err
		}
		c, err := t.Chain(p.Name, trace.Origin{})
		if err != nil {
			return nil, err
		}
		h.Parts = append(h.Parts, part{p.Name, files, p.Counts, c.Within, c.Image, c.ISO})
	}
	slices.SortStableFunc(h.Removed, func(a, b removed) int { return cmp.Compare(a.Path, b.Path) })
	return h.compress()
}

func (h *head) compress() ([]byte, error) {
	f := h.Files
	var all []byte
	for _, column := range [][]byte{f.paths, f.types, f.kinds, f.sizes, f.pkgs, f.by, f.hash} {
		h.Columns = append(h.Columns, len(column))
		all = append(all, column...)
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(h); err != nil {
		return nil, err
	}
	shown := visible(text.Bytes())
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	for _, piece := range [][]byte{binary.LittleEndian.AppendUint32(nil, uint32(len(shown))), shown, all} {
		if _, err := z.Write(piece); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func judged(r provenance.Result) verdict {
	names, about := provenance.Rules()
	v := verdict{Key: r.KeyID, KeyFromBundle: r.KeyFromBundle, Expired: r.ExpiredAccepted, Checks: []check{}}
	for _, c := range r.Checks {
		one := check{Check: c}
		if i := slices.Index(names, c.Rule); i >= 0 {
			one.About = about[i]
		}
		v.Checks = append(v.Checks, one)
	}
	return v
}

func packages(t *provenance.Tracing) []pkg {
	all := make([]pkg, len(t.Packages))
	for i := range all {
		c := t.PackageChain(i)
		all[i] = pkg{Package: c.Package, ID: c.ID, Suite: -1, Index: c.Index, From: -2, Serves: t.Serves(c.Package)}
		if c.Archive != nil {
			all[i].Suite = slices.IndexFunc(t.Archives, func(s trace.Suite) bool { return s.ID == c.Archive.ID })
		}
	}
	for i := range all {
		if all[i].From != -2 {
			continue
		}
		from := -1
		for _, k := range t.PathTo(i) {
			all[k].From, from = from, k
		}
	}
	return all
}

func actors(t *provenance.Tracing) ([]actor, error) {
	all := make([]actor, len(t.Actors))
	for i, a := range t.Actors {
		c, err := t.Chain(trace.PartRoot, trace.Origin{By: &i})
		if err != nil {
			return nil, err
		}
		all[i] = actor{Actor: a, Text: a.String(), Link: t.Link(a.Stage), Own: c.Serves}
		if a.Package != nil { // the package's are said with the package
			all[i].Own = c.Serves[len(t.Serves(&t.Packages[*a.Package])):]
		}
	}
	return all, nil
}

func links(signed []provenance.SignedLink) []link {
	all := []link{}
	for _, s := range signed {
		r := s.Record
		all = append(all, link{
			Stage: r.Name, File: s.File, Signer: s.Signer, Version: r.Version, Epoch: r.Epoch.String(), Params: string(r.Params),
			Materials: pairs(r.Materials), Products: pairs(r.Products), Commands: r.Commands,
		})
	}
	return all
}

func pairs(m map[string]artifact.Digest) [][2]string {
	all := make([][2]string, 0, len(m))
	for name, d := range m {
		all = append(all, [2]string{name, string(d)})
	}
	slices.SortFunc(all, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	return all
}
