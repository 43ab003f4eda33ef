package roottree

import (
	"bytes"
	"fmt"
	"slices"
)

// Difference is one way in which two trees differ.
type Difference struct {
	Path  string
	Field string // "missing", "extra", or the name of what differs
	Want  string
	Got   string
}

func (d Difference) String() string {
	switch d.Field {
	case "missing", "extra":
		return d.Path + ": " + d.Field
	}
	return fmt.Sprintf("%s: %s is %s, want %s", d.Path, d.Field, d.Got, d.Want)
}

// CompareOptions name what is left out of a comparison.
type CompareOptions struct {
	// NoOwners leaves out users, groups and modes, for file systems without them.
	NoOwners bool
	// NoXattrs leaves out extended attributes.
	NoXattrs bool
	// NoHardLinks leaves out which names share a file.
	NoHardLinks bool
}

// Compare returns every difference between two trees, by path.
func Compare(want, got *Manifest, opts CompareOptions) []Difference {
	var ds []Difference
	i, j := 0, 0
	for i < len(want.Entries) || j < len(got.Entries) {
		switch {
		case j == len(got.Entries) || i < len(want.Entries) && want.Entries[i].Path < got.Entries[j].Path:
			ds = append(ds, Difference{Path: want.Entries[i].Path, Field: "missing"})
			i++
		case i == len(want.Entries) || got.Entries[j].Path < want.Entries[i].Path:
			ds = append(ds, Difference{Path: got.Entries[j].Path, Field: "extra"})
			j++
		default:
			ds = compareEntry(ds, &want.Entries[i], &got.Entries[j], opts)
			i++
			j++
		}
	}
	return ds
}

func compareEntry(ds []Difference, w, g *Entry, opts CompareOptions) []Difference {
	differ := func(field, want, got string) {
		if want != got {
			ds = append(ds, Difference{Path: w.Path, Field: field, Want: want, Got: got})
		}
	}
	differ("type", string(w.Type), string(g.Type))
	if w.Type != g.Type {
		return ds
	}
	if !opts.NoOwners {
		differ("mode", fmt.Sprintf("%04o", w.Mode), fmt.Sprintf("%04o", g.Mode))
		differ("uid", fmt.Sprint(w.UID), fmt.Sprint(g.UID))
		differ("gid", fmt.Sprint(w.GID), fmt.Sprint(g.GID))
	}
	differ("link target", w.Target, g.Target)
	differ("device", fmt.Sprintf("%d,%d", w.Major, w.Minor), fmt.Sprintf("%d,%d", g.Major, g.Minor))
	differ("size", fmt.Sprint(w.Size), fmt.Sprint(g.Size))
	differ("sha256", string(w.SHA256), string(g.SHA256))
	if !opts.NoHardLinks {
		differ("hard link", w.HardLink, g.HardLink)
	}
	if !opts.NoXattrs && !slices.EqualFunc(w.Xattrs, g.Xattrs, func(a, b Xattr) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }) {
		differ("xattrs", xattrText(w.Xattrs), xattrText(g.Xattrs))
	}
	return ds
}

func xattrText(xs []Xattr) string {
	s := "none"
	for i, x := range xs {
		if i == 0 {
			s = ""
		}
		s += fmt.Sprintf("%s=%x ", x.Name, x.Value)
	}
	return s
}
