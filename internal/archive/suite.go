package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/archive/decompress"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/regular"
)

// Content is a Sink whose content can be read back.
type Content interface {
	Sink
	// Path returns the file that holds the content of d.
	Path(d artifact.Digest) string
}

// SuiteRequest says which suite is wanted, and whom to believe.
type SuiteRequest struct {
	Repository       string
	Suite            string // its name below dists/
	Components       []string
	Architecture     string
	Keyring          *Keyring
	Now              time.Time
	IgnoreValidUntil bool
	// Sources also wants the Sources indexes, where the archive has some.
	Sources bool
}

// Suite is a suite whose Release file is verified and whose indexes are at
// hand.
type Suite struct {
	Repository string
	Suite      string // as asked for
	Release    *Release
	// ReleaseFile is InRelease, or Release beside Signature.
	ReleaseFile artifact.Ref
	Signature   *artifact.Ref
	Signers     []Signer
	// Expired tells that Valid-Until had passed and the request let it.
	Expired bool
	Indexes []Index // of packages
	// SourceIndexes are the Sources indexes, where they were asked for: one a
	// component that has one.
	SourceIndexes []Index
}

// Index is a Packages or Sources index of a suite.
type Index struct {
	Component    string
	Architecture string       // "" of a Sources index
	Ref          artifact.Ref // Path is the index's own below the mirror's base, not the one by hash
	// Plain is what the Release file says of the index before compression; its
	// size is -1 where it says nothing.
	Plain FileSum
}

// ByHash returns the path below the mirror's base at which the index stays
// when a newer one has taken its place.
func (i Index) ByHash() string { return byHash(i.Ref.Path, i.Ref.Digest) }

func byHash(p string, d artifact.Digest) string {
	return path.Join(path.Dir(p), "by-hash", "SHA256", string(d))
}

const (
	maxRelease = 64 << 20
	maxIndex   = 4 << 30
)

// SignedRelease are the bytes of a suite's Release file: InRelease where
// Signature is nil, else Release and Release.gpg.
type SignedRelease struct {
	Data      []byte
	Signature []byte
}

// Verify checks the signatures and then what they sign; nothing that is not signed is
// parsed. Who signed does not depend on the time of the check, but on the Release's Date.
func (s SignedRelease) Verify(k *Keyring, name string, check ReleaseCheck) (_ *Release, _ []Signer, expired bool, err error) {
	text := s.Data
	var signers []Signer
	if s.Signature == nil {
		text, signers, err = k.VerifyInline(s.Data, name, check.Now)
	} else {
		signers, err = k.VerifyDetached(s.Data, s.Signature, name, check.Now)
	}
	if err != nil {
		return nil, nil, false, err
	}
	r, err := ParseRelease(text, name)
	if err != nil {
		return nil, nil, false, fault.New(fault.Refused, fault.HintOf(err), "%w", err)
	}
	if signers, err = k.AsOf(signers, r.Date, name); err != nil {
		return nil, nil, false, err
	}
	expired, err = r.Check(check)
	if err != nil {
		return nil, nil, false, err
	}
	return r, signers, expired, nil
}

// ResolveSuite fetches a suite's Release file from the first mirror that has a
// good one, and by it the indexes of the components.
func (c *Client) ResolveSuite(ctx context.Context, req SuiteRequest, content Content, progress func(done, total int64)) (*Suite, error) {
	if err := req.validate(); err != nil {
		return nil, err
	}
	bases, err := c.bases(req.Repository)
	if err != nil {
		return nil, err
	}
	dir := "dists/" + req.Suite
	suite := &Suite{Repository: req.Repository, Suite: req.Suite}
	var signed SignedRelease
	err = c.rounds(ctx, bases, req.Repository, dir+"/InRelease", func(base *url.URL) error {
		var err error
		if signed, err = c.release(ctx, base, dir); err != nil {
			return err
		}
		suite.Release, suite.Signers, suite.Expired, err = signed.Verify(req.Keyring, locate(base, dir).Redacted(), ReleaseCheck{
			Suite: req.Suite, Now: req.Now, IgnoreValidUntil: req.IgnoreValidUntil,
		})
		if err != nil {
			return permanentError{err}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := suite.keepRelease(ctx, dir, signed, content); err != nil {
		return nil, err
	}
	var wants []Want
	for _, component := range req.Components {
		indexes, err := selectIndexes(suite.Release, dir, component, req.Architecture)
		if err != nil {
			return nil, err
		}
		suite.Indexes = append(suite.Indexes, indexes...)
		if sources, ok := selectIndex(suite.Release, dir, component, component+"/source/Sources"); ok && req.Sources {
			suite.SourceIndexes = append(suite.SourceIndexes, sources)
		}
	}
	for _, i := range slices.Concat(suite.Indexes, suite.SourceIndexes) {
		w := Want{Repository: req.Repository, Path: i.Ref.Path, SHA256: i.Ref.Digest, Size: i.Ref.Size}
		if suite.Release.AcquireByHash {
			w.Path, w.Fallback = i.ByHash(), i.Ref.Path
		}
		wants = append(wants, w)
	}
	if err := c.FetchAll(ctx, wants, content, progress); err != nil {
		return nil, err
	}
	return suite, nil
}

func (r SuiteRequest) validate() error {
	if err := ValidatePath(r.Suite); err != nil {
		return fault.New(fault.Usage, "", "suite: %w", err)
	}
	if strings.HasSuffix(r.Suite, "/") || r.Suite == "." {
		return fault.New(fault.Usage, "", "suite %q: flat archives are not supported", r.Suite)
	}
	if len(r.Components) == 0 {
		return fault.New(fault.Usage, "name components, such as main", "suite %s: no component is asked for", r.Suite)
	}
	if !ValidArchitecture(r.Architecture) {
		return fault.New(fault.Usage, "", "suite %s: architecture %q is not valid", r.Suite, r.Architecture)
	}
	if r.Keyring == nil {
		return fault.New(fault.Usage, "name the archive's keys with signed-by", "suite %s: no keyring is given", r.Suite)
	}
	return nil
}

// release reads InRelease or, where there is none, Release and Release.gpg,
// all of one mirror.
func (c *Client) release(ctx context.Context, base *url.URL, dir string) (SignedRelease, error) {
	data, err := c.get(ctx, base, dir+"/InRelease", maxRelease)
	if err == nil {
		return SignedRelease{Data: data}, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return SignedRelease{}, err
	}
	missing := err
	data, err = c.get(ctx, base, dir+"/Release", maxRelease)
	if errors.Is(err, ErrNotFound) {
		return SignedRelease{}, missing
	}
	if err != nil {
		return SignedRelease{}, err
	}
	signature, err := c.get(ctx, base, dir+"/Release.gpg", 1<<20)
	if err != nil {
		return SignedRelease{}, err
	}
	return SignedRelease{Data: data, Signature: signature}, nil
}

func (s *Suite) keepRelease(ctx context.Context, dir string, signed SignedRelease, content Content) (err error) {
	name := dir + "/InRelease"
	if signed.Signature != nil {
		name = dir + "/Release"
		ref, err := keep(ctx, content, dir+"/Release.gpg", signed.Signature)
		if err != nil {
			return err
		}
		s.Signature = &ref
	}
	s.ReleaseFile, err = keep(ctx, content, name, signed.Data)
	return err
}

// keep puts bytes into the sink.
func keep(ctx context.Context, sink Sink, name string, data []byte) (_ artifact.Ref, err error) {
	ref := artifact.Ref{Path: name, Digest: artifact.HashBytes(data), Size: int64(len(data))}
	if present(sink, ref.Digest) {
		return ref, nil
	}
	p, err := openPartial(ctx, sink, ref.Digest, func(int64) {})
	if err != nil || p == nil {
		return ref, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.reset(); err != nil {
		return ref, err
	}
	if _, err := p.Write(data); err != nil {
		return ref, fmt.Errorf("keep %s: %w", name, err)
	}
	if _, err := sink.Adopt(p.path, ref.Digest); err != nil {
		return ref, fmt.Errorf("keep %s: %w", name, artifact.ExplainWrite(err))
	}
	return ref, nil
}

// selectIndexes finds the Packages index of a component for the architecture
// and, where the archive keeps them apart, the one for all.
func selectIndexes(r *Release, dir, component, arch string) ([]Index, error) {
	if !r.HasComponent(component) {
		return nil, fault.New(fault.Usage, "it has "+strings.Join(r.Components, ", "), "%s has no component %s", dir, quoteShort(component))
	}
	index, ok := selectPackages(r, dir, component, arch)
	if !ok {
		return nil, fault.New(fault.Usage, "it has the architectures "+strings.Join(r.Architectures, ", "),
			"%s has no Packages index of component %s for %s", dir, component, arch)
	}
	indexes := []Index{index}
	if !r.NoPackagesForAll && slices.Contains(r.Architectures, "all") && arch != "all" {
		if all, ok := selectPackages(r, dir, component, "all"); ok {
			indexes = append(indexes, all)
		}
	}
	return indexes, nil
}

func selectPackages(r *Release, dir, component, arch string) (Index, bool) {
	i, ok := selectIndex(r, dir, component, component+"/binary-"+arch+"/Packages")
	i.Architecture = arch
	return i, ok
}

// selectIndex finds the smallest form of an index.
func selectIndex(r *Release, dir, component, plainPath string) (Index, bool) {
	plain, ok := r.Files[plainPath]
	if !ok {
		plain.Size = -1
	}
	for _, ending := range []string{".xz", ".gz", ""} {
		if f, ok := r.Files[plainPath+ending]; ok {
			return Index{
				Component: component,
				Ref:       artifact.Ref{Path: dir + "/" + plainPath + ending, Digest: f.SHA256, Size: f.Size},
				Plain:     plain,
			}, true
		}
	}
	return Index{}, false
}

// Packages reads the suite's indexes, in their order.
func (s *Suite) Packages(content Content) ([]Package, error) {
	var all []Package
	for _, i := range s.Indexes {
		pkgs, err := i.Packages(content)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = pkgs
			continue
		}
		all = append(all, pkgs...)
	}
	return all, nil
}

// Packages reads the index and checks that it is whole.
func (i Index) Packages(content Content) (_ []Package, err error) {
	r, err := i.Open(content)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	pkgs, err := ParsePackages(r, i.Ref.Path)
	if err != nil {
		return nil, fault.New(fault.Refused, "", "%w", err)
	}
	return pkgs, nil
}

// Open verifies the index in the sink and returns its decompressed text. At its
// end the text is checked against the Release file, too.
func (i Index) Open(content Content) (_ io.ReadCloser, err error) {
	f, err := regular.OpenFile(content.Path(i.Ref.Digest))
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", i.Ref.Path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	have, _, err := artifact.HashReader(f)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", i.Ref.Path, err)
	}
	if have != i.Ref.Digest {
		return nil, fault.New(fault.Refused, "run isotrace store verify, then lock again", "index %s in the store: %w: it is %s, want %s", i.Ref.Path, ErrWrongHash, have, i.Ref.Digest)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	limit := int64(maxIndex)
	if i.Plain.Size >= 0 {
		limit = i.Plain.Size
	}
	format, _ := decompress.Format(i.Ref.Path)
	r, err := decompress.NewReader(f, format, limit)
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", i.Ref.Path, err)
	}
	if i.Plain.Size >= 0 {
		r = &checkedReader{r: r, hash: sha256.New(), want: i.Plain, name: i.Ref.Path}
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

type checkedReader struct {
	r    io.Reader
	hash hash.Hash
	n    int64
	want FileSum
	name string
}

func (c *checkedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.hash.Write(p[:n])
	c.n += int64(n)
	if err == io.EOF {
		have := artifact.Digest(hex.EncodeToString(c.hash.Sum(nil)))
		if c.n != c.want.Size || have != c.want.SHA256 {
			return n, fmt.Errorf("index %s, decompressed: %w: it is %s, want %s", c.name, ErrWrongHash, have, c.want.SHA256)
		}
	}
	return n, err
}
