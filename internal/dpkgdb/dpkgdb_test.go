package dpkgdb

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/isotrace/isotrace/internal/archive"
)

// tree writes files into a new folder; a path that ends in a slash is a folder.
func tree(t testing.TB, files map[string]string) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		at := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(path, "/") {
			err = os.Mkdir(at, 0o755)
		} else {
			err = os.WriteFile(at, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return root, dir
}

const (
	statusFile = "var/lib/dpkg/status"
	info       = "var/lib/dpkg/info/"
	diverted   = "var/lib/dpkg/diversions"
	overridden = "var/lib/dpkg/statoverride"
	sum        = "0123456789abcdef0123456789abcdef"
	sum2       = "fedcba9876543210fedcba9876543210"
)

// stanza is one of a package that is installed.
func stanza(name, arch, version string, fields ...string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: %s\n%s\n", name, arch, version, strings.Join(append(fields, ""), "\n"))
}

// with is a database of package a and more.
func with(files map[string]string) map[string]string {
	all := map[string]string{statusFile: stanza("a", "amd64", "1"), info + "a.list": "/.\n"}
	maps.Copy(all, files)
	return all
}

func problems(db *DB) string {
	var lines []string
	for _, p := range db.Problems {
		lines = append(lines, p.Path+": "+p.Text)
	}
	return strings.Join(lines, "\n")
}

// reads wants a database to be read, with these problems.
func reads(t *testing.T, files map[string]string, want ...string) *DB {
	t.Helper()
	root, _ := tree(t, files)
	db, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if have := problems(db); have != strings.Join(want, "\n") {
		t.Errorf("problems:\nhave %s\nwant %s", have, strings.Join(want, "\n"))
	}
	return db
}

func TestRead(t *testing.T) {
	db := reads(t, map[string]string{
		statusFile: stanza("zlib", "amd64", "1:1.2-3", "Multi-Arch: same", "Source: zlib-src (1.2-3)", "Installed-Size: 170") +
			stanza("zlib", "i386", "1:1.2-3", "Multi-Arch: same") +
			stanza("base", "all", "13", "Essential: yes", "Maintainer: Zoë <z@example.org>", "Homepage: https://example.org", "Section: admin", "Priority: required",
				"Pre-Depends: awk", "Depends: libc6 (>= 2),", " zlib", "Recommends: r", "Provides: p (= 1)", "Built-Using: g (= 1)", "Static-Built-Using: s (= 2)",
				"Description: Base", " of it all.", "Conffiles:", " /etc/one "+sum, " /etc/two of it "+sum2+" obsolete", " /etc/three "+sum+" remove-on-upgrade obsolete",
				" /etc/four newconffile obsolete remove-on-upgrade") +
			"Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\nConffiles:\n /etc/gone " + sum + "\n\n" +
			"Package: never\nStatus: unknown ok not-installed\nArchitecture: all\n\n" +
			"Package: held\nStatus: HOLD  ok Installed\nArchitecture: amd64\nVersion: 2\n",
		"var/lib/apt/extended_states": "Package: base\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: zlib\nArchitecture: i386\nAuto-Installed: 1\n\n" +
			"Package: held\nArchitecture: amd64\nAuto-Installed: 0\n",
		info + "base.list":          "/.\n/etc\n/etc/two of it\n/etc/one\n/etc/one\n/usr/share/caf\xe9\n",
		info + "base.md5sums":       sum + "  usr/share/caf\xe9\n" + sum2 + "  ./usr/a  b\n",
		info + "held.list":          "/.\n",
		info + "zlib:amd64.list":    "/.\n/usr/lib/x86/libz.so\n",
		info + "zlib:i386.list":     "/.\n/usr/lib/i386/libz.so\n",
		info + "zlib:amd64.md5sums": sum + "  usr/lib/x86/libz.so\n",
		info + "zlib.list":          "/usr/bin/not-of-it\n",
		diverted:                    "/usr/bin/x\n/usr/bin/x.real\n:\n/usr/bin/y z\n/usr/bin/y.real\nbase\n",
		overridden:                  "root messagebus 4754 /usr/lib/dbus helper\n#0 #7 710 /etc/ssl\n",
	})
	var ids []string
	packages := map[string]*Package{}
	for i := range db.Packages {
		p := &db.Packages[i]
		ids = append(ids, p.ID())
		packages[p.Name+":"+p.Architecture] = p
	}
	if have := strings.Join(ids, " "); have != "base:all=13 held:amd64=2 zlib:amd64=1:1.2-3 zlib:i386=1:1.2-3" {
		t.Fatalf("packages %s", have)
	}
	base, held, z64, z32 := packages["base:all"], packages["held:amd64"], packages["zlib:amd64"], packages["zlib:i386"]
	for what, have := range map[string][2]string{
		"maintainer": {base.Maintainer, "Zoë <z@example.org>"}, "homepage": {base.Homepage, "https://example.org"}, "section": {base.Section, "admin"},
		"priority": {base.Priority, "required"}, "pre-depends": {base.PreDepends, "awk"}, "depends": {base.Depends, "libc6 (>= 2), zlib"},
		"recommends": {base.Recommends, "r"}, "provides": {base.Provides, "p (= 1)"}, "built-using": {base.BuiltUsing, "g (= 1)"},
		"static": {base.StaticBuilt, "s (= 2)"}, "summary": {base.Summary, "Base"}, "source": {base.Source, "base"}, "source version": {base.SourceVersion, "13"},
		"z source": {z64.Source, "zlib-src"}, "z source version": {z64.SourceVersion, "1.2-3"}, "multi-arch": {z32.MultiArch, "same"},
		"files":       {strings.Join(base.Files, "|"), "etc|etc/one|etc/two of it|usr/share/caf\xe9"},
		"files of 64": {strings.Join(z64.Files, "|"), "usr/lib/x86/libz.so"}, "files of 32": {strings.Join(z32.Files, "|"), "usr/lib/i386/libz.so"},
		"sums":       {fmt.Sprintf("%q", base.MD5), fmt.Sprintf("%q", map[string]string{"usr/share/caf\xe9": sum, "usr/a  b": sum2})},
		"sums of 64": {fmt.Sprint(z64.MD5), "map[usr/lib/x86/libz.so:" + sum + "]"}, "sums of 32": {fmt.Sprint(z32.MD5), "map[]"},
		"conffiles":  {fmt.Sprint(base.Conffiles), "map[etc/four: etc/one:" + sum + " etc/three:" + sum + " etc/two of it:" + sum2 + "]"},
		"automatic":  {fmt.Sprint(base.Auto, held.Auto, z64.Auto, z32.Auto), "true false false true"},
		"essential":  {fmt.Sprint(base.Essential, held.Essential), "true false"},
		"size":       {fmt.Sprint(z64.InstalledSize, base.InstalledSize), "170 0"},
		"diversions": {fmt.Sprint(db.Diversions), "map[usr/bin/x:{usr/bin/x.real } usr/bin/y z:{usr/bin/y.real base}]"},
		"overrides":  {fmt.Sprint(db.Overrides), "map[etc/ssl:true usr/lib/dbus helper:true]"},
	} {
		if have[0] != have[1] {
			t.Errorf("%s: have %q, want %q", what, have[0], have[1])
		}
	}
}

func TestProblems(t *testing.T) {
	long := "/" + strings.Repeat("x", 300) + "/"
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"no list":          {map[string]string{statusFile: stanza("b", "all", "1")}, []string{info + "b.list: is missing: which files are b:all=1's is not known"}},
		"two architecture": {map[string]string{statusFile: stanza("b", "i386", "1", "Multi-Arch: same")}, []string{info + "b:i386.list: is missing: which files are b:i386=1's is not known"}},
		"half there": {map[string]string{statusFile: "Package: h\nStatus: install ok half-configured\n\nPackage: u\nStatus: install reinstreq unpacked\n\nPackage: n\n\n" +
			"Package: j\nStatus: install ok installed junk\n\nStatus: installed\n"}, []string{
			statusFile + `: "": its status is "installed", and it does not count as installed`,
			statusFile + `: "h": its status is "install ok half-configured", and it does not count as installed`,
			statusFile + `: "j": its status is "install ok installed junk", and it does not count as installed`,
			statusFile + `: "n": its status is "", and it does not count as installed`,
			statusFile + `: "u": its status is "install reinstreq unpacked", and it does not count as installed`}},
		"sizes": {map[string]string{statusFile: stanza("a", "amd64", "1", "Installed-Size: 12 KiB") + stanza("b", "all", "1", "Installed-Size: -3") + stanza("c", "all", "1", "Installed-Size: 9223372036854775808"),
			info + "b.list": "", info + "c.list": ""}, []string{
			statusFile + ": a:amd64=1: its Installed-Size is no size", statusFile + ": b:all=1: its Installed-Size is no size", statusFile + ": c:all=1: its Installed-Size is no size"}},
		"control characters": {map[string]string{statusFile: stanza("a", "amd64", "1", "Maintainer: \x1b[31mM", "Section: \u009b", "Description: s\x7f", "Depends: b\x01")}, []string{
			statusFile + ": a:amd64=1: a field holds control characters", statusFile + ": a:amd64=1: a field holds control characters",
			statusFile + ": a:amd64=1: a field holds control characters", statusFile + ": a:amd64=1: a field holds control characters"}},
		"not UTF-8": {map[string]string{statusFile: stanza("a", "amd64", "1", "Maintainer: Zo\xeb")}, []string{statusFile + ": a:amd64=1: a field holds control characters"}},
		"conffiles": {map[string]string{statusFile: stanza("a", "amd64", "1", "Conffiles:", " etc/x "+sum, " /etc/../x "+sum, " /etc/y", " /etc/z old", " /etc/ok "+sum)}, []string{
			statusFile + `: a:amd64=1: its conffile "/etc/../x ` + sum + `" cannot be read`, statusFile + `: a:amd64=1: its conffile "/etc/y" cannot be read`,
			statusFile + `: a:amd64=1: its conffile "/etc/z old" cannot be read`, statusFile + `: a:amd64=1: its conffile "etc/x ` + sum + `" cannot be read`}},
		"lists": {map[string]string{info + "a.list": "usr/bin/x\n/../etc\n/usr/./x\n/usr/\n/\n\n/a\x00b\n" + long + "\n/usr/\x1bx/\n/usr/ok\n/cut"}, []string{
			info + `a.list: "" is no path`, info + `a.list: "/" is no path`, info + `a.list: "/../etc" is no path`, info + `a.list: "/a\x00b" is no path`,
			info + `a.list: "/usr/" is no path`, info + `a.list: "/usr/./x" is no path`, info + `a.list: "/usr/\x1bx/" is no path`,
			info + `a.list: "` + long[:200] + `" is no path`, info + `a.list: "usr/bin/x" is no path`, info + "a.list: its last line has no end"}},
		"sums": {map[string]string{info + "a.md5sums": sum + " x\n" + sum[1:] + "  x\n" + sum[1:] + "g  x\n" + sum + "  ../x\n" + sum + "  \n" + sum + "  ok\n"}, []string{
			info + `a.md5sums: cannot read "` + sum + `  "`, info + `a.md5sums: cannot read "` + sum + `  ../x"`, info + `a.md5sums: cannot read "` + sum + ` x"`,
			info + `a.md5sums: cannot read "` + sum[1:] + `  x"`, info + `a.md5sums: cannot read "` + sum[1:] + `g  x"`}},
		"diversions": {map[string]string{diverted: "usr/x\n/y\n:\n/x\n../y\n:\n/x\n/y\n:a\n/x\n/y\n\n/x\n/y\na\n/x\n/z\n:\n/x\n/y"}, []string{
			diverted + `: "x" is diverted twice`, diverted + `: a diversion is of no path`, diverted + `: a diversion is of no path`,
			diverted + ": a diversion: a package name is missing", diverted + `: a diversion: package name ":a" is not valid`,
			diverted + ": ends within a diversion", diverted + ": its last line has no end"}},
		"overrides": {map[string]string{overridden: "root root 4755\nroot root 4755 usr/x\n\nroot root 755 /ok\n"}, []string{
			overridden + `: "usr/x" is no path`, overridden + `: cannot read ""`, overridden + `: cannot read "root root 4755"`}},
	} {
		t.Run(name, func(t *testing.T) { reads(t, with(c.files), c.want...) })
	}
}

func TestOddPartsAreLeftOut(t *testing.T) {
	db := reads(t, with(map[string]string{
		statusFile:       stanza("a", "amd64", "1", "Maintainer: \x1b[31mM", "Multi-Arch: \x07", "Description: s\x1b", "Depends: b\x01", "Conffiles:", " /etc/ok "+sum, " /etc/bad x"),
		info + "a.list":  "usr/x\n/usr/ok\r\n/usr/ok\n",
		diverted:         "/x\n/y\n:\n/x\n/z\na\n/v\n/w\n:a\n",
		"etc/unrelated/": "",
	}), info+`a.list: "usr/x" is no path`, diverted+`: "x" is diverted twice`, diverted+`: a diversion: package name ":a" is not valid`,
		statusFile+`: a:amd64=1: a field holds control characters`, statusFile+`: a:amd64=1: a field holds control characters`,
		statusFile+`: a:amd64=1: a field holds control characters`, statusFile+`: a:amd64=1: a field holds control characters`,
		statusFile+`: a:amd64=1: its conffile "/etc/bad x" cannot be read`)
	p := db.Packages[0]
	if p.Maintainer != "\ufffd[31mM" || p.MultiArch != "\ufffd" || p.Summary != "s\ufffd" || p.Depends != "b\ufffd" || len(p.Conffiles) != 1 {
		t.Errorf("%+v", p)
	}
	if have := fmt.Sprintf("%q %v", p.Files, db.Diversions); have != `["usr/ok" "usr/ok\r"] map[x:{y }]` {
		t.Error(have)
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		text  string
	}{
		"no status":            {map[string]string{"etc/x": ""}, "dpkg's database: "},
		"garbage":              {map[string]string{statusFile: "Package: a\n\x7fELF\n"}, "status: line 2: "},
		"NUL":                  {map[string]string{statusFile: "Package: a\x00\n"}, "status: line 1: control character"},
		"field twice":          {map[string]string{statusFile: stanza("a", "all", "1", "version: 2")}, "status: line 5: field version stands twice"},
		"name":                 {map[string]string{statusFile: stanza("a/../b", "all", "1")}, `status: line 1: Package: package name "a/../b" is not valid`},
		"no name":              {map[string]string{statusFile: "Status: install ok installed\nVersion: 1\n"}, "status: line 1: Package: a package name is missing"},
		"version":              {map[string]string{statusFile: stanza("a", "all", "1 2")}, "status: line 4: Version: a: "},
		"no version":           {map[string]string{statusFile: "Package: a\nStatus: install ok installed\n"}, "status: line 1: Version: a: "},
		"architecture":         {map[string]string{statusFile: stanza("a", "../x", "1")}, "status: line 3: Architecture: a: is not valid"},
		"source":               {map[string]string{statusFile: stanza("a", "all", "1", "Source: b (x y)")}, "status: line 5: Source: a: "},
		"second's line":        {map[string]string{statusFile: stanza("a", "all", "1") + stanza("b", "all", "_")}, "status: line 9: Version: b: "},
		"twice":                {map[string]string{statusFile: stanza("a", "all", "1") + stanza("b", "all", "1") + stanza("a", "all", "2")}, "package a stands in it twice"},
		"automatic":            {with(map[string]string{"var/lib/apt/extended_states": "x\n"}), "var/lib/apt/extended_states: line 1: "},
		"long line":            {with(map[string]string{info + "a.list": "/" + strings.Repeat("x", 1<<20) + "\n"}), info + "a.list: "},
		"long line of sums":    {with(map[string]string{info + "a.md5sums": sum + "  " + strings.Repeat("x", 1<<20) + "\n"}), info + "a.md5sums: "},
		"long diversion":       {with(map[string]string{diverted: strings.Repeat("/x", 1<<20)}), diverted + ": "},
		"long line of status":  {map[string]string{statusFile: "Package: " + strings.Repeat("x", 9<<20)}, "status: line 1: line is longer than"},
		"long stanza":          {map[string]string{statusFile: "Package: a\n" + strings.Repeat(" x"+strings.Repeat("y", 1000)+"\n", 9000)}, "stanza is longer than"},
		"folder as status":     {map[string]string{statusFile + "/": ""}, "status: is not a regular file"},
		"folder as list":       {with(map[string]string{info + "b.list/": "", statusFile: stanza("b", "all", "1")}), "b.list: is not a regular file"},
		"folder as sums":       {with(map[string]string{info + "a.md5sums/": ""}), "a.md5sums: is not a regular file"},
		"folder as diversions": {with(map[string]string{diverted + "/": ""}), "diversions: is not a regular file"},
		"folder as overrides":  {with(map[string]string{overridden + "/": ""}), "statoverride: is not a regular file"},
		"file as info":         {map[string]string{statusFile: stanza("a", "all", "1"), "var/lib/dpkg/info": ""}, "info/a.list"},
	} {
		t.Run(name, func(t *testing.T) {
			root, _ := tree(t, c.files)
			_, err := Read(root)
			if err == nil || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %.300v, want %q", err, c.text)
			}
		})
	}
}

// TestOddFiles puts what is no regular file, or a huge one, in a file's place.
func TestOddFiles(t *testing.T) {
	for _, name := range []string{statusFile, "var/lib/apt/extended_states", info + "a.list", info + "a.md5sums", diverted, overridden} {
		for what, put := range map[string]func(at string) error{
			"link out": func(at string) error { return os.Symlink("/etc/passwd", at) },
			"link within": func(at string) error {
				if err := os.WriteFile(at+".x", nil, 0o644); err != nil {
					return err
				}
				return os.Symlink(filepath.Base(at)+".x", at)
			},
			"FIFO": func(at string) error { return syscall.Mkfifo(at, 0o644) },
			"huge": func(at string) error {
				err := os.WriteFile(at, nil, 0o644)
				if err == nil {
					err = os.Truncate(at, maxStatus+1)
				}
				return err
			},
		} {
			root, dir := tree(t, with(map[string]string{name: ""}))
			at := filepath.Join(dir, name)
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
			if err := put(at); err != nil {
				t.Fatal(err)
			}
			want := name + ": is not a regular file"
			if what == "huge" {
				want = name + ": longer than "
			}
			if _, err := Read(root); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %s: error %v, want %q", name, what, err, want)
			}
		}
	}
}

func TestBoundsOfAllLists(t *testing.T) {
	for what, left := range map[string]reader{"bytes": {bytes: 20, paths: 10}, "paths": {bytes: 1000, paths: 3}} {
		root, _ := tree(t, map[string]string{
			statusFile: stanza("a", "all", "1") + stanza("b", "all", "1"), info + "a.list": "/a\n/b\n/c\n", info + "b.list": "/a\n/b\n/c\n/d\n/e\n",
		})
		left.DB, left.root = &DB{}, root
		if err := left.read(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Two packages may have one file; many problems are cut off.
	db := reads(t, map[string]string{statusFile: stanza("a", "all", "1") + stanza("b", "all", "1"), info + "a.list": "/x\n", info + "b.list": "/x\n"})
	if fmt.Sprint(db.Packages[0].Files, db.Packages[1].Files) != "[x] [x]" {
		t.Errorf("%+v", db.Packages)
	}
	root, _ := tree(t, with(map[string]string{info + "a.list": strings.Repeat("x\n", maxProblems+10)}))
	if db, err := Read(root); err != nil || len(db.Problems) != maxProblems {
		t.Errorf("%v", err)
	}
}

// sound checks what holds of every database that was read.
func sound(t *testing.T, db *DB) {
	t.Helper()
	valid := func(paths ...string) {
		for _, p := range paths {
			if back, ok := below("/" + p); !ok || back != p {
				t.Errorf("path %q", p)
			}
		}
	}
	for i := range db.Packages {
		p := &db.Packages[i]
		if archive.ValidatePackageName(p.Name) != nil || archive.ValidateVersion(p.Version) != nil || !archive.ValidArchitecture(p.Architecture) ||
			i > 0 && db.Packages[i-1].ID() >= p.ID() || p.InstalledSize < 0 {
			t.Errorf("package %q", p.ID())
		}
		for _, s := range []string{p.Maintainer, p.Homepage, p.Section, p.Priority, p.Summary, p.MultiArch, p.Depends, p.Provides, p.Source, p.SourceVersion} {
			if !utf8.ValidString(s) || strings.ContainsAny(s, "\n\x1b\x7f\x00\u009b") {
				t.Errorf("field %q", s)
			}
		}
		for path, sum := range p.Conffiles {
			if valid(path); sum != "" && !isMD5(sum) {
				t.Errorf("sum %q", sum)
			}
		}
		for path, sum := range p.MD5 {
			if valid(path); !isMD5(sum) {
				t.Errorf("sum %q", sum)
			}
		}
		if valid(p.Files...); !slices.IsSorted(p.Files) {
			t.Errorf("files %q", p.Files)
		}
	}
	for from, d := range db.Diversions {
		if valid(from, d.To); d.Package != "" && archive.ValidatePackageName(d.Package) != nil {
			t.Errorf("diversion %q", d)
		}
	}
	valid(slices.Collect(maps.Keys(db.Overrides))...)
	for _, p := range db.Problems {
		if strings.ContainsAny(p.Path+p.Text, "\n\x1b\x00") || len(p.Text) > 2000 {
			t.Errorf("problem %q", p)
		}
	}
}

// fuzz writes the bytes as each of the files and reads the database.
func fuzz(f *testing.F, files ...string) {
	root, dir := tree(f, with(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if db, err := Read(root); err == nil {
			sound(t, db)
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(stanza("a", "amd64", "1", "Installed-Size: 3", "Conffiles:", " /etc/x "+sum+" obsolete")))
	f.Add([]byte(stanza("a", "i386", "1", "Multi-Arch: same", "Maintainer: \x1b[0m") + stanza("b", "all", "1:2-3", "Source: c (4)")))
	f.Add([]byte("Package: a\nStatus: install ok half-installed\n"))
	f.Add([]byte("Package: a\n\x00"))
	fuzz(f, statusFile)
}

func FuzzLists(f *testing.F) {
	f.Add([]byte("/.\n/usr\n/usr/bin/x\n"))
	f.Add([]byte(sum + "  usr/bin/x\n" + sum + "  ./x y\n" + sum))
	f.Add([]byte("../x\n//\n\r\n\x00"))
	fuzz(f, info+"a.list", info+"a.md5sums")
}

func FuzzDiversions(f *testing.F) {
	f.Add([]byte("/usr/bin/x\n/usr/bin/x.real\n:\n/y\n/z\nbash\n"))
	f.Add([]byte("root root 4755 /usr/bin/su\n#0 #0 755 x\n\n"))
	f.Add([]byte("/x\n/y"))
	fuzz(f, diverted, overridden)
}
