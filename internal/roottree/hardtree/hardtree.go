// Package hardtree makes a tree that is hard to describe, for tests.
package hardtree

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Names of the tree that are files.
const (
	Pattern = "st*r[1]?"
	NotUTF8 = "\xff\xfe"
)

// Make fills an empty folder.
func Make(dir string) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	add(os.MkdirAll(at("with blank/#comment"), 0o755))
	for _, name := range []string{
		Pattern, NotUTF8, "é", "tab\t", "line\nfeed", "back\\slash", "a=b", "#c", "-", "~", "with blank/#comment/$x", "{}", "quote'\"", "\x01\x7f", "setuid", "read only", "..x",
	} {
		add(os.WriteFile(at(name), []byte(name), 0o644))
	}
	add(os.Link(at("setuid"), at("the same")))
	add(os.Link(at(Pattern), at("=")))
	add(os.Symlink("no\nwhere #é\xff=\\*?[]{}$\"'~\x01\x7f\t&;", at("link")))
	add(unix.Mkfifo(at("pipe"), 0o600))
	add(unix.Chmod(at("setuid"), 0o6755))
	add(unix.Chmod(at("with blank"), 0o1777))
	add(unix.Chmod(at("read only"), 0o400))
	return errors.Join(errs...)
}
