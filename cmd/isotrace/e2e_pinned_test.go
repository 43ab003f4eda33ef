package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/archive/archivetest"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
)

// Files that no archive has and the config pins: a package, and memory tests. For a
// vendor's stand Debian's own, each with a mark behind it that makes it another file.
const (
	ownDeb  = "debs/rescue-agent_1.0_all.deb"
	ownBIOS = "vendor/tester.bin"
	ownUEFI = "vendor/tester.efi"
)

func pinnedFiles(t *testing.T, reference *project, victim string) map[string][]byte {
	t.Helper()
	mark := []byte("a vendor's")
	return map[string][]byte{
		ownDeb: archivetest.BuildDeb(t, "Package: Rescue-Agent\nVersion: 1.0\nArchitecture: all\nMaintainer: A Vendor <agent@example.org>\nDepends: sudo\n", "xz",
			archivetest.File{Path: "DEBIAN/postinst", Content: string(hostile(t, "package", victim))},
			archivetest.File{Path: "usr/bin/rescue-agent", Content: "#!/bin/sh\necho agent\n", Mode: 0o755},
			archivetest.File{Path: "srv/agent/state", Content: "new\n", Uname: "games"},
			archivetest.File{Path: "usr/share/doc/rescue-agent/copyright", Content: "Not to be copied.\n", Mode: 0o644}),
		ownBIOS: append(onMedium(t, reference, "boot/memtest.bin"), mark...),
		ownUEFI: append(onMedium(t, reference, "boot/memtest.efi"), mark...),
	}
}

// pinFiles names them in the example's config.
func pinFiles(config []byte, files map[string][]byte) []byte {
	sum := func(name string) artifact.Digest { return artifact.HashBytes(files[name]) }
	boot := "boot:\n  memory-tests:\n"
	for firmware, name := range map[string]string{"bios": ownBIOS, "uefi": ownUEFI} {
		test := fmt.Sprintf("    - {file: %s, sha256: %s, title: Tester 9, firmware: %s, licence: LicenseRef-Vendor, options: [\"console=ttyS0,115200\"]}\n", name, sum(name), firmware)
		if firmware == "bios" { // the first, memory-0
			boot = strings.Replace(boot, "memory-tests:\n", "memory-tests:\n"+test, 1)
		} else {
			boot += test
		}
	}
	debs := fmt.Sprintf("debs:\n  - {file: ./%s, sha256: %s, requirements: [RSC-2]}\n\n", ownDeb, sum(ownDeb))
	return bytes.Replace(config, []byte("boot:\n"), []byte(debs+boot), 1)
}

// checkPinned looks at what trace, bills of materials and policy say of those files, and
// wants a build to refuse another file in one's place.
func checkPinned(t *testing.T, p *project) {
	t.Helper()
	for path, says := range map[string][]string{
		"/usr/bin/rescue-agent": {
			"origin: overlay", "put there by overlay project/" + ownDeb + ", in stage install", "package rescue-agent:all=1.0", "why: debs[0]: ./" + ownDeb,
			"which its config pins; no archive's key has signed it", "requirement RSC-2",
		},
		"/srv/agent/state":               {"origin: overlay", "package rescue-agent:all=1.0"},
		"medium:/boot/memory/tester.bin": {"origin: overlay", "put there by overlay project/" + ownBIOS + ", in stage livetree"},
		"/etc/casper.conf":               {"origin: modified", "changed by setting live-session, in stage customise"},
	} {
		out, code := p.run("trace", p.out(), path)
		for _, s := range says {
			if code != 0 || !strings.Contains(out, s) {
				t.Errorf("%s: exit status %d, does not say %q:\n%s", path, code, s, out)
			}
		}
	}
	bill := string(readAll(t, p.out("evidence", "sbom", "rescue.cdx.json")))
	for _, s := range []string{"pkg:deb/debian/rescue-agent@1.0", "LicenseRef-Vendor"} {
		if !strings.Contains(bill, s) {
			t.Errorf("the bill of materials does not say %s", s)
		}
	}
	if out, code := p.run("policy", "check", p.out()); code != 3 || !strings.Contains(out, "rescue-agent is "+ownDeb+" of the project") {
		t.Errorf("policy: exit status %d\n%s", code, out)
	}
	for _, name := range []string{ownDeb, ownUEFI} {
		at := filepath.Join(p.dir, name)
		b := readAll(t, at)
		if err := os.WriteFile(at, append(b, 0), 0o644); err != nil {
			t.Fatal(err)
		}
		out, code := p.run("build", "-o", filepath.Join(t.TempDir(), "out"))
		if code != 3 || !strings.Contains(out, name+": its SHA-256 is ") || !strings.Contains(out, config.FileName+" says ") {
			t.Errorf("%s changed: exit status %d\n%s", name, code, out)
		}
		if err := os.WriteFile(at, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
