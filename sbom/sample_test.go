package sbom

import (
	"crypto/sha512"
	"encoding/hex"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/isotrace/isotrace/internal/artifact"
)

var update = flag.Bool("update", false, "write the goldens")

// sum makes digests of a word, for documents that need some.
func sum(s string) artifact.Digest { return artifact.HashBytes([]byte(s)) }

func sums(s string) Hashes {
	h := sha512.Sum512([]byte(s))
	return Hashes{SHA256: string(sum(s)), SHA512: hex.EncodeToString(h[:])}
}

var trixie = Distro{ID: "debian", Version: "13", Codename: "trixie"}

func deb(path string) *Deb {
	return &Deb{Path: path, Size: 1000, Hashes: sums(path), Archive: "debian/trixie", Suite: "stable", Codename: "trixie", Release: sum("Release")}
}

// sample is a document with one of everything, and nothing left unexplained.
func sample() *Document {
	busybox := licensing("GPL-2.0-only AND (BSD-3-Clause OR LicenseRef-custom-0123456789abcdef)", "usr/share/doc/busybox-static/copyright")
	busybox.Concluded = "GPL-2.0-only"
	return &Document{
		Format: Format, Version: "0.2.0", Epoch: 1757318400,
		Author: Party{Name: "Example Avionics", Email: "sbom@example.org", Organisation: true},
		Product: Product{
			Name: "rescue", Title: "Rescue disk", Version: "1.0.0", FileName: "rescue.iso", Location: "../../rescue.iso", Size: 300 << 20, Hashes: sums("iso"),
			Creator:      Party{Name: "Example Avionics", Email: "release@example.org", URL: "https://example.org/", Organisation: true},
			Completeness: Complete,
			References: []Reference{
				{Type: "bom", URL: "rescue.spdx.json", Comment: "the same as SPDX 2.3", Hashes: sums("spdx")},
				{Type: "attestation", URL: "attestations/provenance.json"},
			},
		},
		System: &Distro{ID: "debian", Version: "13", Codename: "trixie"},
		Packages: []Package{
			{
				Set: Target, Name: "openssh-server", Version: "1:10.0p1-7", Architecture: "amd64", Source: "openssh", SourceVersion: "1:10.0p1-7",
				Section: "net", Priority: "optional", Mark: Manual, Maintainer: "Debian OpenSSH Maintainers <debian-ssh@lists.debian.org>",
				Homepage: "https://www.openssh.com/", Summary: "secure shell (SSH) server, for secure access from remote machines",
				InstalledSize: 2049, From: FromArchive, Deb: deb("pool/main/o/openssh/openssh-server_10.0p1-7_amd64.deb"), Distro: trixie,
				Licence: licensing("BSD-2-Clause AND ISC", "usr/share/doc/openssh-server/copyright"),
				Dependencies: []Dependency{{On: "target/libc6:amd64=2.41-12", Kind: Depends}, {On: "target/dpkg:amd64=1.22.21", Kind: PreDepends},
					{On: "target/busybox-static:amd64=1:1.37.0-6+b3", Kind: Recommends}},
				Completeness: Complete, Requirements: []string{"HLR-12", "HLR-3"}, Executable: Yes,
			},
			{
				Set: Target, Name: "libc6", Version: "2.41-12", Architecture: "amd64", Source: "glibc", SourceVersion: "2.41-12",
				Section: "libs", Priority: "optional", Mark: Auto, Maintainer: "GNU Libc Maintainers <debian-glibc@lists.debian.org>",
				Summary: "GNU C Library: Shared libraries", From: FromBase, Layer: sum("layer 1"), Distro: trixie,
				Licence: licensing("LGPL-2.1-or-later WITH GCC-exception-2.0", "usr/share/doc/libc6/copyright"), Completeness: Complete, Executable: Yes,
			},
			{
				Set: Target, Name: "dpkg", Version: "1.22.21", Architecture: "amd64", Source: "dpkg", SourceVersion: "1.22.21", Section: "admin",
				Priority: "required", Essential: true, Mark: Auto, Maintainer: "Dpkg Developers <debian-dpkg@lists.debian.org>", From: FromBase,
				Deb: deb("pool/main/d/dpkg/dpkg_1.22.21_amd64.deb"), Distro: trixie, Licence: licensing("GPL-2.0-or-later", "usr/share/doc/dpkg/copyright"),
				Dependencies: []Dependency{{On: "target/libc6:amd64=2.41-12", Kind: Depends}}, Completeness: Incomplete, Executable: Yes,
			},
			{
				Set: Target, Name: "busybox-static", Version: "1:1.37.0-6+b3", Architecture: "amd64", Source: "busybox", SourceVersion: "1:1.37.0-6",
				Section: "shells", Mark: Auto, Maintainer: `"J. Doe" <j.doe@example.org>`, From: FromArchive,
				Deb: deb("pool/main/b/busybox/busybox-static_1.37.0-6+b3_amd64.deb"), Distro: trixie, Licence: busybox,
				BuiltUsing:       []SourceID{{"glibc", "2.41-12"}},
				StaticBuiltUsing: []SourceID{{"libxcrypt", "1:4.4.38-1"}, {"glibc", "2.41-12"}},
				Completeness:     Complete, Executable: Yes,
			},
			{
				Set: Boot, Name: "grub-efi-amd64-bin", Version: "2.12-9", Architecture: "amd64", Source: "grub2", SourceVersion: "2.12-9", Section: "admin",
				Maintainer: "GRUB Maintainers <pkg-grub-devel@alioth-lists.debian.net>", From: FromArchive,
				Deb: deb("pool/main/g/grub2/grub-efi-amd64-bin_2.12-9_amd64.deb"), Distro: trixie,
				Licence: licensing("GPL-3.0-or-later", "usr/share/doc/grub-efi-amd64-bin/copyright"), Completeness: Complete, Executable: Yes,
			},
			{
				Set: Tools, Name: "busybox-static", Version: "1:1.37.0-6+b3", Architecture: "amd64", Source: "busybox", SourceVersion: "1:1.37.0-6",
				Maintainer: "J. Doe <j.doe@example.org>", From: FromArchive, Deb: deb("pool/main/b/busybox/busybox-static_1.37.0-6+b3_amd64.deb"), Distro: trixie,
				Licence: busybox, Completeness: Complete, Executable: Yes,
			},
			{
				Set: Tools, Name: "xorriso", Version: "1.5.6-1.2+b1", Architecture: "amd64", Source: "libisoburn", SourceVersion: "1.5.6-1.2",
				Section: "otherosfs", Maintainer: "Debian Libburnia packagers <pkg-libburnia-devel@lists.alioth.debian.org>", From: FromArchive,
				Deb: deb("pool/main/libi/libisoburn/xorriso_1.5.6-1.2+b1_amd64.deb"), Distro: trixie,
				Licence:      licensing("NOASSERTION", "usr/share/doc/xorriso/copyright"),
				Dependencies: []Dependency{{On: "tools/busybox-static:amd64=1:1.37.0-6+b3", Kind: Depends}},
				Completeness: Complete, Executable: Yes, Unknown: Unknown{FieldLicence: "not known: the copyright file is empty"},
			},
		},
		Sources: []Source{{
			SourceID: SourceID{"openssh", "1:10.0p1-7"}, Distro: trixie, Maintainer: "Debian OpenSSH Maintainers <debian-ssh@lists.debian.org>",
			Homepage: "https://www.openssh.com/", Directory: "pool/main/o/openssh",
			Files: []SourceFile{{"openssh_10.0p1.orig.tar.gz", 1900000, sums("orig")}, {"openssh_10.0p1-7.dsc", 3000, sums("dsc")}},
		}},
		Base: &BaseImage{
			Reference: "registry.example.org/library/debian:trixie-slim@sha256:" + string(sum("manifest")), Manifest: sum("manifest"), Config: sum("config"),
			Layers: []Layer{{sum("layer 1"), 28 << 20, "application/vnd.oci.image.layer.v1.tar+gzip"}, {Digest: sum("layer 2")}, {Digest: sum("layer 2")}},
		},
		Found: []Found{
			{
				Type: "python", Name: "requests", Version: "2.32.3", PURL: "pkg:pypi/requests@2.32.3", FoundBy: "syft", In: "openssh-server:amd64=1:10.0p1-7",
				Paths:   []Path{"usr/local/lib/python3.13/dist-packages/requests-2.32.3.dist-info/METADATA", "opt/x/requests-2.32.3.dist-info/METADATA"},
				Licence: Licensing{Declared: "Apache-2.0"}, Dependencies: []Dependency{{On: "found/go-module/stdlib=@usr/local/bin/a", Kind: Depends}},
			},
			{
				Type: "go-module", Name: "stdlib", FoundBy: "syft", Paths: []Path{"usr/local/bin/a"}, Hashes: sums("a"),
				Nature: Nature{Executable: Yes, Archive: No, Structured: No}, Unknown: Unknown{FieldVersion: "not known: the binary is stripped of it"},
			},
		},
		Files: []File{
			{Tree: "root", Path: "etc/motd", Size: 0, Hashes: sums(""), Origin: "overlay", Reason: "files/etc/motd of the project", Requirements: []string{"HLR-3"},
				Nature: Nature{No, No, No}},
			{Tree: "root", Path: "etc/ssl/certs/F\xc5\x91 \xff\n.pem", Size: 2, Hashes: withSHA1("pem"), Origin: "generated", By: "target/openssh-server:amd64=1:10.0p1-7",
				Reason: "postinst of openssh-server", Nature: Nature{No, No, No}},
			{Tree: "iso", Path: "boot/grub/grub.cfg", Size: 700, Hashes: withSHA1("cfg"), Origin: "stage", Reason: "stage livetree", Nature: Nature{No, No, No}},
			{Tree: "root", Path: "usr/local/share/x.tar", Size: 10240, Hashes: sums("x"), Origin: "base", Nature: Nature{No, Yes, Yes}},
		},
		Licences: []Licence{{ID: "LicenseRef-custom-0123456789abcdef", Name: "custom", SHA256: sum("text"), Text: "Do what you like.\n\tTwice.\n"}},
		Findings: []Finding{{ID: "syft-only-1", Text: "syft lists a package that dpkg does not", Components: []string{"target/libc6:amd64=2.41-12"}}, {ID: "note", Text: "one more"}},
	}
}

func licensing(declared, file string) Licensing {
	return Licensing{Declared: declared, File: Path(file), FileSHA256: sum(file)}
}

func withSHA1(s string) Hashes {
	h := sums(s)
	h.SHA1 = h.SHA256[:40]
	return h
}

// many is a document of n packages, each with a few needs, as an image has.
func many(n int) *Document {
	d := &Document{Format: Format, Version: "0.2.0", Epoch: 1757318400, Product: Product{Name: "many", Version: "1"}}
	id := func(i int) string { return fmt.Sprintf("target/pkg%d:amd64=1.%d-1", i%n, i%n) }
	for i := range n {
		d.Packages = append(d.Packages, Package{
			Set: Target, Name: fmt.Sprintf("pkg%d", i), Version: fmt.Sprintf("1.%d-1", i), Architecture: "amd64", Source: fmt.Sprintf("src%d", i/3), SourceVersion: "1-1",
			Section: "utils", Priority: "optional", Mark: Auto, Maintainer: "Debian QA Group <packages@qa.debian.org>", Homepage: "https://example.org/",
			Summary: strings.Repeat("word ", 12), From: FromArchive, Deb: deb(fmt.Sprintf("pool/main/p/pkg%d_1_amd64.deb", i)), Distro: trixie,
			Licence:      licensing("GPL-2.0-or-later AND LGPL-2.1-or-later AND BSD-3-Clause", "usr/share/doc/pkg/copyright"),
			Dependencies: []Dependency{{id(i + 1), Depends}, {id(i + 7), Depends}, {id(i + 50), Depends}, {id(i + 3), Recommends}},
			Completeness: Complete, Executable: Yes,
		})
	}
	return d
}

func write(t testing.TB, d *Document) (cyclonedx, spdx string) {
	t.Helper()
	var c, s strings.Builder
	if err := WriteCycloneDX(&c, d); err != nil {
		t.Fatal(err)
	}
	if err := WriteSPDX(&s, d); err != nil {
		t.Fatal(err)
	}
	return c.String(), s.String()
}
