package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/system"
)

func TestInspect(t *testing.T) {
	const release = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=trixie\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  system.Facts
		says  string // of the error
	}{
		"one": {map[string]string{"boot/vmlinuz-6.12.9-amd64": "", "boot/config-6.12.10-amd64": "", "etc/os-release": release},
			system.Facts{Kernel: "6.12.9-amd64", Codename: "trixie"}, ""},
		"with an installer": {map[string]string{"boot/vmlinuz-6.12.9-amd64": "", "etc/os-release": "ID=x\n", "usr/bin/calamares": ""},
			system.Facts{Kernel: "6.12.9-amd64", Installer: true}, ""},
		"none": {map[string]string{"boot/vmlinuz": "", "etc/os-release": release}, system.Facts{}, "the root tree has no kernel in /boot"},
		"two": {map[string]string{"boot/vmlinuz-6.12.10-amd64": "", "boot/vmlinuz-6.12.9-amd64": "", "etc/os-release": release},
			system.Facts{}, "the root tree has 2 kernels in /boot: 6.12.9-amd64, 6.12.10-amd64"},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			at := filepath.Join(dir, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		have, err := inspect(root)
		if c.says == "" && (err != nil || have != c.want) {
			t.Errorf("%s: %+v, %v", name, have, err)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || fault.ClassOf(err) != fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
		if err := root.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
