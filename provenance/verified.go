package provenance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
)

// Verified is a build's output folder of which every check holds. What is read through
// it is what was checked, or an error.
type Verified struct {
	*Bundle
	Result Result
	// Records are the builder's, by stage.
	Records map[string]stage.Record
	// Images are the files beside the evidence, the ISO first, as they were hashed.
	Images []artifact.Ref
	v      *verification
}

// OpenVerified makes all checks of Verify and refuses what does not hold.
func OpenVerified(ctx context.Context, dir string, o VerifyOptions) (*Verified, error) {
	f, r, err := TryVerified(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	if err := r.Refused(); err != nil {
		return nil, fault.New(fault.Refused, "isotrace verify names every file and rule", "%s: %w", dir, err)
	}
	return f, nil
}

// TryVerified makes all checks of Verify; the folder is nil where one does not hold.
func TryVerified(ctx context.Context, dir string, o VerifyOptions) (*Verified, Result, error) {
	v, err := newVerification(ctx, dir, o)
	if err != nil {
		return nil, Result{}, err
	}
	r, err := v.run(ctx)
	if err != nil || r.Refused() != nil {
		return nil, r, err
	}
	out := &Verified{Bundle: v.Bundle, Result: r, Records: v.links, v: v}
	iso := v.ImageName()
	out.Images = append(out.Images, artifact.Ref{Path: iso, Digest: v.images[iso].digest, Size: v.images[iso].size})
	for _, name := range sortedKeys(v.images) {
		if name != iso {
			out.Images = append(out.Images, artifact.Ref{Path: name, Digest: v.images[name].digest, Size: v.images[name].size})
		}
	}
	return out, r, nil
}

// Read returns a file of the evidence that was there when the checks were made.
func (f *Verified) Read(name string, limit int64) ([]byte, error) {
	want, ok := f.v.files[name]
	if !ok {
		return nil, refused(fmt.Errorf("%s: was not checked", name))
	}
	text, err := f.read(name, limit)
	if err != nil {
		return nil, refused(err)
	}
	if have := artifact.HashBytes(text); have != want {
		return nil, refused(fmt.Errorf("%s: has changed since it was checked", name))
	}
	return text, nil
}

// ConfigText and LockText are the two files of the project, as the evidence has them.
func (f *Verified) ConfigText() []byte { return f.configText }

// LockText is isotrace.lock.
func (f *Verified) LockText() []byte { return f.lockText }

// Builder is the key that signed the evidence.
func (f *Verified) Builder() *PublicKey { return f.v.key }

// Owners are the keys that signed the layout, by id; none where there is no layout.
func (f *Verified) Owners() []string {
	if f.v.layout == nil || f.v.opts.OwnerKey == nil {
		return nil
	}
	return []string{f.v.opts.OwnerKey.KeyID()}
}

// Layout is the owner's layout; nil where there is none.
func (f *Verified) Layout() *Layout { return f.v.layout }

// Sums is the digest of the evidence's SHA256SUMS, which lists all the rest of it.
func (f *Verified) Sums() (artifact.Digest, error) {
	return f.sums(func() ([]byte, error) { return f.read(Sums, maxSums) })
}

// ReleaseSums is the digest of the release's SHA256SUMS; "" where nobody has released it.
func (f *Verified) ReleaseSums() (artifact.Digest, error) {
	if !f.v.released() {
		return "", nil
	}
	return f.sums(func() ([]byte, error) { return f.readBeside(ReleaseSums, maxSums) })
}

func (f *Verified) sums(read func() ([]byte, error)) (artifact.Digest, error) {
	text, err := read()
	if err != nil {
		return "", refused(err)
	}
	return artifact.HashBytes(text), nil
}

// OpenTrace opens the trace.
func (f *Verified) OpenTrace() (*Tracing, error) { return openTracing(f.v.Bundle, f.v.key) }

// Trees are the manifests of the root tree, by the stage that gave it, each as the
// stage's link has it; Root is the stage whose tree the image has.
func (f *Verified) Trees() (trees map[string]*roottree.Manifest, root string, err error) {
	trees = map[string]*roottree.Manifest{}
	const name = "root" + manifestSuffix
	for _, maker := range sortedKeys(f.Records) {
		want, ok := f.Records[maker].Products[maker+"/"+name]
		if !ok {
			continue
		}
		text, err := f.Read(path.Join(ManifestDir, maker, name), maxEvidenceFile)
		if err != nil {
			return nil, "", err
		}
		if artifact.HashBytes(text) != want {
			return nil, "", refused(fmt.Errorf("%s of stage %s: is not the one of its link", name, maker))
		}
		if trees[maker], err = roottree.Parse(bytes.NewReader(text)); err != nil {
			return nil, "", refused(err)
		}
	}
	_, record := f.v.rootRecord()
	root, _, _ = strings.Cut(record, "/")
	if trees[root] == nil {
		return nil, "", refused(errors.New("has no manifest of the root tree"))
	}
	return trees, root, nil
}
