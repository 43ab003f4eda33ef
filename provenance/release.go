package provenance

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/fault"
	"github.com/isotrace/isotrace/policy"
)

// What a release adds to a build's output folder. The sums are over the images, all
// of this and the whole evidence.
const (
	BundleSuffix  = ".sigstore.json" // of an image or of SHA256SUMS
	SigSuffix     = ".sig"           // detached, base64: cosign
	RawSuffix     = ".sig.raw"       // detached: openssl
	ReleaseDir    = "release"
	ReleaseKey    = "release/release.pub"
	PolicyFile    = "release/policy.json" // the attested result
	TrustedRoot   = "release/trusted_root.json"
	ReleaseSums   = "SHA256SUMS"
	emptyRootText = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}` + "\n"
)

// DraftPrefix marks folders that a build or a release has not finished.
const DraftPrefix = ".isotrace-draft-"

// ReleaseOptions say how to release.
type ReleaseOptions struct {
	Sealing
	// Verify is how the build is verified before.
	Verify VerifyOptions
	// Policy judges the build by what the settings ask for. Its result is attested; where
	// it does not hold the error is why.
	Policy   func(policy.Input) (result any, err error)
	Settings policy.Settings
	// TrustedRoot is shipped for those who check with cosign; the empty one when nil.
	TrustedRoot []byte
}

// Released is what a release left.
type Released struct {
	Image  string          `json:"image"` // path
	Digest artifact.Digest `json:"sha256"`
	KeyID  string          `json:"key"`
	Files  []string        `json:"files"` // below the folder
	// Pushed is where a registry has it, by digest; "" where none does.
	Pushed string `json:"pushed,omitempty"`
	Checks Result `json:"-"`
}

// Release verifies the build in dir, asks policy, and signs the image.
func Release(ctx context.Context, dir string, o ReleaseOptions) (_ *Released, err error) {
	if _, err := OpenBundle(dir); err != nil {
		return nil, err
	}
	unlock, err := artifact.HoldDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	o.Verify.Unreleased = true
	v, err := newVerification(ctx, dir, o.Verify)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	checks, err := v.run(ctx)
	if err != nil {
		return nil, err
	}
	if err := checks.Refused(); err != nil {
		return nil, err
	}
	s, err := o.Open(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.checkReleaseRole(s.signer.public); err != nil {
		return nil, err
	}
	in, err := v.policyInput(ctx, o.Settings)
	if err != nil {
		return nil, err
	}
	result, err := o.Policy(in)
	if err != nil {
		return nil, err
	}
	files, err := v.releaseFiles(s, o, result)
	if err != nil {
		return nil, err
	}
	r := &Released{Image: v.image, Digest: v.iso, KeyID: s.signer.public.KeyID(), Files: sortedKeys(files), Checks: checks}
	if err := v.unchanged(ctx); err != nil {
		return nil, err
	}
	return r, publishRelease(dir, files)
}

// checkReleaseRole refuses a key that builds or owns the layout.
func (v *verification) checkReleaseRole(key *PublicKey) error {
	if role := v.roleOf(key); role != "" && !v.shared(key) {
		return fault.New(fault.Refused, "isotrace keys new --role release makes a key of its own; policy.yaml can allow it by the key's id", "the key %.8s is also %s", key.KeyID(), role)
	}
	return nil
}

// roleOf says what else a key is for, "" where nothing.
func (v *verification) roleOf(key *PublicKey) string {
	switch {
	case key.Same(v.key):
		return "the builder's"
	case key.Same(v.opts.OwnerKey):
		return "the layout owner's"
	case v.layout != nil && v.layout.keys[key.KeyID()] != nil:
		return "a functionary's of the layout"
	}
	return ""
}

// releaseFiles are the files of a release by path below the folder.
func (v *verification) releaseFiles(s *Sealer, o ReleaseOptions, result any) (map[string][]byte, error) {
	files := map[string][]byte{TrustedRoot: []byte(emptyRootText)}
	if o.TrustedRoot != nil {
		files[TrustedRoot] = o.TrustedRoot
	}
	sum512, err := v.sha512()
	if err != nil {
		return nil, err
	}
	if files[PolicyFile], err = s.Statement(Statement{statementType, v.subjects(sum512), PredicatePolicy, result}); err != nil {
		return nil, err
	}
	// The digest is the one that was verified: a key that hashes the file itself finds
	// out where it has changed since.
	for _, name := range append([]string{v.ImageName()}, v.disks()...) {
		if err := s.seal(files, name, v.images[name].content()); err != nil {
			return nil, err
		}
	}
	if !s.keyless {
		files[ReleaseKey] = s.signer.public.PEM
	}
	sums := map[string]artifact.Digest{}
	for p, text := range files {
		sums[p] = artifact.HashBytes(text)
	}
	for name, have := range v.images {
		sums[name] = have.digest
	}
	for p, d := range v.files {
		sums[path.Join(EvidenceDir, p)] = d
	}
	for _, p := range []string{Sums, SumsSignature} {
		text, err := v.read(p, maxSums)
		if err != nil {
			return nil, err
		}
		sums[path.Join(EvidenceDir, p)] = artifact.HashBytes(text)
	}
	text := formatSums(sums)
	files[ReleaseSums] = text
	return files, s.seal(files, ReleaseSums, BytesContent(text))
}

// seal adds the signatures of a file: a key of the moment leaves its bundle alone.
func (s *Sealer) seal(files map[string][]byte, name string, c Content) (err error) {
	if files[name+BundleSuffix], err = s.File(c); err != nil || s.keyless {
		return err
	}
	files[name+SigSuffix], files[name+RawSuffix], err = s.Detached(c)
	return err
}

// SignFile signs a file of any size as a release signs its image, and returns the paths
// of the signatures, which are beside it.
func SignFile(ctx context.Context, file string, how Sealing) ([]string, error) {
	s, err := how.Open(ctx)
	if err != nil {
		return nil, err
	}
	c, err := FileContent(file)
	if err != nil {
		return nil, fault.New(fault.Usage, "", "%w", err)
	}
	files := map[string][]byte{}
	if err := s.seal(files, file, c); err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(files) {
		if err := artifact.WriteBytes(name, 0o644, files[name]); err != nil {
			return nil, artifact.ExplainWrite(err)
		}
	}
	return sortedKeys(files), nil
}

// publishRelease puts a release's files in place of an earlier one's. The image's
// bundle goes last: whoever finds it finds the rest.
func publishRelease(dir string, files map[string][]byte) (err error) {
	draft, err := os.MkdirTemp(dir, DraftPrefix+"*")
	if err != nil {
		return artifact.ExplainWrite(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(draft)) }()
	for _, p := range sortedKeys(files) {
		to := filepath.Join(draft, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return artifact.ExplainWrite(err)
		}
		if err := artifact.WriteBytes(to, 0o644, files[p]); err != nil {
			return artifact.ExplainWrite(err)
		}
	}
	if err := Unrelease(dir); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(draft, ReleaseDir), filepath.Join(dir, ReleaseDir)); err != nil {
		return err
	}
	var last string
	for _, p := range sortedKeys(files) {
		switch {
		case strings.HasPrefix(p, ReleaseDir+"/"):
		case strings.HasSuffix(p, ".iso"+BundleSuffix):
			last = p
		default:
			if err := os.Rename(filepath.Join(draft, p), filepath.Join(dir, p)); err != nil {
				return err
			}
		}
	}
	if err := os.Rename(filepath.Join(draft, last), filepath.Join(dir, last)); err != nil {
		return err
	}
	return artifact.SyncDir(dir)
}

// Unrelease removes what a release left in a folder: it speaks of another image.
func Unrelease(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); !e.IsDir() && isReleaseFile(name) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return os.RemoveAll(filepath.Join(dir, ReleaseDir))
}

// ReleaseFiles are the files of a release beside its evidence, images included, by path
// below its folder, in order.
func ReleaseFiles(dir string) ([]string, error) {
	b, err := OpenBundle(dir)
	if err != nil {
		return nil, err
	}
	list := sortedKeys(b.imageRecords())
	for _, in := range []string{"", ReleaseDir} {
		entries, err := os.ReadDir(filepath.Join(dir, in))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if in != "" || isReleaseFile(e.Name()) {
				list = append(list, path.Join(in, e.Name()))
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// isReleaseFile tells of a file beside the image whether a release wrote it.
func isReleaseFile(name string) bool {
	of := name
	for _, suffix := range []string{BundleSuffix, RawSuffix, SigSuffix} {
		of = strings.TrimSuffix(of, suffix)
	}
	return name == ReleaseSums || of != name && (of == ReleaseSums || strings.HasSuffix(of, ".iso") || isDisk(of))
}
