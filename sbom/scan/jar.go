package scan

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/package-url/packageurl-go"
	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/sbom"
)

// Bounds of a Java archive.
const (
	maxJarEntries = 200_000
	maxJarText    = 1 << 20   // bytes of a manifest or of properties
	maxJarParts   = 20_000    // components
	maxNestedJar  = 256 << 20 // bytes of an archive within another
	maxNested     = 1 << 30   // bytes of all of them
	maxJarDepth   = 4
)

// jarNames are those of Java archives.
var jarNames = []string{"**/*.jar", "**/*.war", "**/*.ear", "**/*.par", "**/*.sar", "**/*.rar", "**/*.jpi", "**/*.hpi", "**/*.kar", "**/*.lpkg"}

const byJar = "isotrace java-archive"

// findJars looks into Java archives, and into those within.
func findJars(ctx context.Context, r *resolver) ([]seenAt, error) {
	locations, err := r.FilesByGlob(jarNames...)
	if err != nil {
		return nil, err
	}
	found := make([][]seenAt, len(locations))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range locations {
		group.Go(func() (err error) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			found[i], err = readJarFile(r.tree.Root, strings.TrimPrefix(l.RealPath, "/"))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

func readJarFile(root *os.Root, name string) (_ []seenAt, err error) {
	f, err := regular.Open(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	j := jar{place: sbom.Path(name)}
	j.read(f, st.Size(), path.Base(name), 0)
	if len(j.found) == 0 || j.outer != 1 {
		return j.found, nil
	}
	sum, strong := sha256.New(), sha512.New()
	if _, err := io.Copy(io.MultiWriter(sum, strong), io.NewSectionReader(f, 0, st.Size())); err != nil {
		return nil, err
	}
	for i := range j.found {
		if s := &j.found[i]; s.outer {
			s.hashes = sbom.Hashes{SHA256: hex.EncodeToString(sum.Sum(nil)), SHA512: hex.EncodeToString(strong.Sum(nil))}
			s.nature = sbom.Nature{Executable: sbom.Yes, Archive: sbom.Yes, Structured: sbom.Yes}
		}
	}
	return j.found, nil
}

// jar is one Java archive that is being read, with all in it.
type jar struct {
	place  sbom.Path
	found  []seenAt
	nested int64
	outer  int // components of the archive itself; one of them alone is the file
}

// read reads an archive. What is none, or damaged, says nothing: a name alone
// makes no Java archive.
func (j *jar) read(r io.ReaderAt, size int64, name string, depth int) {
	z, err := zip.NewReader(r, size)
	if err != nil || len(z.File) > maxJarEntries {
		return
	}
	manifest, maven := map[string]string{}, false
	for _, f := range z.File {
		switch ext := path.Ext(f.Name); {
		case f.Name == "META-INF/MANIFEST.MF":
			manifest = readProperties(f, ": ")
		case strings.HasPrefix(f.Name, "META-INF/maven/") && path.Base(f.Name) == "pom.properties":
			p := readProperties(f, "=")
			maven = j.artifact(p["groupId"], p["artifactId"], p["version"], depth == 0) || maven
		case depth < maxJarDepth && slices.Contains(jarNames, "**/*"+ext):
			j.within(f, depth)
		}
	}
	if maven || len(manifest) == 0 {
		return
	}
	artifact, version := jarName(name)
	for _, key := range []string{"Implementation-Version", "Bundle-Version", "Specification-Version"} {
		if version == "" {
			version = manifest[key]
		}
	}
	j.add(seenAt{name: artifact, version: version, outer: depth == 0})
}

func (j *jar) artifact(group, artifact, version string, outer bool) bool {
	if artifact == "" {
		return false
	}
	s := seenAt{name: artifact, version: version, outer: outer}
	if group != "" {
		s.purl = packageurl.NewPackageURL(packageurl.TypeMaven, group, artifact, version, nil, "").ToString()
	}
	j.add(s)
	return true
}

func (j *jar) add(s seenAt) {
	if len(j.found) == maxJarParts {
		return
	}
	if s.outer {
		j.outer++
	}
	s.kind, s.by, s.paths = "java-archive", byJar, []sbom.Path{j.place}
	j.found = append(j.found, s)
}

// within reads an archive within an archive.
func (j *jar) within(f *zip.File, depth int) {
	size := int64(f.UncompressedSize64)
	if f.UncompressedSize64 > maxNestedJar || size > maxNested-j.nested {
		return
	}
	j.nested += size
	r, err := f.Open()
	if err != nil {
		return
	}
	b, err := io.ReadAll(io.LimitReader(r, size))
	if errors.Join(err, r.Close()) != nil {
		return
	}
	j.read(bytes.NewReader(b), int64(len(b)), path.Base(f.Name), depth+1)
}

// readProperties reads lines of a key, a separator and a value. Lines that go on
// in the next, as of a manifest, are cut.
func readProperties(f *zip.File, separator string) map[string]string {
	all := map[string]string{}
	r, err := f.Open()
	if err != nil {
		return all
	}
	lines := bufio.NewScanner(io.LimitReader(r, maxJarText))
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), separator); ok && all[key] == "" {
			all[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if errors.Join(lines.Err(), r.Close()) != nil {
		clear(all)
	}
	return all
}

var versionInName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(.+?)-([0-9].*)$`) })

// jarName takes NAME-VERSION.jar apart.
func jarName(file string) (name, version string) {
	name = strings.TrimSuffix(file, path.Ext(file))
	if m := versionInName().FindStringSubmatch(name); m != nil {
		return m[1], m[2]
	}
	return name, ""
}
