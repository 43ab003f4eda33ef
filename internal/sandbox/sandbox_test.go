package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	inside, code, err := Enter()
	if err == nil && !inside && code == 0 && privileged() && realRoot() {
		// The same, where the host cannot give root a user namespace.
		os.Args = append(os.Args, "-test.run=^(TestNoWayOut|TestLinksToTheHost|TestSandboxShowsNothingOfTheHost|TestNobodyOutside|TestOverlay)$")
		inside, code, err = EnterUnshifted()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if !inside {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// programs is a root tree that shows the host's programs and nothing else. (The
// host's "/" itself will not do: a user namespace may not uncover what lies
// under the mounts on it.)
func programs(t *testing.T) Spec {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"usr", "mnt", "proc", "dev", "sys", "run", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+link, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return Spec{Root: root, Binds: []Bind{{Source: "/usr", Target: "/usr"}}}
}

func sh(t *testing.T, script string, change ...func(*Spec)) (string, error) {
	t.Helper()
	var out bytes.Buffer
	spec := programs(t)
	spec.Argv, spec.Stdout, spec.Stderr = []string{"sh", "-c", script}, &out, &out
	for _, c := range change {
		c(&spec)
	}
	err := Run(t.Context(), spec)
	return strings.TrimSpace(out.String()), err
}

func TestSandboxShowsNothingOfTheHost(t *testing.T) {
	t.Setenv("SECRET", "x")
	for _, c := range []struct{ name, script, want string }{
		{"hostname", "cat /proc/sys/kernel/hostname", "isotrace"},
		{"user", "id -u", "0"},
		{"environment", "env -u PWD -u OLDPWD -u SHLVL -u _ env | sort | cut -d= -f1 | tr '\\n' ' '", "HOME LANG LC_ALL LOGNAME PATH SHELL TERM TZ USER "},
		{"umask", "umask", "0022"},
		{"interfaces", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", "lo"},
		{"processes", "ls /proc | grep -c '^[0-9]*$' | { read n; test $n -lt 8 && echo few; }", "few"},
		{"sys", "ls /sys | wc -l", "0"},
		{"no new privileges", "grep NoNewPrivs /proc/self/status | tr -d '\\t'", "NoNewPrivs:1"},
		{"devices", "ls /dev | tr '\\n' ' '", "fd full null ptmx pts random shm stderr stdin stdout urandom zero "},
		{"standard input", "cat | wc -c", "0"},
		{"read-only root", "touch /x 2>/dev/null || echo refused", "refused"},
		{"mounting", "mount -t tmpfs x /mnt 2>/dev/null || echo refused", "refused"},
		{"devices made", "mknod /tmp/x c 1 3 2>/dev/null || echo refused", "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := sh(t, c.script)
			if err != nil || got != strings.TrimSpace(c.want) {
				t.Errorf("%s: got %q, %v; want %q", c.script, got, err, c.want)
			}
		})
	}
}

func TestEnvironmentOfTheProgram(t *testing.T) {
	got, err := sh(t, `env | grep -E '^(ADDED|LC_ALL)=' | sort | tr '\n' ' '`, func(s *Spec) { s.Env = []string{"ADDED=yes", "LC_ALL=C"} })
	if want := "ADDED=yes LC_ALL=C"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestNiceness(t *testing.T) {
	for nice, want := range map[int]string{0: "0", 10: "10"} {
		if got, err := sh(t, "nice", func(s *Spec) { s.Nice = nice }); err != nil || got != want {
			t.Errorf("niceness %q, %v; want %s", got, err, want)
		}
	}
}

func TestExitStatusAndLastLine(t *testing.T) {
	_, err := sh(t, "echo one >&2; echo two >&2; exit 7")
	exit, ok := errors.AsType[*ExitError](err)
	if !ok || exit.Code != 7 || exit.Last != "two" {
		t.Errorf("got %v", err)
	}
	_, err = sh(t, "kill -9 $$")
	exit, ok = errors.AsType[*ExitError](err)
	if !ok || exit.Code != 137 {
		t.Errorf("killed: got %v", err)
	}
	if _, err := sh(t, "echo 'tee: /tmp/x: No space left on device' >&2; exit 1"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("full disk: got %v", err)
	}
	if errors.Is(exit, unix.ENOSPC) {
		t.Errorf("killed, with room left: got %v", exit)
	}
	if _, err := sh(t, "", func(s *Spec) { s.Argv = []string{"no-such-program"} }); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("missing program: got %v", err)
	}
}

func TestBinds(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(in, "a"), []byte("material"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(in)) // a relative source is the caller's
	got, err := sh(t, "cat /run/in/a; echo x > /run/in/b || echo kept; echo product > /run/out/p", func(s *Spec) {
		s.Binds = append(s.Binds, Bind{Source: filepath.Base(in), Target: "/run/in"}, Bind{Source: out, Target: "/run/out", Writable: true})
	})
	if err != nil || !strings.Contains(got, "material") || !strings.Contains(got, "kept") {
		t.Errorf("got %q, %v", got, err)
	}
	if b, err := os.ReadFile(filepath.Join(out, "p")); err != nil || string(b) != "product\n" {
		t.Errorf("product: %q, %v", b, err)
	}
}

// A tree whose /run is a link to a folder of the host must not move a mount there.
func TestHostileTreeCannotRedirectMounts(t *testing.T) {
	outside, tree := t.TempDir(), t.TempDir()
	for _, dir := range []string{"proc", "dev", "sys", "tmp"} {
		if err := os.Mkdir(filepath.Join(tree, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(tree, "run")); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), Spec{Root: tree, Writable: true, Argv: []string{"/bin/true"},
		Binds: []Bind{{Source: outside, Target: "/run/x"}}})
	if err == nil {
		t.Error("want a refusal")
	}
	if names, err := os.ReadDir(outside); err != nil || len(names) != 0 {
		t.Errorf("the host's folder changed: %v, %v", names, err)
	}
}

func TestCancelKillsEverything(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	dir := t.TempDir()
	spec := programs(t)
	spec.Argv = []string{"sh", "-c", "(sleep 2; echo late > /run/out/late) & sleep 60"}
	spec.Binds = append(spec.Binds, Bind{Source: dir, Target: "/run/out", Writable: true})
	err := Run(ctx, spec)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	time.Sleep(2500 * time.Millisecond)
	if _, err := os.Stat(filepath.Join(dir, "late")); err == nil {
		t.Error("a child outlived its sandbox")
	}
}

func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	mk := func(name string) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	low, upper, work, at := mk("lo:w,er"), mk("upper"), mk("work"), mk("at")
	if err := os.MkdirAll(filepath.Join(low, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"a", "d/b"} {
		if err := os.WriteFile(filepath.Join(low, n), []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := MountOverlay(at, []string{low}, upper, work); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(at, "a")); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(at, "d")); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(at, "d"), 0o755); err != nil {
		t.Error(err)
	}
	if err := Unmount(at); err != nil {
		t.Fatal(err)
	}
	if err := MountOverlay(at, []string{upper, low}, "", ""); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(at)
	if err != nil || len(names) != 1 || names[0].Name() != "d" {
		t.Errorf("merged: %v, %v", names, err)
	}
	if names, err := os.ReadDir(filepath.Join(at, "d")); err != nil || len(names) != 0 {
		t.Errorf("opaque folder shows %v, %v", names, err)
	}
	if err := Unmount(at); err != nil {
		t.Fatal(err)
	}
}

func TestDoctorFindsThisHostFit(t *testing.T) {
	for _, f := range Doctor(filepath.Join(t.TempDir(), "not", "there")) {
		if !f.OK && f.What != "disk space" {
			t.Errorf("%s: %s (fix: %s)", f.What, f.Why, f.Fix)
		}
		if !f.OK && f.Fix == "" {
			t.Errorf("%s: no fix named", f.What)
		}
	}
}

func TestSubordinateRange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	for _, c := range []struct {
		text string
		want int
	}{
		{"builder:100000:65536\n", 100000},
		{"other:1:65536\nbuilder:200000:65535\n", 200000},
		{"1000:300000:70000\n", 300000},
		{"builder:100000:1000\nbuilder:500000:65536\n", 500000},
		{"", 0}, {"builder\n", 0}, {"builder:x:65536\n", 0}, {"builder:0:65536\n", 0}, {"builder:100000:1000\n", 0},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := subordinateRange(file, "builder", 1000, 65535)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%q: got %d, %v", c.text, got, err)
		}
	}
}

// TestSameAddresses: a program lies in memory where it lay before.
func TestSameAddresses(t *testing.T) {
	const layout = "cut -d' ' -f1,6- /proc/self/maps"
	first, err := sh(t, layout)
	if err != nil || !strings.Contains(first, "[stack]") {
		t.Fatalf("%v: %q", err, first)
	}
	if again, err := sh(t, layout); err != nil || again != first {
		t.Errorf("%v: %q, before %q", err, again, first)
	}
}
