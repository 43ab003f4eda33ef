package provenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

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

// Check is the outcome of one rule.
type Check struct {
	Rule string `json:"rule"`
	// What was found to hold, in words, where nothing is amiss.
	What string `json:"what"`
	// CannotTell says that nothing is amiss but that the rule was not proved either:
	// What has the reason.
	CannotTell bool      `json:"cannot-tell,omitempty"`
	Problems   []Problem `json:"problems,omitempty"`
}

// OK tells whether the rule holds.
func (c Check) OK() bool { return len(c.Problems) == 0 }

// VerifyOptions say whom to believe.
type VerifyOptions struct {
	// Key is the builder's. Where it is nil the bundle's own is taken, which
	// proves that the bundle is whole but not who made it.
	Key *PublicKey
	// OwnerKey signed the layout that says who may build; nil where nobody named it.
	OwnerKey *PublicKey
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
	// made are all products, by record path.
	made map[string]artifact.Digest
	// files are those of the evidence, and iso is the image, as hashed.
	files map[string]artifact.Digest
	iso   artifact.Digest
	// md5 are those of the image's files.
	md5  map[string]string
	mu   sync.Mutex // guards held
	held []artifact.Digest
}

// doneStep is a link that holds.
type doneStep struct {
	file   string
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
const verifierVersion = 2

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
	KeyID string `json:"key"`
	// KeyFromBundle tells that nobody said whose key it must be.
	KeyFromBundle bool    `json:"key-from-bundle,omitempty"`
	Checks        []Check `json:"checks"`
	// ExpiredAccepted are suites that had expired when the lock was made.
	ExpiredAccepted []string `json:"expired-accepted,omitempty"`
	// Held names the checks that need not be made again for the same content.
	Held []artifact.Digest `json:"-"`
}

// Proved counts the rules that were found to hold.
func (r Result) Proved() int {
	n := 0
	for _, c := range r.Checks {
		if c.OK() && !c.CannotTell {
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
	b, err := OpenBundle(dir)
	if err != nil {
		return Result{}, err
	}
	v := &verification{Bundle: b, opts: o, key: o.Key, links: map[string]stage.Record{}, done: map[string][]doneStep{}, made: map[string]artifact.Digest{}}
	if v.key == nil {
		text, err := b.read(BuilderKey, 1<<16)
		if err != nil {
			return Result{}, refused(err)
		}
		if v.key, err = ParsePublicKey(BuilderKey, text); err != nil {
			return Result{}, refused(err)
		}
	}
	if err := v.openLayout(); err != nil {
		return Result{}, refused(err)
	}
	vouched := v.layout != nil && v.layout.Owner != nil && v.layout.keys[v.key.KeyID()] != nil
	r := Result{KeyID: v.key.KeyID(), KeyFromBundle: o.Key == nil && !vouched}
	for _, a := range b.Lock.Archives {
		if a.ExpiredAccepted {
			r.ExpiredAccepted = append(r.ExpiredAccepted, a.ID)
		}
	}
	r.Checks, err = v.checkAll(ctx)
	r.Held = v.held
	return r, err
}

// checkAll makes the checks and tells of them in the order of the rules.
func (v *verification) checkAll(ctx context.Context) ([]Check, error) {
	checks, done := make([]Check, len(rules)), make([]bool, len(rules))
	var mu sync.Mutex // guards done
	check := func(i int) (err error) {
		c := &checks[i]
		c.Rule = rules[i].name
		if c.What, c.Problems, err = rules[i].check(v, ctx); err != nil {
			return fmt.Errorf("check %s: %w", c.Rule, err)
		}
		c.CannotTell = c.OK() && rules[i].cannotTell != nil && rules[i].cannotTell(v)
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

// rules are checked in this order; later ones use what earlier ones found, but
// not what those found that run beside others.
var rules = []struct {
	name   string
	about  string
	check  func(*verification, context.Context) (string, []Problem, error)
	beside bool
	// cannotTell says of a check without problems that it proves nothing.
	cannotTell func(*verification) bool
}{
	{"evidence", "SHA256SUMS is signed and lists exactly what is there", (*verification).evidence, false, nil},
	{"links", "every link is signed by the builder, or by whom the layout allows", (*verification).checkLinks, false, nil},
	{"layout", "the steps are those of the owner's layout, done by whom and with what it allows", (*verification).checkLayout, false, (*verification).nobodyOwns},
	{"chain", "what a stage took is what another one gave or the project holds", (*verification).chain, false, nil},
	{"lock", "the lock belongs to the config, and nothing but the lock was fetched", (*verification).checkLock, false, nil},
	{"archives", "every package stands in an index that an archive's key signed", (*verification).archives, true, nil},
	{"image", "the image is the one that the last stage gave", (*verification).checkImage, false, nil},
	{"medium", "the image's files and EFI system partition are those recorded, byte for byte", (*verification).medium, false, nil},
	{"checksums", "the image's md5sum.txt lists its files as they are", (*verification).checksums, false, nil},
	{"squashfs", "the squashfs holds the recorded root tree", (*verification).checkSquashfs, false, nil},
	{"trace", "every file of the image has an origin, and every origin a locked package, a stage or a file of the project", (*verification).checkTrace, false, nil},
}

// Rules returns the names of the checks and what each says.
func Rules() (names, about []string) {
	for _, r := range rules {
		names, about = append(names, r.name), append(about, r.about)
	}
	return names, about
}

func (v *verification) evidence(context.Context) (string, []Problem, error) {
	text, err := v.read(Sums, 64<<20)
	if err != nil {
		return "", []Problem{{Sums, err.Error()}}, nil
	}
	sig, err := v.read(SumsSignature, 1<<16)
	if err != nil {
		return "", []Problem{{SumsSignature, err.Error()}}, nil
	}
	var problems []Problem
	if err := v.key.VerifyDetached(text, sig); err != nil {
		problems = append(problems, Problem{Sums, err.Error()})
	}
	want, err := parseSums(text)
	if err != nil {
		return "", append(problems, Problem{Sums, err.Error()}), nil
	}
	have, err := listSums(v.dir)
	if err != nil {
		return "", append(problems, Problem{EvidenceDir, err.Error()}), nil
	}
	v.files = have
	images := map[string]bool{}
	for name := range v.images() {
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
	for _, name := range sortedKeys(have) {
		if _, ok := want[name]; !ok {
			problems = append(problems, Problem{name, "is not in " + Sums})
		}
	}
	for _, image := range sortedKeys(images) {
		if _, ok := want[image]; !ok {
			problems = append(problems, Problem{Sums, "does not name the image " + strings.TrimPrefix(image, "../")})
		}
	}
	return fmt.Sprintf("%d files match %s, signed by %.8s", len(have), Sums, v.key.KeyID()), problems, nil
}

func (v *verification) checkLock(context.Context) (string, []Problem, error) {
	var problems []Problem
	if err := v.Lock.CheckConfig(v.Config); err != nil {
		problems = append(problems, Problem{lockfile.FileName, err.Error()})
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

// Refused is the error of a verification in which something does not hold.
func (r Result) Refused() error {
	failed := r.Failed()
	if len(failed) == 0 {
		return nil
	}
	var names []string
	for _, c := range failed {
		names = append(names, c.Rule)
	}
	first := failed[0].Problems[0]
	return fault.New(fault.Refused, "do not use the image; the lines above name every file and rule", "verification failed: %s: %s", strings.Join(names, ", "), first)
}

// maxProblems bounds what one check reports.
const maxProblems = 50

func bounded(problems []Problem) []Problem {
	if len(problems) <= maxProblems {
		return problems
	}
	more := len(problems) - maxProblems
	return append(slices.Clone(problems[:maxProblems]), Problem{"…", fmt.Sprintf("and %d more", more)})
}
