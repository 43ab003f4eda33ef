package sanitise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// secret is what one machine may have alone: the image has none, and each machine makes
// its own when it boots without. systemd's first boot, at which Debian 13's
// sshd-keygen.service makes keys, is not meant: it presets all units anew and asks the
// user for settings, and earlier releases have no such service.
type secret struct {
	program string   // that makes it; an image without it needs none
	files   string   // pattern, path.Match, of what is made
	unit    string   // of systemd, that makes it
	about   string   // in the unit's own words
	command string   // that the unit runs
	after   []string // that may make it, too, and come first
	before  []string // that do not start without it
	wanted  []string // that start it
}

// secrets are those of the passes ssh-host-keys and snakeoil.
var secrets = []secret{
	{
		program: "usr/sbin/sshd", files: "etc/ssh/ssh_host_*_key", unit: "isotrace-ssh-host-keys.service",
		about: "Make the SSH host keys of this machine", command: "/usr/bin/ssh-keygen -A",
		after:  []string{"cloud-init.service", "live-config.service", "sshd-keygen.service"},
		before: []string{"ssh.service", "sshd.service", "ssh@.service", "sshd@.service"},
		wanted: []string{"multi-user.target", "ssh.service", "ssh.socket"},
	},
	{
		program: "usr/sbin/make-ssl-cert", files: "etc/ssl/private/ssl-cert-snakeoil.key", unit: "isotrace-snakeoil.service",
		about: "Make the self-signed certificate of this machine", command: "/usr/sbin/make-ssl-cert generate-default-snakeoil",
		after:  []string{"cloud-init.service", "live-config.service"},
		before: []string{"apache2.service", "dovecot.service", "exim4.service", "lighttpd.service", "nginx.service", "postfix.service", "postgresql.service", "xrdp.service"},
		wanted: []string{"multi-user.target"},
	},
}

// text is the unit. What was made stays: on a disk the unit runs once, in a live system
// at each boot.
func (s secret) text() string {
	return fmt.Sprintf(`[Unit]
Description=%s
ConditionPathExistsGlob=!/%s
ConditionPathIsReadWrite=/etc
After=%s
Before=%s

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=%s

[Install]
WantedBy=%s
`, s.about, s.files, strings.Join(s.after, " "), strings.Join(s.before, " "), s.command, strings.Join(s.wanted, " "))
}

const unitFolder = "etc/systemd/system"

// makeSecrets lets a machine make what the image has not and its programs need.
func makeSecrets(t *tree) error {
	if ok, err := t.has("usr/lib/systemd/systemd", "lib/systemd/systemd"); !ok || err != nil {
		return err
	}
	for _, s := range secrets {
		if ok, err := t.has(s.program); err != nil {
			return err
		} else if !ok {
			continue
		}
		there, err := fs.Glob(t.root.FS(), s.files)
		if err != nil {
			return err
		}
		if len(there) > 0 {
			continue
		}
		if err := t.enable(s); err != nil {
			return fmt.Errorf("%s: %w", s.unit, err)
		}
	}
	return nil
}

// has tells whether the tree has a regular file under one of the names.
func (t *tree) has(names ...string) (bool, error) {
	for _, name := range names {
		switch st, err := t.root.Stat(name); {
		case err == nil && st.Mode().IsRegular():
			return true, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return false, err
		}
	}
	return false, nil
}

// enable writes a unit, unless the project has one of that name, and what starts it.
func (t *tree) enable(s secret) error {
	unit := unitFolder + "/" + s.unit
	if _, err := t.root.Lstat(unit); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.add(unit, func(name string) error {
		return errors.Join(t.root.WriteFile(name, []byte(s.text()), 0o644), t.root.Chmod(name, 0o644))
	}); err != nil {
		return err
	}
	for _, by := range s.wanted {
		link := unitFolder + "/" + by + ".wants/" + s.unit
		if err := t.add(link, func(name string) error { return t.root.Symlink("/"+unit, name) }); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// add makes something new, and the folders above it.
func (t *tree) add(name string, make func(name string) error) error {
	if err := t.addFolder(path.Dir(name)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(t.log, "  added /%s\n", name); err != nil {
		return err
	}
	t.changed(name)
	return make(name)
}

func (t *tree) addFolder(name string) error {
	st, err := t.root.Stat(name)
	switch {
	case err == nil && !st.IsDir():
		return fmt.Errorf("/%s: is not a folder", name)
	case err == nil || !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := t.addFolder(path.Dir(name)); err != nil {
		return err
	}
	t.changed(name)
	return errors.Join(t.root.Mkdir(name, 0o755), t.root.Chmod(name, 0o755))
}
