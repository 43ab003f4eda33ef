package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/debroot"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/stages"
)

// helperArg makes the test binary a helper that sets up a place and then
// becomes the program that is to run there.
const helperArg = "e2e-helper"

// bindVariable lists folders that a root folder shows at their own paths.
const bindVariable = "E2E_BIND"

// helper changes the process's surroundings and executes argv.
func helper(mode string, args []string) error {
	switch mode {
	case "root": // FOLDER UID ARGV…: with the folder as root, as that user
		uid, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		inside, code, err := sandbox.EnterUnshifted() // root stays that of the host, an ordinary user becomes root in a user namespace
		if err != nil {
			return err
		}
		if !inside {
			os.Exit(code)
		}
		if err := pivot(args[0]); err != nil {
			return fmt.Errorf("make %s the root: %w", args[0], err)
		}
		runtime.LockOSThread() // the namespace is the thread's, which goes on as the program
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			return err
		}
		if err := unix.Sethostname([]byte("elsewhere")); err != nil {
			return err
		}
		unix.Umask(0o077)
		if uid != 0 {
			one := unix.CPUSet{}
			one.Set(0)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return err
			}
			if err := syscall.Setgroups(nil); err != nil {
				return err
			}
			if err := syscall.Setresgid(uid, uid, uid); err != nil {
				return err
			}
			if err := syscall.Setresuid(uid, uid, uid); err != nil {
				return err
			}
		}
		return unix.Exec(args[2], args[2:], os.Environ())
	case "offline": // ARGV…: without a network
		inside, code, err := sandbox.EnterUnshifted()
		if err != nil {
			return err
		}
		if !inside {
			os.Exit(code)
		}
		runtime.LockOSThread() // the namespace is the thread's, which goes on as the program
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Exec(args[0], args, os.Environ())
	case "attribute": // PROJECT STORE DEBS CHANGES
		return ended(attribute(args[0], args[1], args[2], args[3]))
	case "umoci": // ROOT
		return umociHelper(args[0])
	case "hard-cases": // PROJECT STORE
		return ended(hardCases(args[0], args[1]))
	case "hard-cases-of-disks": // PROJECT STORE
		return ended(hardCasesOfDisks(args[0], args[1]))
	case "plant": // PROJECT STORE
		return ended(plant(args[0], args[1]))
	case "oci": // TREE LAYOUT SOURCES KEYS HOOK: reads a tree of whatever owners
		inside, code, err := sandbox.EnterUnshifted()
		if err != nil {
			return err
		}
		if inside {
			if err := writeImage(args[0], args[1], args[2], args[3], args[4]); err != nil {
				return err
			}
		}
		os.Exit(code)
	case "tmpfs": // FOLDER OPTIONS ARGV…: with a new file system at the folder
		inside, code, err := sandbox.EnterUnshifted()
		if err != nil {
			return err
		}
		if !inside {
			os.Exit(code)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", args[0], "tmpfs", 0, args[1]); err != nil {
			return err
		}
		return unix.Exec(args[2], args[2:], os.Environ())
	}
	return fmt.Errorf("unknown helper %s", mode)
}

// ended ends a helper that has done its work.
func ended(err error) error {
	if err == nil {
		os.Exit(0)
	}
	return err
}

// pivot makes dir the root folder. A chroot would not do: the kernel allows no
// user namespace in one.
func pivot(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	for _, d := range []string{"proc", "dev"} {
		if _, err := os.Stat(filepath.Join(dir, d)); err != nil {
			continue
		}
		if err := unix.Mount("/"+d, filepath.Join(dir, d), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	for _, d := range filepath.SplitList(os.Getenv(bindVariable)) {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
		if err := unix.Mount(d, filepath.Join(dir, d), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// namespaced starts this test binary as a helper.
func namespaced(args ...string) *exec.Cmd {
	return exec.Command("/proc/self/exe", append([]string{helperArg}, args...)...)
}

// mirrorsOfHost are the mirrors that the tests use, as --mirror flags.
func mirrorsOfHost(t *testing.T) []string {
	t.Helper()
	sources, err := archive.ReadSources("/")
	if err != nil {
		t.Fatal(err)
	}
	all, err := stages.Mirrors{Given: strings.Fields(os.Getenv("ISOTRACE_MIRROR")), Host: sources}.ByRepository()
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for _, name := range []string{"debian", "debian-security"} {
		for _, uri := range all[name] {
			flags = append(flags, "--mirror", name+"="+uri)
		}
	}
	return flags
}

// copyInto copies host files to the same paths below root, following links.
func copyInto(t *testing.T, root string, files ...string) {
	t.Helper()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(root, f)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// place is a root folder with a project in it, elsewhere than the reference.
func place(t *testing.T, root string, reference *project) {
	t.Helper()
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	copyInto(t, root, "/etc/resolv.conf")
	if _, err := os.Stat("/etc/hosts"); err == nil {
		copyInto(t, root, "/etc/hosts")
	}
	if _, err := os.Stat(certificates); err == nil {
		copyInto(t, root, certificates)
	}
	binary, err := os.ReadFile(e2e.binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "isotrace"), binary, 0o755); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(root, "srv", "another", "folder")
	if err := (&project{dir: at}).copyOf(reference); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(at, config.FileName)); err != nil {
		t.Fatal(err)
	}
}

const certificates = "/etc/ssl/certs/ca-certificates.crt"

// buildIn builds the project of a place, as a user, in other surroundings.
func buildIn(t *testing.T, root string, uid int, env ...string) {
	t.Helper()
	args := append([]string{"root", root, strconv.Itoa(uid), "/isotrace", "-C", "/srv/another/folder", "--store", "/srv/store", "--progress", "plain", "build"}, mirrorsOfHost(t)...)
	c := namespaced(args...)
	c.Env = append(env, "COSIGN_PASSWORD="+testPassword)
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if v, ok := os.LookupEnv(name); ok {
			c.Env = append(c.Env, name+"="+v)
		}
	}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func sameAs(t *testing.T, root string, reference *project) {
	t.Helper()
	at := filepath.Join(root, "srv", "another", "folder", "out")
	if have, want := digestOf(t, filepath.Join(at, "rescue.iso")), digestOf(t, reference.iso()); have != want {
		t.Errorf("the ISO is %s, want %s", have, want)
	}
	if have, want := digests(t, filepath.Join(at, "evidence")), digests(t, reference.out("evidence")); have != want {
		t.Errorf("the evidence differs:\n%s\nwant\n%s", have, want)
	}
}

// TestBareRoot builds as root where there is nothing but the binary, the
// resolver's config and CA certificates: no /proc, no shell, no library.
func TestBareRoot(t *testing.T) {
	t.Parallel()
	reference := rescue(t)
	root := filepath.Join(e2e.dir, "bare")
	place(t, root, reference)
	emptyStore(t, filepath.Join(root, "srv", "store"))
	buildIn(t, root, 0, "TZ=Asia/Tokyo", "LC_ALL=fr_FR.UTF-8", "HOME=/nowhere")
	sameAs(t, root, reference)
}

// emptyStore removes at the end what may belong to other users.
func emptyStore(t *testing.T, store string) {
	t.Cleanup(func() {
		if out, err := exec.Command(e2e.binary, "--store", store, "store", "gc", "--unused", "0s").CombinedOutput(); err != nil {
			t.Errorf("empty the store: %v\n%s", err, out)
		}
	})
}

// TestOrdinaryUser builds as an ordinary user, on one processor, with another
// umask, time zone and locale. Where the tests run as root, the user lives on a
// minimal Debian that the test unpacks, with newuidmap and newgidmap.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	reference := rescue(t)
	if os.Getuid() != 0 {
		root := filepath.Join(e2e.dir, "user")
		place(t, root, reference)
		p := &project{dir: filepath.Join(root, "srv", "another", "folder")}
		c := p.command("--store", filepath.Join(root, "srv", "store"), "build")
		c.Env = append(c.Env, "TZ=Asia/Tokyo", "LC_ALL=fr_FR.UTF-8", "GOMAXPROCS=1")
		emptyStore(t, filepath.Join(root, "srv", "store"))
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		sameAs(t, root, reference)
		return
	}
	const uid = 4711
	root := filepath.Join(e2e.dir, "user")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	unpackDebian(t, root, "trixie", "base-files", "uidmap")
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nsomebody:x:4711:4711::/srv:/bin/sh\n",
		"etc/group":  "root:x:0:\nsomebody:x:4711:\n",
		"etc/subuid": "somebody:200000:65536\n",
		"etc/subgid": "somebody:200000:65536\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	place(t, root, reference)
	err := filepath.WalkDir(filepath.Join(root, "srv"), func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, uid, uid)
	})
	if err != nil {
		t.Fatal(err)
	}
	buildIn(t, root, uid, "TZ=America/Lima", "LANG=C", "PATH=/usr/bin:/bin")
	sameAs(t, root, reference)
}

// unpackDebian unpacks packages of a suite of Debian, and what they need, into a folder.
func unpackDebian(t *testing.T, dir, suiteName string, names ...string) {
	t.Helper()
	store := sharedStore(t)
	sources, err := archive.ReadSources("/")
	if err != nil {
		t.Fatal(err)
	}
	mirrors, err := stages.Mirrors{Given: strings.Fields(os.Getenv("ISOTRACE_MIRROR")), Host: sources}.ByRepository()
	if err != nil {
		t.Fatal(err)
	}
	client, err := archive.NewClient(archive.Options{Mirrors: mirrors})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	keys, err := os.ReadFile("../../testdata/keys/debian-archive.asc")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := archive.ReadKeyring("debian-archive.asc", keys)
	if err != nil {
		t.Fatal(err)
	}
	suite, err := client.ResolveSuite(t.Context(), archive.SuiteRequest{
		Repository: "debian", Suite: suiteName, Components: []string{"main"}, Architecture: "amd64", Keyring: ring, Now: time.Now(),
	}, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := suite.Packages(store)
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := archive.Closure(all, names, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	var wants []archive.Want
	var packages []debroot.Package
	for _, c := range chosen {
		p := c.Package
		wants = append(wants, archive.Want{Repository: "debian", Path: p.Filename, SHA256: p.SHA256, Size: p.Size})
		packages = append(packages, debroot.Package{Ref: artifact.Ref{Path: p.Filename, Digest: p.SHA256, Size: p.Size}, Content: store.Path(p.SHA256)})
	}
	if err := client.FetchAll(t.Context(), wants, store, nil); err != nil {
		t.Fatal(err)
	}
	if err := debroot.Prepare(dir); err != nil {
		t.Fatal(err)
	}
	if err := debroot.Unpack(t.Context(), dir, packages, debroot.Options{Spool: t.TempDir(), Progress: func(int64, int64) {}}); err != nil {
		t.Fatal(err)
	}
}

// TestDiskFull builds with a store on small file systems: one that is full when
// the indexes are there, and one that is full inside a program of a package.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"48m", "600m", "800m"} {
		t.Run(size, func(t *testing.T) { diskFull(t, size) })
	}
}

func diskFull(t *testing.T, size string) {
	p, err := newProject(filepath.Join(t.TempDir(), "rescue"), "rescue")
	if err != nil {
		t.Fatal(err)
	}
	store := t.TempDir()
	args := append([]string{"tmpfs", store, "size=" + size, e2e.binary, "-C", p.dir, "--store", store, "--progress", "none", "build"}, mirrorsOfHost(t)...)
	c := namespaced(args...)
	c.Env = append(os.Environ(), "COSIGN_PASSWORD="+testPassword)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Fatal(err)
	}
	text := string(out)
	if code := c.ProcessState.ExitCode(); code != 1 || !strings.Contains(text, "no space left on device") || !strings.Contains(text, "isotrace: hint: make room on the disk") {
		t.Errorf("exit status %d:\n%s", code, text)
	}
	if strings.Count(text, "isotrace: error:") != 1 {
		t.Errorf("want one error line:\n%s", text)
	}
	if left, err := filepath.Glob(p.out("*.iso")); err != nil || len(left) > 0 {
		t.Errorf("out holds %v (%v)", left, err)
	}
	if _, err := os.Stat(p.out("evidence")); err == nil {
		t.Error("out holds evidence")
	}
}
