package provenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
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
	for _, name := range sortedKeys(v.files) {
		base, ok := strings.CutPrefix(name, TraceDir+"/")
		if !ok {
			continue
		}
		if want := v.made[recordTrace+base]; v.files[name] != want {
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %s, the stage trace gave %q", v.files[name], want)})
		}
	}
	if len(problems) > 0 {
		return "", bounded(problems), nil
	}
	t, err := openTracing(v.Bundle, v.key)
	if err != nil {
		return "", []Problem{problemOf(TraceDir, err)}, nil
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	what := traceText(&t.Head)
	name, known := v.known("trace", v.traced()...)
	if known {
		return what, nil, nil
	}
	problems = append(problems, v.tracedSuites(&t.Head)...)
	problems = append(problems, v.tracedPackages(&t.Head)...)
	problems = append(problems, v.tracedActors(&t.Head)...)
	tree, found := v.rootManifest()
	if len(found) > 0 {
		return "", bounded(append(problems, found...)), nil
	}
	r, found, err := v.reread(ctx, tree)
	if err != nil {
		return "", nil, err
	}
	if problems = append(problems, found...); len(found) > 0 {
		return "", bounded(problems), nil
	}
	if err := v.wantCopies(t, r); err != nil {
		return "", []Problem{problemOf(TraceDir, err)}, nil
	}
	for _, part := range trace.Parts {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		found, err := v.tracedPart(t, part, tree, r)
		if err != nil {
			return "", []Problem{problemOf(TraceDir+"/"+part+trace.Suffix, err)}, nil
		}
		problems = append(problems, found...)
	}
	v.hold(name, problems)
	return what, bounded(problems), nil
}

// traced is all that the checks of the trace rest on. What the image holds is what the
// check of the medium found it to be.
func (v *verification) traced() []artifact.Digest {
	_, root := v.rootRecord()
	list := []artifact.Digest{artifact.HashBytes(v.lockText), artifact.HashBytes(v.configText), v.made[root], v.made[recordESP], v.made[recordMBR], v.made[recordInitrd]}
	for _, from := range []struct {
		prefix string
		of     map[string]artifact.Digest
	}{{TraceDir + "/", v.files}, {recordMedium, v.made}, {recordLists, v.made}, {recordDiskBoot, v.made}} {
		for _, name := range sortedKeys(from.of) {
			if strings.HasPrefix(name, from.prefix) {
				list = append(list, artifact.HashBytes([]byte(name)), from.of[name])
			}
		}
	}
	for _, stage := range sortedKeys(v.links) {
		list = append(list, artifact.HashBytes([]byte(stage)))
		for _, name := range sortedKeys(v.links[stage].Materials) {
			if isProject(name) {
				list = append(list, artifact.HashBytes([]byte(name)), v.links[stage].Materials[name])
			}
		}
	}
	return list
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
func (v *verification) tracedPart(t *Tracing, part string, tree *roottree.Manifest, r *rereading) (problems []Problem, err error) {
	name := TraceDir + "/" + part + trace.Suffix
	add := func(at, format string, args ...any) {
		problems = append(problems, Problem{name, "/" + at + " " + fmt.Sprintf(format, args...)})
	}
	placed := maps.Clone(r.parts[part])
	disk := map[string]artifact.Digest{}
	if part == trace.PartDisk {
		disk = v.diskFiles(tree)
	}
	seen := 0
	err = t.CheckPart(part, func(o trace.Origin) bool {
		seen++
		if o.Of == "" {
			if wrong := v.madeBy(&t.Head, part, &o); wrong != "" {
				add(o.Path, "%s", wrong)
			}
		} else if of, ok := strings.CutPrefix(o.Of, trace.PartRoot+":"); !ok || part == trace.PartRoot || !copyOf(&o, r.copied[of]) {
			add(o.Path, "is said to be a copy of %s, which is not like this", o.Of)
		}
		switch part {
		case trace.PartRoot:
			e, ok := tree.Lookup(o.Path)
			if !ok || e.Type != o.Type || e.SHA256 != o.SHA256 || e.Size != o.Size || e.Target != o.Target {
				add(o.Path, "is not in the image, or not like this")
			}
			if _, ok := r.copied[o.Path]; ok {
				r.copied[o.Path] = &o
			}
		case trace.PartDisk:
			if d, ok := disk[o.Path]; ok && d != o.SHA256 {
				add(o.Path, "is another file in the image")
			} else if !ok && !strings.HasPrefix(o.Path, "[") {
				add(o.Path, "is not in the image")
			}
			delete(disk, o.Path)
		default:
			if p, ok := placed[o.Path]; !ok {
				add(o.Path, "is not in the image")
			} else if wrong := r.compare(&o, p); wrong != "" {
				add(o.Path, "%s", wrong)
			}
			delete(placed, o.Path)
		}
		return len(problems) <= maxProblems
	})
	if err != nil || len(problems) > maxProblems {
		return problems, err
	}
	if part == trace.PartRoot && seen != len(tree.Entries) {
		add("", "%d files are traced, the root tree has %d", seen, len(tree.Entries))
	}
	for _, at := range slices.Concat(sortedKeys(placed), sortedKeys(disk)) {
		add(at, "is in the image, but not traced")
		break
	}
	return problems, nil
}

// accepted tells whether the config accepts a file of unknown origin, with the
// reason that the trace names.
func accepted(list []config.Accepted, part string, o trace.Origin) bool {
	return part == trace.PartRoot && slices.ContainsFunc(list, func(a config.Accepted) bool {
		ok, err := path.Match(strings.TrimPrefix(a.Path, "/"), o.Path)
		return err == nil && ok && a.Reason == o.Allowed
	})
}
