package provenance

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/strictjson"
)

// Identity is whom a certificate authority must have given the signing key to.
type Identity struct {
	Issuer  string // of the identity token
	Subject string // as the certificate's alternative name has it, such as a mail address
}

// released tells whether there is anything of a release.
func (v *verification) released() bool {
	for _, name := range []string{v.ImageName() + BundleSuffix, ReleaseSums, ReleaseDir} {
		if _, err := os.Lstat(filepath.Join(v.out, name)); err == nil {
			return true
		}
	}
	return false
}

// checkRelease holds image and evidence to the release manager's signatures.
func (v *verification) checkRelease(context.Context) (string, []Problem, error) {
	name := v.ImageName() + BundleSuffix
	if !v.released() {
		if v.opts.ReleaseKey != nil || v.opts.Identity != nil {
			return "", []Problem{{name, "is missing, and a release manager was named"}}, nil
		}
		return "nobody has released the image", nil, nil
	}
	key, problem := v.releaseSigner(name)
	if problem != nil {
		return "", []Problem{*problem}, nil
	}
	problems := v.signaturesOf(key, v.ImageName(), v.iso)
	for _, disk := range v.disks() {
		problems = append(problems, v.sealOf(key, disk, v.images[disk].digest)...)
	}
	if role := v.roleOf(key); role != "" && !v.shared(key) {
		problems = append(problems, Problem{name, fmt.Sprintf("is signed by %.8s, which is also %s", key.KeyID(), role)})
	}
	problems = append(problems, v.releaseSums(key)...)
	problems = append(problems, v.policyResult(key)...)
	what := fmt.Sprintf("%s, its evidence and the policy's verdict, signed by %s", v.ImageName(), v.releasedBy(key))
	if v.opts.ReleaseKey == nil && v.opts.Identity == nil {
		what += "; whose key that is, nobody said: name it with --release-key"
	}
	return what, problems, nil
}

// releaseState tells that a release proves something only where somebody was named
// who must have made it.
func (v *verification) releaseState() State {
	if v.bundle == nil || v.opts.ReleaseKey == nil && v.opts.Identity == nil {
		return CannotTell
	}
	return Valid
}

func (v *verification) timeState() State {
	if v.signedAt.IsZero() {
		return CannotTell
	}
	return Valid
}

// shared tells that a key may have two roles.
func (v *verification) shared(key *PublicKey) bool {
	return slices.Contains(v.opts.SharedKeys, key.KeyID())
}

func (v *verification) releasedBy(key *PublicKey) string {
	if i := v.opts.Identity; i != nil {
		return i.Subject
	}
	return fmt.Sprintf("%.8s", key.KeyID())
}

// releaseSigner is the key that a release must be signed with, and checks the
// image's bundle.
func (v *verification) releaseSigner(name string) (*PublicKey, *Problem) {
	problem := func(file string, err error) *Problem { p := problemOf(file, err); return &p }
	text, err := v.readBeside(name, maxBundle)
	if err != nil {
		return nil, problem(name, err)
	}
	b, err := openBundle(text)
	if err != nil {
		return nil, problem(name, err)
	}
	key := v.opts.ReleaseKey
	certified := b.GetVerificationMaterial().GetCertificate()
	switch {
	case certified != nil:
		cert, err := x509.ParseCertificate(certified.RawBytes)
		if err != nil {
			return nil, problem(name, err)
		}
		if key != nil {
			return nil, &Problem{name, fmt.Sprintf("is signed with a certificate, not with the key %.8s", key.KeyID())}
		}
		if key, err = newPublicKey(name, cert.PublicKey); err != nil {
			return nil, problem(name, err)
		}
	case v.opts.Identity != nil:
		return nil, &Problem{name, "is signed with a key, not with a certificate of " + v.opts.Identity.Subject}
	case key == nil:
		text, err := v.readBeside(ReleaseKey, 1<<16)
		if err != nil {
			return nil, problem(ReleaseKey, err)
		}
		if key, err = ParsePublicKey(ReleaseKey, text); err != nil {
			return nil, problem(ReleaseKey, err)
		}
	}
	if err := v.fileBundle(b, key, v.iso); err != nil {
		return nil, problem(name, err)
	}
	v.bundle, v.bundles[name] = b, b
	return key, nil
}

// fileBundle checks a bundle over a file, by its digest.
func (v *verification) fileBundle(b *bundle.Bundle, key *PublicKey, d artifact.Digest) error {
	signed := b.GetMessageSignature()
	if signed == nil {
		return errors.New("signs no file")
	}
	if have := hex.EncodeToString(signed.GetMessageDigest().GetDigest()); have != string(d) {
		return fmt.Errorf("is over sha256 %s, the file has %s", have, d)
	}
	return v.bundleOf(b, key, d)
}

// bundleOf checks a bundle over content, by its digest; over a statement, whatever it is
// about, where that is "".
func (v *verification) bundleOf(b *bundle.Bundle, key *PublicKey, d artifact.Digest) error {
	artifactIs := verify.WithoutArtifactUnsafe()
	if d != "" {
		raw, err := hex.DecodeString(string(d))
		if err != nil {
			return err
		}
		artifactIs = verify.WithArtifactDigest("sha256", raw)
	}
	if b.GetVerificationMaterial().GetPublicKey() == nil {
		return v.certifiedBundle(b, artifactIs)
	}
	if key == nil {
		return errors.New("is signed with a key, and none was named")
	}
	tm, err := key.trusted()
	if err != nil {
		return err
	}
	ver, err := verify.NewVerifier(tm, verify.WithNoObserverTimestamps())
	if err != nil {
		return err
	}
	if _, err := ver.Verify(b, verify.NewPolicy(artifactIs, verify.WithKey())); err != nil {
		return fmt.Errorf("is not signed by key %.8s: %w", key.KeyID(), err)
	}
	return nil
}

// certifiedBundle checks a bundle that was signed with a certified key.
func (v *verification) certifiedBundle(b *bundle.Bundle, artifactIs verify.ArtifactPolicyOption) error {
	if v.root == nil || v.opts.Identity == nil {
		return errors.New("is signed with a certificate: say whose with --identity and --issuer, and whom to believe with --trusted-root")
	}
	options := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if len(b.GetVerificationMaterial().GetTlogEntries()) > 0 {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if len(v.root.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	ver, err := verify.NewVerifier(v.root, options...)
	if err != nil {
		return err
	}
	id, err := verify.NewShortCertificateIdentity(v.opts.Identity.Issuer, "", v.opts.Identity.Subject, "")
	if err != nil {
		return fault.New(fault.Usage, "name both --identity and --issuer", "%w", err)
	}
	_, err = ver.Verify(b, verify.NewPolicy(artifactIs, verify.WithCertificateIdentity(id)))
	return err
}

// signaturesOf checks the detached signatures of a file. A key of the moment leaves
// none.
func (v *verification) signaturesOf(key *PublicKey, name string, d artifact.Digest) []Problem {
	if v.opts.Identity != nil {
		return nil
	}
	sum, err := hex.DecodeString(string(d))
	if err != nil {
		return []Problem{problemOf(name, err)}
	}
	var problems []Problem
	text, err := v.readBeside(name+SigSuffix, 1<<16)
	if err == nil {
		var sig []byte
		if sig, err = base64.StdEncoding.DecodeString(strings.TrimSuffix(string(text), "\n")); err == nil && !key.verifyDigest(sum, sig) {
			err = fmt.Errorf("does not verify %s with key %.8s", name, key.KeyID())
		}
	}
	if err != nil {
		problems = append(problems, problemOf(name+SigSuffix, err))
	}
	raw, err := v.readBeside(name+RawSuffix, 1<<16)
	if err == nil && !key.verifyDigest(sum, raw) {
		err = fmt.Errorf("does not verify %s with key %.8s", name, key.KeyID())
	}
	if err != nil {
		problems = append(problems, problemOf(name+RawSuffix, err))
	}
	return problems
}

// sealOf checks the bundle and the detached signatures of a file.
func (v *verification) sealOf(key *PublicKey, name string, d artifact.Digest) []Problem {
	problems := v.signaturesOf(key, name, d)
	text, err := v.readBeside(name+BundleSuffix, maxBundle)
	if err == nil {
		var b *bundle.Bundle
		if b, err = openBundle(text); err == nil {
			err = v.fileBundle(b, key, d)
			v.bundles[name+BundleSuffix] = b
		}
	}
	if err != nil {
		problems = append(problems, problemOf(name+BundleSuffix, err))
	}
	return problems
}

// releaseSums checks that SHA256SUMS is signed and lists exactly what is there.
func (v *verification) releaseSums(key *PublicKey) []Problem {
	text, err := v.readBeside(ReleaseSums, maxSums)
	if err != nil {
		return []Problem{problemOf(ReleaseSums, err)}
	}
	problems := v.sealOf(key, ReleaseSums, artifact.HashBytes(text))
	want, err := parseSums(text)
	if err != nil {
		return append(problems, problemOf(ReleaseSums, err))
	}
	have, err := v.releasedFiles()
	if err != nil {
		return append(problems, problemOf(ReleaseDir, err))
	}
	for _, name := range sortedKeys(want) {
		switch d, ok := have[name]; {
		case !ok:
			problems = append(problems, Problem{name, "is missing, and stands in " + ReleaseSums})
		case d != want[name]:
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %s, %s says %s", d, ReleaseSums, want[name])})
		}
	}
	for _, name := range sortedKeys(have) {
		if _, ok := want[name]; !ok {
			problems = append(problems, Problem{name, "is not in " + ReleaseSums})
		}
	}
	return bounded(problems)
}

// releasedFiles hashes everything that a release's sums have to list, by path.
func (v *verification) releasedFiles() (map[string]artifact.Digest, error) {
	have := map[string]artifact.Digest{}
	for name, i := range v.images {
		have[name] = i.digest
	}
	for p, d := range v.files {
		have[path.Join(EvidenceDir, p)] = d
	}
	list := []string{path.Join(EvidenceDir, Sums), path.Join(EvidenceDir, SumsSignature)}
	entries, err := os.ReadDir(v.out)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if n := e.Name(); isReleaseFile(n) && !strings.HasPrefix(n, ReleaseSums) {
			list = append(list, n)
		}
	}
	if entries, err = os.ReadDir(filepath.Join(v.out, ReleaseDir)); err != nil {
		return nil, err
	}
	for _, e := range entries {
		list = append(list, path.Join(ReleaseDir, e.Name()))
	}
	if len(list) > maxReleaseFiles {
		return nil, fmt.Errorf("more than %d files", maxReleaseFiles)
	}
	for _, name := range list {
		text, err := v.readBeside(name, maxBundle)
		if err != nil {
			return nil, err
		}
		have[name] = artifact.HashBytes(text)
	}
	return have, nil
}

const maxReleaseFiles = 100

// policyResult checks that the release manager attested the image's policy result,
// and that it holds.
func (v *verification) policyResult(key *PublicKey) []Problem {
	text, err := v.readBeside(PolicyFile, maxBundle)
	if err != nil {
		return []Problem{problemOf(PolicyFile, err)}
	}
	if err := v.policyHolds(text, key); err != nil {
		return []Problem{problemOf(PolicyFile, err)}
	}
	return nil
}

func (v *verification) policyHolds(text []byte, key *PublicKey) error {
	b, err := openBundle(text)
	if err != nil {
		return err
	}
	if err := v.bundleOf(b, key, ""); err != nil {
		return err
	}
	v.bundles[PolicyFile] = b
	var said struct {
		Statement
		Predicate struct {
			Holds *bool `json:"holds"`
		} `json:"predicate"`
	}
	if err := strictjson.UnmarshalOpen(b.GetDsseEnvelope().GetPayload(), &said); err != nil {
		return fmt.Errorf("is not an in-toto statement: %w", err)
	}
	sum512, err := v.sha512()
	if err != nil {
		return err
	}
	subjects := v.subjects(sum512)
	if said.Type != statementType || said.PredicateType != PredicatePolicy || len(said.Subject) != len(subjects) {
		return errors.New("is not the attestation of a policy's result")
	}
	for i, have := range said.Subject {
		if want := subjects[i]; have.Name != want.Name || !sameDigests(have.Digest, want.Digest) {
			return fmt.Errorf("is about sha256 %s, %s has %s", have.Digest["sha256"], want.Name, want.Digest["sha256"])
		}
	}
	if said.Predicate.Holds == nil || !*said.Predicate.Holds {
		return errors.New("says that policy does not hold")
	}
	return nil
}

// subjects are what a release speaks of: the ISO, and the disks.
func (v *verification) subjects(sum512 string) []Resource {
	list := []Resource{imageResource(v.Bundle, v.iso, sum512)}
	for _, name := range v.disks() {
		list = append(list, Resource{Name: name, Digest: sha256Of(v.images[name].digest)})
	}
	return list
}

func sameDigests(a, b map[string]string) bool {
	return len(a) == len(b) && a["sha256"] == b["sha256"] && a["sha512"] == b["sha512"]
}

// checkTime finds out from the timestamps when the image was signed. Those of the other
// signatures have to hold too.
func (v *verification) checkTime(context.Context) (string, []Problem, error) {
	if v.bundle == nil {
		return "there is no signature whose time could be told", nil, nil
	}
	var problems []Problem
	for _, name := range sortedKeys(v.bundles) {
		seen, err := v.timesOf(v.bundles[name])
		if err != nil {
			problems = append(problems, problemOf(name, err))
			continue
		}
		// Each of them proves that the signature was there by then; the last one says no
		// more than any other would.
		if v.bundles[name] == v.bundle && len(seen) > 0 {
			v.signedAt = slices.MaxFunc(seen, time.Time.Compare).UTC()
		}
	}
	if len(problems) > 0 {
		v.signedAt = time.Time{}
		return "", problems, nil
	}
	stamps, entries := observers(v.bundle)
	switch {
	case stamps+entries == 0:
		return "no authority says when the image was signed", nil, nil
	case v.root == nil:
		return fmt.Sprintf("%d timestamps, %d log entries; whom to believe, nobody said: name it with --trusted-root", stamps, entries), nil, nil
	case v.signedAt.IsZero():
		return "the log's entries have no time of their own", nil, nil
	}
	return fmt.Sprintf("signed by %s at the latest: %d timestamps, %d log entries", v.signedAt.Format(time.RFC3339), stamps, entries), nil, nil
}

// observers counts the timestamps and log entries of a bundle.
func observers(b *bundle.Bundle) (stamps, entries int) {
	m := b.GetVerificationMaterial()
	return len(m.GetTimestampVerificationData().GetRfc3161Timestamps()), len(m.GetTlogEntries())
}

// timesOf are the times of a bundle's signature, each proved by one who is trusted; none
// where nobody is.
func (v *verification) timesOf(b *bundle.Bundle) (times []time.Time, err error) {
	stamps, entries := observers(b)
	if v.root == nil {
		return nil, nil
	}
	if stamps > 0 {
		seen, err := verify.VerifySignedTimestampWithThreshold(b, v.root, stamps)
		if err != nil {
			return nil, fmt.Errorf("timestamp: %w", err)
		}
		for _, s := range seen {
			times = append(times, s.Time)
		}
	}
	if entries > 0 {
		seen, err := verify.VerifyTlogEntry(b, v.root, entries, true)
		if err != nil {
			return nil, fmt.Errorf("transparency log: %w", err)
		}
		for _, s := range seen {
			times = append(times, s.Time)
		}
	}
	return times, nil
}

// parseRoot reads a trusted root; nil where there is none.
func parseRoot(text []byte) (root.TrustedMaterial, error) {
	if text == nil {
		return nil, nil
	}
	r, err := root.NewTrustedRootFromJSON(text)
	if err != nil {
		return nil, fault.New(fault.Usage, "name a trusted root in sigstore's JSON format", "trusted root: %w", err)
	}
	return r, nil
}
