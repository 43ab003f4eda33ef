package attack

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/trace"
	"github.com/isotrace/isotrace/provenance"
)

// Archive puts another Release file in the place of a suite's, and has lock, trace and all
// links follow, signed by the builder: what the holder of the builder's key can do.
type Archive struct {
	Suite string `yaml:"suite"` // ID
	// Take has the file of another suite, by ID, in place of one that a stranger's key signs.
	Take string `yaml:"take"`
	// From is replaced by To in the signed text.
	From string `yaml:"from"`
	To   string `yaml:"to"`
	// Key is what is wrong with the stranger's key besides that nobody knows it: expired,
	// revoked or weak.
	Key string `yaml:"key"`
	// Date is the file's, as in a Release file; as it was where it is empty.
	Date string `yaml:"date"`
	// Signed is when it signs, from the file's Date on, such as 720h, or "youth", soon after the
	// key was made.
	Signed string `yaml:"signed"`
	// Keyring is what becomes of the suite's keys: replaced by the stranger's, or with it added;
	// they stay as they are where it is empty.
	Keyring string `yaml:"keyring"`
	// Path is the one of the keyring that the lock has; as it was where it is empty.
	Path string `yaml:"path"`
	// Signers tells that lock and trace name the stranger's key, and no longer the archive's.
	Signers bool `yaml:"signers"`
	// Index tells that the suite's first index is forged, too, and named by the Release file.
	Index bool `yaml:"index"`
}

var dateLine = regexp.MustCompile(`(?m)^Date: .*$`)

// strangerBorn is long before any Release file that is attacked.
var strangerBorn = time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)

// stranger makes a key that no archive has.
func stranger(kind string) (*openpgp.Entity, error) {
	c := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512, Time: func() time.Time { return strangerBorn }}
	switch kind {
	case "", "revoked":
	case "expired":
		c.KeyLifetimeSecs = 365 * 24 * 3600
	case "weak":
		c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 1024
	default:
		return nil, fmt.Errorf("%q is no kind of key", kind)
	}
	e, err := openpgp.NewEntity("Debian Archive", "", "archive@example.org", c)
	if err == nil && kind == "revoked" {
		err = e.Revoke(packet.KeyCompromised, "", c)
	}
	return e, err
}

func (t target) archiveChange(c Archive) error {
	lock, lockText, err := t.lock()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(lock.Archives, func(a lockfile.Archive) bool { return a.ID == c.Suite })
	if i < 0 {
		return fmt.Errorf("the lock has no suite %s", c.Suite)
	}
	a := &lock.Archives[i]
	before := tracedSuite(*a)
	moved := map[artifact.Digest]artifact.Digest{} // digests of files, as they were and are
	write := func(ref *artifact.Ref, text []byte) error {
		is := artifact.HashBytes(text)
		moved[ref.Digest] = is
		ref.Digest, ref.Size = is, int64(len(text))
		return put(filepath.Join(t.out, provenance.EvidenceDir, provenance.ArchivesDir, a.Repository, ref.Path), text)
	}
	var signed []byte
	if c.Take != "" {
		other := lock.ArchiveOf(c.Take)
		if signed, err = t.evidenceFile(path.Join(provenance.ArchivesDir, other.Repository, other.Release.Path)); err != nil {
			return err
		}
		a.Codename, a.Date, a.ValidUntil, a.Signers = other.Codename, other.Date, other.ValidUntil, other.Signers
	} else if signed, err = t.resigned(c, a, write); err != nil {
		return err
	}
	if err := write(&a.Release, signed); err != nil {
		return err
	}
	if c.Path != "" {
		a.Keyring.Path = c.Path
	}
	after := tracedSuite(*a)
	if err := t.rewrite(lockText, lock, moved); err != nil {
		return err
	}
	const head = provenance.TraceDir + "/" + trace.HeadFile
	text, err := t.evidenceFile(head)
	if err != nil {
		return err
	}
	was, err := json.Marshal(before)
	if err != nil {
		return err
	}
	is, err := json.Marshal(after)
	if err != nil {
		return err
	}
	if err := t.forge(head, text, bytes.Replace(text, was, is, 1), moved); err != nil {
		return err
	}
	return t.replaceDigests(moved)
}

func tracedSuite(a lockfile.Archive) trace.Suite {
	s := trace.Suite{ID: a.ID, Date: a.Date, Release: a.Release, Signers: []string{}, Indexes: []artifact.Ref{}}
	for _, by := range a.Signers {
		s.Signers = append(s.Signers, by.Key)
	}
	for _, i := range a.Indexes {
		s.Indexes = append(s.Indexes, i.Ref)
	}
	return s
}

// resigned is the suite's Release file, signed by a stranger's key, of which lock and
// keyring learn as far as the attack says.
func (t target) resigned(c Archive, a *lockfile.Archive, write func(*artifact.Ref, []byte) error) ([]byte, error) {
	key, err := stranger(c.Key)
	if err != nil {
		return nil, err
	}
	if c.Keyring != "" {
		var public bytes.Buffer
		if c.Keyring == "added" {
			old, err := t.evidenceFile(provenance.KeyringName(a.Keyring.Digest))
			if err != nil {
				return nil, err
			}
			if old, err = archive.Dearmor("keyring", old); err != nil {
				return nil, err
			}
			public.Write(old)
		}
		if err := key.Serialize(&public); err != nil {
			return nil, err
		}
		a.Keyring.Digest, a.Keyring.Size = artifact.HashBytes(public.Bytes()), int64(public.Len())
		if err := put(filepath.Join(t.out, provenance.EvidenceDir, provenance.KeyringName(a.Keyring.Digest)), public.Bytes()); err != nil {
			return nil, err
		}
	}
	if c.Signers {
		id := strings.ToUpper(hex.EncodeToString(key.PrimaryKey.Fingerprint))
		a.Signers = []lockfile.Signer{{Primary: id, Key: id}}
	}
	old, err := t.evidenceFile(path.Join(provenance.ArchivesDir, a.Repository, a.Release.Path))
	if err != nil {
		return nil, err
	}
	block, _ := clearsign.Decode(old)
	if block == nil {
		return nil, errors.New("the Release file is not signed inline")
	}
	text := block.Plaintext
	if c.From != "" {
		if text, err = replace(text, c.From, c.To); err != nil {
			return nil, err
		}
	}
	if c.Date != "" {
		text = dateLine.ReplaceAll(text, []byte("Date: "+c.Date))
	}
	if c.Index {
		ref := &a.Indexes[0].Ref
		was := ref.Digest
		if err := write(ref, []byte("Package: forged\n")); err != nil {
			return nil, err
		}
		text = bytes.ReplaceAll(text, []byte(was), []byte(ref.Digest))
	}
	r, err := archive.ParseRelease(append(slices.Clone(text), '\n'), "Release")
	if err != nil {
		return nil, err
	}
	a.Date, a.Codename = r.Date.Format(time.RFC3339), r.Codename
	at := r.Date
	if c.Signed == "youth" {
		at = strangerBorn.AddDate(0, 1, 0)
	} else if c.Signed != "" {
		d, err := time.ParseDuration(c.Signed)
		if err != nil {
			return nil, err
		}
		at = at.Add(d)
	}
	var b bytes.Buffer
	w, err := clearsign.EncodeMulti(&b, []*packet.PrivateKey{key.PrivateKey}, &packet.Config{DefaultHash: crypto.SHA512, Time: func() time.Time { return at }})
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	return append(b.Bytes(), '\n'), err
}

// Forge puts To in place of the first From in a file of the evidence, and has all that names
// its digest follow: lock and config belong together, and every link is signed by the builder.
type Forge struct {
	File string `yaml:"file"` // below the evidence
	From string `yaml:"from"`
	To   string `yaml:"to"`
}

func (t target) forgeChange(c Forge) error {
	text, err := t.evidenceFile(c.File)
	if err != nil {
		return err
	}
	changed, err := replace(slices.Clone(text), t.expand(c.From), t.expand(c.To))
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	moved := map[artifact.Digest]artifact.Digest{}
	if c.File == config.FileName {
		if err := t.intend(changed, moved); err != nil {
			return err
		}
	}
	if err := t.forge(c.File, text, changed, moved); err != nil {
		return err
	}
	return t.replaceDigests(moved)
}

// intend makes the lock belong to a config.
func (t target) intend(configText []byte, moved map[artifact.Digest]artifact.Digest) error {
	c, err := config.Parse(config.FileName, configText)
	if err != nil {
		return err
	}
	lock, text, err := t.lock()
	if err != nil {
		return err
	}
	if lock.Intent, err = c.Intent(); err != nil {
		return err
	}
	return t.rewrite(text, lock, moved)
}

func (t target) lock() (*lockfile.Lock, []byte, error) {
	text, err := t.evidenceFile(lockfile.FileName)
	if err != nil {
		return nil, nil, err
	}
	l, err := lockfile.Decode(lockfile.FileName, text)
	return l, text, err
}

// rewrite writes the lock.
func (t target) rewrite(was []byte, l *lockfile.Lock, moved map[artifact.Digest]artifact.Digest) error {
	text, err := l.Encode()
	if err != nil {
		return err
	}
	return t.forge(lockfile.FileName, was, text, moved)
}

func (t target) evidenceFile(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(t.out, provenance.EvidenceDir, filepath.FromSlash(name)))
}

// forge writes a file of the evidence, and takes down that it has another digest now.
func (t target) forge(name string, was, is []byte, moved map[artifact.Digest]artifact.Digest) error {
	moved[artifact.HashBytes(was)] = artifact.HashBytes(is)
	return put(filepath.Join(t.out, provenance.EvidenceDir, filepath.FromSlash(name)), is)
}

// replaceDigests has every link name files by the digests that they have now.
func (t target) replaceDigests(moved map[artifact.Digest]artifact.Digest) error {
	links, err := filepath.Glob(filepath.Join(t.out, provenance.EvidenceDir, provenance.LinksDir, "*.link"))
	if err != nil {
		return err
	}
	for _, file := range links {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		changed := slices.Clone(text)
		for was, is := range moved {
			changed = bytes.ReplaceAll(changed, []byte(was), []byte(is))
		}
		if bytes.Equal(changed, text) {
			continue
		}
		if err := put(file, changed); err != nil {
			return err
		}
		rel, err := filepath.Rel(t.out, file)
		if err != nil {
			return err
		}
		if err := t.sign(filepath.ToSlash(rel), "builder"); err != nil {
			return err
		}
	}
	return nil
}
