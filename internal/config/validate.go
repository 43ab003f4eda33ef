package config

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/sanitise"
)

// form returns a match against a pattern that is compiled when it is first
// used: most commands read no config.
func form(pattern string) func(string) bool {
	compiled := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
	return func(s string) bool { return compiled().MatchString(s) }
}

var (
	nameForm     = form(`^[a-z0-9][a-z0-9._+-]{0,63}$`)
	releaseForm  = form(`^[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}$`)
	repoForm     = form(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	hostForm     = form(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	localeForm   = form(`^[A-Za-z]{1,8}(_[A-Z]{2})?(\.[A-Za-z0-9-]+)?(@[a-z]+)?$`)
	zoneForm     = form(`^[A-Za-z0-9+_-]+(/[A-Za-z0-9+_-]+){0,2}$`)
	keyboardForm = form(`^[a-z]{2,12}$`)
	userForm     = form(`^[a-z_][a-z0-9_-]{0,31}$`)
	hashForm     = form(`^[$_.*!A-Za-z0-9/,=+-]{1,200}$`)
	sshKeyForm   = form(`^[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\x00-\x1f]*)?$`)
	titleForm    = form(`^[^\x00-\x1f"'$\\` + "`" + `]{1,80}$`)
	kernelForm   = form(`^[A-Za-z0-9][A-Za-z0-9._,:=/@+%-]{0,200}$`)
	partyForm    = form(`^[^\x00-\x1f\x7f<>]+$`)
	contactForm  = form(`^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9]+(-+[A-Za-z0-9]+)*(\.[A-Za-z0-9]+(-+[A-Za-z0-9]+)*)+$`)
	urlForm      = form(`^[!#-;=?-\[\]_a-z~]+$`)
	mediumForm   = form(`^[a-z0-9][a-z0-9._+-]{0,63}$`)
	licenceForm  = form(`^[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+){0,8}$`)
	modeForm     = form(`^[0-7]{3,4}$`)
)

// rule is one demand on one value.
type rule struct {
	path string
	ok   bool
	hint string
	want string
}

func (f *file) validate(c *Config) error {
	rules := []rule{
		{"name", nameForm(c.Name), "the image is called NAME.iso", "want lower-case letters, digits, and . _ + - inside"},
		{"release", releaseForm(c.Release), `such as release: "1.0.0"`, "want letters, digits and . _ + ~ -"},
		{"title", titleForm(c.Title), "", "want at most 80 characters, without quotes, $, ` and \\"},
		{"architecture", c.Architecture == "amd64", "amd64 is the only architecture so far", fmt.Sprintf("%q is not supported", c.Architecture)},
		{"live", c.Live == "live-boot" || c.Live == "casper", "live-boot is Debian's, casper is Ubuntu's", fmt.Sprintf("%q is neither live-boot nor casper", c.Live)},
		{"hostname", c.Hostname == "" || hostForm(c.Hostname), "", "want a host name: lower-case letters, digits and -"},
		{"locale", c.Locale == "" || localeForm(c.Locale), "such as en_GB.UTF-8", fmt.Sprintf("%q is not a locale", c.Locale)},
		{"timezone", c.Timezone == "" || zoneForm(c.Timezone), "such as Europe/Paris", fmt.Sprintf("%q is not a time zone", c.Timezone)},
		{"keyboard", c.Keyboard == "" || keyboardForm(c.Keyboard), "such as gb", fmt.Sprintf("%q is not an XKB layout", c.Keyboard)},
		{"root-password-hash", c.RootPasswordHash == "" || hashForm(c.RootPasswordHash), "openssl passwd -6 makes one", "want a crypt(5) hash"},
		{"boot.timeout", *c.Boot.Timeout >= 0 && *c.Boot.Timeout <= 3600, "", "want 0 to 3600 seconds"},
	}
	for i, l := range c.Locales {
		rules = append(rules, rule{at("locales", i), localeForm(l), "such as en_GB.UTF-8", fmt.Sprintf("%q is not a locale", l)})
	}
	for i, p := range c.Boot.Parameters {
		rules = append(rules, rule{at("boot.parameters", i), kernelForm(p), "one parameter an entry", fmt.Sprintf("%q is not a kernel parameter", p)})
	}
	for i, o := range c.Outputs {
		rules = append(rules, rule{at("outputs", i), slices.Contains([]string{ISO, "vhd", "raw", "qcow2"}, o), "iso, vhd, raw or qcow2", fmt.Sprintf("%q is not known", o)},
			rule{at("outputs", i), !slices.Contains(c.Outputs[:i], o), "name each once", fmt.Sprintf("%q stands there twice", o)})
	}
	rules = append(rules,
		rule{"outputs", slices.Contains(c.Outputs, ISO), "add iso: a disk is made beside it", "want iso among them"},
		rule{"disk.size", c.Disk.Bytes() >= 0, "such as 4GiB or 512MiB; at most 2040GiB", fmt.Sprintf("%q is not a size of a disk", c.Disk.Size)})
	for i, p := range c.Disk.Parameters {
		rules = append(rules, rule{at("disk.parameters", i), kernelForm(p), "one parameter an entry", fmt.Sprintf("%q is not a kernel parameter", p)})
	}
	for i, u := range c.Unexplained {
		_, err := path.Match(u.Path, "/")
		rules = append(rules,
			rule{at("unexplained", i) + ".path", err == nil && path.IsAbs(u.Path), "such as /var/lib/x/*", fmt.Sprintf("%q is not a pattern of an absolute path", u.Path)},
			rule{at("unexplained", i) + ".reason", strings.TrimSpace(u.Reason) != "", "say why the file may be there though nobody is known to have made it", "is missing"})
	}
	for i, r := range c.Problems {
		rules = append(rules,
			rule{at("problems", i) + ".id", idForm(r.ID), "such as PR-12", fmt.Sprintf("%q is not an identifier", r.ID)},
			rule{at("problems", i) + ".id", !slices.ContainsFunc(c.Problems[:i], func(o Problem) bool { return o.ID == r.ID }), "name each once", fmt.Sprintf("%s stands there twice", r.ID)},
			rule{at("problems", i) + ".text", len(r.Text) <= 500 && !strings.ContainsAny(r.Text, "\n\r\t\x00"), "say it in a line", "want one line of at most 500 bytes"})
	}
	names, _ := sanitise.Passes()
	for i, k := range c.Sanitise.Keep {
		rules = append(rules, rule{at("sanitise.keep", i), slices.Contains(names, k), "passes: " + strings.Join(names, ", "), fmt.Sprintf("there is no pass %q", k)})
	}
	for _, r := range rules {
		if !r.ok {
			return f.errorAt(r.path, r.hint, "%s", r.want)
		}
	}
	for _, check := range []func(*Config) error{f.base, f.archives, f.mirrors, f.packages, f.sources, f.memoryTests, f.liveSession, f.users, f.squashfs, f.epoch, f.requirements, f.supplier, f.limits} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

// keyed is a list and the key it stands under.
type keyed[T any] struct {
	key  string
	list []T
}

func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func (f *file) base(c *Config) error {
	set := 0
	for _, s := range []string{c.Base.Bootstrap, c.Base.Image, c.Base.OCI, c.Base.Archive, c.Base.Disk} {
		if s != "" {
			set++
		}
	}
	if set != 1 {
		return f.errorAt("base", "such as base: {bootstrap: trixie}", "want exactly one of bootstrap, image, oci, archive and disk")
	}
	if c.Base.Digest != "" {
		if _, err := artifact.ParseDigest(c.Base.Digest); err != nil {
			return f.errorAt("base.digest", "", "%w", err)
		}
		if c.Base.Bootstrap != "" {
			return f.errorAt("base.digest", "only images have one", "a bootstrap has no digest")
		}
	}
	if c.Base.Bootstrap != "" && c.Base.SignedBy+c.Base.Dockerfile != "" {
		return f.errorAt("base", "only images have them", "a bootstrap has no signed-by and no dockerfile: its packages are signed")
	}
	if c.Base.Archive+c.Base.Disk != "" && c.Base.SignedBy != "" {
		return f.errorAt("base.signed-by", "take the image from a registry or an OCI layout", "what docker save writes holds no signature, and neither does a disk")
	}
	if c.Base.Bootstrap != "" && !slices.ContainsFunc(c.Archives, func(a Archive) bool { return a.Suite == c.Base.Bootstrap }) {
		return f.errorAt("base.bootstrap", "list the suite under archives", "%q is not a suite of the archives", c.Base.Bootstrap)
	}
	return nil
}

func (f *file) archives(c *Config) error {
	for _, k := range []keyed[Archive]{{"archives", c.Archives}, {"boot.archives", c.Boot.Archives}, {"tools.archives", c.Tools.Archives}} {
		seen := map[string]bool{}
		for i, a := range k.list {
			here := at(k.key, i)
			if err := archive.ValidatePath(a.Suite); err != nil || strings.HasSuffix(a.Suite, "/") {
				return f.errorAt(here+".suite", "a suite or codename, such as trixie", "%q is not a suite", a.Suite)
			}
			if a.Repository != "" && !repoForm(a.Repository) {
				return f.errorAt(here+".repository", "the last element of the mirror's address, such as debian", "%q is not a name", a.Repository)
			}
			if a.Repository == "project" || a.Repository == "image" {
				return f.errorAt(here+".repository", "use another folder of the mirror", "records call the project's files and the base image so")
			}
			if len(a.Components) == 0 {
				return f.errorAt(here+".components", "such as components: [main]", "want at least one")
			}
			for j, comp := range a.Components {
				if err := archive.ValidatePath(comp); err != nil {
					return f.errorAt(at(here+".components", j), "", "%q is not a component", comp)
				}
			}
			if err := local(a.SignedBy); err != nil {
				return f.errorAt(here+".signed-by", "the OpenPGP keys that may sign the suite, in a file of the project", "%w", err)
			}
			id := a.Repo() + " " + a.Suite
			if seen[id] {
				return f.errorAt(here, "list all its components in one entry", "%s %s is listed twice", a.Repo(), a.Suite)
			}
			seen[id] = true
		}
	}
	return nil
}

func (f *file) mirrors(c *Config) error {
	for _, repo := range slices.Sorted(maps.Keys(c.Mirrors)) {
		for i, uri := range c.Mirrors[repo] {
			u, err := url.Parse(uri)
			if err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) {
				return f.errorAt(at("mirrors."+repo, i), "", "want an http, https or file address")
			}
			if u.User != nil {
				return f.errorAt(at("mirrors."+repo, i), "use ISOTRACE_MIRROR or --mirror for an address with a password", "an address in the config must not hold a password")
			}
		}
	}
	return nil
}

func (f *file) packages(c *Config) error {
	seen := map[string]bool{}
	for i, p := range c.Packages {
		name, version, pinned := strings.Cut(p.Name, "=")
		if err := archive.ValidatePackageName(name); err != nil {
			return f.errorAt(at("packages", i), "", "%w", err)
		}
		if pinned {
			if err := archive.ValidateVersion(version); err != nil {
				return f.errorAt(at("packages", i), "", "%w", err)
			}
		}
		if seen[name] {
			return f.errorAt(at("packages", i), "", "%s is listed twice", name)
		}
		seen[name] = true
	}
	if err := f.debs(c); err != nil {
		return err
	}
	for _, k := range []keyed[string]{{"remove", c.Remove}, {"manifest.live-only", c.Manifest.LiveOnly}} {
		for i, name := range k.list {
			if err := archive.ValidatePackageName(name); err != nil {
				return f.errorAt(at(k.key, i), "", "%w", err)
			}
		}
	}
	return nil
}

const inProject = "a path below the project's folder"

func (f *file) debs(c *Config) error {
	seen := map[string]bool{}
	for i, d := range c.Debs {
		here := at("debs", i)
		if err := f.pinned(here, d.File, d.SHA256); err != nil {
			return err
		}
		if path.Ext(d.File) != ".deb" {
			return f.errorAt(here+".file", "such as debs/agent_1.0_amd64.deb", "%q is not a .deb", d.File)
		}
		if seen[Clean(d.File)] {
			return f.errorAt(here, "", "%s is listed twice", d.File)
		}
		seen[Clean(d.File)] = true
	}
	return nil
}

// pinned checks an entry that names a file and its content. The path has the form that
// archives have, since records and locks name the file like one of theirs.
func (f *file) pinned(here, name string, sum artifact.Digest) error {
	if err := local(name); err != nil {
		return f.errorAt(here+".file", inProject, "%w", err)
	}
	if err := archive.ValidatePath(Clean(name)); err != nil {
		return f.errorAt(here+".file", inProject, "%w", err)
	}
	if err := sum.Validate(); err != nil {
		return f.errorAt(here+".sha256", "sha256sum FILE prints it", "%w", err)
	}
	return nil
}

func (f *file) liveSession(c *Config) error {
	s := c.LiveSession
	for _, r := range []rule{
		{"live-session", s == LiveSession{} || c.Live == "casper", "set live: casper, or leave it out", "only casper reads it"},
		{"live-session.flavour", s.Flavour == "" || titleForm(s.Flavour), "such as Ubuntu", "want up to 80 characters without quotes and $"},
		{"live-session.full-name", s.FullName == "" || titleForm(s.FullName), "such as Live session user", "want up to 80 characters without quotes and $"},
		{"live-session.user", s.User == "" || userForm(s.User), "lower-case letters, digits, _ and -", "is not a name for an account"},
		{"live-session.host", s.Host == "" || hostForm(s.Host), "lower-case letters, digits and -", "is not a host name"},
	} {
		if !r.ok {
			return f.errorAt(r.path, r.hint, "%s", r.want)
		}
	}
	return nil
}

// maxMemoryTests is how many there are digits for, which are their hot keys.
const maxMemoryTests = 10

func (f *file) memoryTests(c *Config) error {
	if len(c.Boot.MemoryTests) > maxMemoryTests {
		return f.errorAt("boot.memory-tests", "", "want at most %d", maxMemoryTests)
	}
	seen := map[string]bool{}
	for i, m := range c.Boot.MemoryTests {
		here := at("boot.memory-tests", i)
		if err := f.pinned(here, m.File, m.SHA256); err != nil {
			return err
		}
		// The medium has it under its own name, in one folder with the others.
		base := strings.ToLower(path.Base(Clean(m.File)))
		switch {
		case !mediumForm(base):
			return f.errorAt(here+".file", "letters, digits, dots, _, + and -", "%q is not a name for a file on the medium", path.Base(m.File))
		case seen[base]:
			return f.errorAt(here, "", "%s is listed twice", base)
		case !titleForm(m.Title):
			return f.errorAt(here+".title", "as the boot menu has it, without quotes and $", "%q is not a title", m.Title)
		case m.Firmware != "uefi" && m.Firmware != "bios":
			return f.errorAt(here+".firmware", "uefi or bios", "%q is not known", m.Firmware)
		case !licenceForm(m.Licence):
			return f.errorAt(here+".licence", "an SPDX expression, such as LicenseRef-Vendor", "%q is none", m.Licence)
		}
		for j, o := range m.Options {
			if !kernelForm(o) {
				return f.errorAt(at(here+".options", j), "one word an entry", "%q is none", o)
			}
		}
		seen[base] = true
	}
	return nil
}

func (f *file) sources(c *Config) error {
	for _, k := range []keyed[Source]{{"preseed", c.Preseed}, {"scripts", c.Scripts}} {
		for i, s := range k.list {
			if err := local(s.From); err != nil {
				return f.errorAt(at(k.key, i), inProject, "%w", err)
			}
		}
	}
	if c.Boot.Menu != "" {
		if err := local(c.Boot.Menu); err != nil {
			return f.errorAt("boot.menu", inProject, "%w", err)
		}
	}
	for i, o := range c.Overlay {
		here := at("overlay", i)
		if err := local(o.From); err != nil {
			return f.errorAt(here+".from", inProject, "%w", err)
		}
		if !strings.HasPrefix(o.To, "/") || strings.ContainsRune(o.To, 0) || strings.Contains(o.To, "/../") || path.Base(o.To) == ".." {
			return f.errorAt(here+".to", "such as /etc/motd", "want an absolute path in the image")
		}
		if o.Mode != "" && !modeForm(o.Mode) {
			return f.errorAt(here+".mode", `such as mode: "0600"`, "%q is not an octal mode", o.Mode)
		}
		if o.UID < 0 || o.UID > 65535 || o.GID < 0 || o.GID > 65535 {
			return f.errorAt(here, "", "uid and gid lie between 0 and 65535")
		}
	}
	return nil
}

// local refuses paths that lead out of the project's folder.
func local(p string) error {
	if p == "" {
		return fmt.Errorf("no path is given")
	}
	if strings.ContainsAny(p, "\x00\n") || !filepath.IsLocal(p) {
		return fmt.Errorf("%q leads out of the project's folder", p)
	}
	return nil
}

func (f *file) users(c *Config) error {
	for i, u := range c.Users {
		here := at("users", i)
		if !userForm(u.Name) || u.Name == "root" {
			return f.errorAt(here+".name", "lower-case letters, digits, _ and -; root has root-password-hash", "%q is not a name for an account", u.Name)
		}
		if u.UID < 0 || u.UID > 59999 {
			return f.errorAt(here+".uid", "", "want 1 to 59999")
		}
		if u.PasswordHash != "" && !hashForm(u.PasswordHash) {
			return f.errorAt(here+".password-hash", "openssl passwd -6 makes one", "want a crypt(5) hash")
		}
		if strings.ContainsAny(u.Comment, ":\n\x00,") {
			return f.errorAt(here+".comment", "", "must not hold a colon, comma or line feed")
		}
		if u.Shell != "" && (!path.IsAbs(u.Shell) || strings.ContainsAny(u.Shell, ":\n\x00")) {
			return f.errorAt(here+".shell", "such as /bin/bash", "want an absolute path")
		}
		for j, g := range u.Groups {
			if !userForm(g) {
				return f.errorAt(at(here+".groups", j), "", "%q is not a name for a group", g)
			}
		}
		for j, k := range u.SSHKeys {
			if !sshKeyForm(k) {
				return f.errorAt(at(here+".ssh-keys", j), "one line of an authorized_keys file, without options", "is not a public key")
			}
		}
	}
	return nil
}

func (f *file) squashfs(c *Config) error {
	if c.Squashfs.Verity && c.Live != "live-boot" {
		return f.errorAt("squashfs.verity", "leave it out, or boot with live-boot", "%s knows no dm-verity", c.Live)
	}
	highest, ok := map[string]int{"zstd": 22, "gzip": 9, "xz": 0}[c.Squashfs.Compression]
	if !ok {
		return f.errorAt("squashfs.compression", "zstd is fast, xz is small, gzip is what old kernels read", "%q is none of zstd, gzip and xz", c.Squashfs.Compression)
	}
	if l := c.Squashfs.Level; l < 0 || l > highest {
		return f.errorAt("squashfs.level", "", "want 1 to %s for %s", strconv.Itoa(highest), c.Squashfs.Compression)
	}
	return nil
}

func (f *file) epoch(c *Config) error {
	if c.Epoch == "" {
		return nil
	}
	t, ok := c.EpochTime()
	if !ok {
		return f.errorAt("epoch", `such as epoch: "2026-01-31T12:00:00Z"`, "%q is not an RFC 3339 time", c.Epoch)
	}
	if err := epoch.Epoch(t.Unix()).Validate(); err != nil {
		return f.errorAt("epoch", "", "%w", err)
	}
	return nil
}

func (f *file) supplier(c *Config) error {
	s := c.Supplier
	if s == nil {
		return nil
	}
	if len(s.Name) > 200 || !partyForm(s.Name) || strings.TrimSpace(s.Name) == "" {
		return f.errorAt("supplier.name", "such as Example Ltd", "want at most 200 characters in a line, without < and >")
	}
	if s.Contact != "" && (len(s.Contact) > 254 || !contactForm(s.Contact)) {
		return f.errorAt("supplier.contact", "such as security@example.org", "%.80q is not an email address", s.Contact)
	}
	if s.URL == "" {
		return nil
	}
	u, err := url.Parse(s.URL)
	if err != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Host == "" || u.User != nil || len(s.URL) > 1000 || !urlForm(s.URL) {
		return f.errorAt("supplier.url", "such as https://example.org/", "%.80q is not an http or https address", s.URL)
	}
	return nil
}
