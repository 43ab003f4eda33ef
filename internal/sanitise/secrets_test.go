package sanitise

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSecrets: what the passes took, a machine makes again where a program needs it.
func TestSecrets(t *testing.T) {
	const systemd, sshd, cert = "usr/lib/systemd/systemd", "usr/sbin/sshd", "usr/sbin/make-ssl-cert"
	const key = "etc/ssh/ssh_host_rsa_key"
	ssh := []string{"etc/systemd/system/isotrace-ssh-host-keys.service", "etc/systemd/system/multi-user.target.wants/isotrace-ssh-host-keys.service",
		"etc/systemd/system/ssh.service.wants/isotrace-ssh-host-keys.service", "etc/systemd/system/ssh.socket.wants/isotrace-ssh-host-keys.service"}
	snakeoil := []string{"etc/systemd/system/isotrace-snakeoil.service", "etc/systemd/system/multi-user.target.wants/isotrace-snakeoil.service"}
	for name, c := range map[string]struct {
		files, keep, protect []string
		varying              bool
		want                 []string // besides the files that no pass takes
	}{
		"keys removed":        {files: []string{systemd, sshd, key}, want: append([]string{systemd, sshd}, ssh...)},
		"both":                {files: []string{"lib/systemd/systemd", sshd, cert}, want: slices.Concat([]string{"lib/systemd/systemd", sshd, cert}, ssh, snakeoil)},
		"no server":           {files: []string{systemd, "usr/bin/ssh"}, want: []string{systemd, "usr/bin/ssh"}},
		"no systemd":          {files: []string{sshd, key}, want: []string{sshd}},
		"keys kept":           {files: []string{systemd, sshd, key}, keep: []string{"ssh-host-keys"}, want: []string{systemd, sshd, key}},
		"keys of the project": {files: []string{systemd, sshd, key}, protect: []string{"/" + key}, want: []string{systemd, sshd, key}},
		"left out":            {files: []string{systemd, sshd}, keep: []string{"secrets-at-boot"}, want: []string{systemd, sshd}},
		"the project's own":   {files: []string{systemd, sshd, ssh[0]}, want: []string{systemd, sshd, ssh[0]}},
		"not the last stage":  {files: []string{systemd, sshd}, varying: true, want: []string{systemd, sshd}},
	} {
		tree := map[string]string{}
		for _, f := range c.files {
			tree[f] = ""
		}
		dir := root(t, tree)
		var changed []string
		o := Options{Epoch: 1, Keep: c.keep, Protect: c.protect, VaryingOnly: c.varying, Log: &bytes.Buffer{}, Changed: func(path, pass string) {
			if pass == "secrets-at-boot" {
				// What is there when a pass tells of it, somebody else has made.
				if _, err := os.Lstat(filepath.Join(dir, path)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: /%s is told of too late: %v", name, path, err)
				}
				changed = append(changed, path)
			}
		}}
		for range 2 { // the second time changes nothing
			if err := Apply(t.Context(), dir, o); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			have := list(t, dir)
			if names, want := slices.Sorted(maps.Keys(have)), slices.Sorted(slices.Values(c.want)); !slices.Equal(names, want) {
				t.Errorf("%s: have %v\nwant %v", name, names, want)
			}
			for p, text := range have {
				if strings.Contains(p, ".wants/") && text != "→/etc/systemd/system/"+p[strings.LastIndex(p, "/")+1:] {
					t.Errorf("%s: /%s: %s", name, p, text)
				}
			}
		}
		for p := range list(t, dir) {
			if _, before := tree[p]; !before && !slices.Contains(changed, p) {
				t.Errorf("%s: nobody says who wrote /%s", name, p)
			}
		}
	}
	if have := secrets[0].text(); !strings.Contains(have, "ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key\n") || !strings.Contains(have, "ExecStart=/usr/bin/ssh-keygen -A\n") {
		t.Errorf("the unit:\n%s", have)
	}
}
