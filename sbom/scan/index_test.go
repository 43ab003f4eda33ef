package scan

import (
	"slices"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
)

var paths = map[string]string{
	"a.jar": "", "x/b.jar": "", "x/y/c.jar.gz": "", "usr/lib/dpkg/status": "", "usr/lib/libpython3.so.1": "", "usr/bin/python3.13": "", "usr/bin/python": "->python3.13",
	"usr/share/python": "->../bin/python", "lib": "->usr/lib", "opt/java/17/release": "", "opt/jvm/8/release": "", "node_modules/a/package.json": "", "loop": "->loop",
	"abs": "->/usr/bin/python3.13", "out": "->../../../../etc/passwd", "x/[odd]": "", "x/{odd}": "", "dir": "->usr/bin",
}

func TestGlob(t *testing.T) {
	x := newFileIndex(tree(t, paths).Manifest)
	for pattern, want := range map[string]string{
		"**/*.jar": "a.jar x/b.jar", "/**/*.jar": "a.jar x/b.jar", "*.jar": "a.jar", "**/lib/dpkg/status": "usr/lib/dpkg/status", "**/status": "usr/lib/dpkg/status",
		"**/python*": "usr/bin/python usr/bin/python3.13 usr/share/python", "**/libpython*.so*": "usr/lib/libpython3.so.1", "**/*.{jar,jar.gz}": "a.jar x/b.jar x/y/c.jar.gz",
		"**/{java,jvm}/*/release": "opt/java/17/release opt/jvm/8/release", "**/{java/17,jvm/8}/rel*": "opt/java/17/release opt/jvm/8/release",
		"opt/**": "opt/java/17/release opt/jvm/8/release", "**/abs": "abs", "**/out": "", "**/loop": "", "**/dir": "", "**/dir/*": "", `**/\[odd\]`: "x/[odd]", "**/[ab].jar": "a.jar x/b.jar", "x/?.jar": "x/b.jar",
		"**/{odd": "",
	} {
		hits, err := x.glob(pattern)
		if err != nil && err != doublestar.ErrBadPattern {
			t.Fatal(err)
		}
		var have []string
		for _, h := range hits {
			have = append(have, h.path)
		}
		slices.Sort(have)
		if got := strings.Join(have, " "); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
}

// FuzzGlob demands that the short cuts find what the whole pattern does.
func FuzzGlob(f *testing.F) {
	x := newFileIndex(tree(f, paths).Manifest)
	for _, s := range []string{"**/*.jar", "{a,b/c}", "**/[!a]*", `\*`, "**/*{.jar,son}", "a**"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		hits, err := x.glob(pattern)
		if err != nil || len(pattern) > 200 {
			return
		}
		have := map[string]bool{}
		for _, h := range hits {
			have[h.path] = true
		}
		for _, p := range x.list {
			if want := doublestar.MatchUnvalidated(strings.TrimPrefix(pattern, "/"), p.path); want != have[p.path] {
				t.Errorf("%q: %s: %v, want %v", pattern, p.path, have[p.path], want)
			}
		}
	})
}

func TestFollow(t *testing.T) {
	m := tree(t, paths).Manifest
	for name, want := range map[string]string{
		"/usr/share/python": "usr/bin/python3.13", "lib/dpkg/status": "usr/lib/dpkg/status", "abs": "usr/bin/python3.13", "dir/python": "usr/bin/python3.13",
		"../../a.jar": "a.jar", "loop": "", "out": "", "nothing": "", "usr": "usr",
	} {
		real, _, ok := Follow(m, name)
		if !ok {
			real = ""
		}
		if real != want {
			t.Errorf("%s: %q, want %q", name, real, want)
		}
	}
}

func FuzzJar(f *testing.F) {
	f.Add([]byte(jarFile(f, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")))
	f.Add([]byte(jarFile(f, "WEB-INF/lib/x.jar", jarFile(f, "META-INF/maven/a/b/pom.properties", "artifactId=b\n"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		j := jar{place: "x.jar"}
		j.read(strings.NewReader(string(b)), int64(len(b)), "x-1.jar", 0)
		if len(j.found) > maxJarParts {
			t.Errorf("%d parts", len(j.found))
		}
	})
}

// TestJarBomb demands that archives within archives end.
func TestJarBomb(t *testing.T) {
	inner := jarFile(t, "META-INF/maven/a/deep/pom.properties", "artifactId=deep\n")
	for range maxJarDepth {
		inner = jarFile(t, "x.jar", inner, "META-INF/maven/a/level/pom.properties", "artifactId=level\ngroupId=a\n")
	}
	for _, c := range []struct {
		file string
		want int
	}{{inner, maxJarDepth + 1}, {jarFile(t, "x.jar", inner), maxJarDepth}} {
		j := jar{place: "x.jar"}
		j.read(strings.NewReader(c.file), int64(len(c.file)), "x.jar", 0)
		if len(j.found) != c.want {
			t.Errorf("%d parts, want %d", len(j.found), c.want)
		}
	}
}
