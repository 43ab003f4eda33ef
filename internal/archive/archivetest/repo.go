// Package archivetest makes small signed archives for tests.
package archivetest

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
)

// Repo is an archive in a temporary folder, whose last element is "debian".
type Repo struct {
	t       testing.TB
	dir     string
	key     *Key
	pending []Package
	suites  map[string]map[string][]Package
	// The same of sources, as stanzas.
	pendingSources []string
	sources        map[string]map[string][]string
}

// Package is a package of the archive.
type Package struct {
	Name, Version, Architecture string
	Filename                    string // below the archive's folder
	SHA256                      artifact.Digest
	Size                        int64

	stanza string
}

// New makes an empty archive with a key of its own.
func New(t testing.TB) *Repo {
	t.Helper()
	r := &Repo{
		t:      t,
		dir:    filepath.Join(t.TempDir(), "debian"),
		key:    NewKey(t, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), 0),
		suites: map[string]map[string][]Package{}, sources: map[string]map[string][]string{},
	}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// Dir returns the archive's folder.
func (r *Repo) Dir() string { return r.dir }

// URI returns the archive's address as a file: mirror.
func (r *Repo) URI() string { return "file://" + r.dir }

// Key returns the key that signs the archive.
func (r *Repo) Key() *Key { return r.key }

// Serve serves the archive over HTTP until the test ends, and returns its base
// address. wrap, which may be nil, may stand before the files' handler.
func (r *Repo) Serve(wrap func(http.Handler) http.Handler) string {
	var h http.Handler = http.StripPrefix("/debian", http.FileServer(http.Dir(r.dir)))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	r.t.Cleanup(s.Close)
	return s.URL + "/debian"
}

// AddPackage makes a package and puts it into the pool. control is the text of
// its control file; it must have Package, Version and Architecture. The next
// Publish lists it.
func (r *Repo) AddPackage(control string, files ...File) Package {
	r.t.Helper()
	return r.AddDeb(control, BuildDeb(r.t, control, "gz", files...))
}

// AddDeb is AddPackage for a .deb that is there.
func (r *Repo) AddDeb(control string, deb []byte) Package {
	r.t.Helper()
	p := Package{Size: int64(len(deb)), SHA256: artifact.HashBytes(deb)}
	for _, f := range []struct {
		name string
		to   *string
	}{{"Package", &p.Name}, {"Version", &p.Version}, {"Architecture", &p.Architecture}} {
		if *f.to = field(control, f.name); *f.to == "" {
			r.t.Fatalf("control text has no field %s", f.name)
		}
	}
	_, version, ok := strings.Cut(p.Version, ":")
	if !ok {
		version = p.Version
	}
	p.Filename = fmt.Sprintf("pool/main/%s/%s/%s_%s_%s.deb", p.Name[:1], p.Name, p.Name, version, p.Architecture)
	p.stanza = completeControl(control) + fmt.Sprintf("Filename: %s\nSize: %d\nSHA256: %s\n", p.Filename, p.Size, p.SHA256)
	r.Write(p.Filename, deb)
	r.pending = append(r.pending, p)
	return p
}

// AddSource puts a source package into the pool: NAME_VERSION.dsc, and the
// files, content by name. Two packages of one name share a folder. The next
// Publish lists it; a component that never had one has no Sources index.
func (r *Repo) AddSource(name, version string, files map[string]string) {
	r.t.Helper()
	dir := fmt.Sprintf("pool/main/%s/%s", name[:1], name)
	all := map[string]string{fmt.Sprintf("%s_%s.dsc", name, version): fmt.Sprintf("Source: %s\nVersion: %s\n", name, version)}
	maps.Copy(all, files)
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nBinary: %s\nVersion: %s\nDirectory: %s\nChecksums-Sha256:\n", name, name, version, dir)
	for _, file := range slices.Sorted(maps.Keys(all)) {
		content := []byte(all[file])
		r.Write(dir+"/"+file, content)
		fmt.Fprintf(&b, " %s %d %s\n", artifact.HashBytes(content), len(content), file)
	}
	r.pendingSources = append(r.pendingSources, b.String())
}

func field(control, name string) string {
	for line := range strings.SplitSeq(control, "\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Write puts a file below the archive's folder, in place of one that is there.
func (r *Repo) Write(name string, content []byte) {
	r.t.Helper()
	full := filepath.Join(r.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, content, 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// Remove takes files away, named by a pattern of path/filepath.
func (r *Repo) Remove(pattern string) {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dir, filepath.FromSlash(pattern)))
	if err != nil || len(names) == 0 {
		r.t.Fatalf("remove %s: %d files, %v", pattern, len(names), err)
	}
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Options are the ways in which archives differ. The zero value is like Debian's.
type Options struct {
	Codename     string   // the suite's name where empty
	SuiteField   string   // the suite's name where empty
	Compressions []string // of Packages; xz and gz where nil; "" is for none
	Detached     bool     // Release and Release.gpg in place of InRelease
	NoByHash     bool
	SeparateAll  bool                  // the packages for all are in an index of their own
	Edit         func(r string) string // changes the Release text before it is signed
	Keys         []*Key                // that sign; the archive's own where nil
	SignedAt     time.Time             // the date where zero
	Arch         string                // amd64 where empty
}

// Publish lists the packages added since the last call in the component of the
// suite, beside those listed there before, writes and signs the suite's Release
// file, and returns the archive's public key, armored. A zero validUntil leaves
// Valid-Until out.
func (r *Repo) Publish(suite, component string, date, validUntil time.Time, o Options) []byte {
	r.t.Helper()
	if r.suites[suite] == nil {
		r.suites[suite] = map[string][]Package{}
	}
	r.suites[suite][component] = append(r.suites[suite][component], r.pending...)
	r.pending = nil
	if len(r.pendingSources) > 0 {
		if r.sources[suite] == nil {
			r.sources[suite] = map[string][]string{}
		}
		r.sources[suite][component] = append(r.sources[suite][component], r.pendingSources...)
		r.pendingSources = nil
	}
	if o.Compressions == nil {
		o.Compressions = []string{"xz", "gz"}
	}
	if o.Codename == "" {
		o.Codename = suite
	}
	if o.SuiteField == "" {
		o.SuiteField = suite
	}
	if o.Arch == "" {
		o.Arch = "amd64"
	}
	if o.Keys == nil {
		o.Keys = []*Key{r.key}
	}
	if o.SignedAt.IsZero() {
		o.SignedAt = date
	}
	text := []byte(r.release(suite, date, validUntil, o))
	dir := "dists/" + suite + "/"
	for _, old := range []string{"InRelease", "Release", "Release.gpg"} {
		if err := os.RemoveAll(filepath.Join(r.dir, dir, old)); err != nil {
			r.t.Fatal(err)
		}
	}
	if o.Detached {
		r.Write(dir+"Release", text)
		r.Write(dir+"Release.gpg", SignDetached(r.t, text, o.SignedAt, o.Keys...))
	} else {
		r.Write(dir+"InRelease", SignInline(r.t, text, o.SignedAt, o.Keys...))
	}
	return r.key.Public()
}

func (r *Repo) release(suite string, date, validUntil time.Time, o Options) string {
	var components []string
	for c := range r.suites[suite] {
		components = append(components, c)
	}
	slices.Sort(components)
	const layout = "Mon, 02 Jan 2006 15:04:05 UTC"
	var b strings.Builder
	fmt.Fprintf(&b, "Origin: Test\nLabel: Test\nSuite: %s\nVersion: 1.0\nCodename: %s\nDate: %s\n",
		o.SuiteField, o.Codename, date.UTC().Format(layout))
	if !validUntil.IsZero() {
		fmt.Fprintf(&b, "Valid-Until: %s\n", validUntil.UTC().Format(layout))
	}
	if !o.NoByHash {
		b.WriteString("Acquire-By-Hash: yes\n")
	}
	if !o.SeparateAll {
		b.WriteString("No-Support-for-Architecture-all: Packages\n")
	}
	fmt.Fprintf(&b, "Architectures: all %s\nComponents: %s\nDescription: archive for tests\nSHA256:\n", o.Arch, strings.Join(components, " "))
	for _, c := range components {
		for _, arch := range []string{"all", o.Arch} {
			r.packages(&b, suite, c, arch, o)
		}
		if list := r.sources[suite][c]; len(list) > 0 {
			r.index(&b, suite, c+"/source/Sources", strings.Join(list, "\n"), o)
		}
	}
	text := b.String()
	if o.Edit != nil {
		text = o.Edit(text)
	}
	return text
}

// packages writes one Packages index.
func (r *Repo) packages(b *strings.Builder, suite, component, arch string, o Options) {
	var packages strings.Builder
	for _, p := range r.suites[suite][component] {
		if p.Architecture == arch || p.Architecture == "all" && !o.SeparateAll {
			packages.WriteString(p.stanza + "\n")
		}
	}
	r.index(b, suite, component+"/binary-"+arch+"/Packages", packages.String(), o)
}

// index writes an index in all its forms and lists them in b.
func (r *Repo) index(b *strings.Builder, suite, name, text string, o Options) {
	plain := []byte(text)
	// The plain index is always listed, as Debian does, but not always there.
	fmt.Fprintf(b, " %s %d %s\n", artifact.HashBytes(plain), len(plain), name)
	for _, format := range o.Compressions {
		content, ending := Compress(r.t, format, plain), ""
		if format != "" {
			ending = "." + format
			fmt.Fprintf(b, " %s %d %s\n", artifact.HashBytes(content), len(content), name+ending)
		}
		base := "dists/" + suite + "/"
		r.Write(base+name+ending, content)
		if !o.NoByHash {
			r.Write(base+path.Dir(name)+"/by-hash/SHA256/"+string(artifact.HashBytes(content)), content)
		}
	}
}
