package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
	"github.com/isotrace/isotrace/stages"
)

// archiveKeyFlags name the archives' keys.
type archiveKeyFlags struct{ named []string }

func (f *archiveKeyFlags) register(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.named, "archive-key", nil, "a `file` of OpenPGP keys, or a fingerprint, of who may sign the archives, from a source that you trust; may be given several times")
}

// fingerprint is one of a key of version 4 or 6, in groups or not; a short id names no key.
var fingerprint = regexp.MustCompile(`^(?:0x)?([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$`)

// maxKeyring bounds a file of keys, in bytes.
const maxKeyring = 4 << 20

func (f *archiveKeyFlags) keys() (k provenance.ArchiveKeys, err error) {
	for _, name := range f.named {
		if m := fingerprint.FindStringSubmatch(strings.ReplaceAll(name, " ", "")); m != nil {
			k.Fingerprints = append(k.Fingerprints, strings.ToUpper(m[1]))
			continue
		}
		text, err := readBounded(name, maxKeyring)
		if err != nil {
			return k, fault.New(fault.Usage, "--archive-key takes a file of OpenPGP keys, or a whole fingerprint: 40 or 64 hexadecimal digits", "--archive-key %s: %w", name, err)
		}
		ring, err := archive.ReadKeyring(name, text)
		if err != nil {
			return k, err
		}
		k.Rings = append(k.Rings, ring)
	}
	return k, nil
}

// projectKeys are those of the project at hand, as its config names them; none where there
// is no project.
func (a *app) projectKeys() (k provenance.ArchiveKeys, err error) {
	if _, err := os.Stat(filepath.Join(a.dir, config.FileName)); errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	p, err := stages.OpenProjectConfig(a.dir)
	if err != nil {
		return k, err
	}
	return p.ArchiveKeys()
}
