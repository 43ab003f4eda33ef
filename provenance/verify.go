package provenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"golang.org/x/sync/errgroup"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/stage"
)

// Problem is one thing that does not hold.
type Problem struct {
	File   string `json:"file"`
	Detail string `json:"detail"`
}

func (p Problem) String() string { return p.File + ": " + p.Detail }

// problemOf is an error about a file, which the error may name itself.
func problemOf(file string, err error) Problem {
	return Problem{file, strings.TrimPrefix(err.Error(), file+": ")}
}

// State is how a rule came out.
type State string

// The states of a rule.
const (
	Valid   State = "valid"
	Invalid State = "invalid"
	// Expired is what no longer holds, but did when the image was signed, as a
	// timestamp shows.
	Expired State = "expired"
	// CannotTell is what nothing contradicts, but nothing proves either.
	CannotTell State = "cannot-tell"
)

// Check is the outcome of one rule.
type Check struct {
	Rule  string `json:"rule"`
	State State  `json:"state"`
	// What was found, in words, where nothing is amiss; or why nothing can be told.
	What     string    `json:"what"`
	Problems []Problem `json:"problems,omitempty"`
}

// OK tells whether nothing speaks against the rule.
func (c Check) OK() bool { return c.State != Invalid }

// VerifyOptions say whom to believe.
type VerifyOptions struct {
	// Key is the builder's. Where it is nil the bundle's own is taken, which
	// proves that the bundle is whole but not who made it.
	Key *PublicKey
	// OwnerKey signed the layout that says who may build; nil where nobody named it.
	OwnerKey *PublicKey
	// ReleaseKey is the release manager's, or Identity whose certificate it has; both
	// nil where nobody named any.
	ReleaseKey *PublicKey
	Identity   *Identity
	// BaseKey has to have signed the base image; nil takes the key that the config names
	// and the evidence has.
	BaseKey *PublicKey
	// ArchiveKeys are the archives' keys that are believed. Where there is none, who signed
	// the Release files is told, and nothing is concluded from it.
	ArchiveKeys ArchiveKeys
	// SharedKeys are the ids of keys that may have two roles.
	SharedKeys []string
	// TrustedRoot names, in sigstore's JSON format, the authorities of certificates,
	// timestamps and logs that are believed; nil for none.
	TrustedRoot []byte
	// Archive is a folder with the .debs, laid out as a mirror; "" for none.
	Archive string
	// Debs remembers what .debs hold for further verifications; it may be nil.
	Debs *DebCache
	// Unreleased leaves out what a release adds: it is still to come.
	Unreleased bool
	// Alone tells that other functionaries whom the layout wants are still to come.
	Alone bool
	// Now is the time at which a layout must not have expired.
	Now time.Time
	// Fetched gives what a lock's fetch stage must have brought, by record path.
	Fetched func(*lockfile.Lock) map[string]artifact.Digest
	// Report is told of each check as soon as it is done; it may be nil.
	Report func(Check)
	// Known tells whether a check that takes long held before for the very same
	// content; nil makes every check anew. It is for a builder's own store,
	// never for an auditor.
	Known func(artifact.Digest) bool
	// SHA512 is that of content whose SHA-256 the check has found, where it is
	// remembered; "" where it is not. It is for a builder's own store, too; nil
	// reads the image again.
	SHA512 func(artifact.Digest) string
}

// verification is a run of all checks over one bundle.
type verification struct {
	*Bundle
	opts  VerifyOptions
	key   *PublicKey
	links map[string]stage.Record // of key, by stage
	// done are the links that hold, by stage, those of key first.
	done map[string][]doneStep
	// layout is the owner's, nil where there is none; layoutErr is what is wrong with it.
	layout    *Layout
	layoutErr error
	// root is whom the options trust, nil for nobody.
	root root.TrustedMaterial
	// bundle is the release's signature of the image, as far as it verifies, bundles are
	// that and the others by file, and signedAt is the time at which the first was there
	// at the latest; zero where none is proved.
	bundle   *bundle.Bundle
	bundles  map[string]*bundle.Bundle
	signedAt time.Time
	// made are all products, by record path.
	made map[string]artifact.Digest
	// files are those of the evidence, images those beside it by name, and iso is the
	// ISO's digest, all as hashed.
	files  map[string]artifact.Digest
	images map[string]hashed
	iso    artifact.Digest
	sha512 func() (string, error) // of the ISO
	// md5 are those of the image's files.
	md5 map[string]string
	// suites are those of the lock, as far as their Release files are signed, and signers
	// who signed them.
	suites  suites
	signers []SuiteSigners
	mu      sync.Mutex // guards held
	held    []artifact.Digest
}

// doneStep is a link that holds.
type doneStep struct {
	file   string
	signer string // its key id
	record stage.Record
}

// known tells whether the rule held before for the content of these digests.
// What holds now is remembered under the same name.
func (v *verification) known(rule string, content ...artifact.Digest) (name artifact.Digest, known bool) {
	text := fmt.Sprintf("%s %d", rule, verifierVersion)
	for _, d := range content {
		text += " " + string(d)
	}
	name = artifact.HashBytes([]byte(text))
	return name, v.opts.Known != nil && v.opts.Known(name)
}

// verifierVersion changes whenever a check that may be remembered changes.
const verifierVersion = 6

// hold remembers that a rule holds.
func (v *verification) hold(name artifact.Digest, problems []Problem) {
	if len(problems) == 0 {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.held = append(v.held, name)
	}
}

// Result is what a verification found.
type Result struct {
	Image  string          `json:"image"`  // file name
	Digest artifact.Digest `json:"sha256"` // of the image as it is; "" where it is missing
	KeyID  string          `json:"key"`
	// KeyFromBundle tells that nobody said whose key it must be.
	KeyFromBundle bool    `json:"key-from-bundle,omitempty"`
	Checks        []Check `json:"checks"`
	// ExpiredAccepted are suites that had expired when the lock was made.
	ExpiredAccepted []string `json:"expired-accepted,omitempty"`
	// OlderAccepted are suites that were older than in the lock before, ChangedAccepted those
	// of another codename or origin.
	OlderAccepted   []string `json:"older-accepted,omitempty"`
	ChangedAccepted []string `json:"changed-accepted,omitempty"`
	// ArchiveSigners are the keys whose signatures of the archives' Release files hold.
	ArchiveSigners []SuiteSigners `json:"archive-signers,omitempty"`
	// Held names the checks that need not be made again for the same content.
	Held []artifact.Digest `json:"-"`
	// Links are those whose signatures hold, by stage, the builder's first.
	Links []SignedLink `json:"-"`
}

// SignedLink is a stage's record as a key signed it.
type SignedLink struct {
	File   string
	Signer string // key id
	Record stage.Record
}

// Proved counts the rules that were found to hold.
func (r Result) Proved() int {
	n := 0
	for _, c := range r.Checks {
		if c.State == Valid {
			n++
		}
	}
	return n
}

// Failed returns the checks that do not hold.
func (r Result) Failed() []Check {
	return slices.DeleteFunc(slices.Clone(r.Checks), Check.OK)
}

// Verify checks the image in dir against its evidence, from the image's bytes
// up. It needs no network and no other tool. What does not hold is in the
// result; an error is what kept the checks from being made.
func Verify(ctx context.Context, dir string, o VerifyOptions) (Result, error) {
	v, err := newVerification(ctx, dir, o)
	if err != nil {
		return Result{}, err
	}
	r, err := v.run(ctx)
	return r, errors.Join(err, v.close())
}

// newVerification opens what all checks need.
func newVerification(ctx context.Context, dir string, o VerifyOptions) (*verification, error) {
	b, err := OpenBundle(dir)
	if err != nil {
		return nil, err
	}
	v := &verification{Bundle: b, opts: o, key: o.Key, links: map[string]stage.Record{}, done: map[string][]doneStep{}, made: map[string]artifact.Digest{}, bundles: map[string]*bundle.Bundle{}}
	if v.key == nil {
		text, err := b.read(BuilderKey, 1<<16)
		if err != nil {
			return nil, refused(err)
		}
		if v.key, err = ParsePublicKey(BuilderKey, text); err != nil {
			return nil, refused(err)
		}
	}
	if err := v.openLayout(); err != nil {
		return nil, refused(err)
	}
	if v.root, err = parseRoot(o.TrustedRoot); err != nil {
		return nil, err
	}
	v.sha512 = sync.OnceValues(func() (string, error) {
		if o.SHA512 != nil {
			if sum := o.SHA512(v.iso); sum != "" {
				return sum, nil
			}
		}
		return v.images[v.ImageName()].sha512(ctx)
	})
	return v, v.hashImages(ctx)
}

func (v *verification) run(ctx context.Context) (r Result, err error) {
	vouched := !v.nobodyOwns() && v.layout.keys[v.key.KeyID()] != nil
	r = Result{Image: v.ImageName(), Digest: v.iso, KeyID: v.key.KeyID(), KeyFromBundle: v.opts.Key == nil && !vouched}
	for _, a := range v.Lock.Archives {
		if a.ExpiredAccepted {
			r.ExpiredAccepted = append(r.ExpiredAccepted, a.ID)
		}
		if a.OlderAccepted != "" {
			r.OlderAccepted = append(r.OlderAccepted, a.ID)
		}
		if a.ChangedAccepted != "" {
			r.ChangedAccepted = append(r.ChangedAccepted, a.ID)
		}
	}
	r.Checks, err = v.checkAll(ctx)
	err = errors.Join(err, v.unchanged(ctx))
	r.Held, r.ArchiveSigners = v.held, v.signers
	for _, name := range sortedKeys(v.done) {
		for _, d := range v.done[name] {
			r.Links = append(r.Links, SignedLink{d.file, d.signer, d.record})
		}
	}
	return r, err
}

// checkAll makes the checks and tells of them in the order of the rules.
func (v *verification) checkAll(ctx context.Context) ([]Check, error) {
	rules := rules
	if v.opts.Unreleased {
		rules = slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return r.release })
	}
	checks, done := make([]Check, len(rules)), make([]bool, len(rules))
	var mu sync.Mutex // guards done
	check := func(i int) (err error) {
		c := &checks[i]
		c.Rule = rules[i].name
		if c.What, c.Problems, err = rules[i].check(v, ctx); err != nil {
			return fmt.Errorf("check %s: %w", c.Rule, err)
		}
		switch {
		case len(c.Problems) > 0:
			c.State = Invalid
		case rules[i].state != nil:
			c.State = rules[i].state(v)
		default:
			c.State = Valid
		}
		mu.Lock()
		defer mu.Unlock()
		done[i] = true
		if v.opts.Report == nil || slices.Contains(done[:i], false) {
			return nil
		}
		for ; i < len(done) && done[i]; i++ {
			v.opts.Report(checks[i])
		}
		return nil
	}
	var beside errgroup.Group
	for i, rule := range rules {
		if ctx.Err() != nil {
			return nil, errors.Join(context.Cause(ctx), beside.Wait())
		}
		if rule.beside {
			beside.Go(func() error { return check(i) })
		} else if err := check(i); err != nil {
			return nil, errors.Join(err, beside.Wait())
		}
	}
	return checks, beside.Wait()
}

// rule is one check.
type rule struct {
	name   string
	about  string
	check  func(*verification, context.Context) (string, []Problem, error)
	beside bool // others
	// state says of a check without problems what that proves; Valid where it is nil.
	state func(*verification) State
	// release tells that it is about what a release adds.
	release bool
}

// rules are checked in this order; later ones use what earlier ones found, but
// not what those found that run beside others.
var rules = []rule{
	{name: "evidence", about: "SHA256SUMS is signed and lists exactly what is there", check: (*verification).evidence},
	{name: "release", about: "the release manager signed the image, its evidence and the policy's verdict", check: (*verification).checkRelease, state: (*verification).releaseState, release: true},
	{name: "time", about: "a timestamp authority or a log saw the signature, and says when", check: (*verification).checkTime, state: (*verification).timeState, release: true},
	{name: "links", about: "every link is signed by the builder, or by whom the layout allows", check: (*verification).checkLinks},
	{name: "layout", about: "the steps are those of the owner's layout, done by whom and with what it allows", check: (*verification).checkLayout, state: (*verification).layoutState},
	{name: "chain", about: "what a stage took is what another one gave or the project holds", check: (*verification).chain},
	{name: "lock", about: "the lock belongs to the config, and nothing but the lock was fetched", check: (*verification).checkLock},
	{name: "archives", about: "every package stands in an index that an archive's key signed: one that you named", check: (*verification).archives, state: (*verification).archivesState, beside: true},
	{name: "base", about: "the base image is the locked one, and its signer's, where one was asked for", check: (*verification).checkBase, state: (*verification).baseState},
	{name: "image", about: "the image is the one that the last stage gave", check: (*verification).checkImage},
	{name: "attested", about: "the attestations say what links, lock and SBOMs say, of this image", check: (*verification).attested, beside: true},
	{name: "medium", about: "the image's files, EFI system partition and boot code are those recorded, and no byte is beside them", check: (*verification).medium},
	{name: "checksums", about: "the image's md5sum.txt lists its files as they are", check: (*verification).checksums},
	{name: "secureboot", about: "shim, GRUB and kernel make a chain of signatures, where the config asks for Secure Boot", check: (*verification).checkSecureBoot, state: (*verification).secureBootState},
	{name: "squashfs", about: "the squashfs holds the recorded root tree", check: (*verification).checkSquashfs},
	{name: "verity", about: "the kernel gets the root hash of the squashfs, where the config asks for dm-verity", check: (*verification).checkVerity, state: (*verification).verityState},
	{name: "disks", about: "the disk images hold the recorded root tree and boot loaders, and nothing else, where the config asks for disks", check: (*verification).checkDisks, state: (*verification).disksState},
	{name: "trace", about: "every file of the image has an origin, and every origin a locked package, a stage or a file of the project", check: (*verification).checkTrace},
	{name: "debs", about: "every .deb is the locked one and holds what the trace says, where the .debs are at hand", check: (*verification).checkDebs, state: (*verification).debsState},
}

// Rules returns the names of the checks and what each says.
func Rules() (names, about []string) {
	for _, r := range rules {
		names, about = append(names, r.name), append(about, r.about)
	}
	return names, about
}

func (v *verification) evidence(ctx context.Context) (string, []Problem, error) {
	text, err := v.read(Sums, maxSums)
	if err != nil {
		return "", []Problem{problemOf(Sums, err)}, nil
	}
	sig, err := v.read(SumsSignature, 1<<16)
	if err != nil {
		return "", []Problem{problemOf(SumsSignature, err)}, nil
	}
	var problems []Problem
	if err := v.key.VerifyDetached(text, sig); err != nil {
		problems = append(problems, problemOf(Sums, err))
	}
	want, err := parseSums(text)
	if err != nil {
		return "", append(problems, problemOf(Sums, err)), nil
	}
	have, err := listSums(ctx, v.dir, v.note)
	if err != nil {
		return "", append(problems, problemOf(EvidenceDir, err)), nil
	}
	v.files = have
	images := map[string]bool{}
	for name := range v.imageRecords() {
		images["../"+name] = true
	}
	for _, name := range sortedKeys(want) {
		switch d, ok := have[name]; {
		case images[name]:
		case !ok:
			problems = append(problems, Problem{name, "is missing"})
		case d != want[name]:
			problems = append(problems, Problem{name, fmt.Sprintf("its SHA-256 is %s, %s says %s", d, Sums, want[name])})
		}
	}
	others := 0
	for _, name := range sortedKeys(have) {
		switch _, ok := want[name]; {
		case ok:
		case v.linkOfAnother(name):
			others++
		default:
			problems = append(problems, Problem{name, "is not in " + Sums})
		}
	}
	for _, image := range sortedKeys(images) {
		if _, ok := want[image]; !ok {
			problems = append(problems, Problem{Sums, "does not name the image " + strings.TrimPrefix(image, "../")})
		}
	}
	what := fmt.Sprintf("%d files match %s, signed by %.8s", len(have)-others, Sums, v.key.KeyID())
	if others > 0 {
		what += fmt.Sprintf("; %d links are of other functionaries", others)
	}
	return what, problems, nil
}

func (v *verification) checkLock(context.Context) (string, []Problem, error) {
	var problems []Problem
	if err := v.Lock.CheckConfig(v.Config); err != nil {
		problems = append(problems, problemOf(lockfile.FileName, err))
	}
	fetched := v.links[fetchStage]
	for _, f := range []struct {
		name, taker string
		text        []byte
	}{{lockfile.FileName, fetchStage, v.lockText}, {config.FileName, mediumStage, v.configText}} {
		if want, have := v.links[f.taker].Materials[recordProject+f.name], artifact.HashBytes(f.text); want != have {
			problems = append(problems, Problem{f.name, fmt.Sprintf("its SHA-256 is %s, the stage %s took %q", have, f.taker, want)})
		}
	}
	want := v.opts.Fetched(v.Lock)
	for _, p := range sortedKeys(want) {
		if have := fetched.Products[p]; have != want[p] {
			problems = append(problems, Problem{p, fmt.Sprintf("was fetched as %q, the lock says %s", have, want[p])})
		}
	}
	for _, p := range sortedKeys(fetched.Products) {
		if _, ok := want[p]; !ok {
			problems = append(problems, Problem{p, "was fetched, but is not in the lock"})
		}
	}
	return fmt.Sprintf("%d files fetched, all of them locked", len(want)), problems, nil
}

// Refused is the error of a verification in which something does not hold, of which the
// user has seen nothing else.
func (r Result) Refused() error {
	return r.RefusedBut("isotrace verify names " + r.Named())
}

// Named says how much of what does not hold the checks name.
func (r Result) Named() string {
	for _, c := range r.Failed() {
		if slices.ContainsFunc(c.Problems, func(p Problem) bool { return p.File == cutFiles }) {
			return fmt.Sprintf("every rule, and up to %d files of each", maxProblems)
		}
	}
	return "every file and rule"
}

// RefusedBut is Refused for a user who is told where the rest is.
func (r Result) RefusedBut(where string) error {
	failed := r.Failed()
	if len(failed) == 0 {
		return nil
	}
	var names []string
	for _, c := range failed {
		names = append(names, c.Rule)
	}
	first := failed[0].Problems[0]
	return fault.New(fault.Refused, "do not use the image; "+where, "verification failed: %s: %s", strings.Join(names, ", "), first)
}

// maxProblems bounds what one check reports.
const maxProblems = 50

// cutFiles stands for the files that a check does not report.
const cutFiles = "…"

func bounded(problems []Problem) []Problem {
	if len(problems) <= maxProblems {
		return problems
	}
	more := len(problems) - maxProblems
	return append(slices.Clone(problems[:maxProblems]), Problem{cutFiles, fmt.Sprintf("and %d more", more)})
}
