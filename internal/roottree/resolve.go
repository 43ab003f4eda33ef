package roottree

import (
	"fmt"
	"path"
	"strings"
)

// maxLinks is how many symbolic links one path may go through, as in Linux.
const maxLinks = 40

// Resolve returns the path under which a tree really has name: every link in
// the folders above it followed, the name itself not, as with lib/x in a tree
// where lib leads to usr/lib. readlink returns the target of a path that is a
// symbolic link, and false for any other. No link leads above the root.
func Resolve(name string, readlink func(path string) (target string, ok bool)) (string, error) {
	rest := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	at, links := ".", 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at != "." {
				at = path.Dir(at)
			}
			continue
		}
		at = path.Join(at, part)
		if len(rest) == 0 {
			break
		}
		target, ok := readlink(at)
		if !ok {
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: too many symbolic links", name)
		}
		if path.IsAbs(target) {
			at = "."
		} else {
			at = path.Dir(at)
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// Resolve is the function of that name for the tree of a manifest.
func (m *Manifest) Resolve(name string) (string, error) {
	return Resolve(name, func(p string) (string, bool) {
		e, ok := m.Lookup(p)
		return e.Target, ok && e.Type == Link
	})
}

// Follow is Resolve for what a path leads to: the name itself is followed, too.
func Follow(name string, readlink func(path string) (target string, ok bool)) (string, error) {
	for range maxLinks {
		at, err := Resolve(name, readlink)
		if err != nil {
			return "", err
		}
		target, ok := readlink(at)
		if !ok {
			return at, nil
		}
		if name = target; !path.IsAbs(target) {
			name = path.Dir(at) + "/" + target
		}
	}
	return "", fmt.Errorf("%s: too many symbolic links", name)
}
