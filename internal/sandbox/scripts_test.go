package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// dpkg stands for dpkg: it runs scripts one after the other and says in their
// environment whose they are.
const dpkg = `
run() {
	DPKG_MAINTSCRIPT_PACKAGE=$1 DPKG_MAINTSCRIPT_NAME=$2 /mnt/$1.$2 $3 $4
	echo "dpkg after $1 $2" >> /mnt/own-$1-$2
}
`

// scripted runs dpkg's part and returns what was told, and by file who wrote it.
func scripted(t *testing.T, scripts map[string]string, order string) ([]Script, map[string]string) {
	t.Helper()
	spec := programs(t)
	dir := t.TempDir()
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nset -e\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var told []Script
	spec.Binds = append(spec.Binds, Bind{Source: dir, Target: "/mnt", Writable: true})
	spec.Argv, spec.Writable = []string{"sh", "-ec", dpkg + order}, true
	if err := os.Mkdir(filepath.Join(spec.Root, "srv"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec.Scripts = func(s Script) { told = append(told, s) }
	spec.Stderr = os.Stderr
	if err := Run(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	by := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Lstat(f, &st); err != nil {
			t.Fatal(err)
		}
		who := "dpkg"
		for _, s := range told {
			if at := st.Ctim.Nano(); at > s.Start && at <= s.End {
				who = s.Package + " " + s.Name + " " + strings.Join(s.Args, " ")
			}
		}
		by[filepath.Base(f)] = who
	}
	return told, by
}

// TestScriptsAreToldApart runs scripts that write files back to back, through
// children, in the background and by renaming, many times over.
func TestScriptsAreToldApart(t *testing.T) {
	scripts := map[string]string{
		"a.postinst": `echo a > /mnt/plain; echo a > /mnt/passed-on; echo a > /mnt/a.tmp; sh -c 'sh -c "echo a > /mnt/grandchild"'
			[ "$1" != triggered ] || echo t > /mnt/trigger`,
		"b.postinst": `echo b > /mnt/other; echo b >> /mnt/passed-on; mv /mnt/a.tmp /mnt/renamed; perl -e 'open F, ">/mnt/perl"; print F 1'`,
		"c.preinst":  `(sleep 0.02; echo c > /mnt/background) & (echo c > /mnt/late; exec sleep 0.01) & exit 0`,
		"d.postinst": `chmod 600 /mnt/other; ln -s x /mnt/link`,
		"e.postinst": `exec cp /mnt/plain /mnt/executed`,
	}
	want := map[string]string{
		"plain": "a postinst configure 1.0", "grandchild": "a postinst configure 1.0",
		"passed-on": "b postinst configure 2.0", "renamed": "b postinst configure 2.0", "perl": "b postinst configure 2.0",
		"background": "c preinst install ", "late": "c preinst install ", "other": "d postinst configure ", "link": "d postinst configure ",
		"executed": "e postinst configure ", "own-a-postinst": "dpkg", "own-b-postinst": "dpkg", "own-c-preinst": "dpkg", "own-d-postinst": "dpkg",
	}
	const order = `run a postinst configure 1.0; run b postinst configure 2.0; run c preinst install; run d postinst configure; run e postinst configure`
	for range 25 {
		told, by := scripted(t, scripts, order)
		if len(told) != 5 {
			t.Fatalf("told of %d scripts: %v", len(told), told)
		}
		for file, who := range want {
			if strings.TrimSpace(by[file]) != strings.TrimSpace(who) {
				t.Fatalf("%s: %q wrote it, told %q", file, who, by[file])
			}
		}
	}
	_, by := scripted(t, scripts, `run a postinst configure 1.0; run b postinst configure; run a postinst triggered x`)
	if by["trigger"] != "a postinst triggered x" || by["plain"] != "a postinst triggered x" {
		t.Errorf("trigger: %v", by)
	}
}

// TestScriptsLeftBehind ends what a script leaves running.
func TestScriptsLeftBehind(t *testing.T) {
	told, by := scripted(t, map[string]string{
		"a.postinst": `(trap "" HUP TERM; while :; do sleep 0.05; echo a > /mnt/again; done) > /dev/null 2>&1 < /dev/null & `,
		"b.postinst": `echo b > /mnt/b`,
	}, `run a postinst configure; run b postinst configure`)
	if len(told) != 2 || told[0].Ended == 0 || by["again"] != "a postinst configure" || by["b"] != "b postinst configure" {
		t.Errorf("told %+v, %v", told, by)
	}
}

// TestFollowedPrograms: exit status, signals and threads are as without.
func TestFollowedPrograms(t *testing.T) {
	follow := func(s *Spec) { s.Scripts = func(Script) {} }
	for script, want := range map[string]int{"exit 7": 7, "kill -9 $$": 137, "kill -TERM $$": 143, "(exit 3); exit $?": 3, `trap "exit 9" USR1; kill -USR1 $$; sleep 1`: 9} {
		_, err := sh(t, script, follow)
		if exit, ok := err.(*ExitError); !ok || exit.Code != want {
			t.Errorf("%s: got %v, want %d", script, err, want)
		}
	}
	out, err := sh(t, "for i in $(seq 200); do (echo $i | cat | wc -l) & done | sort | uniq -c; wait", follow)
	if err != nil || strings.Fields(out)[0] != "200" {
		t.Errorf("%v: %q", err, out)
	}
}

// TestFoldersThatScriptsChange: a folder's own attributes, whatever is put into it.
func TestFoldersThatScriptsChange(t *testing.T) {
	told, _ := scripted(t, map[string]string{
		"a.postinst": `mkdir /srv/new /srv/new/below; chmod 700 /srv/new; touch /srv/kept/a`,
		"b.postinst": `chown 7:8 /srv/shipped; touch /srv/shipped/b; touch /srv/new/b`,
		"c.postinst": `chmod 755 /srv/new/below; touch /srv/shipped/c; mv /srv/moved /srv/there`,
	}, `mkdir /srv/shipped /srv/kept /srv/moved; run a postinst; touch /srv/shipped/own; run b postinst; rm /srv/kept/a; run c postinst`)
	var have []string
	for _, s := range told {
		have = append(have, s.Package+": "+strings.Join(s.Folders, " "))
	}
	want := []string{"a: srv/new srv/new/below", "b: srv/shipped", "c: srv/there"}
	if !slices.Equal(have, want) {
		t.Errorf("have %q\nwant %q", have, want)
	}
}

func TestMark(t *testing.T) {
	dir := t.TempDir()
	var marks []int64
	var times []int64
	for i := range 20 {
		f := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(f, &st); err != nil {
			t.Fatal(err)
		}
		m, err := NewMark()
		if err != nil {
			t.Fatal(err)
		}
		times, marks = append(times, st.Ctim.Nano()), append(marks, m.At.UnixNano())
	}
	for i := range marks {
		if times[i] > marks[i] || i+1 < len(times) && times[i+1] <= marks[i] {
			t.Errorf("mark %d does not lie between the changes", i)
		}
	}
	if !slices.IsSorted(marks) {
		t.Error("marks are not in order")
	}
	// Whoever looks while the machine is busy finds the same offset.
	var stop atomic.Bool
	for range 8 {
		go func() {
			for n := 0; !stop.Load(); n++ {
				_ = n * n
			}
		}()
	}
	_, first, err := now()
	for range 2000 {
		_, offset, again := now()
		if err := errors.Join(err, again); err != nil {
			t.Fatal(err)
		}
		if d := (offset - first).Abs(); d > jitter {
			t.Fatalf("the clock's offset changed by %s", d)
		}
	}
	stop.Store(true)
	early, late := Mark{offset: 5e9}, Mark{offset: 4e9}
	if late.Since(early) == nil || early.Since(late) != nil {
		t.Error("a clock that was set back goes unnoticed")
	}
}

// TestScriptsHide: a script's process cannot pass for one that is followed by having another
// follow it, be it the sandbox's first.
func TestScriptsHide(t *testing.T) {
	const write = `while (1) { select undef, undef, undef, 0.02; open F, ">>/mnt/again"; print F 1; close F }`
	calls := map[string]string{"amd64": "101", "arm64": "117"}
	number := calls[runtime.GOARCH]
	for name, script := range map[string]string{
		"each other": fmt.Sprintf(`$p = fork; $with = $p ? $p : getppid; syscall %s, 0x4206, $with, 0, 0; %s`, number, write), // PTRACE_SEIZE
		"the first":  fmt.Sprintf(`exit if fork; select undef, undef, undef, 0.01 until getppid == 1; syscall %s, 0, 0, 0, 0; %s`, number, write),
	} {
		t.Run(name, func(t *testing.T) {
			told, by := scripted(t, map[string]string{
				"a.postinst": "perl -e '" + script + "' > /dev/null 2>&1 < /dev/null & sleep 0.3",
				"b.postinst": `echo b > /mnt/b; sleep 0.3`,
			}, `run a postinst configure; run b postinst configure`)
			if len(told) != 2 || told[0].Ended == 0 || by["again"] != "a postinst configure" || by["b"] != "b postinst configure" {
				t.Errorf("told %+v, %v", told, by)
			}
		})
	}
}
