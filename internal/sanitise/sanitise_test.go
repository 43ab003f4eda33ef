package sanitise

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// root makes a tree of files; a text that begins with "→" is a link's target.
func root(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(text, "→"); ok {
			if err := os.Symlink(to, at); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(at, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// list names the files of a tree, with their texts.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	have := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(p, dir+"/")
		if d.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(p)
			have[name] = "→" + to
			return err
		}
		b, err := os.ReadFile(p)
		have[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return have
}

// dirty has something for each pass, and beside it what must stay.
var dirty = map[string]string{
	"var/lib/apt/lists/x_InRelease": "1", "var/cache/apt/pkgcache.bin": "1", "var/cache/apt/archives/x.deb": "1", "var/lib/apt/extended_states": "keep",
	"var/log/dpkg.log": "1", "var/log/sub/x": "1", "var/log/journal/abc/system.journal": "1",
	"etc/passwd": "keep", "etc/passwd-": "1", "etc/shadow-": "1", "etc/.pwd.lock": "",
	"var/lib/dpkg/available": "keep", "var/lib/dpkg/status-old": "1", "var/lib/dpkg/lock": "", "var/cache/debconf/config.dat-old": "1",
	"etc/shadow":     "root:*:99999:0:99999:7:::\nold:*:10:0:99999:7:::\n",
	"etc/machine-id": "0123\n", "var/lib/dbus/machine-id": "0123\n", "var/lib/systemd/random-seed": "x",
	"etc/ssh/ssh_host_rsa_key": "secret", "etc/ssh/ssh_host_rsa_key.pub": "1", "etc/ssh/ssh_config": "keep",
	"etc/ssl/private/ssl-cert-snakeoil.key": "secret", "etc/resolv.conf": "nameserver 10.0.0.1", "etc/adjtime": "0",
	"var/cache/ldconfig/aux-cache": "1", "var/cache/man/index.db": "1", "usr/share/fonts/x/.uuid": "1", "usr/share/fonts/x/f.ttf": "keep",
	"usr/share/icons/h/icon-theme.cache": "1", "usr/lib/python3/__pycache__/a.pyc": "1", "usr/lib/python3/a.py": "keep",
	"var/lib/systemd/catalog/database": "1", "etc/apt/apt.conf.d/01autoremove-kernels": "1", "etc/apt/apt.conf.d/70x": "keep",
	"var/lib/swcatalog/x.xb": "1", "var/lib/texmf/web2c/tex.fmt": "1", "etc/perl/XML/SAX/ParserDetails.ini": "[B]\nz = 1\na = 1\n\n[A]\nq = 1\n",
	"tmp/x": "1", "var/tmp/y": "1", "run/z": "1", ".dockerenv": "",
}

func TestPasses(t *testing.T) {
	dir := root(t, dirty)
	var log bytes.Buffer
	o := Options{Epoch: 86400 * 100, Log: &log}
	if err := Apply(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"etc/shadow": "root:*:100:0:99999:7:::\nold:*:10:0:99999:7:::\n", "etc/machine-id": "",
		"etc/perl/XML/SAX/ParserDetails.ini": "[B]\na = 1\nz = 1\n\n[A]\nq = 1\n",
	}
	for name, text := range dirty {
		if text == "keep" {
			want[name] = text
		}
	}
	have := list(t, dir)
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("have %v\nwant %v", have, want)
	}
	names, reasons := Passes()
	for i, name := range names {
		if !strings.Contains(log.String(), "pass "+name+": "+reasons[i]) {
			t.Errorf("the log does not name %s and its reason", name)
		}
	}
	log.Reset()
	if err := Apply(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "  re") {
		t.Errorf("a second time changes something:\n%s", log.String())
	}
}

func TestKeepProtectAndVarying(t *testing.T) {
	files := map[string]string{"etc/adjtime": "1", "tmp/x": "1", "var/log/own": "1", "var/log/other": "1", "etc/passwd-": "1"}
	dir := root(t, files)
	o := Options{Epoch: 1700000000, Keep: []string{"temporary"}, Protect: []string{"/var/log/own"}, Log: &bytes.Buffer{}}
	if err := Apply(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	if have := list(t, dir); fmt.Sprint(have) != "map[tmp/x:1 var/log/own:1]" {
		t.Errorf("%v", have)
	}
	dir = root(t, files)
	o = Options{Epoch: 1700000000, VaryingOnly: true, Log: &bytes.Buffer{}}
	if err := Apply(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	if have := list(t, dir); fmt.Sprint(have) != "map[etc/adjtime:1 tmp/x:1]" {
		t.Errorf("only what varies: %v", have)
	}
}

// TestLinksLeadNowhere: folders and files that are links out of the tree are
// left alone.
func TestLinksLeadNowhere(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"x", "machine-id", "shadow", "index.db"} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte("root:*:99999:0:::::\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir := root(t, map[string]string{
		"tmp": "→" + outside, "run": "→" + outside, "var/cache/man": "→" + outside, "var/log": "→" + outside,
		"etc/machine-id": "→" + outside + "/machine-id", "etc/shadow": "→" + outside + "/shadow",
	})
	_ = Apply(t.Context(), dir, Options{Epoch: 86400, Log: &bytes.Buffer{}}) // it may refuse such a tree
	left, err := os.ReadDir(outside)
	if err != nil || len(left) != 4 {
		t.Errorf("outside: %v, %v", left, err)
	}
	for _, e := range left {
		b, err := os.ReadFile(filepath.Join(outside, e.Name()))
		if err != nil || string(b) != "root:*:99999:0:::::\n" {
			t.Errorf("%s was changed: %q, %v", e.Name(), b, err)
		}
	}
}

func TestACLs(t *testing.T) {
	dir := root(t, map[string]string{"var/lib/a": "1"})
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255}
	err := unix.Setxattr(filepath.Join(dir, "var/lib"), "system.posix_acl_default", acl, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := Apply(t.Context(), dir, Options{Epoch: 1, Log: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Getxattr(filepath.Join(dir, "var/lib"), "system.posix_acl_default", nil); err != unix.ENODATA {
		t.Errorf("the ACL is still there: %v", err)
	}
}

func TestPassesHaveReasons(t *testing.T) {
	names, reasons := Passes()
	for i, name := range names {
		if name == "" || reasons[i] == "" || slices.Index(names, name) != i {
			t.Errorf("pass %d: %q, %q", i, name, reasons[i])
		}
	}
}

// stanza of a package that is installed.
const stanza = "Package: p\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nMaintainer: M <m@example.org>\nDescription: d\nConffiles:\n /etc/adjtime %s\n"

// TestWhatIsOwnedStays: what the project put there, and what is as a package brought it, is
// no pass's, by whatever path it is known.
func TestWhatIsOwnedStays(t *testing.T) {
	sum := func(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }
	keep := map[string]string{
		// the project's
		"var/tmp/seed/data.bin": "p", "var/cache/man/local/index": "p", "usr/lib/python3/z.pyc": "p", "srv/log/own": "p", "etc/machine-id": "p",
		"etc/shadow": "own:*:99999:0:::::\n", "etc/ssh/ssh_host_own_key": "p", "etc/apt/apt.conf.d/01autoremove-kernels": "p", "var/lib/texmf/x.fmt": "→p",
		// a package's
		"usr/lib/x/only.pyc": "x", "usr/share/x/x.xb": "x", "srv/log/x/x": "x", "usr/share/fonts/x/.uuid": "x", "var/cache/fontconfig/x": "→x", "etc/adjtime": "x", "run/x": "x",
	}
	files := map[string]string{
		// beside them, what is nobody's
		"var/tmp/seed/other": "1", "var/tmp/more": "1", "var/cache/man/local/other": "1", "var/cache/man/index.db": "1", "usr/lib/python3/y.pyc": "1", "srv/log/y": "1",
		"usr/lib/x/made.pyc": "1", "var/cache/fontconfig/y": "1", "run/y": "1",
		// a package's that is not as it brought it, or a secret
		"usr/share/x/changed.xb": "changed", "etc/ssh/ssh_host_x_key": "x", "usr/share/x/unknown.xb": "x",
	}
	tree := map[string]string{
		"lib": "→usr/lib", "var/log": "→/srv/log", "var/run": "→/run",
		"var/lib/dpkg/status":      fmt.Sprintf(stanza, sum("x")),
		"var/lib/dpkg/info/p.list": "/.\n/lib/x/only.pyc\n/usr/share/x/x.xb\n/var/log/x/x\n/usr/share/fonts/x/.uuid\n/var/cache/fontconfig/x\n/var/run/x\n/usr/share/x/changed.xb\n/etc/ssh/ssh_host_x_key\n/usr/share/x/unknown.xb\n/etc/adjtime\n",
		"var/lib/dpkg/info/p.md5sums": strings.Join([]string{
			sum("x") + "  lib/x/only.pyc", sum("x") + "  usr/share/x/x.xb", sum("x") + "  var/log/x/x", sum("x") + "  usr/share/fonts/x/.uuid",
			sum("x") + "  var/run/x", sum("x") + "  usr/share/x/changed.xb", sum("x") + "  etc/ssh/ssh_host_x_key", ""}, "\n"),
	}
	all := map[string]string{}
	for _, m := range []map[string]string{keep, files, tree} {
		maps.Copy(all, m)
	}
	want := maps.Clone(keep)
	maps.Copy(want, tree)
	own := []string{
		"/var/tmp/seed/data.bin", "/var/cache/man/local/index", "/lib/python3/z.pyc", "/var/log/own", "/etc/machine-id", "/etc/shadow", "/etc/ssh/ssh_host_own_key",
		"/etc/apt/apt.conf.d/01autoremove-kernels", "/var/lib/texmf/x.fmt",
	}
	dir := root(t, all)
	var log bytes.Buffer
	told := map[string]bool{}
	o := Options{Epoch: 86400, Protect: own, Changed: func(path, _ string) { told[path] = true }, Log: &log}
	if err := Apply(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	have := list(t, dir)
	for name := range files {
		if _, ok := have[name]; !ok && !told[name] {
			t.Errorf("%s was removed, and nobody was told", name)
		}
	}
	for name := range told {
		if _, kept := want[name]; kept {
			t.Errorf("%s is told to have been changed", name)
		}
	}
	for name, text := range want {
		if have[name] != text {
			t.Errorf("%s: have %q, want %q", name, have[name], text)
		}
		delete(have, name)
	}
	if len(have) > 0 {
		t.Errorf("is left: %v", have)
	}
	for _, line := range []string{"kept /usr/lib/python3/z.pyc: the project put it there", "kept /srv/log/x/x: a package has it", "removed /usr/share/x/changed.xb", "kept /etc/machine-id: the project put it there"} {
		if !strings.Contains(log.String(), "  "+line+"\n") {
			t.Errorf("the log does not say %q:\n%s", line, log.String())
		}
	}
}
