package livetree

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"text/template"

	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/system"
)

//go:embed grub.cfg.tmpl
var builtin string

// Menu is what a template of grub.cfg may use.
type Menu struct {
	Name, Title, Release string
	Timeout              int // seconds
	Serial               bool
	// Parameters of the kernel's command line: to try, to install (empty where
	// there is no installer) and to check the medium.
	Try, Install, Check string
	// MemtestBIOS and MemtestEFI are paths on the medium, or empty.
	MemtestBIOS, MemtestEFI string
	// MemoryTests are those of the project.
	MemoryTests []VendorTest
	// MemtestOptions are its options, each after a space.
	MemtestOptions string
}

// ForBIOS tells whether there is a memory test that a BIOS starts.
func (m Menu) ForBIOS() bool {
	return m.MemtestBIOS != "" || slices.ContainsFunc(m.MemoryTests, func(t VendorTest) bool { return !t.UEFI })
}

func menuOf(p Params, s system.Facts, memtest map[string]string, rootHash string) Menu {
	m := Menu{
		Name: p.Name, Title: p.Title, Release: p.Release, Timeout: p.Timeout, Serial: p.Serial,
		MemtestBIOS: memtest["bin"], MemtestEFI: memtest["efi"],
	}
	if p.Serial {
		m.MemtestOptions = " console=ttyS0,115200"
	}
	join := func(words ...string) string { return strings.Join(append(words, p.Parameters...), " ") }
	if p.Live == "casper" {
		m.Try = join("boot=casper", casperLayer, persistent(p, "persistent", "nopersistent"))
		m.Check = join("boot=casper", casperLayer, "integrity-check")
		if s.Installer {
			m.Install = join("boot=casper", casperLayer, "only-ubiquity")
		}
		return m
	}
	m.Try = join(append([]string{"boot=live", "live-media-path=/casper", persistent(p, "persistence", "nopersistence")}, verityOptions(rootHash)...)...)
	m.Check = join("boot=live", "live-media-path=/casper", "verify-checksums")
	if s.Installer {
		m.Install = m.Try
	}
	return m
}

// casperLayer has casper mount this one squashfs, and not what a file of the initrd names,
// or whatever else lies beside it.
var casperLayer = "layerfs-path=" + path.Base(squashfs)

func persistent(p Params, yes, no string) string {
	if p.Persistence {
		return yes
	}
	return no
}

// verityOptions have live-boot mount the squashfs with dm-verity, and the kernel stop
// where a block does not fit.
func verityOptions(rootHash string) []string {
	if rootHash == "" {
		return nil
	}
	return []string{"dm-verity-root-hash=" + path.Base(squashfs) + ":" + rootHash, "dm-verity-oncorruption=panic"}
}

func render(text string, m Menu) (string, error) {
	t, err := template.New("grub.cfg").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fault.New(fault.Usage, "see docs/ARCHITECTURE.md for what a menu may use", "boot menu: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, m); err != nil {
		return "", fault.New(fault.Usage, "see docs/ARCHITECTURE.md for what a menu may use", "boot menu: %w", err)
	}
	if b.Len() > 1<<20 {
		return "", fmt.Errorf("boot menu: longer than 1 MiB")
	}
	return b.String(), nil
}
