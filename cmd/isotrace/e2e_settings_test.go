package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// settled has each of the config's settings, and servers whose secrets no image has.
const settled = `name: rescue
release: "1"
base: {bootstrap: trixie}
archives:
  - {suite: trixie, components: [main], signed-by: keys/debian-archive.asc}
  - {suite: trixie-updates, components: [main], signed-by: keys/debian-archive.asc}
  - {suite: trixie-security, components: [main], signed-by: keys/debian-archive.asc}
packages: [linux-image-amd64, live-boot, systemd-sysv, openssh-server, ssl-cert, console-setup, locales, iproute2]
overlay: [{from: files/, to: /}]
hostname: settled
locale: de_DE@euro
locales: [ru_RU, sr_RS@latin, en_GB.utf8]
timezone: Asia/Kathmandu
keyboard: gb
users:
  - {name: op, groups: [sudo, audio], shell: /bin/sh, password-hash: "$6$abcdefgh$N3XGnZDdyjgHoAnvVBOsWEPBJ7gV5XEs3VAbLIjW8FaRrnHpOyCvfDH9MJd0mCmuuLhi1HLhPBmYbBDkuVR5Y/"}
outputs: [iso, vhd]
boot:
  serial: true
  timeout: 1
  memtest: false
  parameters: [console=tty0, "console=ttyS0,115200", systemd.show_status=false]
`

// asking has the booted system say what became of the settings.
const asking = `#!/bin/bash
exec > /dev/ttyS0 2>&1
say() { echo "probe $1=$2"; }
echo
say ssh "$(systemctl is-active ssh)"
say listens "$(ss -Hltn sport = :22 | grep -c '0.0.0.0:22')"
say key "$(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)"
say offered "$(ssh-keyscan -T 60 -t ed25519 127.0.0.1 2> /dev/null | grep -v '^#' | cut -d' ' -f3)"
say certificate "$(openssl x509 -in /etc/ssl/certs/ssl-cert-snakeoil.pem -noout -subject)"
say failed "$(systemctl --failed --no-legend --plain | tr '\n' ' ')"
say machine "$(cat /etc/machine-id)"
say catalogue "$(test -s /var/lib/systemd/catalog/database && echo there)"
say host "$(hostname)"
say lang "$(. /etc/default/locale; LC_ALL=$LANG locale charmap)"
say russian "$(LC_ALL=ru_RU locale charmap)"
say latin "$(LC_ALL=sr_RS@latin locale charmap)"
say english "$(LC_ALL=en_GB.utf8 locale charmap)"
say zone "$(TZ= ; unset TZ; date -d @0 +%z)"
say key4 "$(dumpkeys -C /dev/tty1 | grep 'keycode *4 ' | tr -s ' \n' ' ')"
say user "$(id -nG op | tr ' ' '\n' | sort | tr '\n' ' ')$(getent passwd op | cut -d: -f7)"
echo "probe ends"
`

const askingUnit = `[Unit]
Description=Say what became of the settings
After=multi-user.target ssh.service isotrace-ssh-host-keys.service isotrace-snakeoil.service keyboard-setup.service console-setup.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/asking
`

// answers are what the booted system said.
func answers(t *testing.T, console string) map[string]string {
	t.Helper()
	said := map[string]string{}
	for line := range strings.Lines(string(readAll(t, console))) {
		if _, rest, ok := strings.Cut(line, "probe "); ok {
			if name, value, ok := strings.Cut(strings.TrimSpace(rest), "="); ok {
				said[name] = strings.TrimSpace(value)
			}
		}
	}
	return said
}

// TestSettingsInGuest: what the config sets holds in the booted system, and each machine
// makes the secrets that the image lacks, from the medium and from the disk.
func TestSettingsInGuest(t *testing.T) {
	t.Parallel()
	p := &project{dir: filepath.Join(t.TempDir(), "settled")}
	if err := p.copyOf(rescue(t)); err != nil {
		t.Fatal(err)
	}
	files := filepath.Join(p.dir, "files")
	units := filepath.Join(files, "etc", "systemd", "system")
	program := filepath.Join(files, "usr", "local", "sbin", "asking")
	err := errors.Join(os.RemoveAll(files), os.MkdirAll(filepath.Join(units, "multi-user.target.wants"), 0o755), os.MkdirAll(filepath.Dir(program), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(filepath.Join(p.dir, "isotrace.yaml"), []byte(settled), 0o644), os.WriteFile(program, []byte(asking), 0o755),
		os.WriteFile(filepath.Join(units, "asking.service"), []byte(askingUnit), 0o644),
		os.Symlink("/etc/systemd/system/asking.service", filepath.Join(units, "multi-user.target.wants", "asking.service")))
	if err != nil {
		t.Fatal(err)
	}
	refuseSettings(t, p)
	for _, args := range [][]string{{"lock"}, {"build"}} {
		if out, code := p.run(args...); code != 0 {
			t.Fatalf("%v: exit status %d\n%s", args, code, out)
		}
	}
	out, code := p.run("trace", p.out(), "/etc/systemd/system/isotrace-ssh-host-keys.service")
	if code != 0 || !strings.Contains(out, "origin: stage") || !strings.Contains(out, "secrets-at-boot") {
		t.Errorf("trace: exit status %d\n%s", code, out)
	}
	seen := map[string]string{} // values that no two machines share, and where
	for _, medium := range []string{"cd", "vhd"} {
		if out, code := p.run("boot", p.out(), "--firmware", "bios", "--medium", medium, "--timeout", "10m", "--expect", "probe ends"); code != 0 {
			t.Fatalf("%s: exit status %d\n%s", medium, code, out)
		}
		said := answers(t, p.out("boot", "bios-"+medium+".console"))
		for name, want := range map[string]string{
			"ssh": "active", "listens": "1", "failed": "", "catalogue": "there", "host": "settled",
			"lang": "ISO-8859-15", "russian": "ISO-8859-5", "latin": "UTF-8", "english": "UTF-8", "zone": "+0530",
			"user": "audio op sudo /bin/sh",
		} {
			if have, there := said[name]; have != want || !there {
				t.Errorf("%s: %s is %q, want %q", medium, name, have, want)
			}
		}
		if said["offered"] != said["key"] || said["key"] == "" {
			t.Errorf("%s: sshd offers %q, its key is %q", medium, said["offered"], said["key"])
		}
		// Of a British 3 the shift is a pound sign, which dumpkeys names by the console's mode.
		if !slices.ContainsFunc([]string{"sterling", "U+00a3", "0xa3"}, func(s string) bool { return strings.Contains(said["key4"], s) }) {
			t.Errorf("%s: the console's keyboard: %q", medium, said["key4"])
		}
		if !strings.HasPrefix(said["certificate"], "subject") || len(said["machine"]) != 32 {
			t.Errorf("%s: certificate %q, machine %q", medium, said["certificate"], said["machine"])
		}
		for _, name := range []string{"key", "machine"} {
			if other := seen[said[name]]; other != "" {
				t.Errorf("%s has the %s of %s", medium, name, other)
			}
			seen[said[name]] = medium
		}
		if t.Failed() {
			t.Logf("%s said %q", medium, fmt.Sprint(said))
		}
	}
}

// refuseSettings builds with settings that the tree cannot serve.
func refuseSettings(t *testing.T, p *project) {
	t.Helper()
	file := filepath.Join(p.dir, "isotrace.yaml")
	if out, code := p.run("lock"); code != 0 {
		t.Fatalf("lock: exit status %d\n%s", code, out)
	}
	wrong := map[string]string{ // a line of the config, and what is said of it
		"timezone: Asia":                            "time zone Asia: is a region, not a time zone",
		"timezone: zone1970.tab":                    "timezone: \"zone1970.tab\" is not a time zone",
		"timezone: tzdata":                          "time zone tzdata: not in the tree",
		"locale: da.UTF-8":                          "locale da.UTF-8: the tree has no such locale",
		"keyboard: uk":                              "keyboard uk: the tree has no such layout",
		"users: [{name: a, groups: [no]}]":          "user a: the tree has no group no",
		"users: [{name: sshd}]":                     "user sshd: the tree has that account already",
		"users: [{name: a, shell: /bin/zsh}]":       "user a: the tree has no program /bin/zsh",
		"users: [{name: a, password-hash: secret}]": "users[0].password-hash: is not a hash of crypt(5)",
	}
	for _, line := range slices.Sorted(maps.Keys(wrong)) {
		key, _, _ := strings.Cut(line, ":")
		var kept []string
		for old := range strings.Lines(settled) {
			if !strings.HasPrefix(old, key+":") && !(key == "users" && strings.HasPrefix(old, "  - {name: op")) {
				kept = append(kept, old)
			}
		}
		if err := os.WriteFile(file, []byte(strings.Join(kept, "")+line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, code := p.run("build"); code != 2 || !strings.Contains(out, wrong[line]) || strings.Contains(out, "secret") {
			t.Errorf("%s: exit status %d, does not say %q\n%s", line, code, wrong[line], out)
		}
	}
	if err := os.WriteFile(file, []byte(settled), 0o644); err != nil {
		t.Fatal(err)
	}
}
