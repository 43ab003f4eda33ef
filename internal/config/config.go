// Package config reads isotrace.yaml, the file in which a project says what it
// wants. What comes of it is resolved by isotrace lock.
package config

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
)

// FileName is the name of the config in a project's folder.
const FileName = "isotrace.yaml"

// Config is the whole of isotrace.yaml.
type Config struct {
	// Name of the product: the image is called NAME.iso.
	Name string `yaml:"name" json:"name"`
	// Release of the product, in the project's own scheme.
	Release string `yaml:"release" json:"release"`
	// Title is the name that people see in the boot menu; the name where it is left out.
	Title string `yaml:"title,omitempty" json:"title,omitempty"`
	// Architecture in Debian's terms; amd64 is the only one so far.
	Architecture string `yaml:"architecture,omitempty" json:"architecture,omitempty" jsonschema:"enum=amd64"`
	// Base is what packages are added to.
	Base Base `yaml:"base" json:"base"`
	// Archives that packages come from; the base image's own apt sources where they are left out.
	Archives []Archive `yaml:"archives,omitempty" json:"archives,omitempty"`
	// Mirrors are base addresses by repository name, such as debian: [URI].
	Mirrors map[string][]string `yaml:"mirrors,omitempty" json:"mirrors,omitempty"`
	// Live is the program that boots the image from its squashfs.
	Live string `yaml:"live,omitempty" json:"live,omitempty" jsonschema:"enum=live-boot,enum=casper"`
	// LiveSession is what casper calls the live system and its user.
	LiveSession LiveSession `yaml:"live-session,omitempty" json:"live-session,omitzero"`
	// Packages that the image shall have, with what they need.
	Packages []Package `yaml:"packages,omitempty" json:"packages,omitempty"`
	// Debs are packages that no archive has: files of the project, installed beside Packages.
	Debs []Deb `yaml:"debs,omitempty" json:"debs,omitempty"`
	// Recommends also installs what the packages recommend.
	Recommends bool `yaml:"recommends,omitempty" json:"recommends,omitempty"`
	// Sources also locks and fetches the source packages of what is in the image
	// and boots it, and puts them on a second medium, NAME-sources.iso.
	Sources bool `yaml:"sources,omitempty" json:"sources,omitempty"`
	// Remove are packages that are purged at the end, with what needs them. What the config asks
	// for or relies on stays: to remove it is an error.
	Remove []string `yaml:"remove,omitempty" json:"remove,omitempty"`
	// Preseed are files of debconf selections, read before packages are installed.
	Preseed []Source `yaml:"preseed,omitempty" json:"preseed,omitempty"`
	// Overlay are the project's own files.
	Overlay []Overlay `yaml:"overlay,omitempty" json:"overlay,omitempty"`
	// Scripts run inside the root tree, as root, without a network, after the overlay is in place.
	Scripts []Source `yaml:"scripts,omitempty" json:"scripts,omitempty"`
	// Hostname of the booted system.
	Hostname string `yaml:"hostname,omitempty" json:"hostname,omitempty"`
	// Locale is the system's, such as en_GB.UTF-8, as /usr/share/i18n/SUPPORTED in the image has it.
	Locale string `yaml:"locale,omitempty" json:"locale,omitempty"`
	// Locales that are made besides.
	Locales []string `yaml:"locales,omitempty" json:"locales,omitempty"`
	// Timezone such as Europe/Paris.
	Timezone string `yaml:"timezone,omitempty" json:"timezone,omitempty"`
	// Keyboard is an XKB layout such as gb, for the console (by console-setup) and X.
	Keyboard string `yaml:"keyboard,omitempty" json:"keyboard,omitempty"`
	// Users that the image has besides its packages' own.
	Users []User `yaml:"users,omitempty" json:"users,omitempty"`
	// RootPasswordHash is a crypt(5) hash by yescrypt, scrypt, bcrypt or SHA-2; root stays locked where it is left out.
	RootPasswordHash string `yaml:"root-password-hash,omitempty" json:"root-password-hash,omitempty"`
	// Sanitise chooses the passes that take out what varies or leaks.
	Sanitise Sanitise `yaml:"sanitise,omitempty" json:"sanitise,omitzero"`
	// Boot is how the image boots.
	Boot Boot `yaml:"boot,omitempty" json:"boot,omitzero"`
	// Tools are the programs that build the image.
	Tools Tools `yaml:"tools,omitempty" json:"tools,omitzero"`
	// Squashfs is how the root tree is compressed.
	Squashfs Squashfs `yaml:"squashfs,omitempty" json:"squashfs,omitzero"`
	// Manifest is what the installer is told.
	Manifest Manifest `yaml:"manifest,omitempty" json:"manifest,omitzero"`
	// RequirementsFile lists the project's requirements, as CSV or ReqIF; see
	// docs/formats/requirements.md. An identifier that it does not list is then
	// an error, and one that no entry names is reported.
	RequirementsFile string `yaml:"requirements-file,omitempty" json:"requirements-file,omitempty"`
	// Problems are reports of problems that are known of the image: isotrace report lists
	// them. They change nothing in it.
	Problems []Problem `yaml:"problems,omitempty" json:"problems,omitempty"`
	// Unexplained are files of the image that may stay of unknown origin, each
	// with the reason; any other ends the build.
	Unexplained []Accepted `yaml:"unexplained,omitempty" json:"unexplained,omitempty"`
	// Outputs are the products to make: iso always, and disks beside it that have the
	// same system installed: vhd for Azure, raw and qcow2.
	Outputs []string `yaml:"outputs,omitempty" json:"outputs,omitempty" jsonschema:"enum=iso,enum=vhd,enum=raw,enum=qcow2"`
	// Disk is what the disks among the outputs are like.
	Disk Disk `yaml:"disk,omitempty" json:"disk,omitzero"`
	// Epoch is the only time that the build knows, as an RFC 3339 time; the
	// newest date among the archives' Release files where it is left out.
	Epoch string `yaml:"epoch,omitempty" json:"epoch,omitempty"`
	// Limits are what the programs of packages may take of the machine that builds.
	Limits Limits `yaml:"limits,omitempty" json:"limits,omitzero"`
	// Supplier makes the image, and has its bills of materials made.
	Supplier *Supplier `yaml:"supplier,omitempty" json:"supplier,omitempty"`
}

// Base is one of a bootstrap or an image.
type Base struct {
	// Bootstrap makes a minimal system from a suite of the archives.
	Bootstrap string `yaml:"bootstrap,omitempty" json:"bootstrap,omitempty"`
	// Image of a registry, as NAME[:TAG][@sha256:DIGEST]. The lock holds the digest.
	Image string `yaml:"image,omitempty" json:"image,omitempty"`
	// OCI is the folder of an OCI image layout.
	OCI string `yaml:"oci,omitempty" json:"oci,omitempty"`
	// Archive is a file that docker save has written; it may be compressed.
	Archive string `yaml:"archive,omitempty" json:"archive,omitempty"`
	// Disk is a disk image, whose largest ext4 file system is the base: raw or a fixed VHD,
	// which may be compressed, alone in a tar archive, or both.
	Disk string `yaml:"disk,omitempty" json:"disk,omitempty"`
	// Digest that the image must have, sha256:HEX.
	Digest string `yaml:"digest,omitempty" json:"digest,omitempty"`
	// SignedBy is the file of the public key, PEM, that has to have signed the image with
	// cosign. The lock holds the signature.
	SignedBy string `yaml:"signed-by,omitempty" json:"signed-by,omitempty"`
	// Dockerfile that the image was built from, where it is at hand: policy wants one
	// FROM in it.
	Dockerfile string `yaml:"dockerfile,omitempty" json:"dockerfile,omitempty"`
}

// IsImage tells a base image from a bootstrap.
func (b Base) IsImage() bool { return b.Bootstrap == "" }

// Archive is a suite of a Debian archive.
type Archive struct {
	// Repository is the last element of the mirror's address; debian where it is
	// left out, debian-security for suites that end in -security.
	Repository string `yaml:"repository,omitempty" json:"repository,omitempty"`
	// Suite or codename, the name below dists/.
	Suite string `yaml:"suite" json:"suite"`
	// Components such as main.
	Components []string `yaml:"components" json:"components"`
	// SignedBy is the file of the OpenPGP keys that may sign the suite.
	SignedBy string `yaml:"signed-by" json:"signed-by"`
	// IgnoreValidUntil accepts a suite whose Release file has expired. The lock says so.
	IgnoreValidUntil bool `yaml:"ignore-valid-until,omitempty" json:"ignore-valid-until,omitempty"`
}

// Repo is the repository, by default that of Debian.
func (a Archive) Repo() string {
	switch {
	case a.Repository != "":
		return a.Repository
	case strings.HasSuffix(a.Suite, "-security"):
		return "debian-security"
	}
	return "debian"
}

// Package is a package by name, perhaps with what it is there for. In YAML it
// may also be the name alone.
type Package struct {
	// Name of the package, or NAME=VERSION.
	Name string `yaml:"name" json:"name"`
	// Requirements are identifiers of the project's own.
	Requirements []string `yaml:"requirements,omitempty" json:"requirements,omitempty"`
}

// LiveSession are the names of /etc/casper.conf. Where no flavour is given, casper makes
// user and host name of the first word of the title.
type LiveSession struct {
	// Flavour of the distribution, such as Ubuntu; casper takes user and host from this
	// file only where it is set, so it is the title where one of them is.
	Flavour string `yaml:"flavour,omitempty" json:"flavour,omitempty"`
	// User that is logged in; casper makes the account when it boots.
	User string `yaml:"user,omitempty" json:"user,omitempty"`
	// FullName of the user.
	FullName string `yaml:"full-name,omitempty" json:"full-name,omitempty"`
	// Host name of the live system.
	Host string `yaml:"host,omitempty" json:"host,omitempty"`
}

// Deb is a package file of the project. No archive's key has signed it: the project
// answers for it, by its SHA-256.
type Deb struct {
	// File is the path below the project's folder.
	File string `yaml:"file" json:"file"`
	// SHA256 of the file, in lower-case hexadecimal.
	SHA256 artifact.Digest `yaml:"sha256" json:"sha256"`
	// Requirements are identifiers of the project's own.
	Requirements []string `yaml:"requirements,omitempty" json:"requirements,omitempty"`
}

// Source is a file of the project. In YAML it may also be the path alone.
type Source struct {
	// From is the path below the project's folder.
	From string `yaml:"from" json:"from"`
	// Requirements are identifiers of the project's own.
	Requirements []string `yaml:"requirements,omitempty" json:"requirements,omitempty"`
}

// Overlay copies files of the project into the root tree, owned by root and
// 0755 where the file is executable, else 0644.
type Overlay struct {
	// From is a file or folder below the project's folder.
	From string `yaml:"from" json:"from"`
	// To is the absolute path in the image: of the file, or of the folder that the folder's content goes to.
	To string `yaml:"to" json:"to"`
	// Mode of the files, in octal, such as "0600".
	Mode string `yaml:"mode,omitempty" json:"mode,omitempty"`
	// UID and GID that own the files.
	UID int `yaml:"uid,omitempty" json:"uid,omitempty"`
	GID int `yaml:"gid,omitempty" json:"gid,omitempty"`
	// Requirements are identifiers of the project's own.
	Requirements []string `yaml:"requirements,omitempty" json:"requirements,omitempty"`
}

// User is an account.
type User struct {
	Name string `yaml:"name" json:"name"`
	// UID is the next free one where it is left out.
	UID int `yaml:"uid,omitempty" json:"uid,omitempty"`
	// Comment is the account's full name.
	Comment string `yaml:"comment,omitempty" json:"comment,omitempty"`
	// Shell is /bin/bash where it is left out.
	Shell  string   `yaml:"shell,omitempty" json:"shell,omitempty"`
	Groups []string `yaml:"groups,omitempty" json:"groups,omitempty"`
	// PasswordHash is a crypt(5) hash by yescrypt, scrypt, bcrypt or SHA-2; the account is locked where it is left out.
	PasswordHash string   `yaml:"password-hash,omitempty" json:"password-hash,omitempty"`
	SSHKeys      []string `yaml:"ssh-keys,omitempty" json:"ssh-keys,omitempty"`
	// Requirements are identifiers of the project's own.
	Requirements []string `yaml:"requirements,omitempty" json:"requirements,omitempty"`
}

// Problem is a report of a problem, as its tracker has it.
type Problem struct {
	// ID of the report.
	ID string `yaml:"id" json:"id"`
	// Packages that it is about, by name; the whole image where they are left out.
	Packages []string `yaml:"packages,omitempty" json:"packages,omitempty"`
	// Text says in a line what it is.
	Text string `yaml:"text,omitempty" json:"text,omitempty"`
}

// Accepted is a file that nothing explains and the project accepts.
type Accepted struct {
	// Path in the image, absolute; * and ? stand for anything but a slash.
	Path string `yaml:"path" json:"path"`
	// Reason is shown wherever the file is.
	Reason string `yaml:"reason" json:"reason"`
}

// Supplier is who makes the image.
type Supplier struct {
	// Name of the organisation or person.
	Name string `yaml:"name" json:"name"`
	// Contact is an email address.
	Contact string `yaml:"contact,omitempty" json:"contact,omitempty"`
	// URL is an address for a browser.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
}

// Sanitise chooses passes.
type Sanitise struct {
	// Keep names passes that are left out.
	Keep []string `yaml:"keep,omitempty" json:"keep,omitempty"`
}

// Boot is how the image boots.
type Boot struct {
	// Archives that boot loaders come from; the target's where they are left out.
	Archives []Archive `yaml:"archives,omitempty" json:"archives,omitempty"`
	// Menu is a template of grub.cfg below the project's folder, in place of the built-in one.
	Menu string `yaml:"menu,omitempty" json:"menu,omitempty"`
	// Parameters are added to the kernel's command line.
	Parameters []string `yaml:"parameters,omitempty" json:"parameters,omitempty"`
	// Timeout of the menu in seconds; 5 where it is left out.
	Timeout *int `yaml:"timeout,omitempty" json:"timeout,omitempty" jsonschema:"minimum=0,maximum=3600"`
	// Serial also shows the menu on the first serial port, at 115200 baud.
	Serial bool `yaml:"serial,omitempty" json:"serial,omitempty"`
	// Memtest offers memtest86+; true where it is left out.
	Memtest *bool `yaml:"memtest,omitempty" json:"memtest,omitempty"`
	// MemoryTests are memory tests of other vendors, offered beside memtest86+.
	MemoryTests []MemoryTest `yaml:"memory-tests,omitempty" json:"memory-tests,omitempty"`
	// SecureBoot starts the image through shim and the GRUB that the distribution
	// signed, so that it boots where Secure Boot is on. The kernel has to be signed,
	// too. Without it GRUB is made from its modules, and nobody has signed it.
	SecureBoot bool `yaml:"secure-boot,omitempty" json:"secure-boot,omitempty"`
	// Persistence has the live system keep what its users change on a partition that
	// live-boot or casper knows by its name, where one is plugged in. What such a
	// partition holds is the user's: nothing in the evidence speaks of it.
	Persistence bool `yaml:"persistence,omitempty" json:"persistence,omitempty"`
	// Requirements are those that the way the image boots is there for: boot
	// loaders, menu and kernel parameters as a whole.
	Requirements []string `yaml:"requirements,omitempty" json:"requirements,omitempty"`
}

// MemoryTest is a vendor's program that tests memory: a file of the project. It goes to
// the medium as it is; what its licence allows is the project's to know.
type MemoryTest struct {
	// File is the path below the project's folder.
	File string `yaml:"file" json:"file"`
	// SHA256 of the file, in lower-case hexadecimal.
	SHA256 artifact.Digest `yaml:"sha256" json:"sha256"`
	// Title that the boot menu has for it.
	Title string `yaml:"title" json:"title"`
	// Firmware that starts it: uefi, an EFI program, or bios, as Linux's 16-bit boot protocol has it.
	Firmware string `yaml:"firmware" json:"firmware" jsonschema:"enum=uefi,enum=bios"`
	// Options are given to the program, one word an entry.
	Options []string `yaml:"options,omitempty" json:"options,omitempty"`
	// Licence is an SPDX expression, such as LicenseRef-Vendor, for the bills of materials.
	Licence string `yaml:"licence" json:"licence"`
}

// OnMedium is where the medium has the program.
func (m MemoryTest) OnMedium() string { return "boot/memory/" + path.Base(Clean(m.File)) }

// WithMemtest tells whether memtest86+ is offered.
func (b Boot) WithMemtest() bool { return b.Memtest == nil || *b.Memtest }

// Tools are the programs that build the image.
type Tools struct {
	// Archives that tools come from; the target's where they are left out.
	Archives []Archive `yaml:"archives,omitempty" json:"archives,omitempty"`
}

// Squashfs is how the root tree is compressed.
type Squashfs struct {
	Compression string `yaml:"compression,omitempty" json:"compression,omitempty" jsonschema:"enum=zstd,enum=gzip,enum=xz"`
	// Level of zstd (1 to 22) or gzip (1 to 9).
	Level int `yaml:"level,omitempty" json:"level,omitempty" jsonschema:"minimum=1,maximum=22"`
	// Verity has live-boot check every block of the squashfs, when it is read,
	// against a root hash on the kernel's command line, with dm-verity. What does
	// not fit stops the machine. The package libcryptsetup12 has to be in the image.
	Verity bool `yaml:"verity,omitempty" json:"verity,omitempty"`
}

// Disk is what the disks among the outputs are like.
type Disk struct {
	// Size such as 4GiB or 512MiB; what the system needs and a quarter, and 256 MiB,
	// where it is left out.
	Size string `yaml:"size,omitempty" json:"size,omitempty"`
	// Parameters of the kernel's command line; those of boot where they are left out.
	Parameters []string `yaml:"parameters,omitempty" json:"parameters,omitempty"`
}

// ISO is the output that is always made.
const ISO = "iso"

// DiskFormats are those of the disks among the outputs, in order.
func (c *Config) DiskFormats() []string {
	formats := slices.DeleteFunc(slices.Clone(c.Outputs), func(o string) bool { return o == ISO })
	slices.Sort(formats)
	return formats
}

// Bytes is the size, 0 where it is left out.
func (d Disk) Bytes() int64 {
	for unit, bytes := range map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30} {
		if number, ok := strings.CutSuffix(d.Size, unit); ok {
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 1 || n > 2040<<30/bytes {
				return -1
			}
			return n * bytes
		}
	}
	if d.Size == "" {
		return 0
	}
	return -1
}

// Manifest is what the installer is told.
type Manifest struct {
	// LiveOnly are packages that an installation does not keep; ubiquity,
	// casper, discover, laptop-detect and os-prober where it is left out.
	LiveOnly []string `yaml:"live-only,omitempty" json:"live-only,omitempty"`
}

// defaults fills in what was left out.
func (c *Config) defaults() {
	if c.Title == "" {
		c.Title = c.Name
	}
	if c.Architecture == "" {
		c.Architecture = "amd64"
	}
	if c.Live == "" {
		c.Live = "live-boot"
	}
	if s := &c.LiveSession; s.Flavour == "" && s.User+s.FullName+s.Host != "" {
		s.Flavour = c.Title
	}
	if c.Squashfs.Compression == "" {
		c.Squashfs.Compression = "zstd"
	}
	if c.Squashfs.Level == 0 {
		switch c.Squashfs.Compression {
		case "zstd":
			c.Squashfs.Level = 3
		case "gzip":
			c.Squashfs.Level = 9
		}
	}
	if c.Manifest.LiveOnly == nil {
		c.Manifest.LiveOnly = []string{"ubiquity", "casper", "discover", "laptop-detect", "os-prober"}
	}
	if len(c.Outputs) == 0 {
		c.Outputs = []string{ISO}
	}
	if c.Disk.Parameters == nil {
		c.Disk.Parameters = c.Boot.Parameters
	}
	if c.Boot.Timeout == nil {
		five := 5
		c.Boot.Timeout = &five
	}
}

// EpochTime is the time that the config sets, if it does.
func (c *Config) EpochTime() (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, c.Epoch)
	return t.UTC(), err == nil
}

// ToolArchives are the archives of the tools set.
func (c *Config) ToolArchives() []Archive {
	if len(c.Tools.Archives) > 0 {
		return c.Tools.Archives
	}
	return c.Archives
}

// BootArchives are the archives of the boot set.
func (c *Config) BootArchives() []Archive {
	if len(c.Boot.Archives) > 0 {
		return c.Boot.Archives
	}
	return c.Archives
}

// PinnedDebs are the package files of the project by their clean paths.
func (c *Config) PinnedDebs() map[string]artifact.Digest {
	pinned := map[string]artifact.Digest{}
	for _, d := range c.Debs {
		pinned[Clean(d.File)] = d.SHA256
	}
	return pinned
}

// Clean is a project path in the one form that records use.
func Clean(p string) string { return path.Clean(strings.TrimPrefix(p, "./")) }
