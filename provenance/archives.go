package provenance

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
)

// archives checks the ground that everything stands on: package and source in
// index, index in Release file, Release file signed, by whom the options believe and the
// lock says. Signatures are judged as of the Release file's own date: a key that has expired
// since does not undo them.
func (v *verification) archives(ctx context.Context) (string, []Problem, error) {
	own := len(v.Lock.ProjectDebs())
	count := fmt.Sprintf("%d packages", len(v.Lock.Target)-own+len(v.Lock.Boot)+len(v.Lock.Tools))
	if len(v.Lock.Sources) > 0 {
		count += fmt.Sprintf(" and %d source packages", len(v.Lock.Sources))
	}
	what := fmt.Sprintf("%s in the indexes of %d suites", count, len(v.Lock.Archives))
	if own > 0 {
		what += fmt.Sprintf("; package files of the project, which the config pins: %d", own)
	}
	if n := len(v.Lock.SourcesMissing); n > 0 {
		what += fmt.Sprintf("; %d source packages are in none", n)
	}
	problems := append(v.archiveFiles(), v.projectDebs()...)
	if len(problems) > 0 {
		return "", bounded(problems), nil
	}
	signers, problems := v.archiveSigners() // cheap, and about whom the options believe: never remembered
	if len(problems) > 0 {
		return "", bounded(problems), nil
	}
	v.signers = signers
	what += ", " + v.signedBy(signers)
	name, known := v.known("archives", artifact.HashBytes(v.lockText))
	if known {
		return what, nil, nil
	}
	wanted := map[artifact.Digest]bool{}
	for _, p := range slices.Concat(v.Lock.Target, v.Lock.Boot, v.Lock.Tools) {
		wanted[p.SHA256] = true
	}
	listed := map[string]*listing{}
	for _, a := range v.Lock.Archives {
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		l, err := v.archive(a, wanted)
		if err != nil {
			problems = append(problems, problemOf(a.ID, err))
			continue
		}
		listed[a.ID] = l
	}
	for _, p := range slices.Concat(v.Lock.Target, v.Lock.Boot, v.Lock.Tools) {
		if l := listed[p.Archive]; l != nil { // else it is reported above
			problems = append(problems, l.checkPackage(p)...)
		}
	}
	for _, s := range v.Lock.Sources {
		if l := listed[s.Archive]; l != nil {
			problems = append(problems, l.checkSource(s)...)
		}
	}
	for _, m := range v.Lock.SourcesMissing {
		for _, a := range v.Lock.Archives {
			if l := listed[a.ID]; l != nil && len(l.sources[m.ID()]) > 0 {
				problems = append(problems, Problem{m.ID(), "is missing, the lock says, but is in a Sources index of " + a.ID})
			}
		}
	}
	v.hold(name, problems)
	return what, bounded(problems), nil
}

// projectDebs checks the packages that no archive has: the config pins each, and the
// builder has signed that the stage that fetches took the very file.
func (v *verification) projectDebs() []Problem {
	pinned := v.Config.PinnedDebs()
	var problems []Problem
	for _, p := range v.Lock.ProjectDebs() {
		if pinned[p.Path] != p.SHA256 {
			problems = append(problems, Problem{p.ID(), fmt.Sprintf("is %s of the project with SHA-256 %s, the config pins %q", p.Path, p.SHA256, pinned[p.Path])})
		} else if took := v.links[fetchStage].Materials[recordProject+p.Path]; took != p.SHA256 {
			problems = append(problems, Problem{p.ID(), fmt.Sprintf("is %s of the project with SHA-256 %s, the stage %s took %q", p.Path, p.SHA256, fetchStage, took)})
		}
	}
	return problems
}

// listing is what the signed indexes of a suite list.
type listing struct {
	packages map[artifact.Digest]archive.Package
	sources  map[string][]archive.SourcePackage // by name and version
}

func (l *listing) checkPackage(p lockfile.Package) []Problem {
	have, ok := l.packages[p.SHA256]
	switch {
	case !ok:
		return []Problem{{p.ID(), "is in no index of " + p.Archive}}
	case have.Name != p.Name || have.Version != p.Version || have.Architecture != p.Architecture || have.Filename != p.Path || have.Size != p.Size || have.Source != p.Source || have.SourceVersion != p.SourceVersion:
		return []Problem{{p.ID(), "is another package in the index of " + p.Archive}}
	}
	return nil
}

func (l *listing) checkSource(s lockfile.Source) []Problem {
	have := l.sources[s.ID()]
	switch {
	case len(have) == 0:
		return []Problem{{s.ID(), "is in no Sources index of " + s.Archive}}
	case !slices.ContainsFunc(have, func(p archive.SourcePackage) bool { return slices.Equal(p.Files, s.Files) }):
		return []Problem{{s.ID(), "has other files in the Sources index of " + s.Archive}}
	}
	return nil
}

// archiveFiles checks that the evidence holds what the lock rests on.
func (v *verification) archiveFiles() []Problem {
	want := map[string]artifact.Digest{}
	for _, a := range v.Lock.Archives {
		want[KeyringName(a.Keyring.Digest)] = a.Keyring.Digest
		for _, r := range a.Files() {
			want[path.Join(ArchivesDir, a.Repository, r.Path)] = r.Digest
		}
	}
	var problems []Problem
	for _, name := range sortedKeys(want) {
		if have := v.files[name]; have != want[name] {
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %q, the lock says %s", have, want[name])})
		}
	}
	return problems
}

// archive reads the indexes of a suite, as far as its Release file is signed and
// names them. Of the packages it keeps those that are wanted: an index has 70,000.
func (v *verification) archive(a lockfile.Archive, wanted map[artifact.Digest]bool) (*listing, error) {
	s, err := v.suite(a)
	if err != nil {
		return nil, err
	}
	l := &listing{packages: map[artifact.Digest]archive.Package{}, sources: map[string][]archive.SourcePackage{}}
	for _, i := range a.Indexes {
		text, err := v.index(a, s.release, i)
		if err != nil {
			return nil, err
		}
		list, err := archive.ReadPackages(i.Path, text, func(p *archive.Package) bool { return wanted[p.SHA256] })
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			l.packages[p.SHA256] = p
		}
	}
	for _, i := range a.SourceIndexes {
		text, err := v.index(a, s.release, i)
		if err != nil {
			return nil, err
		}
		list, err := archive.ReadSourceIndex(i.Path, text)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			l.sources[p.String()] = append(l.sources[p.String()], p)
		}
	}
	return l, nil
}

// index reads an index that the Release file names.
func (v *verification) index(a lockfile.Archive, release *archive.Release, i lockfile.Index) ([]byte, error) {
	name := strings.TrimPrefix(i.Path, "dists/"+a.Suite+"/")
	if sum, ok := release.Files[name]; !ok || sum.SHA256 != i.Digest {
		return nil, fmt.Errorf("%s: the Release file does not name it with SHA-256 %s", i.Path, i.Digest)
	}
	return v.readDigest(archived(a, i.Ref), i.Digest, 1<<30)
}

// archived is where the evidence has a file of an archive.
func archived(a lockfile.Archive, r artifact.Ref) string {
	return path.Join(ArchivesDir, a.Repository, r.Path)
}
