package stages

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
)

// TestKept: what a config asks for, or relies on, is not removed and not missing.
func TestKept(t *testing.T) {
	p := func(name, depends string) *archive.Package {
		return &archive.Package{Name: name, Version: "1", Depends: depends}
	}
	system := []*archive.Package{
		p("linux-image-amd64", "linux-image-6.12-amd64"), p("linux-image-6.12-amd64", "kmod"), p("kmod", ""), p("systemd-sysv", "systemd"), p("systemd", "libpam"),
		p("libpam", ""), p("live-boot", "live-boot-initramfs-tools"), p("live-boot-initramfs-tools", "busybox"), p("busybox", ""),
		p("wget", "libpsl5t64"), p("libpsl5t64", ""), p("libcryptsetup12", "libdevmapper"), p("libdevmapper", ""),
	}
	const base = "Package: base-app\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDepends: libpsl5t64\n\n" +
		"Package: casper\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n" +
		"Package: linux-image-own\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
	for _, c := range []struct{ name, config, status, without, overlay, want string }{
		{name: "all there", config: "packages: [wget]"},
		{name: "through a dependency", config: "packages: [kmod, wget]\nremove: [libpsl5t64]", want: "remove[0] (libpsl5t64) takes wget, which packages[1] asks for: it needs libpsl5t64"},
		{name: "itself", config: "packages: [wget]\nremove: [x, wget]", want: "remove[1] takes wget, which packages[0] asks for"},
		{name: "nothing", config: "remove: [nano]", want: "remove[0] (nano) is no package of the image: apt would not find it"},
		{name: "nothing any more", config: "remove: [casper]", status: base},
		{name: "pinned", config: "packages: [wget=1]\nremove: [wget]", want: "remove[0] takes wget, which packages[0] asks for"},
		{name: "of the base image", config: "packages: [base-app]\nremove: [libpsl5t64]", status: base, want: "remove[0] (libpsl5t64) takes base-app, which packages[0] asks for: it needs libpsl5t64"},
		{name: "what nobody asked for", config: "remove: [libpsl5t64]"},
		{name: "live-boot's own", config: "remove: [busybox]", want: "remove[0] (busybox) takes live-boot, which live: live-boot needs: it needs live-boot-initramfs-tools, which needs busybox"},
		{name: "live-boot", config: "remove: [live-boot]", want: "remove[0] takes live-boot, which live: live-boot needs"},
		{name: "no live-boot", without: "live-boot", want: "live: live-boot needs the package live-boot, which is neither asked for nor a dependency"},
		{name: "no casper", config: "live: casper", status: base, want: "live: casper needs the package casper, which is neither asked for nor a dependency"},
		{name: "no live-boot, but scripts", config: "scripts: [a.sh]", without: "live-boot"},
		{name: "no live-boot, but files for the initrd", config: "overlay: [{from: files, to: /}]", without: "live-boot", overlay: "files/usr/share/initramfs-tools/scripts/live"},
		{name: "no live-boot, and other files", config: "overlay: [{from: files, to: /}]", without: "live-boot", overlay: "files/etc/motd", want: "live: live-boot needs the package live-boot"},
		{name: "verity's", config: "squashfs: {verity: true}\nremove: [libdevmapper]", want: "remove[0] (libdevmapper) takes libcryptsetup12, which squashfs.verity needs: it needs libdevmapper"},
		{name: "no verity", config: "squashfs: {verity: true}", without: "libcryptsetup12", want: "squashfs.verity needs the package libcryptsetup12"},
		{name: "kernel", config: "remove: [kmod]", want: "remove[0] (kmod) takes linux-image-amd64, which is the kernel that the image boots with"},
		{name: "one kernel of two", config: "remove: [linux-image-6.12-amd64]", status: base},
		{name: "init", config: "remove: [libpam]", want: "remove[0] (libpam) takes systemd-sysv, which is the init system that the image boots with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.overlay != "" {
				file := filepath.Join(dir, c.overlay)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			cfg, err := config.Parse("c", []byte("name: x\nrelease: \"1\"\nbase: {oci: l}\n"+c.config+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			k := &locking{Session: &Session{Project: &Project{Dir: dir}}, config: cfg}
			if c.status != "" {
				k.base = &baseSystem{status: []byte(c.status)}
			}
			var chosen []*archive.Package
			for _, p := range system {
				if p.Name != c.without {
					chosen = append(chosen, p)
				}
			}
			switch err := k.checkKept(chosen); {
			case err == nil && c.want != "":
				t.Errorf("is taken, want %q", c.want)
			case err != nil && (c.want == "" || !strings.HasPrefix(err.Error(), config.FileName+": "+c.want) || fault.ClassOf(err) != fault.Usage):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
