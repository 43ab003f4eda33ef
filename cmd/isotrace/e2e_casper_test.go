package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
)

// Ubuntu's archive is not to be had everywhere: a package of the test's own stands for
// casper. It has casper's files, finds a medium as casper does and starts its one
// squashfs, or has the medium's sums checked.
const casperScript = `
mountroot() {
	modprobe -a loop squashfs overlay isofs sr_mod
	mkdir -p /cdrom /rofs /cow
	tries=0
	until mounted; do
		tries=$((tries + 1))
		[ $tries -lt 60 ] || panic "no medium has a folder casper"
		sleep 1
	done
	set -- /cdrom/casper/*.squashfs
	[ $# -eq 1 ] || panic "$# file systems in /casper"
	read -r size < /cdrom/casper/filesystem.size
	[ "$size" -gt 0 ] || panic "no size of the file system"
	read -r distribution version rest < /cdrom/.disk/info
	echo "casper: $distribution $version, $size bytes"
	[ ! -f /etc/casper.conf ] || . /etc/casper.conf
	echo "casper: $USERNAME@$HOST of $FLAVOUR on medium $UUID"
	case " $(cat /proc/cmdline) " in *" layerfs-path=${1##*/} "*) ;; *) panic "another file system is asked for" ;; esac
	if grep -qw integrity-check /proc/cmdline; then
		(cd /cdrom && md5sum -c md5sum.txt > /dev/null) && echo "Check finished: no errors found" || echo "Check finished: errors found"
		sleep 1000
	fi
	loop=$(losetup -f)
	losetup -r "$loop" "$1" && mount -t squashfs -o ro "$loop" /rofs || panic "cannot mount $1"
	mount -t tmpfs cow /cow
	mkdir -p /cow/upper /cow/work
	mount -t overlay -o lowerdir=/rofs,upperdir=/cow/upper,workdir=/cow/work overlay "$rootmnt" || panic "cannot mount the overlay"
}

mounted() {
	for device in /dev/sr* /dev/sd* /dev/vd*; do
		[ -b "$device" ] || continue
		mount -t iso9660 -o ro "$device" /cdrom 2> /dev/null || continue
		[ -e /cdrom/casper/filesystem.squashfs ] && own && return 0
		umount /cdrom
	done
	return 1
}

# The medium is the one that the initrd belongs to.
own() {
	[ -f /conf/uuid.conf ] || return 0
	UUID=$(cat /conf/uuid.conf)
	for file in /cdrom/.disk/casper-uuid*; do
		[ "$(cat "$file")" != "$UUID" ] || return 0
	done
	return 1
}
`

// As casper's own: nothing of it counts unless FLAVOUR is set.
const casperConf = `export USERNAME="casper"
export USERFULLNAME="Live session user"
export HOST="casper"
export BUILD_SYSTEM="Ubuntu"

# export FLAVOUR="Ubuntu"
`

const casperHook = `#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules loop squashfs overlay isofs sr_mod
mkdir -p "$DESTDIR/etc"
cp /etc/casper.conf "$DESTDIR/etc/casper.conf"
# A random one, as casper's hook takes where it is told to: the build's own replaces it.
mkdir -p "$DESTDIR/conf"
cat /proc/sys/kernel/random/uuid > "$DESTDIR/conf/uuid.conf"
`

// addCasper puts casper and an installer into an archive.
func addCasper(repo *archivetest.Repo) {
	repo.AddPackage("Package: casper\nVersion: 1.445.1\nArchitecture: all\nDepends: initramfs-tools, busybox, kmod\n",
		archivetest.File{Path: "usr/share/initramfs-tools/scripts/casper", Content: casperScript, Mode: 0o644},
		archivetest.File{Path: "usr/share/initramfs-tools/hooks/casper", Content: casperHook, Mode: 0o755},
		archivetest.File{Path: "etc/casper.conf", Content: casperConf, Mode: 0o644},
		archivetest.File{Path: "usr/share/doc/casper/copyright", Content: "Public domain.\n", Mode: 0o644})
	repo.AddPackage("Package: ubiquity\nVersion: 20.04.15\nArchitecture: all\n",
		archivetest.File{Path: "usr/bin/ubiquity", Content: "#!/bin/sh\nexit 1\n", Mode: 0o755},
		archivetest.File{Path: "usr/share/doc/ubiquity/copyright", Content: "Public domain.\n", Mode: 0o644})
	for name, version := range map[string]string{"casper": "1.445.1", "ubiquity": "20.04.15"} {
		repo.AddSource(name, version, map[string]string{name + "_" + version + ".tar.xz": "the source of " + name})
	}
}

// forCasper changes the example's config.
func forCasper(config []byte) []byte {
	config = bytes.Replace(config, []byte("live: live-boot"), []byte("live: casper\nlive-session: {user: rescuer, host: rescue}"), 1)
	return bytes.Replace(config, []byte("{name: live-boot,"), []byte("{name: ubiquity}\n  - {name: casper,"), 1)
}

// bootCasper looks at what is on the medium for casper and its installer, and boots it.
func bootCasper(t *testing.T, p, reference *project) {
	t.Helper()
	menu := string(onMedium(t, p, "boot/grub/grub.cfg"))
	for _, s := range []string{"boot=casper layerfs-path=filesystem.squashfs nopersistent", "boot=casper layerfs-path=filesystem.squashfs only-ubiquity", "boot=casper layerfs-path=filesystem.squashfs integrity-check"} {
		if !strings.Contains(menu, s) {
			t.Errorf("the menu does not say %q:\n%s", s, menu)
		}
	}
	if have := string(onMedium(t, p, "README.diskdefines")); !strings.HasPrefix(have, "#define DISKNAME  Rescue 1.0.0\n") {
		t.Errorf("README.diskdefines is\n%s", have)
	}
	if have, want := string(onMedium(t, p, "casper/filesystem.manifest-remove")), "casper\ndiscover\nlaptop-detect\nos-prober\nubiquity\n"; have != want {
		t.Errorf("the installer is to remove\n%s", have)
	}
	if desktop := string(onMedium(t, p, "casper/filesystem.manifest-desktop")); strings.Contains(desktop, "casper\t") || strings.Contains(desktop, "ubiquity\t") {
		t.Errorf("the installer keeps the live system:\n%s", desktop)
	}
	// The emulator is of the reference's lock: the test's archive does not hold it.
	out := copyOfOut(t, reference)
	at := filepath.Join(out, "rescue.iso")
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, readAll(t, p.iso()), 0o644); err != nil {
		t.Fatal(err)
	}
	bootAll(t, reference, []bootCase{
		{"uefi", "usb", "install", out, 0, "rescue login:", "casper: rescuer@rescue of Rescue on medium " + strings.TrimSpace(string(onMedium(t, p, ".disk/casper-uuid")))},
		{"bios", "cd", "check", out, 0, "Check finished: no errors found", ""},
		{"bios", "cd", "memory-0", out, 0, "Memtest86+", ""},
		{"uefi", "cd", "memory-1", out, 0, "Memtest86+", ""},
	})
}
