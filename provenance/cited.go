package provenance

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/internal/strictjson"
	"github.com/isotrace/isotrace/policy"
)

// Cite is a file of the evidence as it was hashed by the checks, by its path in the
// output folder. It fails for one that is not there.
func (f *Verified) Cite(name string) (artifact.Ref, error) {
	ref := artifact.Ref{Path: path.Join(EvidenceDir, name)}
	var ok bool
	if ref.Digest, ok = f.v.files[name]; !ok {
		return ref, fault.New(fault.Refused, "the evidence is not as isotrace build left it", "%s: is missing", ref.Path)
	}
	return ref, f.stream(name, func(_ io.Reader, size int64) error {
		ref.Size = size
		return nil
	})
}

// Evidence lists the files of the evidence, sorted.
func (f *Verified) Evidence() []string { return sortedKeys(f.v.files) }

// CiteSums is the evidence's SHA256SUMS, which names the images beside it.
func (f *Verified) CiteSums() (artifact.Ref, error) {
	text, err := f.read(Sums, maxSums)
	if err != nil {
		return artifact.Ref{}, refused(err)
	}
	return artifact.Ref{Path: path.Join(EvidenceDir, Sums), Digest: artifact.HashBytes(text), Size: int64(len(text))}, nil
}

// CiteRelease is a file that a release leaves beside the evidence, by its path in the
// output folder; ok is false where there is none.
func (f *Verified) CiteRelease(name string) (ref artifact.Ref, text []byte, ok bool, err error) {
	text, err = f.readBeside(name, maxBundle)
	if errors.Is(err, fs.ErrNotExist) {
		return ref, nil, false, nil
	}
	if err != nil {
		return ref, nil, false, refused(err)
	}
	return artifact.Ref{Path: name, Digest: artifact.HashBytes(text), Size: int64(len(text))}, text, true, nil
}

// Judgement is the policy's result that a release attests, and its file; nil where nobody
// has released the image.
func (f *Verified) Judgement() (*policy.Result, artifact.Ref, error) {
	ref, text, ok, err := f.CiteRelease(PolicyFile)
	if err != nil || !ok {
		return nil, ref, err
	}
	b, err := openBundle(text)
	if err != nil {
		return nil, ref, refused(fmt.Errorf("%s: %w", PolicyFile, err))
	}
	var said struct {
		Predicate policy.Result `json:"predicate"`
	}
	if err := strictjson.UnmarshalOpen(b.GetDsseEnvelope().GetPayload(), &said); err != nil {
		return nil, ref, refused(fmt.Errorf("%s: %w", PolicyFile, err))
	}
	return &said.Predicate, ref, nil
}

// Owner is the id of the key that signed the layout; "" where there is no layout.
func (f *Verified) Owner() string {
	if f.v.layout == nil {
		return ""
	}
	return f.v.ownerID()
}

// Functionaries are the ids of the keys that the layout lets build, sorted.
func (f *Verified) Functionaries() []string {
	if f.v.layout == nil {
		return nil
	}
	return sortedKeys(f.v.layout.keys)
}
