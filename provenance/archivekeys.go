package provenance

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/trace"
)

// ArchiveKeys are the keys that somebody believes to be an archive's.
type ArchiveKeys struct {
	// Rings hold the keys themselves.
	Rings []*archive.Keyring
	// Fingerprints are of primary keys or subkeys, in upper-case hexadecimal: the keys are
	// those of the evidence that have them.
	Fingerprints []string
}

// Named tells whether anybody named keys.
func (k ArchiveKeys) Named() bool { return len(k.Rings)+len(k.Fingerprints) > 0 }

// believed are the signers of a Release file whose keys are among k.
func (k ArchiveKeys) believed(signed archive.SignedRelease, verified []archive.Signer, name string, check archive.ReleaseCheck) []archive.Signer {
	var found []archive.Signer
	for _, s := range verified {
		if slices.Contains(k.Fingerprints, s.Primary) || slices.Contains(k.Fingerprints, s.Key) {
			found = append(found, s)
		}
	}
	for _, ring := range k.Rings {
		// The verifier's own copy of a key may know more of it, such as that it was revoked.
		if _, signers, _, err := signed.Verify(ring, name, check); err == nil {
			found = append(found, signers...)
		}
	}
	return found
}

// SuiteSigners are the keys whose signatures of a suite's Release file hold.
type SuiteSigners struct {
	Archive string            `json:"archive"` // ID
	Signers []lockfile.Signer `json:"signers"`
}

// suite is a locked suite whose Release file is signed.
type suite struct {
	release *archive.Release
	// signers are those of its locked keyring whose signatures hold, believed those of
	// whom the options name.
	signers, believed []archive.Signer
}

// suites remembers what was found of each suite, which several checks ask for.
type suites struct {
	mu    sync.Mutex
	found map[string]*suite
}

// suite verifies the Release file of a suite, and holds the lock to it.
func (v *verification) suite(a lockfile.Archive) (*suite, error) {
	v.suites.mu.Lock()
	defer v.suites.mu.Unlock()
	if s := v.suites.found[a.ID]; s != nil {
		return s, nil
	}
	s, err := v.openSuite(a)
	if err != nil {
		return nil, err
	}
	if v.suites.found == nil {
		v.suites.found = map[string]*suite{}
	}
	v.suites.found[a.ID] = s
	return s, nil
}

func (v *verification) openSuite(a lockfile.Archive) (*suite, error) {
	keys, err := v.readDigest(KeyringName(a.Keyring.Digest), a.Keyring.Digest, 4<<20)
	if err != nil {
		return nil, err
	}
	ring, err := archive.ReadKeyring(a.Keyring.Path, keys)
	if err != nil {
		return nil, err
	}
	var signed archive.SignedRelease
	if signed.Data, err = v.readDigest(archived(a, a.Release), a.Release.Digest, 64<<20); err != nil {
		return nil, err
	}
	if a.Signature != nil {
		if signed.Signature, err = v.readDigest(archived(a, *a.Signature), a.Signature.Digest, 1<<20); err != nil {
			return nil, err
		}
	}
	date, err := time.Parse(time.RFC3339, a.Date)
	if err != nil {
		return nil, err
	}
	if !v.opts.Now.IsZero() && date.After(v.opts.Now.Add(archive.MaxFuture)) {
		return nil, fmt.Errorf("its Release file is from the future: its Date is %s", a.Date)
	}
	check := archive.ReleaseCheck{Suite: a.Suite, Now: date.Add(signingDelay), IgnoreValidUntil: true}
	s := &suite{}
	if s.release, s.signers, _, err = signed.Verify(ring, a.Release.Path, check); err != nil {
		return nil, err
	}
	if err := asLocked(a, s.release); err != nil {
		return nil, err
	}
	if have, want := signersText(lockedSigners(s.signers)), signersText(a.Signers); have != want {
		return nil, fmt.Errorf("the lock says that it is signed by %s, the signatures that hold are of %s", want, have)
	}
	s.believed = v.opts.ArchiveKeys.believed(signed, s.signers, a.Release.Path, check)
	return s, nil
}

// asLocked compares what a lock says of a suite with its Release file.
func asLocked(a lockfile.Archive, r *archive.Release) error {
	until := ""
	if !r.ValidUntil.IsZero() {
		until = r.ValidUntil.Format(time.RFC3339)
	}
	for _, f := range []struct{ what, locked, have string }{
		{"date", a.Date, r.Date.Format(time.RFC3339)}, {"codename", a.Codename, r.Codename}, {"end", a.ValidUntil, until}, {"origin", a.Origin, r.Origin},
	} {
		if f.locked != f.have && (f.what != "origin" || f.locked != "") { // locks of before had none
			return fmt.Errorf("the lock has its %s as %q, the Release file as %q", f.what, f.locked, f.have)
		}
	}
	return nil
}

// signingDelay is how long after its date a Release file may be signed.
const signingDelay = 24 * time.Hour

func lockedSigners(signers []archive.Signer) []lockfile.Signer {
	var all []lockfile.Signer
	for _, s := range signers {
		all = append(all, lockfile.Signer{Primary: s.Primary, Key: s.Key})
	}
	return all
}

// signersText names keys, each once, a subkey with its primary key.
func signersText(signers []lockfile.Signer) string {
	var all []string
	for _, s := range signers {
		name := s.Primary
		if s.Key != s.Primary {
			name += "/" + s.Key
		}
		all = append(all, name)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == 0 {
		return "nobody"
	}
	return strings.Join(all, ", ")
}

// archiveSigners finds who signed each suite of the lock; what is wrong with one is a problem.
func (v *verification) archiveSigners() (all []SuiteSigners, problems []Problem) {
	for _, a := range v.Lock.Archives {
		s, err := v.suite(a)
		if err != nil {
			problems = append(problems, problemOf(a.ID, err))
			continue
		}
		if v.opts.ArchiveKeys.Named() && len(s.believed) == 0 {
			problems = append(problems, Problem{a.ID, fmt.Sprintf("is signed by %s, none of which is among the archives' keys that you named", signersText(lockedSigners(s.signers)))})
		}
		all = append(all, SuiteSigners{a.ID, lockedSigners(s.signers)})
	}
	return all, problems
}

// archivesState is whether anybody said whose signatures count: those of the evidence's own
// keys prove no more than that it is whole.
func (v *verification) archivesState() State {
	if len(v.Lock.Archives) > 0 && !v.opts.ArchiveKeys.Named() {
		return CannotTell
	}
	return Valid
}

// signedBy says who signed the suites, by key.
func (v *verification) signedBy(all []SuiteSigners) string {
	of := map[string][]string{}
	for _, s := range all {
		for _, k := range s.Signers {
			if !slices.Contains(of[k.Primary], s.Archive) {
				of[k.Primary] = append(of[k.Primary], s.Archive)
			}
		}
	}
	var list []string
	for _, primary := range sortedKeys(of) {
		list = append(list, primary+" ("+strings.Join(of[primary], ", ")+")")
	}
	text := "signed by " + strings.Join(list, ", ")
	if v.archivesState() == CannotTell {
		text += ": keys that came with the evidence; compare them, or name the archives' own with --archive-key"
	}
	return text
}

// tracedSuites compares the trace's suites with the lock's, of which each was compared with
// its Release file.
func (v *verification) tracedSuites(h *trace.Head) []Problem {
	file := TraceDir + "/" + trace.HeadFile
	if len(h.Archives) != len(v.Lock.Archives) {
		return []Problem{{file, fmt.Sprintf("has %d suites, the lock has %d", len(h.Archives), len(v.Lock.Archives))}}
	}
	var problems []Problem
	for _, t := range h.Archives {
		a := v.Lock.ArchiveOf(t.ID)
		if a.ID != t.ID {
			problems = append(problems, Problem{file, fmt.Sprintf("the lock has no suite %s", t.ID)})
			continue
		}
		var keys []string
		for _, s := range a.Signers {
			keys = append(keys, s.Key)
		}
		if t.Date != a.Date || t.Release != a.Release || !slices.Equal(t.Signers, keys) || !sameRefs(t.Indexes, a.Indexes) || !sameRefs(t.SourceIndexes, a.SourceIndexes) {
			problems = append(problems, Problem{file, fmt.Sprintf("the suite %s, and who signed it, are not as in the lock", t.ID)})
		}
	}
	return problems
}

func sameRefs(traced []artifact.Ref, locked []lockfile.Index) bool {
	return slices.EqualFunc(traced, locked, func(r artifact.Ref, i lockfile.Index) bool { return r == i.Ref })
}

// CheckSigners verifies the Release files of the trace's suites by the keys beside them, and
// refuses a trace that names others as signers, or suites that no key of k signed where
// there is one.
func (t *Tracing) CheckSigners(k ArchiveKeys) error {
	rings, err := t.rings()
	if err != nil {
		return err
	}
	for _, a := range t.Archives {
		if err := t.checkSigners(a, rings, k); err != nil {
			return refused(fmt.Errorf("%s: %w", a.ID, err))
		}
	}
	return nil
}

// KeepSigners leaves out the signers of suites of which CheckSigners would refuse them: for
// those who show a trace that did not verify.
func (t *Tracing) KeepSigners(k ArchiveKeys) {
	rings, err := t.rings()
	for i := range t.Archives {
		if err != nil || t.checkSigners(t.Archives[i], rings, k) != nil {
			t.Archives[i].Signers = []string{}
		}
	}
}

// rings are the keyrings of the evidence.
func (t *Tracing) rings() ([]*archive.Keyring, error) {
	var rings []*archive.Keyring
	for _, name := range sortedKeys(t.sums) {
		if path.Dir(name) != path.Dir(KeyringName("")) {
			continue
		}
		text, err := t.readAll(name, 4<<20)
		if err != nil {
			return nil, err
		}
		ring, err := archive.ReadKeyring(name, text)
		if err != nil {
			return nil, refused(err)
		}
		rings = append(rings, ring)
	}
	return rings, nil
}

func (t *Tracing) checkSigners(a trace.Suite, rings []*archive.Keyring, k ArchiveKeys) error {
	repository, name, _ := strings.Cut(a.ID, "/")
	release := path.Join(ArchivesDir, repository, a.Release.Path)
	if t.sums[release] != a.Release.Digest {
		return fmt.Errorf("%s: its SHA-256 is %q, the trace says %s", release, t.sums[release], a.Release.Digest)
	}
	var signed archive.SignedRelease
	var err error
	if signed.Data, err = t.readAll(release, 64<<20); err != nil {
		return err
	}
	if path.Base(release) == "Release" {
		if signed.Signature, err = t.readAll(release+".gpg", 1<<20); err != nil {
			return err
		}
	}
	date, err := time.Parse(time.RFC3339, a.Date)
	if err != nil {
		return err
	}
	check := archive.ReleaseCheck{Suite: name, Now: date.Add(signingDelay), IgnoreValidUntil: true}
	why := errors.New("there are no keys")
	for _, ring := range rings {
		var signers []archive.Signer
		if _, signers, _, err = signed.Verify(ring, release, check); err != nil {
			why = err
			continue
		}
		var keys []string
		for _, s := range signers {
			keys = append(keys, s.Key)
		}
		if !slices.Equal(keys, a.Signers) {
			why = fmt.Errorf("the trace says that it is signed by %s, the signatures that hold are of %s", strings.Join(a.Signers, ", "), strings.Join(keys, ", "))
			continue
		}
		if k.Named() && len(k.believed(signed, signers, release, check)) == 0 {
			return fmt.Errorf("is signed by %s, none of which is among the archives' keys that you named", signersText(lockedSigners(signers)))
		}
		return nil
	}
	return why
}

// readAll reads a file of the evidence that the sums name.
func (t *Tracing) readAll(name string, limit int64) (_ []byte, err error) {
	f, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = refused(fmt.Errorf("%s: more than %d bytes", name, limit))
	}
	return text, err
}
