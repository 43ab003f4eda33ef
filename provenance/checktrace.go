package provenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/trace"
)

// checkTrace holds the trace against everything else that is known of the image:
// it must name each file of the root tree and of the medium once, as it is, rest
// on the lock's packages, and leave nothing open that the config does not accept.
// That a .deb really holds what it is said to hold needs the .debs.
func (v *verification) checkTrace(ctx context.Context) (_ string, problems []Problem, err error) {
	var files []artifact.Digest
	for _, name := range sortedKeys(v.files) {
		base, ok := strings.CutPrefix(name, TraceDir+"/")
		if !ok {
			continue
		}
		files = append(files, v.files[name])
		if want := v.made[recordTrace+base]; v.files[name] != want {
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %s, the stage trace gave %q", v.files[name], want)})
		}
	}
	if len(problems) > 0 {
		return "", bounded(problems), nil
	}
	t, err := OpenTracing(path.Dir(v.dir), v.key)
	if err != nil {
		return "", []Problem{problemOf(TraceDir, err)}, nil
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	what := traceText(&t.Head)
	_, root := v.rootRecord()
	files = append(files, artifact.HashBytes(v.lockText), artifact.HashBytes(v.configText), v.made[root], v.made[recordESP])
	name, known := v.known("trace", append(files, sorted(v.mediumTree())...)...)
	if known {
		return what, nil, nil
	}
	problems = append(v.tracedSuites(&t.Head), v.tracedPackages(&t.Head)...)
	tree, found := v.rootManifest()
	problems = append(problems, found...)
	for _, part := range trace.Parts {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		found, err := v.tracedPart(t, part, tree)
		if err != nil {
			return "", []Problem{problemOf(TraceDir+"/"+part+trace.Suffix, err)}, nil
		}
		problems = append(problems, found...)
	}
	v.hold(name, problems)
	return what, bounded(problems), nil
}

// traceText sums a trace up.
func traceText(h *trace.Head) string {
	files := 0
	by := map[trace.Kind]int{}
	for _, p := range h.Parts {
		files += p.Files
		for _, c := range p.Counts {
			by[c.Kind] += c.Files
		}
	}
	var shares []string
	for _, k := range trace.Kinds {
		if by[k] > 0 {
			shares = append(shares, fmt.Sprintf("%d %s", by[k], k))
		}
	}
	return fmt.Sprintf("%d files have an origin: %s", files, strings.Join(shares, ", "))
}

// rootManifest reads the manifest of the tree in the squashfs.
func (v *verification) rootManifest() (*roottree.Manifest, []Problem) {
	name, record := v.rootRecord()
	text, err := v.read(name, maxEvidenceFile)
	if err != nil {
		return nil, []Problem{problemOf(name, err)}
	}
	if have, want := artifact.HashBytes(text), v.made[record]; have != want {
		return nil, []Problem{{name, fmt.Sprintf("its SHA-256 is %s, its stage gave %s", have, want)}}
	}
	m, err := roottree.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, []Problem{problemOf(name, err)}
	}
	return m, nil
}

// tracedPackages compares the trace's packages with the lock's.
func (v *verification) tracedPackages(h *trace.Head) []Problem {
	type key struct {
		set, id, archive, path string
		sha256                 artifact.Digest
	}
	locked := map[key]bool{}
	for _, s := range []struct {
		set  string
		list []lockfile.Package
	}{{"target", v.Lock.Target}, {"boot", v.Lock.Boot}} {
		for _, p := range s.list {
			locked[key{s.set, p.ID(), p.Archive, p.Path, p.SHA256}] = true
		}
	}
	base := map[string]bool{}
	if v.Lock.Image != nil {
		for _, id := range v.Lock.Image.Packages {
			base[id] = true
		}
	}
	var problems []Problem
	for i := range h.Packages {
		p := &h.Packages[i]
		k := key{p.Set, p.ID(), p.Archive, p.Path, p.SHA256}
		of := trace.Base
		switch {
		case locked[k] && p.Archive == lockfile.Project:
			of = trace.Overlay
		case locked[k]:
			of = trace.Archive
		}
		if p.Origin != of || of == trace.Base && !base[p.ID()] {
			problems = append(problems, Problem{TraceDir + "/" + trace.HeadFile, fmt.Sprintf("package %s is not the lock's", p.ID())})
		}
		delete(locked, k)
	}
	if len(locked) > 0 {
		problems = append(problems, Problem{TraceDir + "/" + trace.HeadFile, fmt.Sprintf("lacks %d packages of the lock", len(locked))})
	}
	return problems
}

// tracedPart compares one part's origins with what the image holds.
func (v *verification) tracedPart(t *Tracing, part string, tree *roottree.Manifest) (problems []Problem, err error) {
	name := TraceDir + "/" + part + trace.Suffix
	add := func(at, format string, args ...any) {
		if len(problems) <= maxProblems {
			problems = append(problems, Problem{name, "/" + at + " " + fmt.Sprintf(format, args...)})
		}
	}
	placed := map[string]artifact.Digest{} // what a part has, by path
	switch {
	case part == trace.PartMedium:
		placed = v.mediumTree()
	case part == trace.PartDisk && tree != nil:
		placed = v.diskFiles(tree)
	}
	seen, last := 0, ""
	err = t.Each(part, nil, func(o trace.Origin) bool {
		seen++
		if seen > 1 && o.Path <= last {
			add(o.Path, "is named twice, or out of order")
		}
		last = o.Path
		switch {
		case o.Kind == trace.Unexplained && !accepted(v.Config.Unexplained, part, o):
			add(o.Path, "is of unknown origin")
		case o.Kind == trace.Archive && (o.Package == nil || t.Packages[*o.Package].Origin != trace.Archive):
			add(o.Path, "is said to be of a .deb, but not of which")
		case o.Kind != trace.Archive && o.Kind != trace.Unexplained && o.By == nil:
			add(o.Path, "is said to be %s, but not by whom", o.Kind)
		}
		switch part {
		case trace.PartRoot:
			if tree == nil {
				return false
			}
			e, ok := tree.Lookup(o.Path)
			if !ok || e.Type != o.Type || e.SHA256 != o.SHA256 || e.Size != o.Size || e.Target != o.Target {
				add(o.Path, "is not in the image, or not like this")
			}
		case trace.PartMedium, trace.PartDisk:
			if d, ok := placed[o.Path]; ok && d != o.SHA256 {
				add(o.Path, "is another file in the image")
			} else if !ok && !strings.HasPrefix(o.Path, "[") {
				add(o.Path, "is not in the image")
			}
			delete(placed, o.Path)
		}
		return true
	})
	if part == trace.PartRoot && tree != nil && seen != len(tree.Entries) {
		add("", "%d files are traced, the root tree has %d", seen, len(tree.Entries))
	}
	if len(placed) > 0 {
		add(sortedKeys(placed)[0], "is in the image, but not traced")
	}
	return problems, err
}

// accepted tells whether the config accepts a file of unknown origin, with the
// reason that the trace names.
func accepted(list []config.Accepted, part string, o trace.Origin) bool {
	return part == trace.PartRoot && slices.ContainsFunc(list, func(a config.Accepted) bool {
		ok, err := path.Match(strings.TrimPrefix(a.Path, "/"), o.Path)
		return err == nil && ok && a.Reason == o.Allowed
	})
}
