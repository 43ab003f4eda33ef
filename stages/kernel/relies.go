package kernel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/initrd"
	"github.com/isotrace/isotrace/internal/regular"
	"github.com/isotrace/isotrace/internal/roottree"
)

// need is what an initial RAM file system must hold for a part of the config.
type need struct {
	key string // of the config, as errors name it
	// script is a file's path, library the beginning of a file's name, module a module
	// of the kernel; one of them is set.
	script, library, module string
	hint                    string
}

func (n need) String() string {
	switch {
	case n.script != "":
		return "/" + n.script
	case n.library != "":
		return n.library
	}
	return "module " + n.module
}

const modulesHint = "the kernel's package has it, and initramfs-tools copies it where MODULES in /etc/initramfs-tools/initramfs.conf is most"

// needs are those of the parameters.
func (p Params) needs() []need {
	var list []need
	modules := func(key string, names ...string) {
		for _, m := range names {
			list = append(list, need{key: key, module: m, hint: modulesHint})
		}
	}
	if p.Live != "" {
		// initramfs-tools runs /scripts/NAME for boot=NAME, which the medium's menu has.
		script := map[string]string{"live-boot": "scripts/live", "casper": "scripts/casper"}[p.Live]
		list = append(list, need{key: "live: " + p.Live, script: script, hint: "add " + p.Live + " to packages; it works with initramfs-tools"})
		modules("live: "+p.Live, "loop", "squashfs", "overlay", "isofs")
	}
	if p.Verity {
		list = append(list, need{key: "squashfs.verity", library: path.Base(verityLibrary), hint: "add libcryptsetup12 to packages"})
		modules("squashfs.verity", "dm_verity")
	}
	if p.Persistence {
		modules("boot.persistence", "ext4")
	}
	if p.Disk {
		modules("outputs", "ext4")
	}
	return list
}

// checkInitrd demands that the initial RAM file system has what it has to boot.
func checkInitrd(ctx context.Context, root *os.Root, version string, out *os.Root, name string, p Params) (err error) {
	f, err := regular.Open(out, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	segments, err := initrd.ReadNames(ctx, "initrd", f, st.Size(), initrd.Limits{})
	if err != nil {
		return err
	}
	built, modular, err := builtin(root, version)
	if err != nil {
		return err
	}
	have := holding{files: map[string]bool{}, modules: built}
	for _, s := range segments {
		have.add(s.Tree)
	}
	for _, n := range p.needs() {
		if n.module != "" && !modular {
			continue // a kernel without modules has built in what it has
		}
		if !have.has(n) {
			return fault.New(fault.Usage, n.hint, "%s: the initial RAM file system that the root tree's programs make has no %s", n.key, n)
		}
	}
	return nil
}

// holding is what an initial RAM file system has.
type holding struct {
	files   map[string]bool
	names   []string        // of files, without folders
	modules map[string]bool // built in, or as files
}

func (h *holding) add(t *roottree.Manifest) {
	for i := range t.Entries {
		e := &t.Entries[i]
		if e.Type != roottree.File && e.Type != roottree.Link {
			continue
		}
		h.files[e.Path] = true
		h.names = append(h.names, path.Base(e.Path))
		if name, ok := moduleName(e.Path); ok {
			h.modules[name] = true
		}
	}
}

func (h *holding) has(n need) bool {
	switch {
	case n.script != "":
		return h.files[n.script]
	case n.library != "":
		return slices.ContainsFunc(h.names, func(name string) bool { return strings.HasPrefix(name, n.library) })
	}
	return h.modules[n.module]
}

// moduleName is a module's by its path, compressed or not, with _ for -.
func moduleName(p string) (string, bool) {
	name, end, ok := strings.Cut(path.Base(p), ".ko")
	return strings.ReplaceAll(name, "-", "_"), ok && (end == "" || end[0] == '.')
}

const maxBuiltin = 4 << 20

// builtin are the modules that a kernel has built in; modular is false of one that has no
// folder of modules at all.
func builtin(root *os.Root, version string) (_ map[string]bool, modular bool, err error) {
	names := map[string]bool{}
	dir := "usr/lib/modules/" + version
	if _, err := root.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		dir = "lib/modules/" + version
	}
	if _, err := root.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return names, false, nil
	}
	b, err := regular.Read(root, dir+"/modules.builtin", maxBuiltin)
	if errors.Is(err, fs.ErrNotExist) {
		return names, true, nil
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		if name, ok := moduleName(lines.Text()); ok {
			names[name] = true
		}
	}
	return names, true, err
}

// inits are what initramfs-tools starts where the command line has no init=.
var inits = []string{"sbin/init", "etc/init", "bin/init"}

// checkInit demands what the initial RAM file system hands over to: a program.
func checkInit(t *roottree.Manifest, own []string) error {
	program := func(name string) bool {
		at, err := roottree.Follow(name, func(p string) (string, bool) {
			e, ok := t.Lookup(p)
			return e.Target, ok && e.Type == roottree.Link
		})
		if err != nil {
			return false
		}
		e, ok := t.Lookup(at)
		return ok && e.Type == roottree.File && e.Mode&0o111 != 0
	}
	for _, name := range own {
		if name != "" && !program(strings.TrimPrefix(name, "/")) {
			return fault.New(fault.Usage, "name a program of the image, or leave the parameter out", "init=%s: the root tree has no such program", name)
		}
	}
	if (len(own) == 0 || slices.Contains(own, "")) && !slices.ContainsFunc(inits, program) {
		return fault.New(fault.Usage, "add systemd-sysv to packages", "the root tree has no init system: there is no program %s", "/"+inits[0])
	}
	return nil
}

// Init lists the programs that kernel command lines name as init; "" stands for a line
// that names none.
func Init(lines ...[]string) []string {
	var list []string
	for _, line := range lines {
		last := ""
		for _, p := range line {
			if v, ok := strings.CutPrefix(p, "init="); ok {
				last = v
			}
		}
		if !slices.Contains(list, last) {
			list = append(list, last)
		}
	}
	if len(list) == 1 && list[0] == "" {
		return nil
	}
	return list
}
