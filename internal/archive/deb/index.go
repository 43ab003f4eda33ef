package deb

import (
	"errors"
	"fmt"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/regular"
)

// indexFields are what apt solves by.
var indexFields = []string{
	"Package", "Version", "Architecture", "Multi-Arch", "Essential", "Protected", "Important", "Priority", "Section", "Source", "Maintainer", "Installed-Size",
	"Pre-Depends", "Depends", "Recommends", "Suggests", "Enhances", "Conflicts", "Breaks", "Replaces", "Provides", "Built-Using",
}

// IndexEntry is the entry of a Packages index for the .deb in a file, from its control
// file: a stanza of deb822(5) and an empty line. Filename is the path of ref.
func IndexEntry(file string, ref artifact.Ref) (_ string, err error) {
	f, err := regular.OpenFile(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pkg, err := Open(f, ref.Size, Limits{})
	if err != nil {
		return "", err
	}
	control, err := pkg.Control()
	if err != nil {
		return "", err
	}
	var stanza strings.Builder
	for _, name := range indexFields {
		if v := control.Get(name); v != "" {
			fmt.Fprintf(&stanza, "%s: %s\n", name, strings.Join(strings.Fields(v), " "))
		}
	}
	fmt.Fprintf(&stanza, "Filename: ./%s\nSize: %d\nSHA256: %s\n\n", ref.Path, ref.Size, ref.Digest)
	return stanza.String(), nil
}
