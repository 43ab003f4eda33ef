// Package roottree writes root trees, walks them and describes them in mtree
// manifests.
package roottree

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Type is a file's type, in the words of mtree(5).
type Type string

// The types of file.
const (
	File   Type = "file"
	Dir    Type = "dir"
	Link   Type = "link"
	Char   Type = "char"
	Block  Type = "block"
	Fifo   Type = "fifo"
	Socket Type = "socket"
)

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Entry is one name of a tree. It holds no times: an image sets all of them to
// its epoch.
type Entry struct {
	Path string // relative to the root, "." for the root itself
	Type Type
	Mode uint32 // the twelve permission bits
	UID  uint32
	GID  uint32
	// Uname and Gname are the names that a .deb gives its owners, where they are more than
	// the numbers say. A tree has none.
	Uname, Gname string
	Target       string // of a symbolic link
	// Major and Minor are a device's numbers.
	Major, Minor uint32
	Size         int64 // bytes of a regular file
	SHA256       artifact.Digest
	Xattrs       []Xattr // by name
	// HardLink is the first path, bytewise, of the names within the tree that
	// share this regular file; empty where there is but one.
	HardLink string
}

// Manifest is a tree's entries, by path.
type Manifest struct{ Entries []Entry }

// Lookup returns the entry of a path.
func (m *Manifest) Lookup(path string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(m.Entries, path, func(e Entry, p string) int { return strings.Compare(e.Path, p) })
	if !ok {
		return Entry{}, false
	}
	return m.Entries[i], true
}

// form is a way of writing a manifest down; docs/formats/manifest.md describes them.
type form string

// The forms, by their first lines. Isotrace writes the newer one; the older one, which no
// other reader of mtree(5) takes where a file has extended attributes or two names, stands
// in evidence of before.
const (
	older form = "#mtree"
	newer form = "#mtree v2.0"
)

// Write writes the manifest as mtree(5) with full paths, one entry a line. What the
// readers of mtree(5) do not agree on stands in a comment before the entry: device
// numbers, names of owners, "hardlink" and "xattr.NAME" (base64).
func (m *Manifest) Write(w io.Writer) error { return m.write(w, newer) }

func (m *Manifest) write(w io.Writer, f form) error {
	if _, err := io.WriteString(w, string(f)+"\n"); err != nil {
		return err
	}
	entries := m.Entries
	if f == newer {
		entries = rootFirst(entries)
	}
	var line []byte
	for i := range entries {
		line = entries[i].append(line[:0], f)
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// follows tells whether a path may stand behind these entries in the newer form.
func follows(entries []Entry, path string) bool {
	last := entries[len(entries)-1].Path
	return path != "." && (last < path || len(entries) == 1 && last == ".")
}

// rootFirst puts the root folder before names such as "-", which come before its own: NetBSD's
// mtree wants to know a folder before what is in it.
func rootFirst(entries []Entry) []Entry {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Path >= "." })
	if i <= 0 || entries[i].Path != "." {
		return entries
	}
	return slices.Concat(entries[i:i+1], entries[:i], entries[i+1:])
}

// Digest is the SHA-256 of what Write writes: the digest of the tree.
func (m *Manifest) Digest() artifact.Digest { return m.digest(newer) }

// Identity is the SHA-256 of the manifest in its older form. The UUIDs of media and disks
// follow from it, so that they stay the same whatever form manifests have.
func (m *Manifest) Identity() artifact.Digest { return m.digest(older) }

func (m *Manifest) digest(f form) artifact.Digest {
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriterSize(w, 1<<16)
		_ = w.CloseWithError(errors.Join(m.write(b, f), b.Flush())) // always nil
	}()
	d, _, err := artifact.HashReader(r)
	if err != nil {
		return "" // no digest: never equal to one
	}
	return d
}

// append writes an entry: its line, in the newer form after a comment, if it needs one.
func (e *Entry) append(b []byte, f form) []byte {
	if f == newer && (e.Type == Char || e.Type == Block || e.HardLink != "" || e.Uname != "" || e.Gname != "" || len(e.Xattrs) > 0) {
		b = append(e.appendMore(append(b, '#'), f), '\n')
	}
	b = append(b, '.')
	if e.Path != "." {
		b = f.vis(append(b, '/'), e.Path)
	}
	mode := " type=%s mode=%#o uid=%d gid=%d" // as gomtree compares it
	if f == older {
		mode = " type=%s mode=%04o uid=%d gid=%d"
	}
	b = fmt.Appendf(b, mode, e.Type, e.Mode, e.UID, e.GID)
	switch e.Type {
	case File:
		b = fmt.Appendf(b, " size=%d sha256digest=%s", e.Size, e.SHA256)
	case Link:
		b = f.visTarget(append(b, " link="...), e.Target)
	}
	if f == older {
		b = e.appendMore(b, f)
	}
	return append(b, '\n')
}

// appendMore writes what not every reader knows.
func (e *Entry) appendMore(b []byte, f form) []byte {
	if e.Type == Char || e.Type == Block {
		b = fmt.Appendf(b, " device=linux,%d,%d", e.Major, e.Minor)
	}
	if e.Uname != "" {
		b = f.vis(append(b, " uname="...), e.Uname)
	}
	if e.Gname != "" {
		b = f.vis(append(b, " gname="...), e.Gname)
	}
	if e.HardLink != "" {
		b = f.vis(append(b, " hardlink=./"...), e.HardLink)
	}
	for _, x := range e.Xattrs {
		b = f.vis(append(b, " xattr."...), x.Name)
		b = append(append(b, '='), base64.RawStdEncoding.EncodeToString(x.Value)...)
	}
	return b
}

// vis escapes as vis(3) does for mtree: a backslash and three octal digits; in the newer
// form what would be a pattern, too.
func (f form) vis(b []byte, s string) []byte {
	special := `\#=*?[`
	if f == older {
		special = `\#=`
	}
	return appendVis(b, s, special)
}

// visTarget escapes a link's target; in the newer form just as gomtree does, which
// compares targets as they are written.
func (f form) visTarget(b []byte, s string) []byte {
	if f == older {
		return f.vis(b, s)
	}
	for i, part := range strings.Split(s, `\`) {
		if i > 0 {
			b = append(b, `\\`...)
		}
		b = appendVis(b, part, `#*?[`)
	}
	return b
}

func appendVis(b []byte, s, special string) []byte {
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && strings.IndexByte(special, c) < 0 {
			b = append(b, c)
		} else {
			b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		}
	}
	return b
}

func unvis(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\\' {
			b = append(b, '\\')
			i++
			continue
		}
		if i+3 >= len(s) {
			return "", fmt.Errorf("%q ends within an escape", s)
		}
		n, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
		if err != nil {
			return "", fmt.Errorf("%q: bad escape", s)
		}
		b = append(b, byte(n))
		i += 3
	}
	return string(b), nil
}

// Bounds of a manifest that is read.
const (
	maxEntries = 5_000_000
	maxLine    = 1 << 20
)

// Parse reads what Write writes, in either form, and nothing else: sorted, whole, one way
// of saying each thing.
func Parse(r io.Reader) (*Manifest, error) {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<16), maxLine)
	s.Split(wholeLine)
	if !s.Scan() || s.Text() != string(older) && s.Text() != string(newer) {
		return nil, errors.Join(errors.New("manifest: line 1: want #mtree"), s.Err())
	}
	f := form(s.Text())
	m := &Manifest{}
	var more string // the comment before the entry
	var again []byte
	for n := 2; s.Scan(); n++ {
		if len(m.Entries) == maxEntries {
			return nil, fmt.Errorf("manifest: more than %d entries", maxEntries)
		}
		line := s.Text()
		if f == newer && more == "" && strings.HasPrefix(line, "#") {
			more = line + "\n"
			continue
		}
		e, err := parseEntry(line, strings.TrimSuffix(strings.TrimPrefix(more, "#"), "\n"))
		if err != nil {
			return nil, fmt.Errorf("manifest: line %d: %w", n, err)
		}
		if again = e.append(again[:0], f); string(again) != more+line+"\n" {
			return nil, fmt.Errorf("manifest: line %d: not written as isotrace writes it", n)
		}
		if k := len(m.Entries); k > 0 && !(f == newer && follows(m.Entries, e.Path)) && !(f == older && m.Entries[k-1].Path < e.Path) {
			return nil, fmt.Errorf("manifest: line %d: out of order", n)
		}
		m.Entries = append(m.Entries, e)
		more = ""
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if more != "" {
		return nil, errors.New("manifest: ends in a comment")
	}
	if k := len(m.Entries); f == newer && k > 1 && m.Entries[0].Path == "." {
		root := m.Entries[0]
		at := slices.IndexFunc(m.Entries[1:], func(e Entry) bool { return e.Path > "." })
		if at < 0 {
			at = k - 1
		}
		copy(m.Entries, m.Entries[1:at+1])
		m.Entries[at] = root
	}
	return m, nil
}

// wholeLine is bufio.ScanLines for lines that end in a line feed alone, the
// last one too.
func wholeLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, errors.New("the last line is cut off")
	}
	return 0, nil, nil
}

// parseEntry reads an entry's line, with the words of a comment before it.
func parseEntry(line, more string) (Entry, error) {
	words := strings.Split(line+more, " ")
	path, err := unvis(words[0])
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Path: "."}
	if path != "." {
		rest, ok := strings.CutPrefix(path, "./")
		if !ok || !validPath(rest) {
			return Entry{}, fmt.Errorf("%q is no path of a tree", path)
		}
		e.Path = rest
	}
	for _, w := range words[1:] {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			return Entry{}, fmt.Errorf("%q: want word=value", w)
		}
		if err := e.set(key, value); err != nil {
			return Entry{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	for i := 1; i < len(e.Xattrs); i++ {
		if e.Xattrs[i-1].Name >= e.Xattrs[i].Name {
			return Entry{}, fmt.Errorf("xattr %q is out of order", e.Xattrs[i].Name)
		}
	}
	switch e.Type {
	case File, Dir, Link, Char, Block, Fifo, Socket:
	default:
		return Entry{}, fmt.Errorf("type %q is not known", e.Type)
	}
	return e, nil
}

func (e *Entry) set(key, value string) (err error) {
	number := func(base int) uint32 {
		var n uint64
		n, err = strconv.ParseUint(value, base, 32)
		return uint32(n)
	}
	switch key {
	case "type":
		e.Type = Type(value)
	case "mode":
		if e.Mode = number(8); err == nil && e.Mode > 0o7777 {
			err = errors.New("too large")
		}
	case "uid":
		e.UID = number(10)
	case "gid":
		e.GID = number(10)
	case "uname":
		e.Uname, err = unvis(value)
	case "gname":
		e.Gname, err = unvis(value)
	case "size":
		if e.Size, err = strconv.ParseInt(value, 10, 64); err == nil && e.Size < 0 {
			err = errors.New("negative")
		}
	case "sha256digest":
		e.SHA256, err = artifact.ParseDigest(value)
	case "link":
		e.Target, err = unvis(value)
	case "hardlink":
		var path string
		path, err = unvis(value)
		rest, ok := strings.CutPrefix(path, "./")
		if err == nil && (!ok || !validPath(rest)) {
			err = errors.New("no path of a tree")
		}
		e.HardLink = rest
	case "device":
		_, err = fmt.Sscanf(value, "linux,%d,%d", &e.Major, &e.Minor)
	default:
		name, ok := strings.CutPrefix(key, "xattr.")
		if !ok {
			return errors.New("not known")
		}
		if name, err = unvis(name); err != nil {
			return err
		}
		var v []byte
		if v, err = base64.RawStdEncoding.DecodeString(value); err == nil {
			e.Xattrs = append(e.Xattrs, Xattr{Name: name, Value: v})
		}
	}
	return err
}

// validPath tells whether p is a clean relative path that stays inside.
func validPath(p string) bool {
	if p == "" || strings.Contains(p, "\x00") || len(p) > 4096 {
		return false
	}
	for _, part := range strings.Split(p, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
