package provenance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/contents"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/trace"
)

// checkDebs proves from the .debs themselves what the trace says of them: each file
// of the image that is said to be in a .deb is in it, with those bytes and attributes.
func (v *verification) checkDebs(ctx context.Context) (_ string, _ []Problem, err error) {
	if v.opts.Archive == "" {
		return "no .debs are at hand: name a copy of the archives with --archive", nil, nil
	}
	t, err := OpenTracing(v.out, v.key)
	if err != nil {
		return "", []Problem{problemOf(TraceDir, err)}, nil
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	claims := map[string]map[string]bool{} // paths, by the ID of the package that holds them
	total := 0
	has := []byte(`"archive"`)
	if len(v.Lock.ProjectDebs()) > 0 {
		has = nil // files of those have another origin
	}
	err = t.Each(trace.PartRoot, has, func(o trace.Origin) bool {
		if (o.Kind == trace.Archive || o.Kind == trace.Overlay && o.Was == nil) && o.Package != nil && *o.Package < len(t.Packages) {
			id := t.Packages[*o.Package].ID()
			if claims[id] == nil {
				claims[id] = map[string]bool{}
			}
			claims[id][o.Path] = true
			total++
		}
		return true
	})
	if err != nil {
		return "", []Problem{problemOf(TraceDir+"/"+trace.PartRoot+trace.Suffix, err)}, nil
	}
	tree, problems := v.rootManifest()
	if len(problems) > 0 {
		return "", problems, nil
	}
	packages := slices.Concat(v.Lock.Target, v.Lock.Boot)
	for _, p := range v.Lock.Tools {
		if p.Is(lockfile.UseBuild) { // what only boots the image has no part in it
			packages = append(packages, p)
		}
	}
	found := make([][]Problem, len(packages))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	var once sync.Map // SHA-256 of .debs that stand in several sets
	for i, p := range packages {
		var of map[string]bool
		if i < len(v.Lock.Target) {
			of = claims[p.ID()]
		} else if _, seen := once.LoadOrStore(p.SHA256, true); seen {
			continue
		}
		group.Go(func() error {
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			found[i] = v.debHolds(p, tree, of)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%d .debs are those of the lock, and hold the %d files that are said to be theirs", len(packages), total), bounded(slices.Concat(found...)), nil
}

// debHolds checks a .deb's digest and, of the paths, that it holds each as the tree
// has it.
func (v *verification) debHolds(p lockfile.Package, tree *roottree.Manifest, paths map[string]bool) []Problem {
	file, err := FindDeb(v.opts.Archive, p)
	if err != nil {
		return []Problem{problemOf(p.Path, err)}
	}
	have, size, err := artifact.HashFile(file)
	if err != nil {
		return []Problem{problemOf(p.Path, err)}
	}
	if have != p.SHA256 {
		return []Problem{{p.Path, fmt.Sprintf("its SHA-256 is %s, the lock says %s", have, p.SHA256)}}
	}
	if len(paths) == 0 {
		return nil
	}
	_, record := v.rootRecord()
	held, known := v.known("deb", have, v.made[record], v.files[path.Join(TraceDir, trace.PartRoot+trace.Suffix)])
	if known {
		return nil
	}
	list, err := contents.Read(file, size)
	if err != nil {
		return []Problem{problemOf(p.Path, err)}
	}
	// By path as the tree's own links lead to it, and, for files that are diverted,
	// by what they are.
	at, like := map[string]*roottree.Entry{}, map[string]bool{}
	for i := range list.Entries {
		e := &list.Entries[i]
		if to, err := tree.Resolve(e.Path); err == nil {
			at[to] = e
		}
		like[described(e)] = true
	}
	var problems []Problem
	for _, name := range sortedKeys(paths) {
		e, ok := tree.Lookup(name)
		switch in := at[name]; {
		case !ok:
			problems = append(problems, Problem{"/" + name, "is in no manifest"})
		case in != nil && described(in) == described(&e), e.Type == roottree.File && like[described(&e)]:
		default:
			problems = append(problems, Problem{"/" + name, fmt.Sprintf("is said to be in %s, which does not hold it so", p.ID())})
		}
	}
	v.hold(held, problems)
	return problems
}

// described is everything that a manifest says of an entry but its path.
func described(e *roottree.Entry) string {
	return fmt.Sprintf("%s %o %d %d %q %d %s %q", e.Type, e.Mode, e.UID, e.GID, e.Target, e.Size, e.SHA256, e.Xattrs)
}

// FindDeb looks for a .deb in a copy of the archives: below the archive's name, as
// a mirror has it, or by its own name.
func FindDeb(archive string, p lockfile.Package) (string, error) {
	repository, _, _ := strings.Cut(p.Archive, "/")
	for _, name := range []string{path.Join(repository, p.Path), p.Path, path.Base(p.Path)} {
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			continue
		}
		file := filepath.Join(archive, filepath.FromSlash(name))
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
			return file, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("is not in %s: %w", archive, fs.ErrNotExist)
}

func (v *verification) debsState() State {
	if v.opts.Archive == "" {
		return CannotTell
	}
	return Valid
}
