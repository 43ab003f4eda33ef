package selftest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // a signed Release file
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/isotrace/isotrace/internal/archive"
	"github.com/isotrace/isotrace/internal/artifact"
	"github.com/isotrace/isotrace/internal/diskimage"
	"github.com/isotrace/isotrace/internal/lockfile"
	"github.com/isotrace/isotrace/internal/ociarchive"
	"github.com/isotrace/isotrace/internal/roottree"
	"github.com/isotrace/isotrace/internal/stage"
	"github.com/isotrace/isotrace/provenance"
)

// run makes those of the tests that are named, or all, of some parts.
func run(ctx context.Context, p parts, dir, program string, report func(Outcome), names ...string) ([]Outcome, error) {
	var all []Outcome
	for _, t := range tests {
		if len(names) > 0 && !slices.Contains(names, t.name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		o := Outcome{Name: t.name, About: t.about, Requirements: t.requirements}
		b := &bench{parts: p, dir: filepath.Join(dir, t.name), program: program}
		if err := os.Mkdir(b.dir, 0o755); err != nil {
			return nil, artifact.ExplainWrite(err)
		}
		if err := t.run(ctx, b); err != nil {
			o.Failed = err.Error()
		}
		report(o)
		all = append(all, o)
	}
	return all, nil
}

// refused wants an error of something that must not be accepted.
func refused(what string, err error) error {
	if err == nil {
		return fmt.Errorf("%s: is accepted", what)
	}
	return nil
}

func host(_ context.Context, b *bench) error {
	found := b.doctor(b.dir)
	if len(found) == 0 {
		return errors.New("nothing was looked at")
	}
	for _, f := range found {
		if !f.OK {
			return fmt.Errorf("%s: %s", f.What, f.Why)
		}
	}
	return nil
}

func digest(_ context.Context, b *bench) error {
	for text, want := range map[string]artifact.Digest{
		"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		strings.Repeat("a", 1_000_000): "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
	} {
		if have, n, err := b.hash(strings.NewReader(text)); err != nil || have != want || n != int64(len(text)) {
			return fmt.Errorf("of %d bytes: %s, want %s (%v)", len(text), have, want, err)
		}
	}
	return nil
}

func store(_ context.Context, b *bench) (err error) {
	s, err := artifact.OpenStore(filepath.Join(b.dir, "store"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ref, err := s.Add(strings.NewReader("content"), 100)
	if err != nil {
		return err
	}
	if _, err := b.stored(s, ref.Digest); err != nil {
		return err
	}
	at := s.Path(ref.Digest)
	if err := errors.Join(os.Chmod(at, 0o644), os.WriteFile(at, []byte("Content"), 0o644)); err != nil {
		return err
	}
	_, err = b.stored(s, ref.Digest)
	return refused("changed content", err)
}

func hostileTar(ctx context.Context, b *bench) error {
	outside := filepath.Join(b.dir, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		return err
	}
	file := func(name string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: 1}
	}
	for what, members := range map[string][]tar.Header{
		"a name with ..":             {file("../outside/x")},
		"an absolute name":           {file(outside + "/x")},
		"a write through a link":     {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: outside}, file("l/x")},
		"a hard link that leads out": {{Typeflag: tar.TypeLink, Name: "h", Linkname: "../outside/there"}},
		"a device":                   {{Typeflag: tar.TypeBlock, Name: "d", Mode: 0o644}},
	} {
		var text bytes.Buffer
		w := tar.NewWriter(&text)
		for _, h := range members {
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
			if _, err := w.Write(make([]byte, h.Size)); err != nil {
				return err
			}
		}
		tree, err := os.MkdirTemp(b.dir, "tree")
		if err != nil {
			return errors.Join(err, w.Close())
		}
		_, err = b.extract(ctx, tree, tar.NewReader(bytes.NewReader(text.Bytes())), roottree.ExtractOptions{IgnoreOwners: true})
		if err := refused(what, err); err != nil {
			return err
		}
		if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
			return fmt.Errorf("%s: %d files are outside (%v)", what, len(left), err)
		}
	}
	return nil
}

// A Release file of no archive, and the key that signed it.
var (
	//go:embed InRelease
	inRelease []byte
	//go:embed archive.asc
	archiveKey []byte
)

func releaseFile(_ context.Context, b *bench) error {
	now := time.Date(2025, 6, 2, 0, 0, 0, 0, time.UTC)
	keys, err := archive.ReadKeyring("archive.asc", archiveKey)
	if err != nil {
		return err
	}
	text, signers, err := b.signed(keys, inRelease, "InRelease", now)
	if err != nil || len(signers) != 1 {
		return fmt.Errorf("the good one: %d signers, %w", len(signers), err)
	}
	_, _, err = b.signed(keys, bytes.Replace(inRelease, []byte("main"), []byte("mean"), 1), "InRelease", now)
	if err := refused("a changed one", err); err != nil {
		return err
	}
	r, err := archive.ParseRelease(text, "InRelease")
	if err != nil {
		return err
	}
	if _, err := b.inTime(r, archive.ReleaseCheck{Suite: "selftest", Now: now}); err != nil {
		return err
	}
	_, err = b.inTime(r, archive.ReleaseCheck{Suite: "selftest", Now: now.AddDate(0, 0, 7)})
	return refused("one that has expired", err)
}

// The key and the signature of "sample" of RFC 6979, A.2.5, with SHA-256.
const (
	sampleKey = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
	sampleR   = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
	sampleS   = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
)

// sampleSigner is the one of RFC 6979, as a key of isotrace.
func sampleSigner(dir string) (*provenance.Signer, error) {
	scalar, err := hex.DecodeString(sampleKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "sample.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	private, _, err := provenance.ImportKeyPair(file, []byte("sample"))
	if err != nil {
		return nil, err
	}
	return provenance.LoadSigner("sample", private, []byte("sample"))
}

func signature(_ context.Context, b *bench) error {
	s, err := sampleSigner(b.dir)
	if err != nil {
		return err
	}
	sig, err := b.sign(s, []byte("sample"))
	if err != nil {
		return err
	}
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(sig)))
	if want := "304602210" + "0" + sampleR + "022100" + sampleS; err != nil || hex.EncodeToString(der) != want {
		return fmt.Errorf("of the text %q: %x, want %s (%v)", "sample", der, want, err)
	}
	if err := b.detached(s.Public(), []byte("sample"), sig); err != nil {
		return err
	}
	return refused("the signature of another text", b.detached(s.Public(), []byte("simple"), sig))
}

func link(_ context.Context, b *bench) error {
	s, err := sampleSigner(b.dir)
	if err != nil {
		return err
	}
	private, _, err := provenance.GenerateKeyPair([]byte("x"))
	if err != nil {
		return err
	}
	other, err := provenance.LoadSigner("other", private, []byte("x"))
	if err != nil {
		return err
	}
	rec := stage.Record{Name: "iso", Version: 1, Params: []byte("{}"), Epoch: 1_700_000_000, Materials: map[string]artifact.Digest{"livetree/a": artifact.HashBytes([]byte("a"))}, Products: map[string]artifact.Digest{"iso/b": artifact.HashBytes([]byte("b"))}}
	first, err := b.seal(provenance.Recorder{Signer: s}, rec)
	if err != nil {
		return err
	}
	second, err := b.seal(provenance.Recorder{Signer: s}, rec)
	if err != nil || !bytes.Equal(first, second) {
		return fmt.Errorf("one record, sealed twice, has two links (%v)", err)
	}
	if have, err := b.openLink(first, s.Public()); err != nil || have.Products["iso/b"] != rec.Products["iso/b"] {
		return fmt.Errorf("opens as another: %w", err)
	}
	_, err = b.openLink(bytes.Replace(first, []byte("iso/b"), []byte("iso/c"), 1), s.Public())
	if err := refused("a changed link", err); err != nil {
		return err
	}
	_, err = b.openLink(first, other.Public())
	return refused("a link of another key", err)
}

func lock(_ context.Context, b *bench) error {
	d := artifact.HashBytes([]byte("x"))
	l := &lockfile.Lock{Format: lockfile.Format, Intent: d, Epoch: 1_700_000_000, Architecture: "amd64", Archives: []lockfile.Archive{}, Target: []lockfile.Package{}, Boot: []lockfile.Package{}, Tools: []lockfile.Package{}}
	text, err := l.Encode()
	if err != nil {
		return err
	}
	if _, err := b.lock("isotrace.lock", text); err != nil {
		return err
	}
	_, err = b.lock("isotrace.lock", append(text, "# by hand\n"...))
	return refused("a changed lock", err)
}

func unknownKey(_ context.Context, b *bench) error {
	const good = "name: x\nrelease: \"1\"\nbase: {bootstrap: trixie}\narchives: [{suite: trixie, components: [main], signed-by: keys.asc}]\n"
	if _, err := b.config("isotrace.yaml", []byte(good)); err != nil {
		return err
	}
	_, err := b.config("isotrace.yaml", []byte(good+"packges: [sudo]\n"))
	if err == nil || !strings.Contains(err.Error(), ":5:") {
		return fmt.Errorf("an unknown key in line 5: %w", errors.Join(refused("it", err), err))
	}
	return nil
}

// rootHash has what veritysetup 2.7.5 says of 4097 bytes.
func rootHash(_ context.Context, b *bench) error {
	const want = "b3af96e7ffda3279f41df214917ec69b872ed1156535c1ffe79b27325f70e381"
	const block = 4096
	salt := []byte{0, 0xff, 0x17}
	of := func(text string) []byte {
		sum := sha256.Sum256(append(bytes.Clone(salt), text...))
		return sum[:]
	}
	super := make([]byte, 512)
	copy(super, "verity")
	binary.LittleEndian.PutUint32(super[8:], 1)
	binary.LittleEndian.PutUint32(super[12:], 1)
	copy(super[32:], "sha256")
	binary.LittleEndian.PutUint32(super[64:], 4096)
	binary.LittleEndian.PutUint32(super[68:], 4096)
	binary.LittleEndian.PutUint64(super[72:], 2)
	binary.LittleEndian.PutUint16(super[80:], uint16(len(salt)))
	copy(super[88:], salt)
	text := strings.Repeat("isotrace ", 500)[:4097]
	tree := make([]byte, 2*block)
	copy(tree, super)
	copy(tree[block:], of(text[:block]))
	copy(tree[block+sha256.Size:], of(text[block:]+string(make([]byte, block-1))))
	have, err := b.rootHash(strings.NewReader(text), int64(len(text)), bytes.NewReader(tree))
	if err != nil || have != want {
		return fmt.Errorf("%s, want %s (%w)", have, want, err)
	}
	_, err = b.rootHash(strings.NewReader("I"+text[1:]), int64(len(text)), bytes.NewReader(tree))
	return refused("other data than the tree is of", err)
}

func vhd(_ context.Context, b *bench) error {
	const size = 64 * diskimage.MiB
	tree := artifact.HashBytes([]byte("tree"))
	footer, err := diskimage.Footer(size, tree, 1_700_000_000)
	if err != nil {
		return err
	}
	if string(footer[:8]) != "conectix" || binary.BigEndian.Uint64(footer[48:]) != size {
		return errors.New("it is no footer of such a disk")
	}
	if err := b.footer(footer, size, tree, 1_700_000_000); err != nil {
		return err
	}
	footer[20] ^= 1
	return refused("a changed footer", b.footer(footer, size, tree, 1_700_000_000))
}

func everyByte(ctx context.Context, b *bench) error {
	text := []byte("content of an archive")
	d := artifact.HashBytes(text)
	var made bytes.Buffer
	_, err := ociarchive.Write(ctx, &made, ociarchive.Contents{Epoch: time.Unix(1_700_000_000, 0), Files: []ociarchive.File{{Title: "a/b", Digest: d, Size: int64(len(text))}}},
		func(artifact.Digest) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil })
	if err != nil {
		return err
	}
	whole := func(archive []byte) error {
		a, err := ociarchive.Read(bytes.NewReader(archive), int64(len(archive)))
		if err != nil {
			return err
		}
		damage, err := b.archived(ctx, a)
		if err == nil && len(damage) > 0 {
			err = errors.New(damage[0].What + ": " + damage[0].Detail)
		}
		return err
	}
	if err := whole(made.Bytes()); err != nil {
		return err
	}
	for i := range made.Bytes() {
		bad := bytes.Clone(made.Bytes())
		bad[i] ^= 1
		if err := refused(fmt.Sprintf("byte %d, changed", i), whole(bad)); err != nil {
			return err
		}
	}
	return nil
}
