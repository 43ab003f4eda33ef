package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb822"
)

// Control is the content of a package's control.tar.
type Control struct {
	// Fields are those of the control file, under their names as written. The package's
	// name is in lower case, as dpkg and apt take it.
	Fields map[string]string
	Files  []ControlFile // all files but control, by name
}

// ControlFile is a file that accompanies the control file.
type ControlFile struct {
	Name    string
	Mode    int64
	Content []byte
}

// ScriptNames are the programs that dpkg and debconf run from a package.
var ScriptNames = []string{"config", "postinst", "postrm", "preinst", "prerm"}

const maxControlFiles = 1024

// Control reads the package's control.tar. The package's name, version and
// architecture are sure to be among the fields.
func (d *Deb) Control() (*Control, error) {
	c, err := d.readControl()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.control.name, err)
	}
	return c, nil
}

func (d *Deb) readControl() (*Control, error) {
	r, err := d.open(d.control, d.limits.Control)
	if err != nil {
		return nil, err
	}
	c := &Control{}
	seen := map[string]bool{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		path, err := CheckMember(h)
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg || strings.Contains(path, "/") {
			return nil, fmt.Errorf("%w: %q is no plain file at the top", ErrFormat, path)
		}
		if seen[path] {
			return nil, fmt.Errorf("%w: %q stands twice", ErrFormat, path)
		}
		if seen[path] = true; len(seen) > maxControlFiles {
			return nil, fmt.Errorf("%w: more than %d files", ErrFormat, maxControlFiles)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if path == "control" {
			if c.Fields, err = parseControl(content); err != nil {
				return nil, err
			}
			continue
		}
		c.Files = append(c.Files, ControlFile{Name: path, Mode: h.Mode & 0o7777, Content: content})
	}
	// The checksum of the compressed stream is at its end.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	if c.Fields == nil {
		return nil, fmt.Errorf("%w: there is no control file", ErrFormat)
	}
	slices.SortFunc(c.Files, func(a, b ControlFile) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

func parseControl(content []byte) (map[string]string, error) {
	rd := deb822.NewReader(bytes.NewReader(content), "control")
	s, err := rd.Next()
	if err != nil {
		if err == io.EOF {
			err = fmt.Errorf("%w: the control file is empty", ErrFormat)
		}
		return nil, err
	}
	for _, name := range []string{"Package", "Version", "Architecture"} {
		if _, err := s.Require(name); err != nil {
			return nil, err
		}
	}
	fields := s.Map()
	for name, v := range fields {
		if strings.EqualFold(name, "Package") {
			fields[name] = strings.ToLower(v) // as dpkg and apt take it
		}
	}
	if _, err := rd.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the control file has more than one stanza", ErrFormat)
	}
	return fields, nil
}

// Get returns a field of the control file, whatever its name's case, or "".
func (c *Control) Get(name string) string {
	if v, ok := c.Fields[name]; ok {
		return v
	}
	for have, v := range c.Fields {
		if strings.EqualFold(have, name) {
			return v
		}
	}
	return ""
}

// File returns a file of control.tar.
func (c *Control) File(name string) (ControlFile, bool) {
	i, ok := slices.BinarySearchFunc(c.Files, name, func(f ControlFile, name string) int { return strings.Compare(f.Name, name) })
	if !ok {
		return ControlFile{}, false
	}
	return c.Files[i], true
}

// Scripts returns the maintainer scripts, by name.
func (c *Control) Scripts() []ControlFile {
	var scripts []ControlFile
	for _, f := range c.Files {
		if slices.Contains(ScriptNames, f.Name) {
			scripts = append(scripts, f)
		}
	}
	return scripts
}

// Conffiles returns the absolute paths that conffiles lists, without those
// that the package asks to remove.
func (c *Control) Conffiles() []string {
	f, ok := c.File("conffiles")
	if !ok {
		return nil
	}
	var paths []string
	for line := range strings.SplitSeq(string(f.Content), "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") {
			paths = append(paths, line)
		}
	}
	return paths
}
