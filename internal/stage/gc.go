package stage

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/regular"
)

// Collect removes the results that nobody has used since the time, and then
// the layers and files that no result needs and that are as old. It needs the
// store to itself. It returns the bytes that were freed.
func Collect(s *artifact.Store, unusedSince time.Time) (freed int64, err error) {
	release, err := s.Alone()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, release()) }()
	keep := map[string]bool{} // paths
	results, err := os.ReadDir(filepath.Join(s.Root(), "results"))
	if err != nil {
		return 0, err
	}
	for _, e := range results {
		path := filepath.Join(s.Root(), "results", e.Name())
		info, err := e.Info()
		if err != nil {
			return freed, err
		}
		if !info.ModTime().After(unusedSince) {
			n, err := removeTree(path)
			if freed += n; err != nil {
				return freed, err
			}
			continue
		}
		for p := range contentOf(s, path) {
			keep[p] = true
		}
	}
	for _, pattern := range []string{"layers/*", "files/*/*", "partial/*", "locks/stage-*"} {
		found, err := filepath.Glob(filepath.Join(s.Root(), pattern))
		if err != nil {
			return freed, err
		}
		for _, path := range found {
			info, err := os.Lstat(path)
			if err != nil {
				return freed, err
			}
			if keep[path] || info.ModTime().After(unusedSince) && strings.HasPrefix(pattern, "files") {
				continue
			}
			n, err := removeTree(path)
			if freed += n; err != nil {
				return freed, err
			}
		}
	}
	return freed, nil
}

// contentOf returns the paths of what a result rests on. A result that cannot
// be read rests on nothing: nobody will use it.
func contentOf(s *artifact.Store, path string) map[string]bool {
	content := map[string]bool{}
	for _, p := range outputsOf(path) {
		switch {
		case p.File != nil:
			content[s.Path(p.File.Digest)] = true
		case p.Tree != nil:
			content[s.Path(p.Tree.Manifest.Digest)] = true
			for _, id := range p.Tree.Layers {
				content[s.Layer(id)] = true
			}
		}
		for _, r := range p.Set {
			content[s.Path(r.Digest)] = true
		}
	}
	return content
}

func outputsOf(path string) map[string]Product {
	b, err := regular.ReadFile(path, maxResult)
	if err != nil {
		return nil
	}
	var r Result
	if json.Unmarshal(b, &r) != nil {
		return nil
	}
	return r.Outputs
}

func removeTree(path string) (size int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			info, err := d.Info()
			if err != nil {
				return err
			}
			size += info.Size()
		}
		return nil
	})
	return size, errors.Join(err, os.RemoveAll(path))
}

// StoreReport says what VerifyStore found.
type StoreReport struct {
	Files int `json:"files"`
	Trees int `json:"trees"`
	// Damaged are the files and trees that were removed.
	Damaged []string `json:"damaged,omitempty"`
}

// VerifyStore reads every file of the store, and every tree against its
// manifest. What is damaged is removed; stages make it again.
func VerifyStore(ctx context.Context, s *artifact.Store) (StoreReport, error) {
	var report StoreReport
	files, err := filepath.Glob(filepath.Join(s.Root(), "files", "*", "*"))
	if err != nil {
		return report, err
	}
	for _, path := range files {
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		report.Files++
		if _, err := s.Verify(artifact.Digest(filepath.Base(path))); err != nil {
			report.Damaged = append(report.Damaged, filepath.Base(path))
		}
	}
	results, err := filepath.Glob(filepath.Join(s.Root(), "results", "*.json"))
	if err != nil {
		return report, err
	}
	x := &run{Runner: &Runner{Store: s}}
	for _, path := range results {
		for _, p := range outputsOf(path) {
			if p.Tree == nil {
				continue
			}
			if ctx.Err() != nil {
				return report, context.Cause(ctx)
			}
			report.Trees++
			if err := x.verifyTree(ctx, *p.Tree); err != nil {
				report.Damaged = append(report.Damaged, filepath.Base(path))
				if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return report, err
				}
			}
		}
	}
	return report, nil
}
