package livetree

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/system"
)

var update = flag.Bool("update", false, "write the goldens")

func TestMenu(t *testing.T) {
	both := map[string]string{"bin": "/boot/memtest.bin", "efi": "/boot/memtest.efi"}
	for _, c := range []struct {
		golden  string
		params  Params
		system  system.Facts
		memtest map[string]string
		hash    string
		vendor  []VendorTest
	}{
		{"live-boot.cfg", Params{Name: "r", Title: "Rescue", Release: "1.0", Live: "live-boot", Timeout: 3, Serial: true, Parameters: []string{"console=ttyS0,115200"}}, system.Facts{}, both, "2af1", nil},
		{"persistence.cfg", Params{Name: "r", Title: "Rescue", Release: "1.0", Live: "live-boot", Persistence: true}, system.Facts{}, nil, "", nil},
		{"casper-persistence.cfg", Params{Name: "r", Title: "Rescue", Release: "1.0", Live: "casper", Persistence: true}, system.Facts{}, nil, "", nil},
		{"casper-installer.cfg", Params{Name: "r", Title: "Desk", Release: "2", Live: "casper", Timeout: 10}, system.Facts{Installer: true}, map[string]string{"bin": "/boot/memtest.bin"}, "", nil},
		{"memory-tests.cfg", Params{Name: "r", Title: "Rescue", Release: "1.0", Live: "live-boot"}, system.Facts{}, nil, "", []VendorTest{
			{"Signed", "/boot/memory/signed.efi", "", true, true}, {"Unsigned", "/boot/memory/unsigned.efi", " nosmp", true, false}, {"Old", "/boot/memory/old.bin", " console=ttyS0,115200", false, false},
		}},
	} {
		m := menuOf(c.params, c.system, c.memtest, c.hash)
		m.MemoryTests = c.vendor
		have, err := render(builtin, m)
		if err != nil {
			t.Fatal(err)
		}
		file := "testdata/" + c.golden
		if *update {
			if err := os.WriteFile(file, []byte(have), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if have != string(want) {
			t.Errorf("%s: have\n%s\nwant\n%s", c.golden, have, want)
		}
	}
	for _, bad := range []string{"{{.Nothing}}", "{{", `{{range $i := .Title}}{{end`} {
		if _, err := render(bad, Menu{}); fault.ClassOf(err) != fault.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if marker := Marker("rescue", "1.0"); !strings.HasPrefix(marker, "/.disk/") {
		t.Error(marker)
	}
}
