package report

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
)

// kinds are the documents, in the order in which people are shown them.
var kinds = []struct {
	id, title string
	write     func(*page) error
}{
	{"sci", "Software Configuration Index", sci},
	{"seci", "Software Life Cycle Environment Configuration Index", seci},
	{"requirements", "Trace matrix: from requirements to what signs for them", requirements},
	{"packages", "Trace matrix: from packages back to requirements", packages},
	{"pds", "Previously developed software", previouslyDeveloped},
	{"licences", "Licences", licences},
	{"changed", "Files that no package has as they are", changed},
	{"waivers", "Waivers", waivers},
	{"deviations", "Deviations", deviations},
	{"problems", "Problem reports", problems},
	{"conformity", "Conformity checklist", conformity},
	{"build", "Build and rebuild instructions", instructions},
}

// IDs are the documents that there are, in order.
func IDs() []string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.id)
	}
	return all
}

// Write makes the documents of these ids from a build of which every check holds, in the
// order of IDs.
func Write(ctx context.Context, v *provenance.Verified, ids []string) (docs []Document, err error) {
	d, err := open(v)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.trace.Close()) }()
	for _, k := range kinds {
		if !slices.Contains(ids, k.id) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := d.page(k.id, k.title)
		if err := k.write(p); err != nil {
			return nil, err
		}
		docs = append(docs, p.done())
	}
	return docs, nil
}

func open(v *provenance.Verified) (d *dossier, err error) {
	d = &dossier{Verified: v, cited: map[string]artifact.Ref{}, order: inOrder(v.Records)}
	for _, name := range v.Evidence() {
		if d.cited[name], err = v.Cite(name); err != nil {
			return nil, err
		}
	}
	if d.cited[sumsCite], err = v.CiteSums(); err != nil {
		return nil, err
	}
	for _, i := range v.Images {
		d.cited["../"+i.Path] = i
	}
	for _, name := range releaseFiles(v.Images) {
		ref, _, ok, err := v.CiteRelease(name)
		if err != nil {
			return nil, err
		}
		if ok {
			d.cited["../"+name] = ref
		}
	}
	if d.judgement, _, err = v.Judgement(); err != nil {
		return nil, err
	}
	_, text, ok, err := v.CiteRelease(provenance.ReleaseKey)
	if err != nil {
		return nil, err
	}
	if ok {
		key, err := provenance.ParsePublicKey(provenance.ReleaseKey, text)
		if err != nil {
			return nil, err
		}
		d.releaseKey = key.KeyID()
	}
	d.trace, err = v.OpenTrace()
	return d, err
}

// releaseFiles are those that a release may leave beside the evidence.
func releaseFiles(images []artifact.Ref) []string {
	names := []string{provenance.PolicyFile, provenance.ReleaseSums, provenance.ReleaseSums + ".sig", provenance.ReleaseSums + ".sig.raw",
		provenance.ReleaseSums + provenance.BundleSuffix, provenance.ReleaseKey, path.Join(provenance.ReleaseDir, "trusted_root.json")}
	for _, i := range images {
		names = append(names, i.Path+".sig", i.Path+".sig.raw", i.Path+provenance.BundleSuffix)
	}
	return names
}

// inOrder lists stages so that each comes behind those from which it takes.
func inOrder(records map[string]stage.Record) []string {
	var names, order []string
	for name := range records {
		names = append(names, name)
	}
	slices.Sort(names)
	ready := func(r stage.Record) bool {
		for m := range r.Materials {
			from, _, _ := strings.Cut(m, "/")
			if _, is := records[from]; is && from != r.Name && !slices.Contains(order, from) {
				return false
			}
		}
		return true
	}
	for len(names) > 0 {
		i := max(slices.IndexFunc(names, func(n string) bool { return ready(records[n]) }), 0)
		order = append(order, names[i])
		names = slices.Delete(names, i, i+1)
	}
	return order
}
