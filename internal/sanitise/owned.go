package sanitise

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/isotrace/isotrace/internal/dpkgdb"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
)

// real is the path that name really has in the tree: folders above it may be links, as
// /lib is. What cannot be resolved is as it is named.
func (t *tree) real(name string) string {
	at, err := roottree.Resolve(name, func(p string) (string, bool) {
		target, err := t.root.Readlink(p)
		return target, err == nil
	})
	if err != nil {
		return strings.TrimPrefix(path.Clean("/"+name), "/")
	}
	return at
}

// spares tells why a file stays though a pass would remove it: the project put it there, or
// it is as a package brought it, and so is the same in every build. A secret that a package
// brings does not stay.
func (t *tree) spares(name string, st fs.FileInfo) (why string, err error) {
	if t.owned[name] {
		return "the project put it there", nil
	}
	if t.pass.secret || st.IsDir() {
		return "", nil
	}
	packages, err := t.shipped()
	if err != nil {
		return "", err
	}
	sum, listed := packages[name]
	switch {
	case !listed:
		return "", nil
	case st.Mode()&fs.ModeSymlink != 0:
		return "a package has it", nil
	case !st.Mode().IsRegular() || sum == "":
		return "", nil
	}
	have, err := t.md5(name)
	if err != nil || have != sum {
		return "", err
	}
	return "a package has it", nil
}

// shipped are the files that dpkg counts as packages', by where they are in the tree, with
// the MD5 that their package has, or "".
func (t *tree) shipped() (map[string]string, error) {
	if t.packages != nil {
		return t.packages, nil
	}
	t.packages = map[string]string{}
	if _, err := t.root.Lstat("var/lib/dpkg/status"); errors.Is(err, fs.ErrNotExist) {
		return t.packages, nil
	}
	db, err := dpkgdb.Read(t.root)
	if err != nil {
		return nil, err
	}
	links := map[string]string{} // looked up once each: through the os.Root it takes long
	readlink := func(p string) (string, bool) {
		target, known := links[p]
		if !known {
			target, _ = t.root.Readlink(p) // no link is "", and so is what is not there
			links[p] = target
		}
		return target, target != ""
	}
	place := func(name string) string {
		if at, err := roottree.Resolve(name, readlink); err == nil {
			return at
		}
		return name
	}
	for _, p := range db.Packages {
		for _, name := range p.Files {
			t.packages[place(name)] = p.MD5[name]
		}
		for name, sum := range p.Conffiles {
			t.packages[place(name)] = sum
		}
	}
	return t.packages, nil
}

func (t *tree) md5(name string) (_ string, err error) {
	f, err := regular.Open(t.root, name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := md5.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// delete removes a path, and of a folder all but what is spared.
func (t *tree) delete(name string) error {
	st, err := t.root.Lstat(name)
	if err != nil {
		return err
	}
	if why, err := t.spares(name, st); err != nil {
		return fmt.Errorf("/%s: %w", name, err)
	} else if why != "" {
		_, err := fmt.Fprintf(t.log, "  kept /%s: %s\n", name, why)
		return err
	}
	if st.IsDir() {
		holds, err := t.holds(name)
		if err != nil {
			return err
		}
		if holds {
			return t.deleteIn(name)
		}
	}
	if _, err := fmt.Fprintf(t.log, "  removed /%s\n", name); err != nil {
		return err
	}
	t.changed(name)
	return t.root.RemoveAll(name)
}

// holds tells whether something in a folder may be spared.
func (t *tree) holds(dir string) (bool, error) {
	for name := range t.owned {
		if strings.HasPrefix(name, dir+"/") {
			return true, nil
		}
	}
	if t.pass.secret {
		return false, nil
	}
	packages, err := t.shipped()
	if err != nil {
		return false, err
	}
	for name := range packages {
		if strings.HasPrefix(name, dir+"/") {
			if st, err := t.root.Lstat(name); err == nil && !st.IsDir() {
				return true, nil
			}
		}
	}
	return false, nil
}

// deleteIn removes what is in a folder, and the folder where nothing is left in it.
func (t *tree) deleteIn(dir string) error {
	entries, err := regular.ReadDir(t.root, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := t.delete(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	left, err := regular.ReadDir(t.root, dir)
	if err != nil || len(left) > 0 {
		return err
	}
	if _, err := fmt.Fprintf(t.log, "  removed /%s\n", dir); err != nil {
		return err
	}
	t.changed(dir)
	return t.root.Remove(dir)
}
