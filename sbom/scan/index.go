package scan

import (
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/isotrace/isotrace/internal/roottree"
)

// found is a regular file of the tree: real is its path, path the one by which it
// was found. Both are relative.
type found struct{ path, real string }

// fileIndex are the regular files and the links to regular files, by path.
type fileIndex struct {
	manifest *roottree.Manifest
	list     []found
	byBase   map[string][]int
}

func newFileIndex(m *roottree.Manifest) *fileIndex {
	x := &fileIndex{manifest: m, byBase: map[string][]int{}}
	for i := range m.Entries {
		e := &m.Entries[i]
		f := found{e.Path, e.Path}
		if e.Type == roottree.Link {
			real, to, ok := Follow(m, e.Path)
			if !ok || to.Type != roottree.File {
				continue
			}
			f.real = real
		} else if e.Type != roottree.File {
			continue
		}
		base := path.Base(f.path)
		x.byBase[base] = append(x.byBase[base], len(x.list))
		x.list = append(x.list, f)
	}
	return x
}

// maxLinks is how many links a path may end in, one leading to the other.
const maxLinks = 40

// Follow returns what a path leads to, every link on the way followed as if the
// tree were the root folder.
func Follow(m *roottree.Manifest, name string) (real string, e roottree.Entry, ok bool) {
	for range maxLinks {
		at, err := m.Resolve(name)
		if err != nil {
			return "", e, false
		}
		if e, ok = m.Lookup(at); !ok || e.Type != roottree.Link {
			return at, e, ok
		}
		if name = e.Target; !path.IsAbs(name) {
			name = path.Dir(at) + "/" + name
		}
	}
	return "", e, false
}

func (x *fileIndex) lookup(name string) (found, bool) {
	real, e, ok := Follow(x.manifest, name)
	if !ok || e.Type != roottree.File {
		return found{}, false
	}
	at, err := x.manifest.Resolve(name)
	if err != nil {
		return found{}, false
	}
	return found{path: at, real: real}, true
}

// glob returns the files whose path matches a pattern of doublestar's, in which
// ** stands for any number of folders.
func (x *fileIndex) glob(pattern string) ([]found, error) {
	pattern = strings.TrimPrefix(pattern, "/")
	if !doublestar.ValidatePattern(pattern) {
		return nil, doublestar.ErrBadPattern
	}
	var hits []found
	try := func(list []int) {
		for _, i := range list {
			if doublestar.MatchUnvalidated(pattern, x.list[i].path) {
				hits = append(hits, x.list[i])
			}
		}
	}
	last := lastSegment(pattern)
	if !strings.ContainsAny(last, `*?[{\`) {
		try(x.byBase[last])
		return hits, nil
	}
	// Most patterns end in a suffix, which is quicker to look at than the whole.
	prefix, suffix := last[:strings.IndexAny(last, `*?[{\`)], last[strings.LastIndexAny(last, `*?]}`)+1:]
	if strings.Contains(last, `\`) || strings.Contains(last, "/") || strings.Contains(last, "**") {
		prefix, suffix = "", ""
	}
	for base, list := range x.byBase { // the caller sorts
		if strings.HasPrefix(base, prefix) && strings.HasSuffix(base, suffix) {
			try(list)
		}
	}
	return hits, nil
}

// lastSegment is what follows the last slash outside braces.
func lastSegment(pattern string) string {
	depth := 0
	for i := len(pattern) - 1; i >= 0; i-- {
		switch pattern[i] {
		case '}':
			depth++
		case '{':
			depth--
		case '/':
			if depth == 0 {
				return pattern[i+1:]
			}
		}
	}
	return pattern
}
