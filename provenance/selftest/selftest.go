// Package selftest shows on a user's machine that what isotrace's checks rest on works
// there: each test has the answer that is known beforehand, and something that has to be
// refused. docs/qualification/requirements.csv has the requirements that they serve.
package selftest

import (
	"archive/tar"
	"context"
	"io"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/config"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/epoch"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/ociarchive"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/sandbox"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/internal/verity"
	"github.com/isotrace/isotrace/provenance"
)

// Outcome is how a test came out.
type Outcome struct {
	Name string `json:"name"`
	// About is what it shows, in words, and Requirements the ids of what it serves.
	About        string   `json:"about"`
	Requirements []string `json:"requirements"`
	// Failed is why it failed; "" where it passed.
	Failed string `json:"failed,omitempty"`
}

// parts are what the tests are of; the package's own tests put broken ones in their place.
type parts struct {
	hash     func(io.Reader) (artifact.Digest, int64, error)
	stored   func(*artifact.Store, artifact.Digest) (artifact.Ref, error)
	extract  func(ctx context.Context, dir string, tr *tar.Reader, o roottree.ExtractOptions) (roottree.Extracted, error)
	signed   func(k *archive.Keyring, text []byte, name string, now time.Time) ([]byte, []archive.Signer, error)
	inTime   func(*archive.Release, archive.ReleaseCheck) (bool, error)
	seal     func(provenance.Recorder, stage.Record) ([]byte, error)
	openLink func([]byte, *provenance.PublicKey) (stage.Record, error)
	sign     func(*provenance.Signer, []byte) ([]byte, error)
	detached func(k *provenance.PublicKey, text, sig []byte) error
	lock     func(string, []byte) (*lockfile.Lock, error)
	config   func(string, []byte) (*config.Config, error)
	rootHash func(data io.Reader, size int64, tree io.Reader) (string, error)
	footer   func(b []byte, size int64, tree artifact.Digest, e epoch.Epoch) error
	archived func(context.Context, *ociarchive.Archive) ([]ociarchive.Damage, error)
	run      func(context.Context, sandbox.Spec) error
	doctor   func(string) []sandbox.Finding
}

func real() parts {
	return parts{
		hash: artifact.HashReader, stored: (*artifact.Store).Verify, extract: roottree.Extract, signed: (*archive.Keyring).VerifyInline,
		inTime: (*archive.Release).Check, seal: provenance.Recorder.Seal, openLink: provenance.OpenLink, sign: (*provenance.Signer).SignDetached,
		detached: (*provenance.PublicKey).VerifyDetached, lock: lockfile.Decode, config: config.Parse, rootHash: verity.RootHash,
		footer: diskimage.CheckFooter, run: sandbox.Run, doctor: sandbox.Doctor,
		archived: func(ctx context.Context, a *ociarchive.Archive) ([]ociarchive.Damage, error) {
			return a.Check(ctx, nil)
		},
	}
}

// bench is where a test runs.
type bench struct {
	parts
	dir     string // a new folder of its own
	program string // isotrace's own file
}

var tests = []struct {
	name, about  string
	requirements []string
	run          func(context.Context, *bench) error
}{
	{"host", "the host has what builds need", []string{"TOR-903"}, host},
	{"digest", "SHA-256 gives the answers of FIPS 180-4", []string{"TOR-201"}, digest},
	{"store", "content that was changed is not taken from the store", []string{"TOR-307", "TOR-201"}, store},
	{"tar", "an archive's members stay in their folder", []string{"TOR-203"}, hostileTar},
	{"release-file", "a Release file has to be signed by a known key, whole and in time", []string{"TOR-102", "TOR-103"}, releaseFile},
	{"signature", "signatures are those of RFC 6979, and a changed text has none", []string{"TOR-401", "TOR-601"}, signature},
	{"link", "a link opens as it was sealed, by its key alone, and unchanged", []string{"TOR-401", "TOR-402"}, link},
	{"lock", "a lock that was changed by hand is refused", []string{"TOR-106"}, lock},
	{"config", "a key that the config does not know is refused, with its line", []string{"TOR-121"}, unknownKey},
	{"verity", "the root hash is the one of veritysetup", []string{"TOR-705"}, rootHash},
	{"vhd", "the footer of a disk is the one that it has to have", []string{"TOR-722"}, vhd},
	{"archive", "each byte of an archive that is changed is found", []string{"TOR-805"}, everyByte},
	{"sandbox", "a program in a build sees no network, no host name, no files of the host", []string{"TOR-302", "TOR-303"}, sandboxed},
	{"escape", "a program in a build finds no way out of its sandbox", []string{"TOR-313"}, noEscape},
	{"limits", "a program that takes more than its limits is ended", []string{"TOR-314"}, limited},
}

// Run makes the tests in folders below dir; program is isotrace's own file, which runs in
// a sandbox. The process must have gone through sandbox.Enter.
func Run(ctx context.Context, dir, program string, report func(Outcome)) ([]Outcome, error) {
	return run(ctx, real(), dir, program, report)
}
