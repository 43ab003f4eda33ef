package archive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/archive/deb822"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
)

// Source is an entry of apt's sources.list(5).
type Source struct {
	File          string // below the root, and
	Line          int    // where in it
	Types         []string
	URIs          []string
	Suites        []string
	Components    []string
	Architectures []string
	// SignedBy are the key files or fingerprints that apt would use.
	SignedBy []string
	// Key is an armored key that stands in the entry itself.
	Key []byte
}

const (
	maxSourcesFile  = 1 << 20
	maxSourcesFiles = 1000
	maxSources      = 10_000
)

// ReadSources reads apt's sources below root: etc/apt/sources.list and the
// .list and .sources files of etc/apt/sources.list.d, in apt's order, without
// disabled entries. Below any other root than "/", a symbolic link that leaves
// the root is an error.
func ReadSources(root string) (_ []Source, err error) {
	var fsys fs.FS = os.DirFS("/")
	if root != "/" {
		r, err := os.OpenRoot(root)
		if err != nil {
			return nil, fmt.Errorf("read apt's sources: %w", err)
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		fsys = r.FS()
	}
	names := []string{"etc/apt/sources.list"}
	const parts = "etc/apt/sources.list.d"
	entries, err := fs.ReadDir(fsys, parts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read apt's sources: %w", err)
	}
	for _, e := range entries {
		if aptReads(e.Name()) {
			names = append(names, path.Join(parts, e.Name()))
		}
	}
	if len(names) > maxSourcesFiles {
		return nil, fmt.Errorf("read apt's sources: more than %d files", maxSourcesFiles)
	}
	var all []Source
	for _, name := range names {
		data, err := readSmall(fsys, name, maxSourcesFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt's sources: %w", err)
		}
		sources, err := ParseSources(name, data)
		if err != nil {
			return nil, err
		}
		if all = append(all, sources...); len(all) > maxSources {
			return nil, fmt.Errorf("read apt's sources: more than %d entries", maxSources)
		}
	}
	return all, nil
}

// aptReads follows apt in which files of a .d folder count.
func aptReads(name string) bool {
	ext := path.Ext(name)
	return (ext == ".list" || ext == ".sources") && name[0] != '.' &&
		allOf(name, func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' || c == '.' })
}

func readSmall(fsys fs.FS, name string, limit int64) (_ []byte, err error) {
	// A FIFO would hold the open up for good.
	st, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return regular.ReadAll(f, name, limit)
}

// ParseSources reads a sources file; its name's ending tells its format:
// .sources, or else one entry a line.
func ParseSources(name string, data []byte) (sources []Source, err error) {
	if path.Ext(name) == ".sources" {
		sources, err = parseStanzas(name, data)
	} else {
		sources, err = parseLines(name, data)
	}
	if err != nil {
		return nil, fault.New(fault.Usage, "mend the file, or name the archives in the config", "%w", err)
	}
	return sources, nil
}

func parseStanzas(name string, data []byte) ([]Source, error) {
	rd := deb822.NewReaderLimits(bytes.NewReader(data), name, deb822.Limits{Stanza: maxSourcesFile})
	rd.Comments = true
	var all []Source
	for {
		s, err := rd.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if off(s.Get("Enabled")) {
			continue
		}
		src := Source{
			File: name, Line: s.Line,
			Types: s.Words("Types"), URIs: s.Words("URIs"), Suites: s.Words("Suites"),
			Components: s.Words("Components"), Architectures: s.Words("Architectures"),
		}
		if signed := s.Get("Signed-By"); strings.Contains(signed, "-----BEGIN PGP") {
			src.Key = unfold(signed)
		} else {
			src.SignedBy = splitList(signed)
		}
		for _, f := range []struct {
			name   string
			values []string
		}{{"Types", src.Types}, {"URIs", src.URIs}, {"Suites", src.Suites}} {
			if len(f.values) == 0 {
				return nil, s.Errorf(f.name, "the field is missing or empty")
			}
		}
		if err := src.check(); err != nil {
			return nil, s.Errorf("Types", "%w", err)
		}
		all = append(all, src)
	}
}

// off reads a boolean as apt does: what is not plainly no is yes.
func off(value string) bool {
	switch strings.ToLower(value) {
	case "no", "false", "without", "off", "disable", "0":
		return true
	}
	return false
}

// unfold takes the indentation from a key that stands in a field; a lone dot is
// an empty line.
func unfold(value string) []byte {
	var b bytes.Buffer
	for line := range strings.SplitSeq(value, "\n") {
		if line = strings.TrimSpace(line); line != "." {
			b.WriteString(line)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func splitList(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

func (s Source) check() error {
	for _, t := range s.Types {
		if t != "deb" && t != "deb-src" {
			return fmt.Errorf("type %s is not known", quoteShort(t))
		}
	}
	for _, suite := range s.Suites {
		if flat := strings.HasSuffix(suite, "/"); flat && len(s.Components) > 0 {
			return fmt.Errorf("suite %s takes no components", quoteShort(suite))
		} else if !flat && len(s.Components) == 0 {
			return fmt.Errorf("suite %s has no components", quoteShort(suite))
		}
	}
	return nil
}

func parseLines(name string, data []byte) ([]Source, error) {
	var all []Source
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, maxSourcesFile+1)
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		src, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, n, err)
		}
		src.File, src.Line = name, n
		all = append(all, src)
	}
	return all, sc.Err()
}

func parseLine(line string) (Source, error) {
	words := splitQuoted(line)
	src := Source{Types: words[:1]}
	words = words[1:]
	if len(words) > 0 && strings.HasPrefix(words[0], "[") {
		end := slices.IndexFunc(words, func(w string) bool { return strings.HasSuffix(w, "]") })
		if end < 0 {
			return Source{}, errors.New("the options are not closed by a bracket")
		}
		options := strings.Join(words[:end+1], " ")
		words = words[end+1:]
		for option := range strings.FieldsSeq(strings.Trim(options, "[]")) {
			key, value, ok := strings.Cut(option, "=")
			if !ok {
				return Source{}, fmt.Errorf("option %s has no value", quoteShort(option))
			}
			switch strings.ToLower(key) {
			case "arch":
				src.Architectures = splitList(value)
			case "signed-by":
				src.SignedBy = splitList(value)
			}
		}
	}
	if len(words) < 2 {
		return Source{}, fmt.Errorf("want a type, a URI, a suite and components, have %s", quoteShort(line))
	}
	src.URIs, src.Suites, src.Components = words[:1], words[1:2], words[2:]
	return src, src.check()
}

// splitQuoted splits at blanks, but not within brackets, in which the name of
// an optical disc stands.
func splitQuoted(line string) []string {
	var words []string
	depth, start := 0, -1
	for i := range len(line) {
		c := line[i]
		switch {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		}
		blank := (c == ' ' || c == '\t') && depth == 0
		if blank && start >= 0 {
			words = append(words, line[start:i])
			start = -1
		}
		if !blank && start < 0 {
			start = i
		}
	}
	if start >= 0 {
		words = append(words, line[start:])
	}
	return words
}

// RepositoryOf returns the last element of a base URI's path, by which a
// repository goes: debian of http://HOST/debian/.
func RepositoryOf(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fault.New(fault.Usage, "", "an archive's address is not a valid URI")
	}
	name := path.Base(path.Clean("/" + u.Path))
	if name == "/" || ValidatePath(name) != nil {
		return "", fault.New(fault.Usage, "", "the path of %s has no last element, which would be the repository's name", u.Redacted())
	}
	return name, nil
}

// MirrorsOf returns the bases of each repository that the binary packages of
// the sources come from, in their order, without repetition. URIs of other
// schemes than http, https and file are left out.
func MirrorsOf(sources []Source) map[string][]string {
	mirrors := map[string][]string{}
	for _, s := range sources {
		if !slices.Contains(s.Types, "deb") {
			continue
		}
		for _, uri := range s.URIs {
			if _, err := parseBase(uri); err != nil {
				continue
			}
			name, err := RepositoryOf(uri)
			if err != nil {
				continue
			}
			uri = strings.TrimRight(uri, "/")
			if !slices.Contains(mirrors[name], uri) {
				mirrors[name] = append(mirrors[name], uri)
			}
		}
	}
	return mirrors
}
