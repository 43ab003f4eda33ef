package policy

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/isotrace/isotrace/internal/fault"
)

// FileName is the policy's file in a project; the project's own rules are beside it, in
// the folder RulesDir.
const (
	FileName = "policy.yaml"
	RulesDir = "policy"
)

var fingerprint = regexp.MustCompile(`^([0-9A-F]{40}|[0-9A-F]{64})$`)

// MaxSize bounds a policy and each file of rules, in bytes.
const MaxSize = 1 << 20

// Document is policy.yaml.
type Document struct {
	Settings `yaml:",inline"`
	// Off are rules that are not applied; each is shown in the result.
	Off []Off `yaml:"off"`
	// Waivers accept findings.
	Waivers []Waiver `yaml:"waivers"`
}

// Settings are what the built-in rules go by.
type Settings struct {
	// Origins that a file may have.
	Origins []string `yaml:"origins" json:"origins"`
	// Components of archives that packages may come from.
	Components []string `yaml:"components" json:"components"`
	Licences   Licences `yaml:"licences" json:"licences"`
	Packages   Packages `yaml:"packages" json:"packages"`
	// Debs are names, or patterns of them, of packages that may be files of the project.
	Debs []string `yaml:"debs" json:"debs"`
	// ArchiveKeys are fingerprints of primary keys, by patterns of the suites' ids: of those
	// that fit a suite, one has to have signed it.
	ArchiveKeys map[string][]string `yaml:"archive-keys" json:"archive-keys"`
	// Privileged are patterns of paths that may be setuid or setgid, have capabilities or
	// be writable by all.
	Privileged []string `yaml:"privileged" json:"privileged"`
	// Accounts may have a password.
	Accounts []string `yaml:"accounts" json:"accounts"`
	// Secrets are patterns of paths that may look like credentials.
	Secrets []string `yaml:"secrets" json:"secrets"`
	// Protected are patterns of paths that have to be as base image or package have them.
	Protected []string `yaml:"protected" json:"protected"`
	// MaxAge is how many days old the newest Release file of the lock may be; 0 for any age.
	MaxAge int `yaml:"max-age" json:"max-age" jsonschema:"minimum=0"`
	// MaxImage is how many bytes the image may have; 0 for any number.
	MaxImage int64 `yaml:"max-image" json:"max-image" jsonschema:"minimum=0"`
	// SignedBase wants a base image's signature to have been asked for.
	SignedBase bool `yaml:"signed-base" json:"signed-base"`
	// SecureBoot wants a chain of signed boot loaders.
	SecureBoot bool `yaml:"secure-boot" json:"secure-boot"`
	// SharedKeys are ids of keys that may have two roles.
	SharedKeys []string `yaml:"shared-keys" json:"shared-keys"`
}

// Licences are SPDX identifiers, or patterns of them.
type Licences struct {
	// Allow, where it is not empty, names all that may be in the image.
	Allow []string `yaml:"allow" json:"allow"`
	Deny  []string `yaml:"deny" json:"deny"`
}

// Packages are names, or patterns of them.
type Packages struct {
	// Allow, where it is not empty, names all that may be in the image.
	Allow []string `yaml:"allow" json:"allow"`
	Deny  []string `yaml:"deny" json:"deny"`
	// Minimum are the lowest versions, by name.
	Minimum map[string]string `yaml:"minimum" json:"minimum"`
}

// Off turns a rule off.
type Off struct {
	Rule   string `yaml:"rule" json:"rule" jsonschema:"required"`
	Reason string `yaml:"reason" json:"reason" jsonschema:"required"`
}

// Waiver accepts the findings of a rule about a subject.
type Waiver struct {
	Rule    string `yaml:"rule" json:"rule" jsonschema:"required"`
	Subject string `yaml:"subject" json:"subject" jsonschema:"required"` // or a pattern
	Reason  string `yaml:"reason" json:"reason" jsonschema:"required"`
	By      string `yaml:"by" json:"by" jsonschema:"required"`
	// Until is the last day, YYYY-MM-DD (UTC), on which it counts.
	Until string `yaml:"until" json:"until" jsonschema:"required"`
}

// ends is the moment after which a waiver no longer counts.
func (w Waiver) ends() (time.Time, error) {
	day, err := time.Parse(time.DateOnly, w.Until)
	return day.Add(24 * time.Hour), err
}

// Defaults is the policy where there is no file.
func Defaults() *Document {
	f := &Document{}
	f.fill()
	return f
}

func (f *Document) fill() {
	if f.Origins == nil {
		f.Origins = []string{"archive", "base", "generated", "overlay", "stage", "modified"}
	}
	if f.Components == nil {
		f.Components = []string{"main"}
	}
	for _, list := range []*[]string{&f.Licences.Allow, &f.Licences.Deny, &f.Packages.Allow, &f.Packages.Deny, &f.Debs, &f.Privileged, &f.Accounts, &f.Secrets, &f.Protected, &f.SharedKeys} {
		if *list == nil {
			*list = []string{}
		}
	}
	if f.ArchiveKeys == nil {
		f.ArchiveKeys = map[string][]string{}
	}
	for pattern, keys := range f.ArchiveKeys {
		f.ArchiveKeys[pattern] = slices.Clone(keys)
		for i, key := range keys {
			f.ArchiveKeys[pattern][i] = strings.ToUpper(strings.ReplaceAll(key, " ", ""))
		}
	}
	if f.Packages.Minimum == nil {
		f.Packages.Minimum = map[string]string{}
	}
}

// Parse reads policy.yaml, called name in errors; a key that it does not know is one.
func Parse(name string, text []byte) (*Document, error) {
	const hint = "docs/formats/policy.md has every key"
	if len(text) > MaxSize {
		return nil, fault.New(fault.Usage, hint, "%s: longer than %d bytes", name, MaxSize)
	}
	f := &Document{}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(f); err != nil && !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Usage, hint, "%s: %w", name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fault.New(fault.Usage, "keep one document", "%s: more than one YAML document", name)
	}
	f.fill()
	if f.MaxAge < 0 || f.MaxImage < 0 {
		return nil, fault.New(fault.Usage, hint, "%s: max-age and max-image are not below 0", name)
	}
	for pattern, keys := range f.ArchiveKeys {
		for _, key := range keys {
			if !fingerprint.MatchString(key) {
				return nil, fault.New(fault.Usage, hint, "%s: archive-keys: %s: %q is no whole fingerprint: 40 or 64 hexadecimal digits", name, pattern, key)
			}
		}
	}
	for _, o := range f.Off {
		if o.Rule == "" || o.Reason == "" {
			return nil, fault.New(fault.Usage, hint, "%s: off: a rule and a reason are wanted", name)
		}
	}
	for _, w := range f.Waivers {
		if w.Rule == "" || w.Subject == "" || w.Reason == "" || w.By == "" {
			return nil, fault.New(fault.Usage, hint, "%s: waivers: rule, subject, reason, by and until are wanted", name)
		}
		if _, err := w.ends(); err != nil {
			return nil, fault.New(fault.Usage, hint, "%s: waivers: until %q: is not a day as YYYY-MM-DD", name, w.Until)
		}
	}
	return f, nil
}
