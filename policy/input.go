// Package policy judges an image by rules written in Rego: built-in ones and a
// project's own. It reads one document, Input, and nothing else: no file, no network, no
// clock. docs/formats/policy.md describes input, settings and result.
package policy

// Input is what rules see as `input`.
type Input struct {
	// Now is the time of the judgement, RFC 3339, UTC.
	Now     string `json:"now"`
	Name    string `json:"name"`
	Release string `json:"release"`
	Config  any    `json:"config"` // isotrace.yaml as it is
	Lock    Lock   `json:"lock"`
	Base    Base   `json:"base"`
	Image   Image  `json:"image"`
	Tree    Tree   `json:"tree"`
	Links   []Link `json:"links"`
	Keys    Keys   `json:"keys"`
	// Settings are those of policy.yaml, with the defaults filled in.
	Settings Settings `json:"settings"`
}

// Lock is what isotrace.lock says.
type Lock struct {
	// AgeDays is how many whole days the newest signed Release file is older than Now.
	AgeDays      int       `json:"age-days"`
	Architecture string    `json:"architecture"`
	BaseImage    string    `json:"base-image"` // manifest's SHA-256; "" for a bootstrap
	Archives     []Archive `json:"archives"`
	Packages     []Package `json:"packages"`
}

// Base is what is known of a base image; all is empty for a bootstrap.
type Base struct {
	Image  string `json:"image"`  // manifest's SHA-256
	Signer string `json:"signer"` // id of the key whose signature was asked for and holds
	// Stages are what each source tells of the image's build.
	Stages []BuildStages `json:"stages"`
}

// BuildStages is what one source tells of the stages that an image was built in.
type BuildStages struct {
	// Of is the evidence's file: the image's config, for its history, its Dockerfile, or
	// its builder's provenance.
	Of string `json:"of"`
	// From are what the stages began with: one for each, as far as the source tells.
	From []string `json:"from"`
}

// Archive is a suite that packages come from.
type Archive struct {
	ID string `json:"id"`
	// Signers are the fingerprints of the primary keys whose signatures of its Release file
	// hold.
	Signers []string `json:"signers"`
	// ExpiredAccepted tells that it had expired when the lock was made.
	ExpiredAccepted bool `json:"expired-accepted"`
	// OlderAccepted is the date of the one that was locked before it, where that is newer, and
	// ChangedAccepted what it was of, where that was another codename or origin.
	OlderAccepted   string `json:"older-accepted"`
	ChangedAccepted string `json:"changed-accepted"`
}

// Package is a package of the lock.
type Package struct {
	Set          string `json:"set"` // target, boot or tools
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Source       string `json:"source"`
	Archive      string `json:"archive"` // ID; project where it is a file of the project
	Path         string `json:"path"`    // below the mirror's base, or the project's folder
	Component    string `json:"component"`
	// Licences is the SPDX expression of the SBOM, "" where none is known.
	Licences string `json:"licences"`
	// LicenceIDs are the identifiers that stand in it.
	LicenceIDs []string `json:"licence-ids"`
	// Below is the minimum version of the settings where the version is lower.
	Below string `json:"below,omitempty"`
}

// Image is the ISO.
type Image struct {
	File   string           `json:"file"`
	Size   int64            `json:"size"` // bytes
	SHA256 string           `json:"sha256"`
	Files  map[string]int64 `json:"files"` // of the medium: bytes by path
	// MemoryTests are files of the project on the medium.
	MemoryTests []MemoryTest `json:"memory-tests"`
	// SecureBoot tells that shim, GRUB and kernel make a chain of signatures.
	SecureBoot bool `json:"secure-boot"`
}

// MemoryTest is a vendor's program on the medium.
type MemoryTest struct {
	File       string   `json:"file"`        // of the project
	LicenceIDs []string `json:"licence-ids"` // that its licence names, as the config states it
}

// Tree is the root tree.
type Tree struct {
	// Origins counts the files of every part by origin.
	Origins map[string]int `json:"origins"`
	// Files are those about which there can be a question: whatever is not a .deb's own
	// file as it is, and whatever has special rights.
	Files []File `json:"files"`
	// Removed are the paths of packages' files that are not there.
	Removed  []string  `json:"removed"`
	Accounts []Account `json:"accounts"`
	// Secrets are files that hold, or by their name should hold, a credential.
	Secrets []Secret `json:"secrets"`
}

// File is a file, folder or link.
type File struct {
	Part    string `json:"part"` // root, initrd, medium, …
	Path    string `json:"path"` // absolute
	Type    string `json:"type"`
	Origin  string `json:"origin"`
	Package string `json:"package,omitempty"`
	By      string `json:"by,omitempty"`
	Mode    string `json:"mode,omitempty"` // four octal digits, of the root tree alone
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	// Special are setuid, setgid, world-writable and capabilities, as far as they apply.
	Special []string `json:"special"`
	// Replaced tells that it is a program, a library or a kernel module of a package, whose
	// bytes something that is not the project's own has changed.
	Replaced bool `json:"replaced,omitempty"`
	// Accepted is the config's reason for a file of unknown origin.
	Accepted string `json:"accepted,omitempty"`
}

// Account is an account of /etc/shadow.
type Account struct {
	Name string `json:"name"`
	// Password is none (no login by password), empty or hash.
	Password string `json:"password"`
	// Scheme is the hash's, such as y for yescrypt.
	Scheme string `json:"scheme,omitempty"`
	// WellKnown tells that it is a password that everybody tries first.
	WellKnown bool `json:"well-known,omitempty"`
}

// Secret is a finding in the root tree.
type Secret struct {
	Path string `json:"path"`
	What string `json:"what"`
}

// Link is a stage's link.
type Link struct {
	Stage  string `json:"stage"`
	Signer string `json:"signer"` // key id
}

// Keys are key ids, "" where there is none.
type Keys struct {
	Builder       string   `json:"builder"`
	Owner         string   `json:"owner"`
	Functionaries []string `json:"functionaries"`
}
