package trace

import (
	"bytes"
	"fmt"
	"path"
	"slices"

	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/roottree"
)

// Claims are what .debs have for the paths of a root tree: past diversions and past
// the links above a path, such as those of a merged /usr.
type Claims struct {
	tree       *roottree.Manifest
	diversions map[string]dpkgdb.Diversion
	owners     Owners
	folders    map[string]string // cache of resolved folders
	at         map[string][]Claim
	diverted   map[string]bool // by path, whether a file was moved
}

// Claim is an entry that a .deb has for a path of the tree.
type Claim struct {
	Package int // index into the head's packages
	Entry   *roottree.Entry
}

// NewClaims begins with no .deb. Diversions are those of the tree's dpkg, by the path
// that is diverted.
func NewClaims(tree *roottree.Manifest, diversions map[string]dpkgdb.Diversion, owners Owners) *Claims {
	return &Claims{tree: tree, diversions: diversions, owners: owners, folders: map[string]string{}, at: map[string][]Claim{}, diverted: map[string]bool{}}
}

// At returns what .debs have for a path, in the order in which they were added.
func (c *Claims) At(p string) []Claim { return c.at[p] }

// Diverted tells whether a .deb has a file that the diversion of a path moved.
func (c *Claims) Diverted(from string) bool { return c.diverted[from] }

// Place returns where the path of a package lies in the tree. dpkg diverts a path as
// the package has it, whatever links are above it.
func (c *Claims) Place(p, pkg string) (string, error) {
	if d, ok := c.diversions[p]; ok && d.Package != pkg {
		return c.resolve(d.To)
	}
	return c.resolve(p)
}

func (c *Claims) resolve(p string) (string, error) {
	dir := path.Dir(p)
	real, ok := c.folders[dir]
	if !ok {
		var err error
		if real, err = c.tree.Resolve(dir + "/x"); err != nil {
			return "", err
		}
		real = path.Dir(real)
		c.folders[dir] = real
	}
	return path.Join(real, path.Base(p)), nil
}

// Add takes down what a package's .deb installs.
func (c *Claims) Add(d Deb, name string) error {
	for i := range d.List.Entries {
		e := &d.List.Entries[i]
		at := "."
		if e.Path != "." {
			var err error
			if at, err = c.Place(e.Path, name); err != nil {
				return fmt.Errorf("package %s: %w", name, err)
			}
			if v, ok := c.diversions[e.Path]; ok && v.Package != name {
				c.diverted[e.Path] = true
			}
			// A folder of the package may be a link in the tree, or lie behind one.
			if to, ok := c.tree.Lookup(at); ok && e.Type == roottree.Dir && to.Type == roottree.Link {
				if at, err = c.tree.Resolve(at + "/x"); err != nil {
					return fmt.Errorf("package %s: %w", name, err)
				}
				at = path.Dir(at)
			}
		}
		var in *roottree.Entry
		if have, ok := c.tree.Lookup(at); ok {
			in = &have
		}
		c.at[at] = append(c.at[at], Claim{Package: d.Package, Entry: c.owners.owned(e, in)})
	}
	return nil
}

// Same tells whether a .deb's entry is the tree's: type, mode, owner, target,
// attributes and content.
func Same(deb, tree *roottree.Entry) bool {
	return deb.Type == tree.Type && deb.Mode == tree.Mode && deb.UID == tree.UID && deb.GID == tree.GID && deb.Target == tree.Target &&
		deb.Size == tree.Size && deb.SHA256 == tree.SHA256 &&
		slices.EqualFunc(deb.Xattrs, tree.Xattrs, func(x, y roottree.Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

// Holders are the packages, by index, whose .debs have a path just as the tree has it.
func (c *Claims) Holders(e *roottree.Entry) []int {
	var list []int
	for _, k := range c.at[e.Path] {
		if Same(k.Entry, e) && !slices.Contains(list, k.Package) {
			list = append(list, k.Package)
		}
	}
	return list
}

// WasOf describes what a .deb has, where the tree has something else.
func WasOf(deb, tree *roottree.Entry) *Was {
	w := &Was{}
	if deb.Type != tree.Type {
		w.Type = deb.Type
	}
	if deb.Mode != tree.Mode && deb.Type != roottree.Link {
		w.Mode = fmt.Sprintf("%04o", deb.Mode)
	}
	if deb.UID != tree.UID {
		w.UID = &deb.UID
	}
	if deb.GID != tree.GID {
		w.GID = &deb.GID
	}
	if deb.SHA256 != tree.SHA256 {
		w.SHA256, w.Type = deb.SHA256, deb.Type
	}
	if deb.Target != tree.Target {
		w.Target, w.Type = deb.Target, deb.Type
	}
	return w
}
