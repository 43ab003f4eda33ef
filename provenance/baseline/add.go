package baseline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/provenance"
)

// Options say how a release is entered.
type Options struct {
	Name     string // PRODUCT-RELEASE where it is ""
	Date     string // the lock's epoch where it is ""; a day or an RFC 3339 time
	Replaces string // the last of the product where it is ""; "none" for none
	Problems []string
	// ReleaseKey signed the release; nil where a certificate of Identity did.
	ReleaseKey *provenance.PublicKey
	Identity   string
	// Keys are those that may have signed the entries that are there.
	Keys []*provenance.PublicKey
}

// Check refuses a key that is not the release's.
func (o Options) Check(s *provenance.Signer) error {
	if o.ReleaseKey != nil && !o.ReleaseKey.Same(s.Public()) {
		return fault.New(fault.Refused, "sign with the key that released it", "the release is signed by %.8s, the register would be by %.8s", o.ReleaseKey.KeyID(), s.Public().KeyID())
	}
	return nil
}

// Add enters a verified release into the register in dir, signed.
func Add(dir string, v *provenance.Verified, s *provenance.Signer, o Options) (_ *Entry, err error) {
	if err := o.Check(s); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, artifact.ExplainWrite(err)
	}
	release, err := artifact.HoldDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	r, err := Open(dir, o.Keys)
	if err != nil {
		return nil, err
	}
	if err := r.unfinished(); err != nil {
		return nil, err
	}
	if err := r.Refused(); err != nil {
		return nil, err
	}
	e, index, err := r.enter(v, s, o)
	if err != nil {
		return nil, err
	}
	return e, r.write(e, index, s)
}

// write signs an entry and puts it into the register.
func (r *Register) write(e *Entry, index []byte, s *provenance.Signer) error {
	text, err := e.encode()
	if err != nil {
		return err
	}
	if _, err := decode(text); err != nil {
		return err
	}
	sig, err := s.SignDetached(text)
	if err != nil {
		return err
	}
	// The entry goes last: what finds it finds the rest.
	for _, f := range []struct {
		suffix  string
		content []byte
	}{{indexSuffix, index}, {signatureSuffix, sig}, {entrySuffix, text}} {
		if err := artifact.WriteBytes(filepath.Join(r.dir, e.stem()+f.suffix), 0o644, f.content); err != nil {
			return artifact.ExplainWrite(err)
		}
	}
	return nil
}

// unfinished removes what an addition left that was killed: the index and signature of
// the entry that would be next.
func (r *Register) unfinished() error {
	next := len(r.Entries) + 1
	files, err := r.list()
	if err != nil || files[next] == nil || len(files[next].entries) > 0 || len(files) > next {
		return err
	}
	for _, f := range files[next].others {
		if err := os.Remove(filepath.Join(r.dir, f)); err != nil {
			return err
		}
	}
	r.Problems = slices.DeleteFunc(r.Problems, func(p provenance.Problem) bool { return p.File == fmt.Sprintf("%04d", next) })
	return nil
}

// enter makes the entry of a release, and its index.
func (r *Register) enter(v *provenance.Verified, s *provenance.Signer, o Options) (*Entry, []byte, error) {
	e := &Entry{
		Format: Format, Number: len(r.Entries) + 1, Name: o.Name, Product: v.Config.Name, Release: v.Config.Release, Date: o.Date,
		Images: slices.SortedFunc(slices.Values(v.Images), byPath),
		Config: artifact.HashBytes(v.ConfigText()), Lock: artifact.HashBytes(v.LockText()),
		Signers:      Signers{Builder: v.Builder().KeyID(), Owner: strings.Join(v.Owners(), " "), Release: o.Identity, Register: s.Public().KeyID()},
		Requirements: []Requirement{}, Affected: []string{}, Problems: []string{}, Packages: []Package{},
	}
	if o.ReleaseKey != nil {
		e.Signers.Release = o.ReleaseKey.KeyID()
	}
	if e.Name == "" {
		e.Name = e.Product + "-" + e.Release
	}
	if err := validName(e.Name); err != nil {
		return nil, nil, err
	}
	if r.Lookup(e.Name) != nil {
		return nil, nil, fault.New(fault.Usage, "--name gives another", "baseline %s: is there already", e.Name)
	}
	if n := len(r.Entries); n > 0 {
		last := r.Entries[n-1]
		e.Previous = &File{last.stem() + entrySuffix, r.Head}
	}
	var err error
	if e.Date, err = date(o.Date, v.Lock.Epoch.Time()); err != nil {
		return nil, nil, err
	}
	for _, p := range o.Problems {
		if err := validProblem(p); err != nil {
			return nil, nil, err
		}
		e.Problems = append(e.Problems, p)
	}
	slices.Sort(e.Problems)
	e.Problems = slices.Compact(e.Problems)
	if e.Evidence, err = v.Sums(); err != nil {
		return nil, nil, err
	}
	if e.ReleaseSums, err = v.ReleaseSums(); err != nil {
		return nil, nil, err
	}
	if e.ReleaseSums == "" {
		return nil, nil, fault.New(fault.Refused, "isotrace release signs an image of which everything holds", "nobody has released %s", v.ImageName())
	}
	replaced, err := r.replaced(e.Product, o.Replaces)
	if err != nil {
		return nil, nil, err
	}
	index, err := e.describe(v)
	if err != nil {
		return nil, nil, err
	}
	e.affect(replaced)
	return e, index, nil
}

// date is what the release manager said, or else the lock's epoch.
func date(said string, epoch time.Time) (string, error) {
	if said == "" {
		return epoch.UTC().Format(time.RFC3339), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, said); err == nil {
			return t.UTC().Format(time.RFC3339), nil
		}
	}
	return "", fault.New(fault.Usage, "such as 2026-01-31 or 2026-01-31T12:00:00Z", "--date %.40q: is no day and no time", said)
}

// replaced is the baseline that another takes the place of; nil for none.
func (r *Register) replaced(product, said string) (*Entry, error) {
	switch said {
	case "none":
		return nil, nil
	case "":
		for _, e := range slices.Backward(r.Entries) {
			if e.Product == product {
				return e, nil
			}
		}
		return nil, nil
	}
	if e := r.Lookup(said); e != nil {
		return e, nil
	}
	return nil, fault.New(fault.Usage, "isotrace baseline list names them", "baseline %.120q: is not in the register", said)
}

// describe takes down packages, requirements and files.
func (e *Entry) describe(v *provenance.Verified) (index []byte, err error) {
	t, err := v.OpenTrace()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for i := range t.Packages { // target and boot, and what came with the base image
		p := &t.Packages[i]
		e.Packages = append(e.Packages, Package{p.Set, p.ID(), p.Source, p.SourceVersion, p.SHA256})
	}
	for _, p := range v.Lock.Tools {
		e.Packages = append(e.Packages, Package{"tools", p.ID(), p.Source, p.SourceVersion, p.SHA256})
	}
	slices.SortFunc(e.Packages, bySet)
	for _, s := range provenance.ServedBy(&t.Head, v.Records) {
		e.Requirements = append(e.Requirements, Requirement{s.ID, s.Met, artifact.HashBytes([]byte(strings.Join(s.By, "\n")))})
	}
	slices.SortFunc(e.Requirements, byID)
	packed, count, err := writeIndex(t.Trace)
	if err != nil {
		return nil, err
	}
	e.Files = Index{File{e.stem() + indexSuffix, artifact.HashBytes(packed)}, count}
	return packed, nil
}

// affect lists the requirements that are new, gone, or served otherwise than in the
// baseline that is replaced.
func (e *Entry) affect(replaced *Entry) {
	was := map[string]Requirement{}
	if replaced != nil {
		e.Replaces = replaced.Name
		for _, r := range replaced.Requirements {
			was[r.ID] = r
		}
	}
	for _, r := range e.Requirements {
		if was[r.ID] != r {
			e.Affected = append(e.Affected, r.ID)
		}
		delete(was, r.ID)
	}
	for id := range was {
		e.Affected = append(e.Affected, id)
	}
	slices.Sort(e.Affected)
}
